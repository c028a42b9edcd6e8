/**
 * Diagonals, triangles and sliding windows of a tensor.
 *
 * @module
 */

import { positiveInteger } from "../core/attributes.ts";
import { IndexError, ShapeError, shapeText } from "../core/errors.ts";
import { runRows } from "../core/row_kernels.ts";
import { operator } from "../core/op.ts";
import { normalizeAxis, type Shape } from "../core/shape.ts";
import { Tensor } from "../core/tensor.ts";
import * as k from "../kernel/expr.ts";
import { fill } from "./foundation.ts";
import { t } from "./samples.ts";
import { slice, unslice } from "./slicing.ts";
import { axisOf, type Layout, placed, viewOf } from "./views.ts";

/** Which diagonal: how far right of the main one it starts, and the axes it runs along. */
export interface DiagonalOptions {
  /** 0 is the main diagonal, positive ones lie above, negative ones below. */
  offset?: number;
  /** Axis of the rows. */
  axis1?: number;
  /** Axis of the columns. */
  axis2?: number;
}

type DiagonalAttrs = Required<DiagonalOptions>;

function planeOf(
  rank: number,
  { offset, axis1, axis2 }: DiagonalAttrs,
  what: string,
): [number, number] {
  if (!Number.isInteger(offset)) {
    throw new IndexError(
      `Cannot ${what} with offset ${offset}: it must be an integer`,
    );
  }
  const a = normalizeAxis(axis1, rank, what);
  const b = normalizeAxis(axis2, rank, what);
  if (a === b || rank < 2) {
    throw new IndexError(
      `Cannot ${what} along axes ${axis1} and ${axis2} of a tensor with ${rank} axes: two different axes are needed`,
    );
  }
  return [a, b];
}

function diagonalWindow(whole: Layout, attrs: DiagonalAttrs): Layout {
  const { shape, strides } = whole;
  const [a, b] = planeOf(shape.length, attrs, "take the diagonal");
  const down = Math.max(0, -attrs.offset), right = Math.max(0, attrs.offset);
  const length = Math.max(0, Math.min(shape[a] - down, shape[b] - right));
  const rest = shape.map((_, d) => d).filter((d) => d !== a && d !== b);
  return {
    shape: [...rest.map((d) => shape[d]), length],
    strides: [...rest.map((d) => strides[d]), strides[a] + strides[b]],
    offset: whole.offset +
      (length > 0 ? down * strides[a] + right * strides[b] : 0),
  };
}

/**
 * A diagonal of two axes as a new last axis, without a copy.
 *
 * @throws {IndexError} unless the axes are two different ones.
 */
export const diagonal: (x: Tensor, options?: DiagonalOptions) => Tensor =
  operator<(x: Tensor, options?: DiagonalOptions) => Tensor, DiagonalAttrs>({
    name: "diagonal",
    family: "shape",
    inputs: ["x"],
    attrs: { offset: 0, axis1: 0, axis2: 1 },
    formula: "y[…, k] = x[…, k + max(−offset, 0), …, k + max(offset, 0), …]",
    torch: "torch.diagonal(x, offset, axis1, axis2)",
    saves: [],
    run: ([x], attrs) => viewOf(x, (whole) => diagonalWindow(whole, attrs)),
    // ∂diagonal: the gradient on the diagonal of a matrix of zeros
    gradient: ({ shapes: [shape], grad, attrs }) => {
      const [a, b] = planeOf(shape.length, attrs, "take the diagonal");
      const side = grad.shape[grad.rank - 1] + Math.abs(attrs.offset);
      const square = diagEmbed(grad, { ...attrs, axis1: a, axis2: b });
      if (shape[a] === side && shape[b] === side) return [square];
      // Cut off what lies outside of an oblong matrix, then add what is missing.
      const cut = shape.map((n, d) =>
        d === a || d === b ? [0, Math.min(n, side)] as const : null
      );
      return [unslice(slice(square, cut), shape, cut)];
    },
    samples: [
      [t([3, 3])],
      [t([3, 4]), { offset: 1 }],
      [t([4, 2]), { offset: -2 }],
      [t([2, 5]), { offset: 3 }],
      [t([2, 3, 4]), { axis1: -1, axis2: 0 }],
      [t([2, 2]), { offset: 5 }],
      [t([0, 2])],
    ],
  });

