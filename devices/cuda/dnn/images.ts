/**
 * Images, filters and windows as graphs of cuDNN describe them. One spatial
 * axis is a row of height 1.
 *
 * @module
 */

import type { WindowSpec } from "../../../core/device.ts";
import { channelsLastStrides, contiguousStrides } from "../../../core/shape.ts";
import { dtypeCodes } from "../../../core/dtype.ts";
import type { GraphType, GraphWindows, TensorOptions } from "./graph.ts";

/** At least two spatial values. */
function atLeastTwo(values: readonly number[], first: number): number[] {
  return values.length < 2 ? [first, ...values] : [...values];
}

/** Images or filters of a shape [N, C, spatial…] in the memory order of the windows. */
export function images(
  { channelsLast }: WindowSpec,
  dtype: GraphType,
  [n, c, ...spatial]: readonly number[],
  alignment: number,
): TensorOptions {
  const dims = [n, c, ...atLeastTwo(spatial, 1)];
  const strides = channelsLast
    ? channelsLastStrides(dims)
    : contiguousStrides(dims);
  return { dtype, dims, strides, alignment };
}

/** A vector with one element per channel. */
export function channelVector(
  { input }: WindowSpec,
  dtype: GraphType,
  channels: number,
  alignment: number,
): TensorOptions {
  const spatial = atLeastTwo(input, 1).map(() => 1);
  return {
    dtype,
    dims: [1, channels, ...spatial],
    strides: [channels, 1, ...spatial.map(() => channels)],
    alignment,
  };
}

/** The windows as a graph describes them. */
export function windowsOf(spec: WindowSpec): GraphWindows {
  return {
    stride: atLeastTwo(spec.stride, 1),
    dilation: atLeastTwo(spec.dilation, 1),
    before: atLeastTwo(spec.before, 0),
    after: atLeastTwo(spec.after, 0),
  };
}

/** Whether there is nothing to compute, or nothing to compute it from. */
export function isEmpty(spec: WindowSpec): boolean {
  return spec.batch === 0 || spec.inChannels === 0 || spec.outChannels === 0 ||
    spec.input.includes(0) || spec.output.includes(0);
}

/** Appends the numbers that tell windows apart. */
export function windowKey(spec: WindowSpec, key: number[]): void {
  const { input, kernel, stride, before, after, dilation } = spec;
  key.push(
    dtypeCodes[spec.dtype],
    spec.channelsLast ? 1 : 0,
    input.length,
    spec.batch,
    spec.inChannels,
    spec.outChannels,
    spec.groups,
  );
  for (let d = 0; d < input.length; d++) {
    key.push(
      input[d],
      kernel[d],
      stride[d],
      before[d],
      after[d],
      dilation[d],
      spec.output[d],
    );
  }
}
