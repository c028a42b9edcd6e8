/**
 * Windows as the CPU's kernels know them: over planes of f32, row by row.
 *
 * @module
 */

import type { WindowSpec } from "../../core/device.ts";

/** Geometry of a two-dimensional convolution or pooling, NCHW, all tensors contiguous. */
export interface PlaneSpec {
  /** Images. */
  readonly batch: number;
  /** Input channels. */
  readonly inChannels: number;
  /** Input height. */
  readonly inHeight: number;
  /** Input width. */
  readonly inWidth: number;
  /** Output channels. */
  readonly outChannels: number;
  /** Output height. */
  readonly outHeight: number;
  /** Output width. */
  readonly outWidth: number;
  /** Filter height. */
  readonly kernelHeight: number;
  /** Filter width. */
  readonly kernelWidth: number;
  /** Vertical step. */
  readonly strideHeight: number;
  /** Horizontal step. */
  readonly strideWidth: number;
  /** Zero rows above. */
  readonly padTop: number;
  /** Zero columns to the left. */
  readonly padLeft: number;
  /** Vertical distance of filter taps. */
  readonly dilationHeight: number;
  /** Horizontal distance of filter taps. */
  readonly dilationWidth: number;
  /** Groups that channels are split into. */
  readonly groups: number;
}

/** The windows over planes; one spatial axis is a row of height 1. Undefined for what the kernels do not take. */
export function planeSpec(spec: WindowSpec): PlaneSpec | undefined {
  const { dtype, channelsLast, input } = spec;
  if (dtype !== "f32" || channelsLast || input.length > 2) return undefined;
  const two = <T>(list: readonly T[], first: T): [T, T] =>
    list.length === 1 ? [first, list[0]] : [list[0], list[1]];
  const [inHeight, inWidth] = two(input, 1);
  const [outHeight, outWidth] = two(spec.output, 1);
  const [kernelHeight, kernelWidth] = two(spec.kernel, 1);
  const [strideHeight, strideWidth] = two(spec.stride, 1);
  const [padTop, padLeft] = two(spec.before, 0);
  const [dilationHeight, dilationWidth] = two(spec.dilation, 1);
  return {
    batch: spec.batch,
    inChannels: spec.inChannels,
    inHeight,
    inWidth,
    outChannels: spec.outChannels,
    outHeight,
    outWidth,
    kernelHeight,
    kernelWidth,
    strideHeight,
    strideWidth,
    padTop,
    padLeft,
    dilationHeight,
    dilationWidth,
    groups: spec.groups,
  };
}
