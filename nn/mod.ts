/**
 * Modules: layers with parameters, under PyTorch's names.
 *
 * @module
 */

export * from "./activation.ts";
export * from "./attention.ts";
export * from "./batch_norm.ts";
export * from "./containers.ts";
export * from "./convolution.ts";
export type { Destination, Placement } from "./convert.ts";
export * from "./dropout.ts";
export * from "./embedding.ts";
export * from "./gated.ts";
export * from "./image.ts";
export * as init from "./init.ts";
export {
  Bilinear,
  bilinear,
  flatten,
  Linear,
  linear,
  type LinearOptions,
  unflatten,
} from "./linear.ts";
export * from "./loss.ts";
export { type AnyModule, Module, type ModuleOptions } from "./module.ts";
export {
  GroupNorm,
  groupNorm,
  LayerNorm,
  layerNorm,
  type LayerNormOptions,
  localResponseNorm,
  type NormOptions,
  RMSNorm,
  rmsNorm,
} from "./norm.ts";
export * from "./pooling.ts";
export * from "./recurrent.ts";
export {
  buffer,
  type BufferOptions,
  parameter,
  type ParameterOptions,
} from "./roles.ts";
export type { LoadOptions, LoadReport, StateDict } from "./state.ts";
export * from "./transformer.ts";
