/**
 * Views: the same memory under other shapes and strides, without a copy.
 *
 * @module
 */

import { integerOrList, integers } from "../core/attributes.ts";
import { IndexError, shapeText } from "../core/errors.ts";
import { pick } from "../core/launches.ts";
import { operator } from "../core/op.ts";
import {
  inferShape,
  normalizeAxes,
  normalizeAxis,
  type Shape,
  sizeOf,
} from "../core/shape.ts";
import type { Tensor } from "../core/tensor.ts";
import { type Axes, expand, reshape } from "./foundation.ts";
import { t } from "./samples.ts";
import { axisOf, type Layout, viewOf } from "./views.ts";

// ---- permute ----

function permuted(whole: Layout, axes: readonly number[]): Layout {
  return {
    shape: pick(whole.shape, axes, 0, axes.length),
    strides: pick(whole.strides, axes, 0, axes.length),
    offset: whole.offset,
  };
}

/**
 * The axes in another order, without a copy: axis `i` of the result is axis
 * `axes[i]` of `x`.
 *
 * @throws {IndexError} unless `axes` names every axis once.
 */
export const permute: (x: Tensor, axes: readonly number[]) => Tensor = operator<
  (x: Tensor, axes: readonly number[]) => Tensor,
  { axes: readonly number[] }
>({
  name: "permute",
  family: "shape",
  inputs: ["x"],
  attrs: { axes: [] },
  rules: { axes: integers },
  bind: (x, axes) => ({ inputs: [x], attrs: { axes } }),
  formula: "y[i_axes[0], i_axes[1], …] = x[i₀, i₁, …]",
  torch: "x.permute(axes)",
  onnx: "Transpose",
  caffe2: "Transpose",
  saves: [],
  run: ([x], { axes }) => {
    const order = orderOf(axes, x.rank);
    return viewOf(x, (whole) => permuted(whole, order));
  },
  // ∂permute: the gradient with the axes put back
  gradient: ({ shapes: [shape], grad, attrs: { axes } }) => {
    const back: number[] = [];
    orderOf(axes, shape.length).forEach((d, i) => back[d] = i);
    return [permute(grad, back)];
  },
  samples: [
    [t([2, 3, 4]), [2, 0, 1]],
    [t([2, 3]), [-1, 0]],
    [t([]), []],
    [t([2, 0, 1]), [1, 2, 0]],
    [t([2, 3], { dtype: "i64" }), [1, 0]],
    [t([2, 3], { dtype: "bf16" }), [1, 0]],
  ],
});

function orderOf(axes: readonly number[], rank: number): number[] {
  const order = axes.map((axis) => normalizeAxis(axis, rank, "permute"));
  if (order.length !== rank || new Set(order).size !== rank) {
    throw new IndexError(
      `Cannot permute a tensor with ${rank} axes by [${
        axes.join(", ")
      }]: each of its axes must be named once`,
    );
  }
  return order;
}

const exchange = {
  family: "shape",
  formula: "y[…, j, …, i, …] = x[…, i, …, j, …]",
  inputs: ["x"],
  attrs: { a: -2, b: -1 },
  bind: (x: Tensor, a?: number, b?: number) => ({
    inputs: [x],
    attrs: { a, b },
  }),
  run: ([x]: readonly Tensor[], { a, b }: { a: number; b: number }) => {
    if (x.rank === 0) return permute(x, []);
    const from = normalizeAxis(a, x.rank, "transpose");
    const to = normalizeAxis(b, x.rank, "transpose");
    const order = x.shape.map((_, d) => d === from ? to : d === to ? from : d);
    return permute(x, order);
  },
};

/** Exchanges two axes, the last two when left out, without a copy. */
export const transpose: (x: Tensor, a?: number, b?: number) => Tensor =
  operator<(x: Tensor, a?: number, b?: number) => Tensor, {
    a: number;
    b: number;
  }>({
    ...exchange,
    name: "transpose",
    torch: "x.transpose(a, b)",
    onnx: "Transpose",
    caffe2: "Transpose",
    samples: [
      [t([2, 3])],
      [t([2, 3, 4]), 0, 2],
      [t([2, 3, 4]), -1, -3],
      [t([3, 0, 2]), 0, 1],
    ],
  });

/** Exchanges two axes without a copy; the same as {@linkcode transpose}. */
export const swapAxes: (x: Tensor, a: number, b: number) => Tensor = operator<
  (x: Tensor, a: number, b: number) => Tensor,
  { a: number; b: number }
