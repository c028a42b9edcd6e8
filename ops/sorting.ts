/**
 * Sorting along an axis and what follows from it: largest elements, medians,
 * distinct values.
 *
 * @module
 */

import { IndexError, shapeText } from "../core/errors.ts";
import { contiguous } from "../core/row_kernels.ts";
import { operator } from "../core/op.ts";
import { normalizeAxis } from "../core/shape.ts";
import { Tensor } from "../core/tensor.ts";
import { Value } from "../core/value.ts";
import * as k from "../kernel/expr.ts";
import { sub } from "./arithmetic.ts";
import { Elementwise } from "./engine.ts";
import { cast, fill, reshape, sum } from "./foundation.ts";
import { gather, scatter } from "./indexing.ts";
import { concat } from "./joining.ts";
import { flatPositions } from "./positions.ts";
import { t } from "./samples.ts";
import { take } from "./selection.ts";
import { narrow, select, slice } from "./slicing.ts";
import { axisOf, exchanged } from "./views.ts";

/** Options of {@linkcode sort} and {@linkcode argSort}. */
export interface SortOptions {
  /** Largest first. */
  descending?: boolean;
}

/** Sorts along an axis; a single number is its own order. */
function sorted(x: Tensor, axis: number, descending: boolean): Tensor[] {
  const { device, dtype } = x;
  const at = normalizeAxis(axis, x.rank, "sort");
  const last = Math.max(0, x.rank - 1);
  const rows = exchanged(x, at, last);
  const input = new Tensor(contiguous(rows.value));
  const values = new Tensor(Value.empty(device, dtype, rows.shape));
  const indices = new Tensor(Value.empty(device, "i64", rows.shape));
  const length = x.rank === 0 ? 1 : x.shape[at];
  device.sort({
    dtype,
    rows: length === 0 ? 0 : x.size / length,
    length,
    descending,
    input: input.value,
    values: values.value,
    indices: indices.value,
  });
  return [exchanged(values, at, last), exchanged(indices, at, last)];
}

/**
 * Sorts along an axis, equal elements in the order they had; NaN counts as
 * the largest. Returns the values, and where each stood (i64).
 */
export const sort: (
  x: Tensor,
  axis?: number,
  options?: SortOptions,
) => [Tensor, Tensor] = operator<
  (x: Tensor, axis?: number, options?: SortOptions) => [Tensor, Tensor],
  { axis: number; descending: boolean }
>({
  name: "sort",
  family: "sorting",
  inputs: ["x"],
  attrs: { axis: -1, descending: false },
  bind: (x, axis, options) => ({ inputs: [x], attrs: { axis, ...options } }),
  formula:
    "y[i] = x[o[i]] and o, the permutation with y[i] ≤ y[i + 1] (≥ when descending), and o[i] < o[i + 1] where equal",
  torch: "torch.sort(x, dim=axis, descending=descending, stable=True)",
  saves: [],
  savesOutputs: true,
  run: ([x], { axis, descending }) => sorted(x, axis, descending),
  // ∂sort: each gradient back where its value stood
  gradient: ({ outputs: [, indices], shapes, grads: [grad], attrs }) => {
    if (grad === undefined) return [undefined];
    const zeros = fill(shapes[0], 0, grad.dtype, grad.device);
    if (shapes[0].length === 0) return [grad];
    return [scatter(zeros, attrs.axis, indices, grad)];
  },
  samples: [
    [t([5])],
    [t([2, 4]), -1, { descending: true }],
    [t([3, 2, 2]), 0],
    [t([6], { data: [2, NaN, -Infinity, Infinity, NaN, 0], grad: false })],
    [
      t([6], { data: [2, NaN, -Infinity, Infinity, NaN, 0], grad: false }),
      0,
      { descending: true },
    ],
    [t([6], { data: [1, 0, 1, -0, 0, 1], grad: false })],
    [
      t([6], { data: [1, 0, 1, -0, 0, 1], grad: false }),
      0,
      { descending: true },
    ],
    [t([50], { dtype: "f64" })],
    [t([50], { dtype: "i64", low: -9, high: 9 }), 0, { descending: true }],
    [t([5], { dtype: "i32", low: -9, high: 9 })],
    [t([5], { dtype: "u8", low: 0, high: 250 })],
    [t([5], { dtype: "i8", low: -100, high: 100 })],
    [t([5], { dtype: "bool", low: 0, high: 2 })],
    [t([5], { dtype: "f16" })],
    [t([5], { dtype: "bf16" })],
    [t([])],
    [t([0, 2]), 0],
    [t([0, 2]), 1],
    [t([3, 1])],
  ],
});

