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
export { cast, expand, reshape, sum, to } from "./foundation.ts";
export * from "./arithmetic.ts";
export * from "./memory_format.ts";
export * from "./matmul.ts";
export { bilinear, linear } from "./linear.ts";
export * from "./linear_activation.ts";
export * from "./feed_forward.ts";
export { type Fp8Format, type Fp8Options, fromFp8, toFp8 } from "./fp8.ts";
export * from "./scaled_matmul.ts";
export * from "./reduction.ts";
export * from "./extrema.ts";
export * from "./statistics.ts";
export * from "./softmax.ts";
export * from "./loss.ts";
export * from "./normalization.ts";
export { fold, unfold, type UnfoldOptions } from "./windows.ts";
export {
  conv,
  convInputGrad,
  type ConvOptions,
  convWeightGrad,
} from "./convolution.ts";
export * from "./transposed_convolution.ts";
export * from "./conv_activation.ts";
export * from "./shape.ts";
export * from "./slicing.ts";
export * from "./diagonals.ts";
export * from "./joining.ts";
export * from "./repeating.ts";
export * from "./pad.ts";
export * from "./blocks.ts";
export * from "./comparison.ts";
export * from "./logical.ts";
export * from "./division.ts";
export * from "./powers.ts";
export * from "./extremes.ts";
export * from "./math.ts";
export * from "./rounding.ts";
export * from "./trigonometry.ts";
export * from "./selection.ts";
export * from "./indexing.ts";
export * from "./pooling.ts";
export * from "./einsum.ts";
export * from "./interpolation.ts";
export * from "./activation.ts";
export * from "./attention.ts";
export * from "./recurrent.ts";
export type { CellKind, LayerAttrs } from "./recurrent_cells.ts";
export { type RecurrentLayer, recurrentLayer } from "./recurrent_layer.ts";
export * from "./masks.ts";
export * from "./counting.ts";
export * from "./embedding.ts";
export * from "./sorting.ts";
export * from "./scan.ts";
export * from "./likes.ts";
export * from "./sampling.ts";
