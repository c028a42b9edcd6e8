/**
 * Classes and counts: one-hot vectors, searching sorted values, histograms,
 * repeated positions.
 *
 * @module
 */

import { countOrList } from "../core/attributes.ts";
import { type DType, isFloat } from "../core/dtype.ts";
import { DTypeError, ShapeError, shapeText } from "../core/errors.ts";
import { runRows } from "../core/row_kernels.ts";
import { operator } from "../core/op.ts";
import { scope } from "../core/scope.ts";
import { fromHost, Tensor } from "../core/tensor.ts";
import * as k from "../kernel/expr.ts";
import { cast, expand, fill, reshape } from "./foundation.ts";
import { checkIndices, requireIndex, withAxis } from "./index_values.ts";
import { scatterAdd } from "./indexing.ts";
import { countUp, largest } from "./positions.ts";
import { ints, t } from "./samples.ts";
import { indexSelect } from "./selection.ts";
import { unsqueeze } from "./shape.ts";
import { axisOf } from "./views.ts";

/** Options of {@linkcode oneHot}. */
export interface OneHotOptions {
  /** Number of classes; one more than the largest index when left out. */
  classes?: number;
  /** Dtype of the result. */
  dtype?: DType;
}

/**
 * Vectors that are 1 at the index and 0 elsewhere, along a new last axis.
 *
 * @throws {IndexError} when an index is out of range.
 */
export const oneHot: (index: Tensor, options?: OneHotOptions) => Tensor =
  operator<(index: Tensor, options?: OneHotOptions) => Tensor, {
    classes: number | undefined;
    dtype: DType;
  }>({
    name: "oneHot",
    family: "indexing",
    inputs: ["index"],
    attrs: { classes: undefined, dtype: "i64" },
    formula: "y[…, c] = (index[…] = c ? 1 : 0)",
    torch:
      "F.one_hot(index.long(), -1 if classes is None else classes).to(dtypes[dtype])",
    onnx: "OneHot",
    caffe2: "OneHot",
    constant: true,
    run: ([index], { classes, dtype }) => {
      requireIndex(index, "make one-hot vectors");
      const count = classes ?? largest(index) + 1;
      if (!Number.isInteger(count) || count < 1) {
        throw new ShapeError(
          `Cannot make one-hot vectors of ${count} classes from an index of shape ${
            shapeText(index.shape)
          }: give { classes }, an integer from 1 on`,
        );
      }
      checkIndices(index, 0, count, "make one-hot vectors");
      const [value] = runRows(index.device, {
        name: `one-hot ${dtype}`,
        space: [...index.shape, count],
        axes: [],
        streams: [unsqueeze(index, -1).value],
        passes: 1,
        build: ({ streams: [i], coord }) => ({
          stages: [],
          outputs: [{
            dtype,
            value: k.cast(
              k.eq(k.cast(i, "i32"), coord(index.rank)),
              k.computeType(dtype),
            ),
            per: "element",
          }],
        }),
      });
      return new Tensor(value);
    },
    samples: [
      [ints([0, 2, 1], [3]), { classes: 4 }],
      [ints([0, 2, 1, 1], [2, 2])],
      [ints([1], []), { classes: 2, dtype: "f32" }],
      [t([2], { dtype: "i32", data: [1, 0] }), { classes: 2, dtype: "bool" }],
    ],
  });

/**
 * Where values would be inserted into sorted ones (the last axis) to keep
 * them sorted: before equal ones, or after them with `right`. `sorted` is one
 * vector, or has a row for each row of the values. NaN goes to the end.
 *
 * @throws {ShapeError} when the leading axes differ.
 */
export const searchSorted: (
  sorted: Tensor,
  values: Tensor,
  options?: { right?: boolean },
) => Tensor = operator<
  (sorted: Tensor, values: Tensor, options?: { right?: boolean }) => Tensor,
  { right: boolean }