/** The order that sorts an axis: where the smallest element stands, the second smallest, … (i64). */
export const argSort: (
  x: Tensor,
  axis?: number,
  options?: SortOptions,
) => Tensor = operator<
  (x: Tensor, axis?: number, options?: SortOptions) => Tensor,
  { axis: number; descending: boolean }
>({
  name: "argSort",
  family: "sorting",
  inputs: ["x"],
  attrs: { axis: -1, descending: false },
  bind: (x, axis, options) => ({ inputs: [x], attrs: { axis, ...options } }),
  formula:
    "o, the permutation with x[o[i]] ≤ x[o[i + 1]] (≥ when descending), and o[i] < o[i + 1] where equal",
  torch: "torch.argsort(x, dim=axis, descending=descending, stable=True)",
  constant: true,
  run: ([x], { axis, descending }) => sorted(x, axis, descending)[1],
  samples: [
    [t([2, 3])],
    [t([2, 3]), 0, { descending: true }],
    [t([4], { dtype: "i64", data: [3, 1, 3, 1] })],
  ],
});

/** Options of {@linkcode topK}. */
export interface TopKOptions {
  /** Axis; the last by default. */
  axis?: number;
  /** Whether to find the largest elements, or the smallest. */
  largest?: boolean;
}

function checkRank(
  what: string,
  count: number,
  least: number,
  axis: number,
  x: Tensor,
): void {
  const extent = x.rank === 0 ? 1 : x.shape[axis];
  if (!Number.isInteger(count) || count < least || count > extent) {
    throw new IndexError(
      `Cannot find the ${what} ${count} along axis ${axis} of a tensor of shape ${
        shapeText(x.shape)
      }: give an integer from ${least} to ${extent}`,
    );
  }
}

/**
 * The `count` largest elements along an axis, largest first (or the smallest),
 * and where they stood (i64). NaN counts as the largest.
 *
 * @throws {IndexError} when the axis has fewer elements.
 */
export const topK: (
  x: Tensor,
  count: number,
  options?: TopKOptions,
) => [Tensor, Tensor] = operator<
  (x: Tensor, count: number, options?: TopKOptions) => [Tensor, Tensor],
  { count: number; axis: number; largest: boolean }
>({
  name: "topK",
  family: "sorting",
  inputs: ["x"],
  attrs: { count: 1, axis: -1, largest: true },
  bind: (x, count, options) => ({ inputs: [x], attrs: { count, ...options } }),
  formula:
    "x[o[i]] and o[i], i < count, x[o[0]] ≥ x[o[1]] ≥ … (≤ for the smallest)",
  torch: "torch.topk(x, count, dim=axis, largest=largest, sorted=True)",
  onnx: "TopK",
  caffe2: "TopK",
  run: ([x], { count, axis, largest }) => {
    const at = normalizeAxis(axis, x.rank, "find the largest");
    checkRank("first", count, 0, at, x);
    const [values, indices] = sort(x, at, { descending: largest });
    if (x.rank === 0) return [values, indices];
    return [narrow(values, at, 0, count), narrow(indices, at, 0, count)];
  },
  samples: [
    [t([2, 5]), 2],
    [t([3, 2]), 2, { axis: 0, largest: false }],
    [t([4], { data: [1, NaN, 3, 2], grad: false }), 2],
    [t([4], { dtype: "i64", data: [4, 1, 3, 2] }), 4],
    [t([3]), 0],
  ],
});

