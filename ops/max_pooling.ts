/**
 * Maximum pooling over one to three spatial axes.
 *
 * @module
 */

import { gradEnabled } from "../core/autograd.ts";
import { operator } from "../core/op.ts";
import type { Tensor } from "../core/tensor.ts";
import { libraryMaxima, maximum } from "./max_windows.ts";
import { placeAt } from "./plane_positions.ts";
import {
  type PoolAttrs,
  poolDefaults,
  poolGeometry,
  requireNumbers,
} from "./pool_windows.ts";
import { t } from "./samples.ts";
import type { PerAxis } from "./windows.ts";

/** Options of pooling. */
export interface PoolOptions {
  /** Step from window to window; the kernel's extent by default. */
  stride?: PerAxis;
  /** Cells around the input that take no part in the maximum. */
  padding?: PerAxis;
  /** Distance of the cells of a window. */
  dilation?: PerAxis;
  /** Whether windows that reach over the end are kept. */
  ceilMode?: boolean;
}

/** Signature of {@linkcode maxPoolWithIndices}. */
export type PoolWithIndices = (
  x: Tensor,
  kernel: PerAxis,
  options?: PoolOptions,
) => [Tensor, Tensor];

/**
 * Largest value of each window, and its row-major position in the input plane (i64).
 * The first of equal values wins; NaN wins over numbers.
 *
 * @param x Tensor [N, C, spatial…].
 * @param kernel Extents of the windows.
 * @returns Two tensors [N, C, output…].
 * @throws {ShapeError} when a window does not fit.
 */
export const maxPoolWithIndices: PoolWithIndices = operator<
  PoolWithIndices,
  PoolAttrs
>({
  name: "maxPoolWithIndices",
  family: "pooling",
  inputs: ["x"],
  attrs: poolDefaults,
  bind: (x, kernel, options) => ({
    inputs: [x],
    attrs: { kernel, ...options },
  }),
  formula:
    "y[n, c, p] = maxₖ x[n, c, q], and the q of it, q = p · stride + k · dilation − padding",
  torch:
    "[F.max_pool1d, F.max_pool2d, F.max_pool3d][x.dim() - 3](x, kernel, stride, padding, dilation, ceilMode, return_indices=True)",
  onnx: "MaxPool",
  caffe2: "MaxPoolWithIndex",
  saves: [],
  savesOutputs: true,
  run: ([x], attrs) => {
    requireNumbers(x);
    return maximum(x, poolGeometry(x.shape, attrs));
  },
  // ∂max: the gradient goes to the winner
  gradient: (
    { outputs: [, indices], shapes: [shape], grads: [grad], attrs },
  ) => [
    grad === undefined ? undefined : placeAt(grad, indices, shape.slice(2), {
      windows: poolGeometry(shape, attrs),
    }),
  ],
  samples: [
    [t([1, 2, 4, 6]), 2],
    [t([1, 1, 5, 5]), 3, { stride: 2, padding: 1 }],
    [t([1, 2, 7]), 3, { stride: 2, ceilMode: true }],
    [t([1, 1, 5, 6]), 2, { dilation: 2, stride: 1 }],
    [t([1, 1, 3, 4, 3]), 2, { stride: 1 }],
    [t([1, 1, 2, 4], { data: [1, NaN, 3, 3, 2, 5, 3, 3], grad: false }), 2],
    [t([2, 1, 4, 4], { dtype: "f16" }), 2],
    ...(["f32", "f64", "f16"] as const).map((dtype) => [
      t([1, 1, 3, 5], {
        dtype,
        data: Array(15).fill(-Infinity),
        grad: false,
      }),
      3,
      { stride: 2, padding: 1, dilation: 1 },
    ]),
    [
      t([1, 1, 7], {
        dtype: "f64",
        data: Array(7).fill(-Infinity),
        grad: false,
      }),
      4,
      { stride: 1, padding: 2, dilation: 2 },
    ],
  ],
});

/**
 * Largest value of each window.
 *
 * @param x Tensor [N, C, spatial…].
 * @param kernel Extents of the windows.
 * @returns Tensor [N, C, output…].
 * @throws {ShapeError} when a window does not fit.
 */
export const maxPool: (
  x: Tensor,
  kernel: PerAxis,
  options?: PoolOptions,
) => Tensor = operator<
  (x: Tensor, kernel: PerAxis, options?: PoolOptions) => Tensor,
  PoolAttrs
>({
  name: "maxPool",
  family: "pooling",
  inputs: ["x"],
  attrs: poolDefaults,
  bind: (x, kernel, options) => ({
    inputs: [x],
    attrs: { kernel, ...options },
  }),
  formula: "y[n, c, p] = maxₖ x[n, c, p · stride + k · dilation − padding]",
  torch:
    "[F.max_pool1d, F.max_pool2d, F.max_pool3d][x.dim() - 3](x, kernel, stride, padding, dilation, ceilMode)",
  onnx: "MaxPool",
  caffe2: "MaxPool",
  run: ([x], attrs) => {
    if (!(gradEnabled() && x.requiresGrad)) {
      const found = libraryMaxima(x, poolGeometry(x.shape, attrs));
      if (found !== undefined) return found;
    }
    const { kernel, ...options } = attrs;
    return maxPoolWithIndices(x, kernel, options)[0];
  },
  samples: [[t([1, 2, 4, 6]), 2], [t([1, 1, 5, 5]), [2, 3], {
    stride: [1, 2],
  }]],
});