>({
  name: "searchSorted",
  family: "indexing",
  inputs: ["sorted", "values"],
  attrs: { right: false },
  // `sorted` is a function of Python.
  formula:
    "y[…] = |{j : sorted[j] < values[…]}|, with right sorted[j] ≤ values[…]",
  torch: "torch.searchsorted(sorted, values, right=right)",
  constant: true,
  run: ([sorted, values], { right }) => {
    const fits = sorted.rank === 1 ||
      (sorted.rank === values.rank && sorted.rank > 0 &&
        sorted.shape.slice(0, -1).every((n, d) => n === values.shape[d]));
    if (!fits) {
      throw new ShapeError(
        `Cannot search values of shape ${shapeText(values.shape)} in ${
          shapeText(sorted.shape)
        }: the sorted values must be one vector, or have the same leading extents`,
      );
    }
    if (sorted.dtype !== values.dtype) {
      throw new DTypeError(
        `Cannot search values of dtype ${values.dtype} in ${sorted.dtype}: convert them with .cast("${sorted.dtype}")`,
      );
    }
    const lead = sorted.rank === 1 ? 0 : sorted.rank - 1;
    const length = sorted.shape[sorted.rank - 1];
    const steps = length === 0 ? 0 : Math.floor(Math.log2(length)) + 1;
    const [value] = runRows(values.device, {
      name: `search ${lead} ${steps} ${right}`,
      space: values.shape,
      axes: [],
      streams: [values.value],
      tables: [sorted.value],
      scalars: [length, ...values.shape.slice(0, lead)],
      scalarTypes: [length, ...values.shape.slice(0, lead)].map(() => "i32"),
      passes: 1,
      build: ({ streams: [x], scalars: [n, ...extents], coord, load }) => {
        let row = k.constant(0, "i32");
        extents.forEach((extent, d) => {
          row = k.add(k.mul(row, extent), coord(d));
        });
        const start = k.mul(row, n);
        // As PyTorch halves the range, so that NaN among the sorted values leads to the same place.
        let low: k.Expr = k.constant(0, "i32"), high = n;
        for (let step = 0; step < steps; step++) {
          const open = k.lt(low, high);
          const middle = k.add(low, k.shr(k.sub(high, low), 1));
          const there = load(0, k.add(start, middle));
          const before = k.not(right ? k.gt(there, x) : k.ge(there, x));
          const next = k.select(k.and(open, before), k.add(middle, 1), low);
          high = k.select(k.and(open, k.not(before)), middle, high);
          low = next;
        }
        return {
          stages: [],
          outputs: [{ dtype: "i64", value: low, per: "element" }],
        };
      },
    });
    return new Tensor(value);
  },
  samples: [
    // Beyond a NaN, as PyTorch's search goes.
    [
      t([5], { data: [-1, 0, 2, 3, NaN], grad: false }),
      t([4], { data: [0.5, 2, 3, NaN], grad: false }),
    ],
    [
      t([5], { data: [-1, 0, 0, 2, 3] }),
      t([2, 4], { data: [-2, -1, 0, 1, 2, 3, 4, NaN] }),
    ],
    [
      t([5], { data: [-1, 0, 0, 2, 3] }),
      t([2, 4], { data: [-2, -1, 0, 1, 2, 3, 4, NaN] }),
      { right: true },
    ],
    [ints([1, 3, 5, 2, 4, 6], [2, 3]), ints([3, 6, 0, 4], [2, 2])],
    [t([0]), t([2])],
    [t([3], { data: [1, 2, 3] }), t([], { data: [2.5] })],
  ],
});

/**
 * The number of the bucket between sorted boundaries that each element falls
 * into; a boundary belongs to the bucket below it, or above with `right`.
 */
export const bucketize: (
  x: Tensor,
  boundaries: Tensor,
  options?: { right?: boolean },
) => Tensor = operator<
  (x: Tensor, boundaries: Tensor, options?: { right?: boolean }) => Tensor,
  { right: boolean }
>({
  name: "bucketize",
  family: "indexing",
  inputs: ["x", "boundaries"],
  attrs: { right: false },
  formula:
    "y[…] = |{j : boundaries[j] < x[…]}|, with right boundaries[j] ≤ x[…]",
  torch: "torch.bucketize(x, boundaries, right=right)",
  caffe2: "Bucketize",
  constant: true,
  run: ([x, boundaries], { right }) => searchSorted(boundaries, x, { right }),
  samples: [
    [t([2, 3]), t([3], { data: [-1, 0, 1] })],
    [t([4], { data: [1, 2, 3, 0] }), t([2], { data: [1, 2] }), { right: true }],
  ],
});

/**
 * How often each of 0, 1, 2, … occurs in a vector of integers, or the sum of
 * the weights where it does; the result has at least `minLength` bins. Waits
 * for the largest element.
 *
 * @throws {IndexError} when an element is negative.
 */
