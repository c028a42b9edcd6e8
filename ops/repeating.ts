/**
 * Repeating, shifting and reversing along axes.
 *
 * @module
 */

import { integerOrList } from "../core/attributes.ts";
import { IndexError, ShapeError, shapeText } from "../core/errors.ts";
import { copy } from "../core/row_kernels.ts";
import { operator } from "../core/op.ts";
import { normalizeAxes } from "../core/shape.ts";
import { Tensor } from "../core/tensor.ts";
import { type Axes, expand, reshape } from "./foundation.ts";
import { concat } from "./joining.ts";
import { t } from "./samples.ts";
import { narrow } from "./slicing.ts";
import { axisOf, requireTensors, windowOn } from "./views.ts";

/** Repeats the whole tensor `counts[i]` times along axis i; missing counts in front are 1. */
function repeated(x: Tensor, counts: readonly number[], what: string): Tensor {
  if (counts.some((n) => !Number.isInteger(n) || n < 0)) {
    throw new ShapeError(
      `Cannot ${what} a tensor [${
        counts.join(", ")
      }] times: give integers from 0 on`,
    );
  }
  const rank = Math.max(x.rank, counts.length);
  const pad = (list: readonly number[]) => [
    ...new Array<number>(rank - list.length).fill(1),
    ...list,
  ];
  const extents = pad(x.shape), times = pad(counts);
  const apart = reshape(x, extents.flatMap((n) => [1, n]));
  const wide = expand(apart, extents.flatMap((n, d) => [times[d], n]));
  return reshape(wide, extents.map((n, d) => n * times[d]));
}

/** Repeats the tensor along its axes as NumPy's `tile` does: missing counts are 1. */
export const tile: (x: Tensor, counts: readonly number[]) => Tensor = operator<
  (x: Tensor, counts: readonly number[]) => Tensor,
  { counts: readonly number[] }
>({
  name: "tile",
  family: "shape",
  inputs: ["x"],
  attrs: { counts: [] },
  bind: (x, counts) => ({ inputs: [x], attrs: { counts } }),
  formula: "y[…, i, …] = x[…, i mod n, …]",
  torch: "torch.tile(x, counts)",
  onnx: "Tile",
  caffe2: "NumpyTile",
  run: ([x], { counts }) => repeated(x, counts, "tile"),
  samples: [
    [t([2, 3]), [2, 1]],
    [t([2, 3]), [2]],
    [t([2]), [2, 1, 3]],
    [t([2]), [0]],
    [t([]), [3]],
  ],
});

/**
 * Repeats the tensor along its axes; there is a count for each.
 *
 * @throws {ShapeError} when there are fewer counts than axes.
 */
export const repeat: (x: Tensor, counts: readonly number[]) => Tensor =
  operator<(x: Tensor, counts: readonly number[]) => Tensor, {
    counts: readonly number[];
  }>({
    name: "repeat",
    family: "shape",
    inputs: ["x"],
    attrs: { counts: [] },
    bind: (x, counts) => ({ inputs: [x], attrs: { counts } }),
    formula: "y[…, i, …] = x[…, i mod n, …]",
    torch: "x.repeat(counts)",
    onnx: "Tile",
    run: ([x], { counts }) => {
      if (counts.length < x.rank) {
        throw new ShapeError(
          `Cannot repeat a tensor of shape ${shapeText(x.shape)} [${
            counts.join(", ")
          }] times: there must be a count for each axis; tile() fills in missing ones`,
        );
      }
      return repeated(x, counts, "repeat");
    },
    samples: [[t([2, 3]), [2, 2]], [t([2]), [3, 1]]],
  });

/**
 * Moves elements along axes by `shifts`; what leaves at one end comes back at
 * the other. Without axes, along the flattened tensor.
 *
 * @throws {IndexError} when there is not one shift per axis.
 */
export const roll: (x: Tensor, shifts: Axes, axes?: Axes) => Tensor = operator<
  (x: Tensor, shifts: Axes, axes?: Axes) => Tensor,
  { shifts: Axes; axes: Axes | undefined }