/** Drops the axis of extent 1, or keeps it. */
function unlessKept(
  results: readonly Tensor[],
  axis: number,
  keepDim: boolean,
): [Tensor, Tensor] {
  const [values, indices] = results.map((r) =>
    keepDim || r.rank === 0 ? r : select(r, axis, 0)
  );
  return [values, indices];
}

/** Options of operators that pick one element along an axis. */
export interface PickOptions {
  /** Axis; the last by default. */
  axis?: number;
  /** Whether the axis stays, with extent 1. */
  keepDim?: boolean;
}

/**
 * The k-th smallest element along an axis, counted from 1, and where it stood (i64).
 *
 * @throws {IndexError} when the axis has fewer elements.
 */
export const kthValue: (
  x: Tensor,
  count: number,
  options?: PickOptions,
) => [Tensor, Tensor] = operator<
  (x: Tensor, count: number, options?: PickOptions) => [Tensor, Tensor],
  { count: number; axis: number; keepDim: boolean }
>({
  name: "kthValue",
  family: "sorting",
  inputs: ["x"],
  attrs: { count: 1, axis: -1, keepDim: false },
  bind: (x, count, options) => ({ inputs: [x], attrs: { count, ...options } }),
  formula: "x[o[count − 1]] and o[count − 1], x[o[0]] ≤ x[o[1]] ≤ …",
  torch: "torch.kthvalue(x, count, dim=axis, keepdim=keepDim)",
  run: ([x], { count, axis, keepDim }) => {
    const at = normalizeAxis(axis, x.rank, "find the smallest");
    checkRank("smallest", count, 1, at, x);
    const results = sort(x, at);
    if (x.rank === 0) return [...results];
    const cut = results.map((r) => narrow(r, at, count - 1, 1));
    return unlessKept(cut, at, keepDim);
  },
  samples: [
    [t([2, 5]), 2],
    [t([3, 2]), 3, { axis: 0, keepDim: true }],
    [t([]), 1],
  ],
});

const isNaN = new Elementwise(
  "isNaN",
  1,
  ([x]) => k.ne(x, x),
  "bool",
  true,
);
/** Where the median stands in sorted order: the lower middle, or the first NaN. */
const medianPlace = new Elementwise(
  "medianPlace",
  3,
  ([nans, extent, middle]) =>
    k.select(k.eq(nans, 0), middle, k.sub(extent, nans)),
  "promote",
  true,
);

/**
 * The median along an axis (of two middle elements the smaller), and where it
 * stood (i64); NaN when there is one. Without an axis, the median of all
 * elements, alone.
 *
 * @throws {IndexError} when there are no elements.
 */
export const median: (
  x: Tensor,
  axis?: number,
  options?: { keepDim?: boolean },
) => [Tensor, Tensor] = operator<
  (
    x: Tensor,
    axis?: number,
    options?: { keepDim?: boolean },
  ) => [Tensor, Tensor],
  { axis: number | undefined; keepDim: boolean }
>({
  name: "median",
  family: "sorting",
  inputs: ["x"],
  attrs: { axis: undefined, keepDim: false },
  bind: (x, axis, options) => ({ inputs: [x], attrs: { axis, ...options } }),
  formula: "x[o[m]] and o[m], m = ⌊(n − 1) / 2⌋, x[o[0]] ≤ x[o[1]] ≤ …",
  torch:
    "torch.median(x.flatten(), 0) if axis is None else torch.median(x, axis, keepDim)",
  run: ([x], { axis, keepDim }) => {
    if (axis === undefined) return median(reshape(x, [x.size]), 0);
    const at = axisOf(x, axis, "find the median of");
    checkRank("median", 1, 1, at, x);
    const extent = x.shape[at];
    const [values, indices] = sort(x, at);
    const nans = sum(isNaN.apply([values]), at, { keepDim: true });
    const place = medianPlace.apply([
      nans,
      extent,
      Math.floor((extent - 1) / 2),
    ]);
    return unlessKept(
      [gather(values, at, place), gather(indices, at, place)],
      at,
      keepDim,
    );
  },
  samples: [
    [t([5])],
    [t([2, 3])],
    [t([2, 4]), 1],
    [t([3, 2]), 0, { keepDim: true }],
    [t([4], { data: [1, NaN, 3, NaN], grad: false })],
    [t([3], { dtype: "i64", data: [4, 1, 3] }), 0],
  ],
});