>({
  ...exchange,
  name: "swapAxes",
  torch: "x.swapaxes(a, b)",
  onnx: "Transpose",
  caffe2: "Transpose",
  samples: [[t([2, 3, 4]), 0, 2], [t([2, 3, 4]), 1, 1]],
});

/**
 * Moves axes to other places without a copy; the others keep their order.
 *
 * @throws {IndexError} when an axis is named twice or the lists differ in length.
 */
export const movedim: (x: Tensor, from: Axes, to: Axes) => Tensor = operator<
  (x: Tensor, from: Axes, to: Axes) => Tensor,
  { from: Axes; to: Axes }
>({
  name: "movedim",
  family: "shape",
  inputs: ["x"],
  attrs: { from: 0, to: 0 },
  rules: { from: integerOrList, to: integerOrList },
  bind: (x, source, to) => ({ inputs: [x], attrs: { from: source, to } }),
  // `from` is a keyword of Python.
  formula:
    "y[j₀, j₁, …] = x[i₀, i₁, …], j_to = i_from and the other j the other i in their order",
  torch: "x.movedim(globals()['from'], to)",
  onnx: "Transpose",
  run: ([x], { from, to }) => {
    const sources = (typeof from === "number" ? [from] : from)
      .map((axis) => normalizeAxis(axis, x.rank, "move"));
    const targets = (typeof to === "number" ? [to] : to)
      .map((axis) => normalizeAxis(axis, x.rank, "move"));
    if (
      sources.length !== targets.length ||
      new Set(sources).size !== sources.length ||
      new Set(targets).size !== targets.length
    ) {
      throw new IndexError(
        `Cannot move axes [${sources.join(", ")}] to [${
          targets.join(", ")
        }]: both lists must have the same length and name no axis twice`,
      );
    }
    const rest = x.shape.map((_, d) => d).filter((d) => !sources.includes(d));
    const order = x.shape.map((_, d) => {
      const i = targets.indexOf(d);
      return i >= 0 ? sources[i] : rest.shift()!;
    });
    return permute(x, order);
  },
  samples: [
    [t([2, 3, 4]), 0, -1],
    [t([2, 3, 4, 1]), [0, 1], [-1, 0]],
    [t([2, 3]), [], []],
  ],
});

// ---- axes of extent 1, merged and split axes ----

/** Drops axes of extent 1: all of them, or those of `axes` that have it. */
export const squeeze: (x: Tensor, axes?: Axes) => Tensor = operator<
  (x: Tensor, axes?: Axes) => Tensor,
  { axes: Axes | undefined }
>({
  name: "squeeze",
  family: "shape",
  inputs: ["x"],
  attrs: { axes: undefined },
  bind: (x, axes) => ({ inputs: [x], attrs: { axes } }),
  formula: "y[…, i, …] = x[…, i, 0, …]",
  torch:
    "x.squeeze() if axes is None else x.squeeze(axes if isinstance(axes, int) else tuple(axes))",
  onnx: "Squeeze",
  caffe2: "Squeeze",
  run: ([x], { axes }) => {
    const which = normalizeAxes(axes, x.rank, "squeeze");
    return reshape(
      x,
      x.shape.filter((n, d) => n !== 1 || !which.includes(d)),
    );
  },
  samples: [
    [t([1, 3, 1])],
    [t([1, 3, 1]), 0],
    [t([1, 3, 1]), [0, 1]],
    [t([1, 1])],
    [t([2, 0, 1]), -1],
    [t([])],
  ],
});

/**
 * Adds axes of extent 1 where `axes` says, counted in the result.
 *
 * @throws {IndexError} when an axis is out of range or named twice.
 */
export const unsqueeze: (x: Tensor, axes: Axes) => Tensor = operator<
  (x: Tensor, axes: Axes) => Tensor,
  { axes: Axes }
>({
  name: "unsqueeze",
  family: "shape",
  inputs: ["x"],
  attrs: { axes: 0 },
  bind: (x, axes) => ({ inputs: [x], attrs: { axes } }),
  formula: "y[…, i, 0, …] = x[…, i, …]",
  torch:
    "x.unsqueeze(axes) if isinstance(axes, int) else x[tuple(None if i in [a % (x.ndim + len(axes)) for a in axes] else slice(None) for i in range(x.ndim + len(axes)))]",
  onnx: "Unsqueeze",
  caffe2: "ExpandDims",
  run: ([x], { axes }) => {
    const count = typeof axes === "number" ? 1 : axes.length;
    const rank = x.rank + count;
    const which = normalizeAxes(axes, rank, "unsqueeze");
    const rest = [...x.shape];
    const shape = Array.from(
      { length: rank },
      (_, d) => which.includes(d) ? 1 : rest.shift()!,
    );
    return reshape(x, shape);
  },
  samples: [
    [t([2, 3]), 0],
    [t([2, 3]), -1],
    [t([2, 3]), [0, -1]],
    [t([]), 0],
    [t([2, 0]), 1],
  ],
});