/**
 * Matrices of zeros with the last axis of `x` on a diagonal; their axes come
 * where `axis1` and `axis2` say, the last two by default.
 *
 * @throws {IndexError} unless the axes are two different ones.
 */
export const diagEmbed: (x: Tensor, options?: DiagonalOptions) => Tensor =
  operator<(x: Tensor, options?: DiagonalOptions) => Tensor, DiagonalAttrs>({
    name: "diagEmbed",
    family: "shape",
    inputs: ["x"],
    attrs: { offset: 0, axis1: -2, axis2: -1 },
    formula: "y[…, i, j] = (j − i = offset ? x[…, min(i, j)] : 0)",
    torch: "torch.diag_embed(x, offset, axis1, axis2)",
    saves: [],
    run: ([x], attrs) => {
      axisOf(x, -1, "embed the diagonal of");
      const [a, b] = planeOf(x.rank + 1, attrs, "embed a diagonal");
      const side = x.shape[x.rank - 1] + Math.abs(attrs.offset);
      const rest = [...x.shape];
      const shape = Array.from(
        { length: x.rank + 1 },
        (_, d) => d === a || d === b ? side : rest.shift()!,
      );
      return placed(x, shape, (whole) => diagonalWindow(whole, attrs));
    },
    // ∂diagEmbed: the diagonal of the gradient
    gradient: ({ grad, attrs }) => [diagonal(grad, attrs)],
    samples: [
      [t([3])],
      [t([2, 3]), { offset: 1 }],
      [t([2, 3]), { offset: -1, axis1: 0, axis2: 2 }],
      [t([2, 0])],
    ],
  });

/**
 * The diagonal of a matrix, or the matrix with a vector on its diagonal.
 *
 * @throws {ShapeError} unless `x` has one or two axes.
 */
export const diag: (x: Tensor, offset?: number) => Tensor = operator<
  (x: Tensor, offset?: number) => Tensor,
  { offset: number }
>({
  name: "diag",
  family: "shape",
  inputs: ["x"],
  attrs: { offset: 0 },
  bind: (x, offset) => ({ inputs: [x], attrs: { offset } }),
  formula:
    "of a vector y[i, j] = (j − i = offset ? x[min(i, j)] : 0), of a matrix y[k] = x[k + max(−offset, 0), k + max(offset, 0)]",
  torch: "torch.diag(x, offset)",
  run: ([x], { offset }) => {
    if (x.rank === 1) return diagEmbed(x, { offset });
    if (x.rank === 2) return diagonal(x, { offset });
    throw new ShapeError(
      `Cannot take diag of a tensor of shape ${
        shapeText(x.shape)
      }: it takes a vector or a matrix; diagonal and diagEmbed take more axes`,
    );
  },
  samples: [[t([3])], [t([2]), -1], [t([3, 4]), 1]],
});

// ---- triangles ----

/** x where the column is at most row + offset (lower), or at least (upper); else 0. */
function triangle(x: Tensor, offset: number, part: "lower" | "upper"): Tensor {
  const what = `take the ${part} triangle of`;
  const rows = axisOf(x, -2, what), columns = x.rank - 1;
  const [value] = runRows(x.device, {
    name: `${part} triangle`,
    space: x.shape,
    axes: [],
    streams: [x.value],
    scalars: [offset],
    scalarTypes: ["i32"],
    passes: 1,
    build: ({ streams: [element], scalars: [shift], coord }) => {
      const bound = k.add(coord(rows), shift);
      const inside = part === "lower"
        ? k.le(coord(columns), bound)
        : k.ge(coord(columns), bound);
      const zero = k.constant(0, element.type);
      return {
        stages: [],
        outputs: [{
          dtype: x.dtype,
          value: k.select(inside, element, zero),
          per: "element",
        }],
      };
    },
  });
  return new Tensor(value);
}

const triangleSamples = [
  [t([3, 3])],
  [t([3, 4]), 1],
  [t([4, 3]), -1],
  [t([2, 2, 3]), -5],
  [t([2, 3], { dtype: "i64" })],
  [t([2, 2], { data: [1, Infinity, NaN, 2], grad: false })],
  [t([0, 3])],
];

