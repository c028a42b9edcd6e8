/**
 * Optimizers and learning-rate policies.
 *
 * @module
 */

export * from "./adagrad.ts";
export * from "./adam.ts";
export {
  clipGradNorm,
  type ClipGradNormOptions,
  clipGradValue,
} from "./clip.ts";
export {
  type AverageOptions,
  type AverageState,
  ema,
  ParameterAverage,
} from "./ema.ts";
export * from "./ftrl.ts";
export type { AnyHyper, Hyper, HyperValue, Range, Schema } from "./hyper.ts";
export * from "./layerwise.ts";
export type * from "./method.ts";
export { create, type MethodInfo, methods } from "./methods.ts";
export { Optimizer } from "./optimizer.ts";
export type {
  NamedParameter,
  ParameterGroup,
  Parameters,
  ParameterSource,
} from "./parameters.ts";
export * as policies from "./policies.ts";
export * from "./row_wise.ts";
export * from "./sgd.ts";
export type { OptimizerState, SavedGroup } from "./state.ts";
export * from "./storm.ts";
export * from "./yellowfin.ts";
