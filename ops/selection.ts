/**
 * Indexing along one axis by a vector of positions, and by flat positions.
 *
 * @module
 */

import { DTypeError, ShapeError, shapeText } from "../core/errors.ts";
import { operator } from "../core/op.ts";
import { broadcastShapes } from "../core/shape.ts";
import type { Tensor } from "../core/tensor.ts";
import * as k from "../kernel/expr.ts";
import { mul } from "./arithmetic.ts";
import { expand, fill, reshape, reshaped } from "./foundation.ts";
import {
  around,
  checkIndices,
  lookUp,
  requireRank,
  scattered,
  withAxis,
  wrapIndices,
} from "./index_values.ts";
import { gather } from "./indexing.ts";
import { ints, t } from "./samples.ts";
import { axisOf, filled } from "./views.ts";

/**
 * The positions of an axis that the index names, in its order. An index of
 * several axes puts those in the place of the axis.
 *
 * @throws {IndexError} when an index is out of range.
 */
export const indexSelect: (x: Tensor, axis: number, index: Tensor) => Tensor =
  operator<(x: Tensor, axis: number, index: Tensor) => Tensor, {
    axis: number;
  }>({
    name: "indexSelect",
    family: "indexing",
    inputs: ["x", "index"],
    attrs: { axis: 0 },
    bind: (x, axis, index) => ({ inputs: [x, index], attrs: { axis } }),
    formula: "y[…, i, …] = x[…, index[i], …]",
    torch:
      "x.index_select(axis, index.flatten()).reshape(x.shape[:axis % x.ndim] + index.shape + x.shape[axis % x.ndim + 1:])",
    onnx: "Gather",
    caffe2: "Gather",
    saves: [1],
    run: ([x, index], { axis }) => {
      const at = axisOf(x, axis, "select from");
      const { outer, extent, inner } = around(x.shape, at);
      const picked = lookUp(x, reshaped(index, [1, index.size, 1]), {
        name: "select",
        space: [outer, index.size, inner],
        bounds: { low: 0, high: extent, what: `select along axis ${at}` },
        scalars: [extent, inner],
        place: (i, coord, [n, width]) =>
          k.add(
            k.mul(k.add(k.mul(coord(0), n), i), width),
            coord(2),
          ),
      });
      return reshaped(picked, withAxis(x.shape, at, index.shape));
    },
    // ∂indexSelect: the gradient added up at the positions it came from
    gradient: ({ inputs: [, index], shapes: [shape], dtypes, grad, attrs }) => {
      const axis = attrs.axis < 0 ? attrs.axis + shape.length : attrs.axis;
      return [
        indexAdd(
          fill(shape, 0, dtypes[0], grad.device),
          axis,
          reshape(index, [index.size]),
          reshape(grad, withAxis(shape, axis, [index.size])),
        ),
      ];
    },
    samples: [
      [t([3, 2]), 0, ints([2, 0, 2, 1], [4])],
      [t([2, 3, 2]), -2, ints([1, 1], [2])],
      [t([2, 3]), 1, ints([2, 0, 1, 1], [2, 2])],
      [t([2, 3]), 1, ints([2], [])],
      [t([2, 3]), 0, ints([], [0])],
      [t([4]), 0, t([2], { dtype: "i32", data: [3, 3] })],
      [t([3], { dtype: "u8" }), 0, ints([2, 1], [2])],
      [t([3], { dtype: "f16" }), 0, ints([2, 1], [2])],
    ],
  });

// ---- writing along an axis ----

/** Checks a vector index and a source for it; returns the axis counted from the front. */
function checkRows(
  x: Tensor,
  axis: number,
  index: Tensor,
  source: Tensor | undefined,
  what: string,
): number {
  const at = axisOf(x, axis, what);
  if (index.rank > 1) {
    throw new ShapeError(
      `Cannot ${what} a tensor of shape ${
        shapeText(x.shape)
      } at an index of shape ${
        shapeText(index.shape)
      }: the index must be a vector; scatter takes an index per element`,
    );
  }
  if (source !== undefined) {
    if (source.dtype !== x.dtype) {
      throw new DTypeError(
        `Cannot ${what} a tensor of dtype ${x.dtype} from one of dtype ${source.dtype}: convert it with .cast("${x.dtype}")`,
      );
    }
    const wanted = withAxis(x.shape, at, [index.size]);
    if (`${source.shape}` !== `${wanted}`) {
      throw new ShapeError(
        `Cannot ${what} a tensor of shape ${
          shapeText(x.shape)
        } at ${index.size} positions of axis ${at} from a tensor of shape ${
          shapeText(source.shape)
        }: its shape must be ${shapeText(wanted)}`,
      );
    }
  }
  checkIndices(index, 0, x.shape[at], `${what} along axis ${at}`);
  return at;
}

