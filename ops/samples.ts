/**
 * Sample inputs of operator declarations: small, deterministic tensors.
 *
 * @module
 */

import { type DType, isFloat } from "../core/dtype.ts";
import type { SampleTensor } from "../core/op.ts";
import { type Shape, sizeOf } from "../core/shape.ts";

/** Options of {@linkcode t}. */
export interface SampleOptions {
  /** Element type; f32 when omitted. */
  dtype?: DType;
  /** Smallest value; −2 when omitted. */
  low?: number;
  /** Bound of the values; 2 when omitted (integers stay below it). */
  high?: number;
  /** Exact elements instead of generated ones. */
  data?: readonly number[];
  /** Whether gradients are checked; true for floats when omitted. */
  grad?: boolean;
}

/** A sample tensor; equal arguments give equal elements. */
export function t(shape: Shape, options: SampleOptions = {}): SampleTensor {
  const { dtype = "f32", low = -2, high = 2 } = options;
  const grad = options.grad ?? isFloat(dtype);
  let { data } = options;
  return {
    sample: true,
    shape,
    dtype,
    // Only tests look at it, so it is made when they do.
    get data() {
      return data ??= generate(sizeOf(shape), low, high, isFloat(dtype));
    },
    grad,
  };
}

/** A sample of whole numbers. */
export function ints(data: readonly number[], shape: Shape): SampleTensor {
  return t(shape, { dtype: "i64", data });
}

// A low-discrepancy walk: values spread evenly, none repeats, few decimals.
function generate(
  size: number,
  low: number,
  high: number,
  float: boolean,
): number[] {
  return Array.from({ length: size }, (_, i) => {
    const unit = ((i + 1) * 0.618033988749895 + size * 0.1031) % 1;
    const value = low + unit * (high - low);
    return float ? Math.round(value * 1024) / 1024 : Math.floor(value);
  });
}