/** The lower triangle of matrices: what lies above diagonal `offset` becomes 0. */
export const tril: (x: Tensor, offset?: number) => Tensor = operator<
  (x: Tensor, offset?: number) => Tensor,
  { offset: number }
>({
  name: "tril",
  family: "shape",
  inputs: ["x"],
  attrs: { offset: 0 },
  bind: (x, offset) => ({ inputs: [x], attrs: { offset } }),
  formula: "y[…, i, j] = (j − i ≤ offset ? x[…, i, j] : 0)",
  torch: "torch.tril(x, offset)",
  onnx: "Trilu",
  saves: [],
  run: ([x], { offset }) => triangle(x, offset, "lower"),
  // ∂tril: the lower triangle of the gradient
  gradient: ({ grad, attrs: { offset } }) => [tril(grad, offset)],
  samples: triangleSamples,
});

/** The upper triangle of matrices: what lies below diagonal `offset` becomes 0. */
export const triu: (x: Tensor, offset?: number) => Tensor = operator<
  (x: Tensor, offset?: number) => Tensor,
  { offset: number }
>({
  name: "triu",
  family: "shape",
  inputs: ["x"],
  attrs: { offset: 0 },
  bind: (x, offset) => ({ inputs: [x], attrs: { offset } }),
  formula: "y[…, i, j] = (j − i ≥ offset ? x[…, i, j] : 0)",
  torch: "torch.triu(x, offset)",
  onnx: "Trilu",
  saves: [],
  run: ([x], { offset }) => triangle(x, offset, "upper"),
  // ∂triu: the upper triangle of the gradient
  gradient: ({ grad, attrs: { offset } }) => [triu(grad, offset)],
  samples: triangleSamples,
});

// ---- windows ----

function checkWindows(size: number, step: number, extent: number): void {
  if (
    !Number.isInteger(size) || !Number.isInteger(step) || size < 1 ||
    step < 1 || size > extent
  ) {
    throw new ShapeError(
      `Cannot take windows of ${size} positions every ${step} along an axis of extent ${extent}: both must be positive integers and the window at most ${extent}`,
    );
  }
}

/**
 * Windows of `size` positions every `step` along an axis, as a new last axis;
 * they overlap without a copy when `step < size`.
 *
 * @throws {ShapeError} when a window is longer than the axis.
 */
export const windows: (
  x: Tensor,
  axis: number,
  size: number,
  step?: number,
) => Tensor = operator<
  (x: Tensor, axis: number, size: number, step?: number) => Tensor,
  { axis: number; size: number; step: number }
>({
  name: "windows",
  family: "shape",
  inputs: ["x"],
  attrs: { axis: 0, size: 1, step: 1 },
  rules: { size: positiveInteger, step: positiveInteger },
  bind: (x, axis, size, step) => ({ inputs: [x], attrs: { axis, size, step } }),
  formula: "y[…, w, …, k] = x[…, w · step + k, …]",
  torch: "x.unfold(axis, size, step)",
  saves: [],
  run: ([x], { axis, size, step }) => {
    const at = axisOf(x, axis, "take windows of");
    checkWindows(size, step, x.shape[at]);
    const count = Math.floor((x.shape[at] - size) / step) + 1;
    return viewOf(x, ({ shape, strides, offset }) => ({
      shape: [...shape.map((n, d) => d === at ? count : n), size],
      strides: [
        ...strides.map((n, d) => d === at ? n * step : n),
        strides[at],
      ],
      offset,
    }));
  },
  // ∂windows: at each position, the sum over the windows that saw it
  gradient: ({ shapes, grad, attrs: { axis, step } }) => [
    overlapAdd(grad, shapes[0], { axis, step }),
  ],
  samples: [
    [t([7]), 0, 3, 2],
    [t([2, 5]), -1, 2],
    [t([5, 2]), 0, 2, 3],
    [t([3]), 0, 3],
  ],
});

/** How {@linkcode overlapAdd} lays its windows. */
export interface OverlapOptions {
  /** Axis of the windows' numbers, and of the result's positions. */
  axis?: number;
  /** Distance from window to window. */
  step?: number;
}