// ---- distinct values ----

/** Whether each element but the first differs from the one before it; the first always does. */
function changes(x: Tensor): Tensor {
  const differs = notEqual.apply([slice(x, [[1]]), slice(x, [[0, -1]])]);
  return concat([fill([1], 1, "bool", x.device), differs]);
}

const notEqual = new Elementwise(
  "notEqual",
  2,
  ([a, b]) => k.ne(a, b),
  "bool",
  true,
);

/** First elements of runs of equal ones: values, run of each element, lengths. */
function runsOf(x: Tensor): { values: Tensor; run: Tensor; counts: Tensor } {
  const { device, size } = x;
  if (size === 0) {
    const none = () => fill([0], 0, "i64", device);
    return { values: x, run: none(), counts: none() };
  }
  const changed = changes(x);
  const starts = flatPositions(changed);
  const ends = concat([slice(starts, [[1]]), fill([1], size, "i64", device)]);
  const running = new Tensor(Value.empty(device, "i64", [size]));
  device.scan({
    dtype: "i64",
    op: "sum",
    rows: 1,
    length: size,
    input: cast(changed, "i64").materialize().value,
    output: running.value,
  });
  return {
    values: take(x, starts),
    run: sub(running, 1),
    counts: sub(ends, starts),
  };
}

/**
 * The distinct elements in ascending order, for each element of `x` which of
 * them it is (i64, in the shape of `x`), and how often each occurs (i64).
 * Every NaN is distinct. Waits for their number.
 */
export const unique: (x: Tensor) => [Tensor, Tensor, Tensor] = operator<
  (x: Tensor) => [Tensor, Tensor, Tensor]
>({
  name: "unique",
  family: "sorting",
  inputs: ["x"],
  formula:
    "v₀ < v₁ < … with {vₖ} = {x[i]}; inverse[i] = k where x[i] = vₖ; counts[k] = |{i : x[i] = vₖ}|",
  torch: "torch.unique(x.detach(), return_inverse=True, return_counts=True)",
  onnx: "Unique",
  caffe2: "Unique",
  constant: true,
  run: ([x]) => {
    const flat = reshape(x, [x.size]);
    const [ordered, order] = sort(flat, 0);
    const { values, run, counts } = runsOf(ordered);
    const inverse = scatter(fill([x.size], 0, "i64", x.device), 0, order, run);
    return [values, reshape(inverse, x.shape), counts];
  },
  samples: [
    [t([7], { data: [3, 1, 3, 2, 1, 1, 0] })],
    [t([2, 3], { dtype: "i64", data: [5, 5, 2, 5, 2, 9] })],
    [t([3], { dtype: "bool", data: [1, 0, 1] })],
    [t([1])],
    [t([0])],
  ],
});

/**
 * The first of each run of equal elements of the flattened tensor, for each
 * element of `x` which run it is in, and how long the runs are.
 */
export const uniqueConsecutive: (x: Tensor) => [Tensor, Tensor, Tensor] =
  operator<(x: Tensor) => [Tensor, Tensor, Tensor]>({
    name: "uniqueConsecutive",
    family: "sorting",
    inputs: ["x"],
    formula:
      "run[i] = |{j : 0 < j ≤ i, x[j] ≠ x[j − 1]}|; vₖ = x[i] where run[i] = k; counts[k] = |{i : run[i] = k}|",
    torch:
      "torch.unique_consecutive(x.detach(), return_inverse=True, return_counts=True)",
    constant: true,
    run: ([x]) => {
      const { values, run, counts } = runsOf(reshape(x, [x.size]));
      return [values, reshape(run, x.shape), counts];
    },
    samples: [
      [t([7], { data: [3, 3, 1, 1, 1, 3, 0] })],
      [t([2, 2], { dtype: "i32", data: [5, 5, 5, 2] })],
    ],
  });
