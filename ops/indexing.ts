/**
 * Gather and scatter: an index for every element, along one axis.
 *
 * @module
 */

import type { ScatterMode } from "../core/device.ts";
import { DTypeError, ShapeError, shapeText } from "../core/errors.ts";
import { operator } from "../core/op.ts";
import { contiguousStrides } from "../core/shape.ts";
import type { Tensor } from "../core/tensor.ts";
import * as k from "../kernel/expr.ts";
import { mul } from "./arithmetic.ts";
import { fill } from "./foundation.ts";
import {
  checkScatter,
  choose,
  equals,
  lookUp,
  quotient,
  requireRank,
  scatterAlong,
} from "./index_values.ts";
import { ints, t } from "./samples.ts";
import { slice, unslice } from "./slicing.ts";
import { axisOf, filled } from "./views.ts";

// ---- gather ----

/**
 * Picks elements along an axis: `y[i][j] = x[index[i][j]][j]` for axis 0. The
 * index may be smaller than `x` along the other axes.
 *
 * @throws {IndexError} when an index is out of range.
 * @throws {ShapeError} when the index reaches over `x` along another axis.
 */
export const gather: (x: Tensor, axis: number, index: Tensor) => Tensor =
  operator<(x: Tensor, axis: number, index: Tensor) => Tensor, {
    axis: number;
  }>({
    name: "gather",
    family: "indexing",
    inputs: ["x", "index"],
    attrs: { axis: 0 },
    bind: (x, axis, index) => ({ inputs: [x, index], attrs: { axis } }),
    formula: "y[…i…] = x[…index[…i…]…]",
    torch: "torch.gather(x, axis, index.long())",
    onnx: "GatherElements",
    saves: [1],
    run: ([x, index], { axis }) => {
      const at = axisOf(x, axis, "gather from");
      requireRank(x, index, "gather from");
      const over = index.shape.findIndex((n, d) => d !== at && n > x.shape[d]);
      if (over >= 0) {
        throw new ShapeError(
          `Cannot gather from a tensor of shape ${
            shapeText(x.shape)
          } with an index of shape ${
            shapeText(index.shape)
          } along axis ${at}: on axis ${over} the index must not be larger`,
        );
      }
      return lookUp(x, index, {
        name: `gather ${at}`,
        space: index.shape,
        bounds: { low: 0, high: x.shape[at], what: `gather along axis ${at}` },
        scalars: contiguousStrides(x.shape),
        place: (i, coord, strides) =>
          strides.reduce<k.Expr>(
            (sum, stride, d) =>
              k.add(sum, k.mul(d === at ? i : coord(d), stride)),
            k.constant(0, "i32"),
          ),
      });
    },
    // ∂gather: the gradient added up where its elements came from
    gradient: ({ inputs: [, index], shapes: [shape], dtypes, grad, attrs }) => [
      scatterAdd(
        fill(shape, 0, dtypes[0], grad.device),
        attrs.axis,
        index,
        grad,
      ),
    ],
    samples: [
      [t([3, 2]), 0, ints([0, 2, 1, 1], [2, 2])],
      [t([2, 4]), 1, ints([3, 3, 0], [1, 3])],
      [t([2, 3, 2]), -1, ints([0, 1, 1, 0, 0, 1, 1, 1, 0], [1, 3, 3])],
      [t([4]), 0, t([3], { dtype: "i32", data: [3, 0, 3] })],
      [t([3, 2]), 0, ints([], [0, 2])],
      [t([3], { dtype: "i64" }), 0, ints([2, 1], [2])],
      [t([3], { dtype: "bf16" }), 0, ints([2, 1], [2])],
      [t([3], { dtype: "bool", low: 0, high: 2 }), 0, ints([2, 1], [2])],
    ],
  });

// ---- scatter ----

/** What a scatter's gradient is for its source: gathered, zero where the index does not reach. */
function gatherFor(
  grad: Tensor,
  axis: number,
  index: Tensor,
  shape: readonly number[],
): Tensor {
  const part = gather(grad, axis, index);
  if (`${shape}` === `${index.shape}`) return part;
  return unslice(part, shape, index.shape.map((n) => [0, n] as const));
}

/**
 * A copy of `x` with elements replaced along an axis:
 * `y[index[i][j]][j] = source[i][j]` for axis 0. The source may be a number.
 * Of several writes to one place the last one counts.
 *
 * @throws {IndexError} when an index is out of range.
 * @throws {ShapeError} when the index is larger than `x` or the source.
 */
