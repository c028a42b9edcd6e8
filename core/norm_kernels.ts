/**
 * Fast paths that a device may offer for normalisations.
 *
 * @module
 */

import type { Block } from "./device.ts";
import type { DType } from "./dtype.ts";

/** What is normalised together: a channel of all examples, the last axes, the same without a mean, a channel of one example. */
export type NormKind = "batch" | "layer" | "rms" | "instance";

/** One normalisation. */
export interface NormSpec {
  /** What is normalised together. */
  readonly kind: NormKind;
  /** Element type of x; weight, bias and statistics are f32. */
  readonly dtype: DType;
  /** Extents [examples, channels, positions…]; of layers [rows, elements]. */
  readonly shape: readonly number[];
  /** Whether the channels lie last in memory; dense in either case. */
  readonly channelsLast: boolean;
  /** Added to the variance before the root. */
  readonly eps: number;
}

/** Running statistics, which are overwritten. */
export interface RunningBlocks {
  /** Means. */
  readonly mean: Block;
  /** Variances; a batch moves them by its unbiased variance. */
  readonly variance: Block;
  /** Share of the batch. */
  readonly share: number;
}

/** Operands and results of a normalisation. */
export interface NormOperands {
  /** What is normalised. */
  readonly x: Block;
  /** Factors. */
  readonly weight: Block;
  /** Summands; none for a root mean square. */
  readonly bias: Block | undefined;
  /** Running statistics of a batch. */
  readonly running: RunningBlocks | undefined;
  /** Result. */
  readonly y: Block;
  /** Means; none for a root mean square. */
  readonly mean: Block | undefined;
  /** Reciprocal deviations. */
  readonly inverse: Block;
}

/** Operands and results of the gradient of a normalisation. */
export interface NormGradientOperands {
  /** What was normalised. */
  readonly x: Block;
  /** Gradient of the result. */
  readonly dy: Block;
  /** Factors. */
  readonly weight: Block;
  /** Means; none for a root mean square. */
  readonly mean: Block | undefined;
  /** Reciprocal deviations. */
  readonly inverse: Block;
  /** Gradient of x. */
  readonly dx: Block;
  /** Gradient of the factors. */
  readonly dweight: Block;
  /** Gradient of the summands; none for a root mean square. */
  readonly dbias: Block | undefined;
}

/** Normalisations with statistics of their own. False: nothing was done, and the composed definition is to run. */
export interface NormKernels {
  /** Whether it is worth asking. */
  takes(spec: NormSpec): boolean;
  /** Normalises. */
  forward(spec: NormSpec, operands: NormOperands): boolean;
  /** Gradients of x, weight and bias. */
  gradient(spec: NormSpec, operands: NormGradientOperands): boolean;
}