export const bincount: (
  x: Tensor,
  weights?: Tensor,
  options?: { minLength?: number },
) => Tensor = operator<
  (x: Tensor, weights?: Tensor, options?: { minLength?: number }) => Tensor,
  {
    minLength: number;
  }
>({
  name: "bincount",
  family: "indexing",
  inputs: ["x", "weights"],
  attrs: { minLength: 0 },
  formula: "y[k] = Σ weights[i] over x[i] = k, weights[i] = 1 where left out",
  torch:
    "torch.bincount(x, None if weights is None else weights.detach(), minLength)",
  run: ([x, weights], { minLength }) => {
    requireIndex(x, "count");
    if (
      x.rank !== 1 || (weights !== undefined && weights.size !== x.size)
    ) {
      throw new ShapeError(
        `Cannot count a tensor of shape ${shapeText(x.shape)}${
          weights === undefined
            ? ""
            : ` with weights of shape ${shapeText(weights.shape)}`
        }: both must be vectors of one length`,
      );
    }
    const bins = Math.max(largest(x) + 1, minLength);
    checkIndices(x, 0, Math.max(bins, 1), "count");
    const each = weights === undefined
      ? fill([x.size], 1, "i64", x.device)
      : isFloat(weights.dtype)
      ? weights
      : cast(weights, "f64");
    const empty = fill([bins], 0, each.dtype, x.device);
    return x.size === 0 ? empty : scatterAdd(empty, 0, x, each);
  },
  samples: [
    [ints([1, 3, 1, 0], [4])],
    [ints([1, 1], [2]), undefined, { minLength: 4 }],
    [ints([], [0]), undefined, { minLength: 2 }],
    [ints([1, 3, 1], [3]), t([3], { dtype: "f64" })],
    [ints([2, 2], [2]), ints([5, 6], [2])],
  ],
});

/**
 * Repeats each position of an axis: all the same number of times, or as often
 * as listed. Without an axis, the elements of the flattened tensor.
 *
 * @throws {ShapeError} when there is not one count per position.
 */
export const repeatInterleave: (
  x: Tensor,
  counts: number | readonly number[],
  axis?: number,
) => Tensor = operator<
  (x: Tensor, counts: number | readonly number[], axis?: number) => Tensor,
  { counts: number | readonly number[]; axis: number | undefined }
>({
  name: "repeatInterleave",
  family: "indexing",
  inputs: ["x"],
  attrs: { counts: 1, axis: undefined },
  rules: { counts: countOrList },
  bind: (x, counts, axis) => ({ inputs: [x], attrs: { counts, axis } }),
  formula:
    "y[…, i, …] = x[…, k, …] where Σ_{j < k} counts[j] ≤ i < Σ_{j ≤ k} counts[j]",
  torch:
    "torch.repeat_interleave(x, counts if isinstance(counts, int) else torch.tensor(counts), axis)",
  caffe2: "LengthsTile",
  run: ([x], { counts, axis }) => {
    if (axis === undefined) {
      return repeatInterleave(reshape(x, [x.size]), counts, 0);
    }
    const at = axisOf(x, axis, "repeat along");
    const extent = x.shape[at];
    const list = typeof counts === "number" ? [counts] : counts;
    if (
      list.some((n) => !Number.isInteger(n) || n < 0) ||
      (typeof counts !== "number" && list.length !== extent)
    ) {
      throw new ShapeError(
        `Cannot repeat the ${extent} positions of axis ${at} of a tensor of shape ${
          shapeText(x.shape)
        } [${list.join(", ")}] times: give one integer, or one for each`,
      );
    }
    if (typeof counts === "number") {
      const apart = unsqueeze(x, at + 1);
      const wide = expand(apart, withAxis(apart.shape, at + 1, [counts]));
      return reshape(wide, withAxis(x.shape, at, [extent * counts]));
    }
    let total = 0;
    const ends = BigInt64Array.from(counts, (n) => BigInt(total += n));
    const positions = scope(() => {
      const sorted = fromHost(ends, "i64", [extent], { device: x.device.name });
      const order = countUp(x.device, total);
      return searchSorted(sorted, order, { right: true });
    });
    return indexSelect(x, at, positions);
  },
  samples: [
    [t([2, 3]), 2],
    [t([2, 3]), 2, 1],
    [t([2, 3]), [2, 0, 3], -1],
    [t([3]), [1, 2, 0]],
    [t([2]), 0, 0],
  ],
});