export const scatter: (
  x: Tensor,
  axis: number,
  index: Tensor,
  source: Tensor | number,
) => Tensor = operator<
  (
    x: Tensor,
    axis: number,
    index: Tensor,
    source: Tensor | number,
  ) => Tensor,
  { axis: number; value: number | undefined }
>({
  name: "scatter",
  family: "indexing",
  inputs: ["x", "index", "source"],
  attrs: { axis: 0, value: undefined },
  bind: (x, axis, index, source) =>
    typeof source === "number"
      ? { inputs: [x, index, undefined], attrs: { axis, value: source } }
      : { inputs: [x, index, source], attrs: { axis } },
  formula: "y = x;  y[…index[…i…]…] = source[…i…]",
  torch: "x.scatter(axis, index.long(), value if source is None else source)",
  onnx: "ScatterElements",
  caffe2: "Scatter",
  saves: [1],
  run: ([x, index, source], { axis, value }) => {
    const at = checkScatter(x, axis, index, source);
    const from = source ?? filled(x.device, x.dtype, index.shape, value ?? 0);
    return scatterAlong(x, at, index, from, "set");
  },
  // ∂scatter: for x zero where it was overwritten, for the source the gradient where it went
  gradient: ({ inputs: [, index], shapes, grad, attrs: { axis }, needs }) => [
    needs(0) ? scatter(grad, axis, index, 0) : undefined,
    undefined,
    needs(2) ? gatherFor(grad, axis, index, shapes[2]) : undefined,
  ],
  samples: [
    [t([3, 2]), 0, ints([2, 0, 0, 1], [2, 2]), t([2, 2], { low: 0 })],
    [t([2, 4]), 1, ints([3, 1], [1, 2]), t([2, 3], { low: 0, grad: false })],
    [t([2, 3]), -1, ints([0, 2], [2, 1]), 1.5],
    [t([4]), 0, t([2], { dtype: "i32", data: [3, 0] }), t([2], { low: 0 })],
    [t([3]), 0, ints([], [0]), t([0])],
    [t([3], { dtype: "u8" }), 0, ints([1, 1], [2]), 7],
    [
      t([3], { dtype: "bf16" }),
      0,
      ints([2], [1]),
      t([1], { dtype: "bf16" }),
    ],
    [t([3], { dtype: "i64" }), 0, ints([2], [1]), -5],
    [t([3], { dtype: "bool", low: 0, high: 2 }), 0, ints([2], [1]), 1],
  ],
});

/**
 * A copy of `x` with the source added along an axis:
 * `y[index[i][j]][j] += source[i][j]` for axis 0, in the order of the source.
 *
 * @throws {IndexError} when an index is out of range.
 * @throws {ShapeError} when the index is larger than `x` or the source.
 */
export const scatterAdd: (
  x: Tensor,
  axis: number,
  index: Tensor,
  source: Tensor,
) => Tensor = operator<
  (x: Tensor, axis: number, index: Tensor, source: Tensor) => Tensor,
  { axis: number }
>({
  name: "scatterAdd",
  family: "indexing",
  inputs: ["x", "index", "source"],
  attrs: { axis: 0 },
  bind: (x, axis, index, source) => ({
    inputs: [x, index, source],
    attrs: { axis },
  }),
  formula: "y = x;  y[…index[…i…]…] += source[…i…]",
  torch: "x.scatter_add(axis, index.long(), source)",
  onnx: "ScatterElements",
  saves: [1],
  run: ([x, index, source], { axis }) => {
    const at = checkScatter(x, axis, index, source);
    return scatterAlong(x, at, index, source, "add");
  },
  // ∂scatterAdd: the gradient itself, and for the source the gradient where it went
  gradient: ({ inputs: [, index], shapes, grad, attrs: { axis }, needs }) => [
    grad,
    undefined,
    needs(2) ? gatherFor(grad, axis, index, shapes[2]) : undefined,
  ],
  samples: [
    [t([3, 2]), 0, ints([2, 0, 2, 0], [2, 2]), t([2, 2], { low: 0 })],
    [t([2, 4]), 1, ints([3, 3], [1, 2]), t([2, 3], { low: 0, grad: false })],
    [t([4]), 0, ints([1, 1, 1], [3]), t([3], { low: 0 })],
    [
      t([2, 2, 2]),
      1,
      ints([0, 0, 1, 0, 1, 1, 1, 0, 0, 0, 1, 1], [2, 3, 2]),
      t([2, 3, 2]),
    ],
    [
      t([3], { dtype: "i64" }),
      0,
      ints([1, 1], [2]),
      t([2], { dtype: "i64" }),
    ],
    [
      t([2], { dtype: "u8", data: [200, 1] }),
      0,
      ints([0, 0], [2]),
      t([2], { dtype: "u8", data: [50, 10] }),
    ],
    [
      t([2], { dtype: "f16" }),
      0,
      ints([0, 0], [2]),
      t([2], { dtype: "f16" }),
    ],
    [t([2, 2]), 0, ints([], [0, 2]), t([0, 2])],
  ],
});

