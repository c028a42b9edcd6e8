/**
 * Every operator, as functions.
 *
 * @module
 */

export {
  backward,
  type BackwardOptions,
  detach,
  gradEnabled,
  gradients,
  noGrad,
  registerHook,
  withGrad,
} from "../core/autograd.ts";
export { cast, expand, reshape, sum } from "./foundation.ts";
export * from "./arithmetic.ts";
export * from "./matmul.ts";
export { fold, unfold, type UnfoldOptions } from "./windows.ts";
export {
  conv,
  convInputGrad,
  type ConvOptions,
  convTranspose,
  type ConvTransposeOptions,
  convWeightGrad,
} from "./convolution.ts";