>({
  name: "roll",
  family: "shape",
  inputs: ["x"],
  attrs: { shifts: 0, axes: undefined },
  rules: { shifts: integerOrList },
  bind: (x, shifts, axes) => ({ inputs: [x], attrs: { shifts, axes } }),
  formula: "y[…, i, …] = x[…, (i − shift) mod n, …]",
  torch: "torch.roll(x, shifts, axes)",
  run: ([x], { shifts, axes }) => {
    const by = typeof shifts === "number" ? [shifts] : shifts;
    const flat = axes === undefined;
    const which = flat ? [0] : typeof axes === "number" ? [axes] : axes;
    if (
      by.length !== which.length || by.some((n) => !Number.isInteger(n))
    ) {
      throw new IndexError(
        `Cannot roll by [${by.join(", ")}] along ${
          flat ? "the flattened tensor" : `axes [${which.join(", ")}]`
        }: there must be one integer for each axis`,
      );
    }
    let result = flat ? reshape(x, [x.size]) : x;
    which.forEach((axis, i) => {
      result = rolled(result, by[i], axisOf(result, axis, "roll"));
    });
    return flat ? reshape(result, x.shape) : result;
  },
  samples: [
    [t([5]), 2],
    [t([2, 3]), -1],
    [t([3, 4]), [1, -2], [0, 1]],
    [t([3, 4]), 9, -1],
    [t([0, 4]), 1, 0],
  ],
});

function rolled(x: Tensor, by: number, axis: number): Tensor {
  const extent = x.shape[axis];
  const shift = extent === 0 ? 0 : ((by % extent) + extent) % extent;
  if (shift === 0) return narrow(x, axis, 0, extent);
  return concat([
    narrow(x, axis, extent - shift, shift),
    narrow(x, axis, 0, extent - shift),
  ], axis);
}

/** Reverses axes, all of them when left out. */
export const flip: (x: Tensor, axes?: Axes) => Tensor = operator<
  (x: Tensor, axes?: Axes) => Tensor,
  { axes: Axes | undefined }
>({
  name: "flip",
  family: "shape",
  inputs: ["x"],
  attrs: { axes: undefined },
  bind: (x, axes) => ({ inputs: [x], attrs: { axes } }),
  formula: "y[…, i, …] = x[…, n − 1 − i, …]",
  torch:
    "torch.flip(x, list(range(x.ndim)) if axes is None else [axes] if isinstance(axes, int) else axes)",
  saves: [],
  run: ([x], { axes }) => {
    const which = normalizeAxes(axes, x.rank, "flip");
    const back = windowOn(x.value, ({ shape, strides, offset }) => ({
      shape,
      strides: strides.map((n, d) => which.includes(d) ? -n : n),
      offset: which.reduce(
        (at, d) => at + Math.max(0, shape[d] - 1) * strides[d],
        offset,
      ),
    }));
    const result = new Tensor(copy(back));
    back.release();
    return result;
  },
  // ∂flip: the flipped gradient
  gradient: ({ grad, attrs: { axes } }) => [flip(grad, axes)],
  samples: [
    [t([5])],
    [t([2, 3]), 1],
    [t([2, 3, 2]), [0, -1]],
    [t([])],
    [t([0, 2]), 0],
    [t([3], { dtype: "bf16" })],
    [t([3], { dtype: "bool", low: 0, high: 2 })],
  ],
});

/**
 * Coordinate grids of vectors: result i varies along axis i (`"ij"`), or
 * with the first two axes exchanged (`"xy"`).
 *
 * @throws {ShapeError} unless all operands are vectors or single numbers.
 */
export const meshgrid: (
  xs: readonly Tensor[],
  options?: { indexing?: "ij" | "xy" },
) => Tensor[] = operator<
  (xs: readonly Tensor[], options?: { indexing?: "ij" | "xy" }) => Tensor[],
  { indexing: "ij" | "xy" }
>({
  name: "meshgrid",
  family: "shape",
  inputs: ["...xs"],
  attrs: { indexing: "ij" },
  bind: (xs, options) => ({ inputs: xs, attrs: options }),
  formula: "yₖ[i₀, i₁, …] = xₖ[iₖ]; with xy, yₖ[i₁, i₀, …]",
  torch: "torch.meshgrid(*xs, indexing=indexing)",
  run: (xs, { indexing }) => {
    requireTensors(xs, "make a grid of");
    const long = xs.find((x) => x.rank > 1);
    if (long !== undefined) {
      throw new ShapeError(
        `Cannot make a grid of a tensor of shape ${
          shapeText(long.shape)
        }: it takes vectors`,
      );
    }
    const swap = indexing === "xy" && xs.length > 1;
    const axisFor = (i: number) => swap && i < 2 ? 1 - i : i;
    const shape: number[] = [];
    xs.forEach((x, i) => shape[axisFor(i)] = x.size);
    return xs.map((x, i) => {
      const own = shape.map((_, d) => d === axisFor(i) ? x.size : 1);
      return expand(reshape(x, own), shape);
    });
  },
  samples: [
    [[t([2]), t([3])]],
    [[t([2]), t([3]), t([2], { low: 0 })], { indexing: "xy" }],
    [[t([2])]],
  ],
});