// ---- scatterReduce ----

/** How values that meet at one place are combined. */
export type ScatterReduction = "sum" | "prod" | "mean" | "amax" | "amin";

/** Options of {@linkcode scatterReduce}. */
export interface ScatterReduceOptions {
  /** How values that meet at one place are combined. */
  reduce?: ScatterReduction;
  /** Whether what `x` holds there takes part. */
  includeSelf?: boolean;
}

const modes: Readonly<Record<ScatterReduction, ScatterMode>> = {
  sum: "add",
  mean: "add",
  prod: "mul",
  amax: "max",
  amin: "min",
};

/** How many values meet at each place, at least 1, in the dtype of `x`. */
function countsAt(
  x: Tensor,
  axis: number,
  index: Tensor,
  includeSelf: boolean,
): Tensor {
  const start = fill(x.shape, includeSelf ? 1 : 0, x.dtype, x.device);
  const ones = fill(index.shape, 1, x.dtype, x.device);
  const counts = scatterAdd(start, axis, index, ones);
  return choose.apply([equals.apply([counts, 0]), 1, counts]);
}

/** Gradients of a product whose factors may be zero. */
function prodGradients(
  [x, index, source]: readonly Tensor[],
  result: Tensor,
  grad: Tensor,
  { axis, reduce, includeSelf }: Required<ScatterReduceOptions> & {
    axis: number;
  },
): [Tensor, Tensor] {
  const options = { reduce, includeSelf };
  const xWhole = choose.apply([equals.apply([x, 0]), 1, x]);
  const others = scatterReduce(xWhole, axis, index, source, options);
  const forX = quotientOf(mul(grad, others), xWhole);
  // A place with one zero passes its gradient to that zero alone: the product of the others.
  const zero = equals.apply([source, 0]);
  const zeros = gather(
    scatterAdd(fill(x.shape, 0, x.dtype, x.device), axis, index, zero),
    axis,
    index,
  );
  const single = mul(zero, equals.apply([zeros, 1]));
  const withoutZero = choose.apply([single, 1, source]);
  const rest = scatterReduce(x, axis, index, withoutZero, options);
  const forSingle = gather(mul(grad, rest), axis, index);
  const forOthers = quotientOf(
    gather(mul(grad, result), axis, index),
    choose.apply([zero, 1, source]),
  );
  return [forX, choose.apply([single, forSingle, forOthers])];
}

function quotientOf(a: Tensor, b: Tensor): Tensor {
  return quotient.apply([a, b]);
}

/** Gradients of an extremum: shared evenly by all that reach it. */
function extremumGradients(
  [x, index, source]: readonly Tensor[],
  result: Tensor,
  grad: Tensor,
  axis: number,
): [Tensor, Tensor] {
  const winsX = equals.apply([x, result]);
  const wins = equals.apply([source, gather(result, axis, index)]);
  const shared = quotientOf(grad, scatterAdd(winsX, axis, index, wins));
  return [mul(winsX, shared), mul(wins, gather(shared, axis, index))];
}

/**
 * A copy of `x` with values of the source combined into it along an axis; see
 * {@linkcode scatter} for what goes where. Without `includeSelf`, what `x`
 * holds at the places that are hit is left out.
 *
 * @throws {IndexError} when an index is out of range.
 * @throws {ShapeError} when the index is larger than `x` or the source.
 */
export const scatterReduce: (
  x: Tensor,
  axis: number,
  index: Tensor,
  source: Tensor,
  options?: ScatterReduceOptions,
) => Tensor = operator<
  (
    x: Tensor,
    axis: number,
    index: Tensor,
    source: Tensor,
    options?: ScatterReduceOptions,
  ) => Tensor,
  { axis: number; reduce: ScatterReduction; includeSelf: boolean }
