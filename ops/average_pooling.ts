/**
 * Average and power-average pooling over one to three spatial axes.
 *
 * @module
 */

import { runRows } from "../core/fuse.ts";
import { operator } from "../core/op.ts";
import type { Shape } from "../core/shape.ts";
import { Tensor } from "../core/tensor.ts";
import * as k from "../kernel/expr.ts";
import type { Expr } from "../kernel/expr.ts";
import { pow } from "./powers.ts";
import { mul } from "./arithmetic.ts";
import { t } from "./samples.ts";
import {
  allOf,
  offsetOf,
  type PerAxis,
  perAxis,
  windowExprs,
  windowScalars,
} from "./windows.ts";
import { poolGeometry, tap } from "./pool_windows.ts";

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

/** What the sum of a window is divided by, as f32 or f64. */
function divisor(
  w: ReturnType<typeof windowExprs>,
  window: readonly Expr[],
  after: readonly Expr[],
  includePad: boolean,
  type: k.ScalarType,
): Expr {
  const counts = window.map((c, d) => {
    const start = k.sub(k.mul(c, w.stride[d]), w.before[d]);
    const end = k.add(start, w.kernel[d]);
    return includePad
      ? k.sub(k.min(end, k.add(w.input[d], after[d])), start)
      : k.sub(k.min(end, w.input[d]), k.max(start, 0));
  });
  return k.cast(counts.reduce((a, b) => k.mul(a, b)), type);
}

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
  torch:
    "[F.avg_pool1d, F.avg_pool2d, F.avg_pool3d][x.dim() - 3](x, kernel, stride, padding, ceilMode, countIncludePad)",
  onnx: "AveragePool",
  caffe2: "AveragePool",
  saves: [],
  run: ([x], attrs) => {
    const g = poolGeometry(x.shape, attrs);
    const rank = g.input.length;
    const [n, c] = x.shape;
    const { scalars, types } = windowScalars(g);
    const [y] = runRows(x.device, {
      name: `avgPool${attrs.countIncludePad}`,
      space: [n, c, ...g.output, ...g.kernel],
      axes: g.kernel.map((_, d) => 2 + rank + d),
      streams: [],
      tables: [x.value],
      scalars: [...scalars, c, ...g.after],
      scalarTypes: [...types, "i32", ...g.after.map(() => "i32" as const)],
      passes: 1,
      build: ({ scalars: s, coord, load }) => {
        const w = windowExprs(s, rank);
        const window = w.input.map((_, d) => coord(2 + d));
        const plane = k.add(k.mul(coord(0), s[6 * rank]), coord(1));
        const { at, inside } = tap(
          w,
          window,
          window.map((_, d) => coord(2 + rank + d)),
        );
        const element = load(0, offsetOf([plane, ...at], [plane, ...w.input]));
        const count = divisor(
          w,
          window,
          s.slice(6 * rank + 1),
          attrs.countIncludePad,
          element.type,
        );
        return {
          stages: [{
            op: "sum",
            value: k.select(inside, element, k.constant(0, element.type)),
          }],
          outputs: [{
            dtype: x.dtype,
            per: "row",
            value: k.roundTo(k.div(k.stage(0, element.type), count), x.dtype),
          }],
        };
      },
    });
    return new Tensor(y);
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
  torch:
    "avg_pool_grad(g, spatial, kernel, stride, padding, ceilMode, countIncludePad)",
  saves: [],
  run: ([g], { spatial, ...attrs }) => {
    const [n, c] = g.shape;
    const geo = poolGeometry([n, c, ...spatial], attrs);
    const rank = spatial.length;
    const { scalars, types } = windowScalars(geo);
    const [x] = runRows(g.device, {
      name: `avgPoolGrad${attrs.countIncludePad}`,
      space: [n, c, ...spatial, ...geo.kernel],
      axes: geo.kernel.map((_, d) => 2 + rank + d),
      streams: [],
      tables: [g.value],
      scalars: [...scalars, c, ...geo.after],
      scalarTypes: [...types, "i32", ...geo.after.map(() => "i32" as const)],
      passes: 1,
      build: ({ scalars: s, coord, load }) => {
        const w = windowExprs(s, rank);
        const shifted = w.input.map((_, d) =>
          k.sub(k.add(coord(2 + d), w.before[d]), coord(2 + rank + d))
        );
        const window = shifted.map((p, d) => k.div(p, w.stride[d]));
        const hit = allOf(shifted.flatMap((p, d) => [
          k.ge(p, 0),
          k.eq(k.mul(window[d], w.stride[d]), p),
          k.lt(window[d], w.output[d]),
        ]));
        const plane = k.add(k.mul(coord(0), s[6 * rank]), coord(1));
        const element = load(
          0,
          offsetOf([plane, ...window], [plane, ...w.output]),
        );
        const count = divisor(
          w,
          window,
          s.slice(6 * rank + 1),
          attrs.countIncludePad,
          element.type,
        );
        return {
          stages: [{
            op: "sum",
            value: k.select(
              hit,
              k.div(element, count),
              k.constant(0, element.type),
            ),
          }],
          outputs: [{
            dtype: g.dtype,
            per: "row",
            value: k.roundTo(k.stage(0, element.type), g.dtype),
          }],
        };
      },
    });
    return new Tensor(x);
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