/** Joins the axes from `start` to `end` into one; without a copy where strides allow. */
export const flatten: (x: Tensor, start?: number, end?: number) => Tensor =
  operator<(x: Tensor, start?: number, end?: number) => Tensor, {
    start: number;
    end: number;
  }>({
    name: "flatten",
    family: "shape",
    inputs: ["x"],
    attrs: { start: 0, end: -1 },
    bind: (x, start, end) => ({ inputs: [x], attrs: { start, end } }),
    formula: "y[…, i · n + j, …] = x[…, i, j, …], j < n",
    torch: "torch.flatten(x, start, end)",
    onnx: "Flatten",
    caffe2: "Flatten",
    run: ([x], { start, end }) => {
      if (x.rank === 0) return reshape(x, [1]);
      const first = normalizeAxis(start, x.rank, "flatten");
      const last = normalizeAxis(end, x.rank, "flatten");
      if (first > last) {
        throw new IndexError(
          `Cannot flatten axes ${start} to ${end} of a tensor of shape ${
            shapeText(x.shape)
          }: the first must not come after the last`,
        );
      }
      const middle = sizeOf(x.shape.slice(first, last + 1));
      return reshape(x, [
        ...x.shape.slice(0, first),
        middle,
        ...x.shape.slice(last + 1),
      ]);
    },
    samples: [
      [t([2, 3, 4])],
      [t([2, 3, 4]), 1],
      [t([2, 3, 4]), 0, 1],
      [t([])],
      [t([2, 0, 3]), 1],
    ],
  });

/**
 * Splits one axis into several; one of `sizes` may be −1.
 *
 * @throws {ShapeError} when the sizes do not multiply to the extent.
 */
export const unflatten: (x: Tensor, axis: number, sizes: Shape) => Tensor =
  operator<(x: Tensor, axis: number, sizes: Shape) => Tensor, {
    axis: number;
    sizes: Shape;
  }>({
    name: "unflatten",
    family: "shape",
    inputs: ["x"],
    attrs: { axis: 0, sizes: [] },
    bind: (x, axis, sizes) => ({ inputs: [x], attrs: { axis, sizes } }),
    formula: "y[…, i, j, …] = x[…, i · n + j, …], j < n",
    torch: "x.unflatten(axis, sizes)",
    onnx: "Reshape",
    run: ([x], { axis, sizes }) => {
      const at = axisOf(x, axis, "unflatten");
      const parts = inferShape(sizes, x.shape[at], [x.shape[at]]);
      return reshape(x, [
        ...x.shape.slice(0, at),
        ...parts,
        ...x.shape.slice(at + 1),
      ]);
    },
    samples: [[t([2, 6]), 1, [3, 2]], [t([4, 3]), -2, [2, -1]]],
  });

/** The elements of `x` under the shape of `other`. */
export const viewAs: (x: Tensor, other: Tensor) => Tensor = operator<
  (x: Tensor, other: Tensor) => Tensor
>({
  name: "viewAs",
  family: "shape",
  inputs: ["x", "other"],
  formula: "y[i] = x[i], i the row-major position",
  torch: "x.reshape(other.shape)",
  onnx: "Reshape",
  caffe2: "ResizeLike",
  run: ([x, other]) => reshape(x, other.shape),
  samples: [[t([2, 3]), t([3, 2], { grad: false })]],
});

/**
 * Repeats axes of extent 1 to the extents of `shape`, without a copy.
 *
 * @throws {ShapeError} when an extent other than 1 differs.
 */
export const broadcastTo: (x: Tensor, shape: Shape) => Tensor = operator<
  (x: Tensor, shape: Shape) => Tensor,
  { shape: Shape }
>({
  name: "broadcastTo",
  family: "shape",
  inputs: ["x"],
  attrs: { shape: [] },
  bind: (x, shape) => ({ inputs: [x], attrs: { shape } }),
  formula: "y[…, i, …] = x[…, i′, …], i′ = 0 where x has extent 1, else i",
  torch: "torch.broadcast_to(x, shape)",
  onnx: "Expand",
  caffe2: "Expand",
  run: ([x], { shape }) => expand(x, shape),
  samples: [[t([3, 1]), [2, 3, 4]], [t([]), [2]]],
});
