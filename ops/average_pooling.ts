/**
 * Average and power-average pooling over one to three spatial axes.
 *
 * @module
 */

import { operator } from "../core/op.ts";
import type { Shape } from "../core/shape.ts";
import type { Tensor } from "../core/tensor.ts";
import { mul } from "./arithmetic.ts";
import { pow } from "./powers.ts";
import { t } from "./samples.ts";
import {
  isGlobal,
  libraryMeans,
  libraryMeansGradient,
  means,
  meansGradient,
} from "./average_windows.ts";
import { expand } from "./foundation.ts";
import { poolGeometry, requireNumbers } from "./pool_windows.ts";
import { mean } from "./reduction.ts";
import { type PerAxis, perAxis } from "./windows.ts";

/** Options of average pooling. */
export interface AveragePoolOptions {
  /** Step from window to window; the kernel's extent by default. */
  stride?: PerAxis;
  /** Zeros around the input. */
  padding?: PerAxis;
  /** Whether windows that reach over the end are kept. */
  ceilMode?: boolean;
  /** Whether padding counts in the number that the sum is divided by; true by default. */
  countIncludePad?: boolean;
}

interface AverageAttrs {
  kernel: PerAxis;
  stride: PerAxis | undefined;
  padding: PerAxis;
  ceilMode: boolean;
  countIncludePad: boolean;
}

const averageDefaults: AverageAttrs = {
  kernel: 1,
  stride: undefined,
  padding: 0,
  ceilMode: false,
  countIncludePad: true,
};

/** Signature of {@linkcode avgPool}. */
export type AveragePool = (
  x: Tensor,
  kernel: PerAxis,
  options?: AveragePoolOptions,
) => Tensor;

/**
 * Mean of each window.
 *
 * @param x Tensor [N, C, spatial…].
 * @param kernel Extents of the windows.
 * @returns Tensor [N, C, output…].
 * @throws {ShapeError} when a window does not fit.
 */
export const avgPool: AveragePool = operator<AveragePool, AverageAttrs>({
  name: "avgPool",
  family: "pooling",
  inputs: ["x"],
  attrs: averageDefaults,
  bind: (x, kernel, options) => ({
    inputs: [x],
    attrs: { kernel, ...options },
  }),
  formula:
    "y[n, c, p] = Σₖ x[n, c, p · stride + k − padding] / m, m = |{k}|, of those in the padded x or (without countIncludePad) in x",
  torch:
    "[F.avg_pool1d, F.avg_pool2d, F.avg_pool3d][x.dim() - 3](x, kernel, stride, padding, ceilMode, countIncludePad)",
  onnx: "AveragePool",
  caffe2: "AveragePool",
  saves: [],
  run: ([x], attrs) => {
    requireNumbers(x);
    const g = poolGeometry(x.shape, attrs);
    if (isGlobal(g)) {
      return mean(x, g.input.map((_, d) => 2 + d), { keepDim: true });
    }
    return libraryMeans(x, g, attrs) ?? means(x, g, attrs.countIncludePad);
  },
  // ∂mean: each window's gradient, divided, to all its cells
  gradient: ({ shapes: [shape], grad, attrs: { kernel, ...options } }) => [
    avgPoolGrad(grad, shape.slice(2), kernel, options),
  ],
  samples: [
    [t([1, 2, 4, 6]), 2],
    [t([1, 1, 5, 5]), 3, { stride: 2, padding: 1 }],
    [t([1, 1, 5, 5]), 3, { stride: 2, padding: 1, countIncludePad: false }],
    [t([1, 2, 7]), 3, { stride: 2, ceilMode: true }],
    [t([1, 1, 3, 4, 3]), 2, { stride: 1 }],
    [t([1, 1, 4, 4], { dtype: "bf16" }), 2],
  ],
});

/** Signature of {@linkcode avgPoolGrad}. */
export type AveragePoolGrad = (
  g: Tensor,
  spatial: Shape,
  kernel: PerAxis,
  options?: AveragePoolOptions,
) => Tensor;

/** Gradient of {@linkcode avgPool} with respect to an input of the given spatial extents. */
export const avgPoolGrad: AveragePoolGrad = operator<
  AveragePoolGrad,
  AverageAttrs & { spatial: Shape }
>({
  name: "avgPoolGrad",
  family: "pooling",
  inputs: ["g"],
  attrs: { ...averageDefaults, spatial: [] },
  bind: (g, spatial, kernel, options) => ({
    inputs: [g],
    attrs: { spatial, kernel, ...options },
  }),
  formula: "y[n, c, q] = Σ g[n, c, p] / m[p] over p · stride + k − padding = q",
  torch:
    "avg_pool_grad(g, spatial, kernel, stride, padding, ceilMode, countIncludePad)",
  saves: [],
  run: ([g], { spatial, ...attrs }) => {
    requireNumbers(g);
    const [n, c] = g.shape;
    const geo = poolGeometry([n, c, ...spatial], attrs);
    if (isGlobal(geo)) {
      const share = mul(g, 1 / spatial.reduce((a, b) => a * b, 1));
      return expand(share, [n, c, ...spatial]);
    }
    return libraryMeansGradient(g, geo, attrs) ??
      meansGradient(g, geo, attrs.countIncludePad);
  },
  // linear in g, so its gradient is the pooling itself
  gradient: (
    { grad, attrs: { spatial: _, kernel, ...options } },
  ) => [avgPool(grad, kernel, options)],
  samples: [
    [t([1, 2, 2, 3]), [4, 6], 2],
    [t([1, 1, 3, 3]), [5, 5], 3, {
      stride: 2,
      padding: 1,
      countIncludePad: false,
    }],
  ],
});

/**
 * Power-average of each window: (Σ xᵖ)^(1/p); NaN where an odd power's sum is below 0, as in PyTorch.
 *
 * @param x Tensor [N, C, spatial…].
 * @param p Exponent.
 * @param kernel Extents of the windows.
 * @returns Tensor [N, C, output…].
 */
export const lpPool: (
  x: Tensor,
  p: number,
  kernel: PerAxis,
  options?: { stride?: PerAxis; ceilMode?: boolean },
) => Tensor = operator<
  (
    x: Tensor,
    p: number,
    kernel: PerAxis,
    options?: { stride?: PerAxis; ceilMode?: boolean },
  ) => Tensor,
  { p: number; kernel: PerAxis; stride: PerAxis | undefined; ceilMode: boolean }
>({
  name: "lpPool",
  family: "pooling",
  inputs: ["x"],
  attrs: { p: 2, kernel: 1, stride: undefined, ceilMode: false },
  bind: (x, p, kernel, options) => ({
    inputs: [x],
    attrs: { p, kernel, ...options },
  }),
  formula: "(Σ xᵖ)^(1/p)",
  torch:
    "[F.lp_pool1d, F.lp_pool2d, F.lp_pool3d][x.dim() - 3](x, p, kernel, stride, ceilMode)",
  onnx: "LpPool",
  caffe2: "LpPool",
  run: ([x], { p, kernel, ...options }) => {
    const cells = perAxis(kernel, x.rank - 2, "kernel").reduce(
      (a, b) => a * b,
      1,
    );
    const means = avgPool(pow(x, p), kernel, options);
    return pow(mul(means, cells), 1 / p);
  },
  samples: [[t([1, 2, 4, 4], { low: 0.2 }), 2, 2], [
    t([1, 1, 6], { low: 0.2 }),
    3,
    3,
    { stride: 1 },
  ], [t([1, 1, 6], { data: [1, -1, 0.5, -0.5, 2, -2], grad: false }), 3, 3, {
    stride: 1,
  }]],
});