/**
 * Lays windows (last axis) every `step` positions along an axis of a result
 * of the given shape, and adds where they overlap: the transpose of
 * {@linkcode windows}.
 *
 * @throws {ShapeError} when the windows do not fit.
 */
export const overlapAdd: (
  x: Tensor,
  shape: Shape,
  options?: OverlapOptions,
) => Tensor = operator<
  (x: Tensor, shape: Shape, options?: OverlapOptions) => Tensor,
  { shape: Shape; axis: number; step: number }
>({
  name: "overlapAdd",
  family: "shape",
  inputs: ["x"],
  attrs: { shape: [], axis: 0, step: 1 },
  rules: { step: positiveInteger },
  bind: (x, shape, options) => ({
    inputs: [x],
    attrs: { shape, ...options },
  }),
  formula: "y[…, p, …] = Σ x[…, w, …, k] over w · step + k = p",
  torch:
    "sum((torch.constant_pad_nd(x.select(axis, i).movedim(-1, axis), [0, 0] * (len(shape) - 1 - axis % len(shape)) + [i * step, shape[axis] - x.shape[-1] - i * step])) for i in range(x.shape[axis]))",
  saves: [],
  run: ([x], { shape, axis, step }) => {
    const at = normalizeAxis(axis, shape.length, "add windows");
    const size = x.shape[x.rank - 1], count = x.shape[at];
    const fits = x.rank === shape.length + 1 &&
      shape.every((n, d) => d === at || n === x.shape[d]) &&
      (count - 1) * step + size <= shape[at];
    if (!fits) {
      throw new ShapeError(
        `Cannot add windows of shape ${
          shapeText(x.shape)
        } every ${step} positions into ${
          shapeText(shape)
        } along axis ${axis}: ${count} windows of ${size} must fit into its ${
          shape[at]
        } positions, and the other axes must agree`,
      );
    }
    // Position p gets element p − step·w of window w: a sum over the windows' elements.
    const rank = shape.length;
    const [value] = runRows(x.device, {
      name: `overlap add ${at}`,
      space: [...shape, size],
      axes: [rank],
      streams: [],
      tables: [x.value],
      scalars: [step, ...x.shape],
      scalarTypes: [step, ...x.shape].map(() => "i32"),
      passes: 1,
      build: ({ scalars, coord, load }) => {
        const [by, ...extents] = scalars;
        const within = coord(rank);
        const from = k.sub(coord(at), within);
        const window = k.div(from, by);
        const hit = k.and(
          k.and(k.ge(from, 0), k.eq(k.rem(from, by), 0)),
          k.lt(window, extents[at]),
        );
        let offset = k.constant(0, "i32");
        for (let d = 0; d < rank; d++) {
          const position = d === at ? window : coord(d);
          offset = k.add(k.mul(offset, extents[d]), position);
        }
        offset = k.add(k.mul(offset, extents[rank]), within);
        const element = load(0, offset);
        // Of truth values, whether any is true.
        const number = element.type === "bool"
          ? k.cast(element, "i32")
          : element;
        return {
          stages: [{
            op: "sum",
            value: k.select(hit, number, k.constant(0, number.type)),
          }],
          outputs: [{
            dtype: x.dtype,
            value: k.roundTo(k.stage(0, number.type), x.dtype),
            per: "row",
          }],
        };
      },
    });
    return new Tensor(value);
  },
  // ∂overlapAdd: the windows of the gradient
  gradient: ({ shapes: [shape], grad, attrs: { axis, step } }) => {
    const at = normalizeAxis(axis, shape.length - 1, "add windows");
    const size = shape[shape.length - 1];
    if (size === 0) return [fill(shape, 0, grad.dtype, grad.device)];
    const used = (shape[at] - 1) * step + size;
    const cut = grad.shape.map((_, d) => d === at ? [0, used] as const : null);
    return [windows(slice(grad, cut), at, size, step)];
  },
  samples: [
    [t([3, 3]), [7], { step: 2 }],
    [t([2, 2, 4]), [2, 6], { axis: 1, step: 1 }],
    [t([2, 3, 2]), [6, 3], { axis: 0, step: 3 }],
  ],
});
