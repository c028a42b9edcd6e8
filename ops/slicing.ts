/**
 * Slices: parts of a tensor by positions and ranges, without a copy.
 *
 * @module
 */

import {
  type AttributeRule,
  count,
  integer,
  rule,
} from "../core/attributes.ts";
import { IndexError, ShapeError, shapeText } from "../core/errors.ts";
import { operator } from "../core/op.ts";
import type { Shape } from "../core/shape.ts";
import type { Tensor } from "../core/tensor.ts";
import { t } from "./samples.ts";
import {
  axisOf,
  type Layout,
  normalizeIndex,
  placed,
  viewOf,
  type Window,
} from "./views.ts";

/** Part of an axis: `[start, stop, step]` as in Python, each may be null or left out; the step is positive. */
export type SliceRange = readonly [
  start?: number | null,
  stop?: number | null,
  step?: number | null,
];

/** What to take of an axis: a position (the axis is dropped), a range, or all of it; "..." stands for all axes not named. */
export type SlicePart = number | SliceRange | null | "...";

const isRange = (x: unknown) =>
  Array.isArray(x) && x.length <= 3 &&
  x.every((n) => n === undefined || n === null || integer.accepts(n));

/** What the parts of a slice may be. */
export const sliceParts: AttributeRule = rule(
  'a list of positions, ranges [start, stop, step], null and "..."',
  (x) =>
    Array.isArray(x) &&
    x.every((part) =>
      part === null || part === "..." || integer.accepts(part) || isRange(part)
    ),
);

/** The parts, one for each axis of a tensor of that rank. */
function partsOf(
  parts: readonly SlicePart[],
  shape: Shape,
): (number | SliceRange | null)[] {
  const rank = shape.length;
  const named = parts.filter((part) => part !== "...").length;
  const dots = parts.length - named;
  if (named > rank || dots > 1) {
    throw new IndexError(
      `Cannot slice a tensor of shape ${
        shapeText(shape)
      } with ${named} parts and ${dots} "...": there must be at most ${rank} parts and one "..."`,
    );
  }
  const filler = new Array<null>(rank - named).fill(null);
  if (dots === 0) {
    return [...parts, ...filler] as (number | SliceRange | null)[];
  }
  return parts.flatMap((part) => part === "..." ? filler : [part]);
}

/** Start, step and count of a range on an axis; out-of-range ends are cut off as in Python. */
function rangeOf(
  range: SliceRange,
  extent: number,
): { start: number; step: number; count: number } {
  const [start, stop, step] = [
    range[0] ?? 0,
    range[1] ?? extent,
    range[2] ?? 1,
  ];
  if (
    !Number.isInteger(start) || !Number.isInteger(stop) ||
    !Number.isInteger(step) || step < 1
  ) {
    throw new IndexError(
      `Cannot slice from ${start} to ${stop} by ${step}: all three must be integers and the step positive; flip() reverses an axis`,
    );
  }
  const clip = (at: number) =>
    Math.min(extent, Math.max(0, at < 0 ? at + extent : at));
  const from = clip(start);
  const count = Math.max(0, Math.ceil((clip(stop) - from) / step));
  return { start: from, step, count };
}

/** The window that the parts select. */
function sliceWindow(parts: readonly SlicePart[], whole: Layout): Layout {
  const shape: number[] = [], strides: number[] = [];
  let { offset } = whole;
  partsOf(parts, whole.shape).forEach((part, d) => {
    const extent = whole.shape[d], stride = whole.strides[d];
    if (part === null) {
      shape.push(extent);
      strides.push(stride);
    } else if (typeof part === "number") {
      offset += stride * normalizeIndex(part, d, whole.shape, "select");
    } else {
      const { start, step, count } = rangeOf(part, extent);
      shape.push(count);
      strides.push(stride * step);
      if (count > 0) offset += stride * start;
    }
  });
  return { shape, strides, offset };
}

const pythonParts =
  "tuple(... if p == '...' else slice(None) if p is None else p if isinstance(p, int) else slice(*(list(p) + [None, None])[:3]) for p in parts)";

/**
 * A part of the tensor, without a copy. Each part is a position (drops the
 * axis), a range `[start, stop, step]` as in Python with a positive step, or
 * null for the whole axis; axes not named are taken whole, and `"..."` stands
 * for as many as are missing.
 *
 * @throws {IndexError} when a position is out of range.
 */
export const slice: (x: Tensor, parts: readonly SlicePart[]) => Tensor =
  operator<(x: Tensor, parts: readonly SlicePart[]) => Tensor, {
    parts: readonly SlicePart[];
  }>({
    name: "slice",
    family: "shape",
    inputs: ["x"],
    attrs: { parts: [] },
    rules: { parts: sliceParts },
    bind: (x, parts) => ({ inputs: [x], attrs: { parts } }),
    formula: "y[…, i, …] = x[…, start + i · step, …]",
    torch: `x[${pythonParts}]`,
    onnx: "Slice",
    caffe2: "Slice",
    saves: [],
    run: ([x], { parts }) => viewOf(x, (whole) => sliceWindow(parts, whole)),
    // ∂slice: the gradient at its place among zeros
    gradient: ({ shapes, grad, attrs: { parts } }) => [
      unslice(grad, shapes[0], parts),
    ],
    samples: [
      [t([4, 5]), [[1, 3]]],
      [t([4, 5]), [null, [0, 5, 2]]],
      [t([4, 5]), [[-3, null], [null, -1, 3]]],
      [t([4, 5]), [2]],
      [t([2, 3, 4]), ["...", -1]],
      [t([2, 3, 4]), [0, "...", [1]]],
      [t([3, 2]), [[2, 1]]],
      [t([3, 2]), [[1, 100]]],
      [t([3]), [-2]],
      [t([0, 3]), [null, [1]]],
      [t([6], { dtype: "u8", low: 0, high: 9 }), [[1, null, 2]]],
    ],
  });