/**
 * A copy of `x` with the source, times `alpha`, added at the positions of an
 * axis that the index names; repeated positions add up, in order.
 *
 * @throws {IndexError} when an index is out of range.
 * @throws {ShapeError} when the source has another shape.
 */
export const indexAdd: (
  x: Tensor,
  axis: number,
  index: Tensor,
  source: Tensor,
  options?: { alpha?: number },
) => Tensor = operator<
  (
    x: Tensor,
    axis: number,
    index: Tensor,
    source: Tensor,
    options?: { alpha?: number },
  ) => Tensor,
  { axis: number; alpha: number }
>({
  name: "indexAdd",
  family: "indexing",
  inputs: ["x", "index", "source"],
  attrs: { axis: 0, alpha: 1 },
  bind: (x, axis, index, source, options) => ({
    inputs: [x, index, source],
    attrs: { axis, ...options },
  }),
  formula: "y = x;  y[…, index[i], …] += α · source[…, i, …]",
  torch: "x.index_add(axis, index, source, alpha=alpha)",
  saves: [1],
  run: ([x, index, source], { axis, alpha }) => {
    const at = checkRows(x, axis, index, source, "add to");
    const values = alpha === 1 ? source : mul(source, alpha);
    return scattered(x, at, index, values, "add", false);
  },
  // ∂indexAdd: the gradient, and α times the gradient at the positions
  gradient: (
    { inputs: [, index], shapes: [shape, , part], grad, attrs, needs },
  ) => {
    if (!needs(2)) return [grad];
    const { axis, alpha } = attrs;
    const at = axis < 0 ? axis + shape.length : axis;
    const picked = reshape(indexSelect(grad, at, index), part);
    return [grad, undefined, alpha === 1 ? picked : mul(picked, alpha)];
  },
  samples: [
    [t([3, 2]), 0, ints([2, 0, 2], [3]), t([3, 2], { low: 0 })],
    [t([2, 3]), -1, ints([1, 1], [2]), t([2, 2]), { alpha: -2 }],
    [t([4]), 0, t([2], { dtype: "i32", data: [3, 3] }), t([2])],
    [t([3, 2]), 0, ints([], [0]), t([0, 2])],
    [
      t([2], { dtype: "i64" }),
      0,
      ints([1, 1], [2]),
      t([2], { dtype: "i64", low: 0, high: 9 }),
    ],
  ],
});

/**
 * A copy of `x` with the positions of an axis that the index names replaced;
 * of repeated positions the last one counts.
 *
 * @throws {IndexError} when an index is out of range.
 * @throws {ShapeError} when the source has another shape.
 */
export const indexCopy: (
  x: Tensor,
  axis: number,
  index: Tensor,
  source: Tensor,
) => Tensor = operator<
  (x: Tensor, axis: number, index: Tensor, source: Tensor) => Tensor,
  { axis: number }
>({
  name: "indexCopy",
  family: "indexing",
  inputs: ["x", "index", "source"],
  attrs: { axis: 0 },
  bind: (x, axis, index, source) => ({
    inputs: [x, index, source],
    attrs: { axis },
  }),
  formula: "y = x;  y[…, index[i], …] = source[…, i, …]",
  torch: "x.index_copy(axis, index, source)",
  caffe2: "ScatterAssign",
  saves: [1],
  run: ([x, index, source], { axis }) => {
    const at = checkRows(x, axis, index, source, "copy to");
    return scattered(x, at, index, source, "set", false);
  },
  // ∂indexCopy: the gradient, zero where x was replaced, and the gradient at the positions
  gradient: ({ inputs: [, index], shapes, grad, attrs: { axis }, needs }) => [
    needs(0) ? indexFill(grad, axis, index, 0) : undefined,
    undefined,
    needs(2) ? reshape(indexSelect(grad, axis, index), shapes[2]) : undefined,
  ],
  samples: [
    [t([3, 2]), 0, ints([2, 0], [2]), t([2, 2], { low: 0 })],
    [t([2, 3]), -1, ints([1], [1]), t([2, 1])],
    [
      t([3], { dtype: "u8" }),
      0,
      ints([1], [1]),
      t([1], { dtype: "u8", data: [9] }),
    ],
  ],
});

