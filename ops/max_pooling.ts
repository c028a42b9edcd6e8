/**
 * Maximum pooling over one to three spatial axes.
 *
 * @module
 */

import { runRows } from "../core/fuse.ts";
import { operator } from "../core/op.ts";
import { Tensor } from "../core/tensor.ts";
import { Value } from "../core/value.ts";
import * as k from "../kernel/expr.ts";
import type { Expr } from "../kernel/expr.ts";
import { cast } from "./foundation.ts";
import { t } from "./samples.ts";
import {
  type Geometry,
  offsetOf,
  type PerAxis,
  windowExprs,
  windowScalars,
} from "./windows.ts";
import {
  lowest,
  type PoolAttrs,
  poolDefaults,
  poolGeometry,
  tap,
} from "./pool_windows.ts";
import { placeAt } from "./plane_positions.ts";
import { overWindows } from "./window_kernels.ts";

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

/** Largest values and their places. */
export function maximum(x: Tensor, g: Geometry): [Tensor, Tensor] {
  const rank = g.input.length;
  const [n, c] = x.shape;
  const { kernels } = x.device;
  const shape = [n, c, ...g.output];
  if (kernels.maxPool !== undefined && x.size > 0) {
    const indices = Value.empty(x.device, "i64", shape);
    const y = overWindows(
      { images: [x], result: shape },
      { batch: n, inChannels: c, outChannels: c, groups: c, ...g },
      (spec, [xs], y) =>
        !spec.channelsLast && kernels.maxPool!(spec, xs, y, indices),
    );
    if (y !== undefined) return [y, new Tensor(indices)];
    indices.release();
    if (x.dtype === "f16" || x.dtype === "bf16") {
      // Of the same numbers in f32, for which there is a kernel, the largest are the same.
      const [largest, places] = maximum(cast(x, "f32"), g);
      return [cast(largest, x.dtype), places];
    }
  }
  const { scalars, types } = windowScalars(g);
  const [y, indices] = runRows(x.device, {
    name: "maxPool",
    space: [n, c, ...g.output, ...g.kernel],
    axes: g.kernel.map((_, d) => 2 + rank + d),
    streams: [],
    tables: [x.value],
    scalars: [...scalars, c],
    scalarTypes: [...types, "i32"],
    passes: 2,
    build: ({ scalars: s, coord, load }) => {
      const w = windowExprs(s, rank);
      const window = w.input.map((_, d) => coord(2 + d));
      const plane = k.add(k.mul(coord(0), s[s.length - 1]), coord(1));
      const { at, inside } = tap(
        w,
        window,
        window.map((_, d) => coord(2 + rank + d)),
      );
      const element = load(0, offsetOf([plane, ...at], [plane, ...w.input]));
      const value = k.select(inside, element, lowest(element.type));
      // The winner's tap gives its place in the plane.
      let rest: Expr = k.stage(1, "i32");
      const taps: Expr[] = [];
      for (let d = rank - 1; d >= 0; d--) {
        taps[d] = k.rem(rest, w.kernel[d]);
        rest = k.div(rest, w.kernel[d]);
      }
      // Where all of a window is −∞, the first tap wins even outside: its first cell inside is meant.
      const winner = tap(w, window, taps).at.map((p, d) => {
        const steps = k.div(
          k.sub(k.sub(w.dilation[d], 1), p),
          w.dilation[d],
        );
        const moved = k.add(p, k.mul(steps, w.dilation[d]));
        return k.select(k.lt(p, 0), moved, p);
      });
      return {
        stages: [{ op: "max", value }, { op: "argmax", value }],
        outputs: [
          { dtype: x.dtype, per: "row", value: k.stage(0, element.type) },
          {
            dtype: "i64",
            per: "row",
            value: offsetOf(winner, w.input),
          },
        ],
      };
    },
  });
  return [new Tensor(y), new Tensor(indices)];
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
  torch:
    "[F.max_pool1d, F.max_pool2d, F.max_pool3d][x.dim() - 3](x, kernel, stride, padding, dilation, ceilMode, return_indices=True)",
  onnx: "MaxPool",
  caffe2: "MaxPoolWithIndex",
  saves: [],
  savesOutputs: true,
  run: ([x], attrs) => maximum(x, poolGeometry(x.shape, attrs)),
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
  torch:
    "[F.max_pool1d, F.max_pool2d, F.max_pool3d][x.dim() - 3](x, kernel, stride, padding, dilation, ceilMode)",
  onnx: "MaxPool",
  caffe2: "MaxPool",
  run: ([x], { kernel, ...options }) =>
    maxPoolWithIndices(x, kernel, options)[0],
  samples: [[t([1, 2, 4, 6]), 2], [t([1, 1, 5, 5]), [2, 3], {
    stride: [1, 2],
  }]],
});