/**
 * The inverse of {@linkcode slice}: a tensor of zeros of `shape`, with `x`
 * where `slice(…, parts)` would find it.
 *
 * @throws {ShapeError} unless `x` has the shape of that slice.
 */
export const unslice: (
  x: Tensor,
  shape: Shape,
  parts: readonly SlicePart[],
) => Tensor = operator<
  (x: Tensor, shape: Shape, parts: readonly SlicePart[]) => Tensor,
  { shape: Shape; parts: readonly SlicePart[] }
>({
  name: "unslice",
  family: "shape",
  inputs: ["x"],
  attrs: { shape: [], parts: [] },
  rules: { parts: sliceParts },
  bind: (x, shape, parts) => ({ inputs: [x], attrs: { shape, parts } }),
  formula: "y = 0;  y[…, start + i · step, …] = x[…, i, …]",
  torch:
    `(lambda z: torch.as_strided_scatter(z, x, z[${pythonParts}].shape, z[${pythonParts}].stride(), z[${pythonParts}].storage_offset()))(torch.zeros(shape, dtype=x.dtype))`,
  saves: [],
  run: ([x], { shape, parts }) =>
    placed(
      x,
      shape,
      checked(x, "unslice", shape, (whole) => sliceWindow(parts, whole)),
    ),
  // ∂unslice: the slice of the gradient
  gradient: ({ grad, attrs: { parts } }) => [slice(grad, parts)],
  samples: [
    [t([2, 3]), [4, 5], [[1, 3], [0, 5, 2]]],
    [t([3]), [2, 3], [-1]],
    [t([]), [3], [1]],
    [t([0]), [3], [[1, 1]]],
  ],
});

/** A window that refuses a part of the wrong shape. */
function checked(
  part: Tensor,
  what: string,
  shape: Shape,
  window: Window,
): Window {
  return (whole) => {
    const layout = window(whole);
    if (`${layout.shape}` !== `${part.shape}`) {
      throw new ShapeError(
        `Cannot ${what} a tensor of shape ${
          shapeText(part.shape)
        } into one of shape ${shapeText(shape)}: the part there has shape ${
          shapeText(layout.shape)
        }`,
      );
    }
    return layout;
  };
}

function along(axis: number, part: SlicePart): SlicePart[] {
  return [...new Array<null>(axis).fill(null), part];
}

/**
 * The `length` positions of an axis from `start` on, without a copy.
 *
 * @throws {IndexError} when they reach past the end.
 */
export const narrow: (
  x: Tensor,
  axis: number,
  start: number,
  length: number,
) => Tensor = operator<
  (x: Tensor, axis: number, start: number, length: number) => Tensor,
  { axis: number; start: number; length: number }
>({
  name: "narrow",
  family: "shape",
  inputs: ["x"],
  attrs: { axis: 0, start: 0, length: 0 },
  rules: { start: integer, length: count },
  bind: (x, axis, start, length) => ({
    inputs: [x],
    attrs: { axis, start, length },
  }),
  formula: "y[…, i, …] = x[…, start + i, …], i < length",
  torch: "torch.narrow(x, axis, start, length)",
  onnx: "Slice",
  run: ([x], { axis, start, length }) => {
    const at = axisOf(x, axis, "narrow");
    const extent = x.shape[at];
    const from = start < 0 ? start + extent : start;
    if (
      !Number.isInteger(from) || !Number.isInteger(length) || from < 0 ||
      length < 0 || from + length > extent
    ) {
      throw new IndexError(
        `Cannot narrow axis ${at} of a tensor of shape ${
          shapeText(x.shape)
        } to ${length} positions from ${start}: they must lie within its ${extent}`,
      );
    }
    return slice(x, along(at, [from, from + length]));
  },
  samples: [
    [t([4, 3]), 0, 1, 2],
    [t([4, 3]), -1, -2, 1],
    [t([4, 3]), 0, 4, 0],
  ],
});

/**
 * One position of an axis, which is dropped, without a copy.
 *
 * @throws {IndexError} when the position is out of range.
 */
export const select: (x: Tensor, axis: number, index: number) => Tensor =
  operator<(x: Tensor, axis: number, index: number) => Tensor, {
    axis: number;
    index: number;
  }>({
    name: "select",
    family: "shape",
    inputs: ["x"],
    attrs: { axis: 0, index: 0 },
    rules: { index: integer },
    bind: (x, axis, index) => ({ inputs: [x], attrs: { axis, index } }),
    formula: "y[…] = x[…, index, …]",
    torch: "x.select(axis, index)",
    onnx: "Gather",
    run: ([x], { axis, index }) => {
      const at = axisOf(x, axis, "select");
      return slice(x, along(at, index));
    },
    samples: [[t([4, 3]), 0, 1], [t([4, 3]), -1, -3], [t([2]), 0, 1]],
  });