/**
 * A copy of `x` with one number at the positions of an axis that the index names.
 *
 * @throws {IndexError} when an index is out of range.
 */
export const indexFill: (
  x: Tensor,
  axis: number,
  index: Tensor,
  value: number,
) => Tensor = operator<
  (x: Tensor, axis: number, index: Tensor, value: number) => Tensor,
  { axis: number; value: number }
>({
  name: "indexFill",
  family: "indexing",
  inputs: ["x", "index"],
  attrs: { axis: 0, value: 0 },
  bind: (x, axis, index, value) => ({
    inputs: [x, index],
    attrs: { axis, value },
  }),
  formula: "y = x;  y[…, index[i], …] = value",
  torch: "x.index_fill(axis, index.long(), value)",
  saves: [1],
  run: ([x, index], { axis, value }) => {
    const at = checkRows(x, axis, index, undefined, "fill");
    const shape = withAxis(x.shape, at, [index.size]);
    const source = filled(x.device, x.dtype, shape, value);
    return scattered(x, at, index, source, "set", false);
  },
  // ∂indexFill: the gradient, zero where x was replaced
  gradient: ({ inputs: [, index], grad, attrs: { axis } }) => [
    indexFill(grad, axis, index, 0),
  ],
  samples: [
    [t([3, 2]), 0, ints([2, 0], [2]), 1.5],
    [t([2, 3]), -1, ints([1, 1], [2]), -1],
    [t([3], { dtype: "i64" }), 0, ints([1], [1]), 4],
  ],
});

// ---- flat and broadcast indices ----

/**
 * Elements of the flattened tensor, in the shape of the index; negative
 * indices count from the end.
 *
 * @throws {IndexError} when an index is out of range.
 */
export const take: (x: Tensor, index: Tensor) => Tensor = operator<
  (x: Tensor, index: Tensor) => Tensor
>({
  name: "take",
  family: "indexing",
  inputs: ["x", "index"],
  formula: "y[…] = x[index[…]], x flattened",
  torch: "torch.take(x, index.long())",
  run: ([x, index]) => {
    const positions = wrapIndices(index, x.size, "take");
    return indexSelect(reshape(x, [x.size]), 0, positions);
  },
  samples: [
    [t([2, 3]), ints([5, 0, -1, -6], [2, 2])],
    [t([4]), t([2], { dtype: "i32", data: [1, 1] })],
    [t([2]), ints([], [0])],
    [t([2, 2]), ints([3], [])],
  ],
});

/**
 * Picks elements along an axis as {@linkcode gather} does, with `x` and the
 * index broadcast against each other on the other axes; negative indices
 * count from the end.
 *
 * @throws {IndexError} when an index is out of range.
 */
export const takeAlongAxis: (x: Tensor, index: Tensor, axis: number) => Tensor =
  operator<(x: Tensor, index: Tensor, axis: number) => Tensor, {
    axis: number;
  }>({
    name: "takeAlongAxis",
    family: "indexing",
    inputs: ["x", "index"],
    attrs: { axis: 0 },
    bind: (x, index, axis) => ({ inputs: [x, index], attrs: { axis } }),
    formula: "y[…i…] = x[…index[…i…]…]",
    torch:
      "torch.take_along_dim(x, torch.where(index < 0, index + x.shape[axis], index).long(), axis)",
    onnx: "GatherElements",
    run: ([x, index], { axis }) => {
      requireRank(x, index, "take from");
      const at = axisOf(x, axis, "take from");
      const others = broadcastShapes(
        [withAxis(x.shape, at, [1]), withAxis(index.shape, at, [1])],
        "take along an axis of",
      );
      const positions = wrapIndices(
        index,
        x.shape[at],
        `take along axis ${at}`,
      );
      return gather(
        expand(x, withAxis(others, at, [x.shape[at]])),
        at,
        expand(positions, withAxis(others, at, [index.shape[at]])),
      );
    },
    samples: [
      [t([2, 3]), ints([2, -1], [2, 1]), 1],
      [t([2, 3]), ints([1, 0], [1, 2]), 1],
      [t([1, 3]), ints([0, 0], [2, 1]), -1],
      [t([3, 2]), ints([2, 0], [1, 2]), 0],
    ],
  });