>({
  name: "scatterReduce",
  family: "indexing",
  inputs: ["x", "index", "source"],
  attrs: { axis: 0, reduce: "sum", includeSelf: true },
  bind: (x, axis, index, source, options) => ({
    inputs: [x, index, source],
    attrs: { axis, ...options },
  }),
  formula:
    "y[q] = reduce of x[q] (with includeSelf, or where none) and all source[…i…] with […index[…i…]…] = q",
  torch:
    "x.scatter_reduce(axis, index.long(), source, reduce, include_self=includeSelf)",
  onnx: "ScatterElements",
  savesOutputs: true,
  run: ([x, index, source], { axis, reduce, includeSelf }) => {
    const at = checkScatter(x, axis, index, source);
    const mode = modes[reduce];
    if (mode === undefined) {
      throw new DTypeError(
        `Cannot scatter with "${reduce}": there are ${
          Object.keys(modes).join(", ")
        }`,
      );
    }
    let start = x;
    if (!includeSelf) {
      // Extrema start from one of the values themselves, sums from 0, products from 1.
      const first = mode === "max" || mode === "min"
        ? source
        : filled(x.device, x.dtype, index.shape, mode === "mul" ? 1 : 0);
      start = scatterAlong(x, at, index, first, "set");
    }
    const result = scatterAlong(start, at, index, source, mode);
    if (reduce !== "mean") return result;
    return quotientOf(result, countsAt(x, at, index, includeSelf));
  },
  gradient: ({ inputs, outputs: [result], shapes, grad, attrs, needs }) => {
    const { axis, reduce, includeSelf } = attrs;
    const [x, index, whole] = inputs;
    const used = `${whole.shape}` === `${index.shape}`
      ? whole
      : slice(whole, index.shape.map((n) => [0, n] as const));
    const operands = [x, index, used];
    let forX: Tensor, forSource: Tensor;
    switch (reduce) {
      case "sum":
        // ∂sum: the gradient, and the gradient where the source went
        forX = grad;
        forSource = gather(grad, axis, index);
        break;
      case "mean": {
        // ∂mean: the gradient over the number of values
        const share = quotientOf(grad, countsAt(x, axis, index, includeSelf));
        forX = share;
        forSource = gather(share, axis, index);
        break;
      }
      case "prod":
        // ∂prod: the gradient times the product of the other factors
        [forX, forSource] = prodGradients(operands, result, grad, attrs);
        break;
      default:
        // ∂amax: the gradient shared by all that reach the extremum
        [forX, forSource] = extremumGradients(operands, result, grad, axis);
    }
    if (!includeSelf) forX = scatter(forX, axis, index, 0);
    if (used !== whole && needs(2)) {
      forSource = unslice(
        forSource,
        shapes[2],
        index.shape.map((n) => [0, n] as const),
      );
    }
    return [forX, undefined, forSource];
  },
  samples: [
    ...(["sum", "prod", "mean", "amax", "amin"] as const).flatMap((reduce) =>
      [true, false].map((includeSelf) => [
        t([3, 2]),
        0,
        ints([2, 0, 2, 0, 0, 0], [3, 2]),
        t([3, 2], { low: -1.5 }),
        { reduce, includeSelf },
      ])
    ),
    [
      t([3], { data: [1, 2, 3], grad: false }),
      0,
      ints([0, 0, 1], [3]),
      t([3], { data: [1, 1, 2], grad: false }),
      { reduce: "amax" },
    ],
    [
      t([2], { data: [2, 3] }),
      0,
      ints([0, 0, 1], [3]),
      t([3], { data: [0, 5, 4] }),
      { reduce: "prod" },
    ],
    [
      t([2, 3]),
      1,
      ints([0, 0], [1, 2]),
      t([1, 3], { low: 0, grad: false }),
      { reduce: "mean" },
    ],
    [
      t([2], { dtype: "i64", data: [-5, 3] }),
      0,
      ints([0, 0], [2]),
      t([2], { dtype: "i64", data: [-1, -1] }),
      { reduce: "mean" },
    ],
    [
      t([2], { data: [NaN, 3], grad: false }),
      0,
      ints([0, 1], [2]),
      t([2], { data: [1, NaN], grad: false }),
      { reduce: "amax" },
    ],
  ],
});
