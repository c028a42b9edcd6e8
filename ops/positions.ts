/**
 * Where something is: masks and their positions, one-hot vectors, searching
 * sorted values, counting.
 *
 * @module
 */

import type { Device } from "../core/device.ts";
import { type DType, isFloat } from "../core/dtype.ts";
import {
  DTypeError,
  IndexError,
  ShapeError,
  shapeText,
} from "../core/errors.ts";
import { contiguous, runRows } from "../core/fuse.ts";
import { operator } from "../core/op.ts";
import { scope } from "../core/scope.ts";
import { broadcastShapes, contiguousStrides } from "../core/shape.ts";
import { fromHost, Tensor } from "../core/tensor.ts";
import { Value } from "../core/value.ts";
import * as k from "../kernel/expr.ts";
import { elementwise } from "./engine.ts";
import { cast, expand, fill, reshape } from "./foundation.ts";
import {
  checkIndices,
  requireIndex,
  withAxis,
  wrapIndices,
} from "./index_values.ts";
import { scatterAdd } from "./indexing.ts";
import { t } from "./samples.ts";
import { indexSelect, take } from "./selection.ts";
import { unsqueeze } from "./shape.ts";
import { slice, type SlicePart } from "./slicing.ts";
import { axisOf } from "./views.ts";

function ints(data: readonly number[], shape: readonly number[]) {
  return t(shape, { dtype: "i64", data });
}

function bools(data: readonly number[], shape: readonly number[]) {
  return t(shape, { dtype: "bool", data });
}

// ---- helpers that are not recorded ----

/** 0, 1, 2, … as i64. */
function countUp(device: Device, size: number): Tensor {
  const [value] = runRows(device, {
    name: "count up",
    space: [size],
    axes: [],
    streams: [],
    passes: 1,
    build: ({ coord }) => ({
      stages: [],
      outputs: [{ dtype: "i64", value: coord(0), per: "element" }],
    }),
  });
  return new Tensor(value);
}

/** The row-major positions of the elements that are not 0, as an i64 vector; waits for their number. */
export function flatPositions(mask: Tensor): Tensor {
  return scope(() => {
    const { device, size } = mask;
    if (size === 0) return new Tensor(Value.empty(device, "i64", [0]));
    const flat = reshape(mask, [size]);
    const [flags] = runRows(device, {
      name: "flags",
      space: [size],
      axes: [],
      streams: [flat.value],
      passes: 1,
      build: ({ streams: [x] }) => ({
        stages: [],
        outputs: [{
          dtype: "i64",
          value: k.cast(k.ne(x, k.constant(0, x.type)), "i32"),
          per: "element",
        }],
      }),
    }).map((value) => new Tensor(value));
    const running = new Tensor(Value.empty(device, "i64", [size]));
    device.scan({
      dtype: "i64",
      op: "sum",
      rows: 1,
      length: size,
      input: flags.value,
      output: running.value,
    });
    const count = slice(running, [-1]).item();
    // Each one goes to its slot; all others to a slot behind the last.
    const [slots] = runRows(device, {
      name: "slots",
      space: [size],
      axes: [],
      streams: [flags.value, running.value],
      scalars: [count],
      scalarTypes: ["i64"],
      passes: 1,
      build: ({ streams: [flag, order], scalars: [behind] }) => ({
        stages: [],
        outputs: [{
          dtype: "i64",
          value: k.select(k.ne(flag, 0), k.sub(order, 1), behind),
          per: "element",
        }],
      }),
    }).map((value) => new Tensor(value));
    const target = new Tensor(Value.empty(device, "i64", [count + 1]));
    device.scatter({
      dtype: "i64",
      mode: "set",
      outer: 1,
      inner: 1,
      targetSize: count + 1,
      sourceSize: size,
      target: target.value,
      source: countUp(device, size).value,
      index: slots.value,
      perElement: false,
    });
    return slice(target, [[0, count]]);
  });
}

/** The largest element of an integer tensor; −1 when it is empty. */
function largest(x: Tensor): number {
  if (x.size === 0) return -1;
  return scope(() => {
    const type = x.dtype === "i64" ? "i64" : "i32";
    const [value] = runRows(x.device, {
      name: "largest",
      space: x.shape,
      axes: x.shape.map((_, d) => d),
      streams: [x.value],
      passes: 1,
      build: ({ streams }) => ({
        stages: [{ op: "max", value: streams[0] }],
        outputs: [{ dtype: type, value: k.stage(0, type), per: "row" }],
      }),
    });
    return new Tensor(value).item();
  });
}

// ---- masks ----

/**
 * Coordinates of the elements that are not 0, one row for each, in row-major
 * order: i64 [count, axes]. Waits for the count.
 */
export const nonzero: (x: Tensor) => Tensor = operator<(x: Tensor) => Tensor>({
  name: "nonzero",
  family: "indexing",
  inputs: ["x"],
  torch: "torch.nonzero(x)",
  onnx: "NonZero",
  constant: true,
  run: ([x]) => {
    const positions = flatPositions(x);
    const { rank } = x;
    const [value] = runRows(x.device, {
      name: `coordinates ${rank}`,
      space: [positions.size, rank],
      axes: [],
      streams: [reshape(positions, [positions.size, 1]).value],
      scalars: [...contiguousStrides(x.shape), ...x.shape],
      scalarTypes: [...x.shape, ...x.shape].map(() => "i32"),
      passes: 1,
      build: ({ streams: [position], scalars, coord }) => {
        const at = k.cast(position, "i32");
        let result = k.constant(0, "i32");
        for (let d = 0; d < rank; d++) {
          const own = k.rem(k.div(at, scalars[d]), scalars[rank + d]);
          result = k.select(k.eq(coord(1), d), own, result);
        }
        return {
          stages: [],
          outputs: [{ dtype: "i64", value: result, per: "element" }],
        };
      },
    });
    return new Tensor(value);
  },
  samples: [
    [t([2, 3], { data: [0, 1, -2, 0, 0, NaN] })],
    [bools([1, 0, 1, 1], [4])],
    [ints([0, 5, 0, 6, 7, 0, 0, 8], [2, 2, 2])],
    [t([3], { data: [0, -0, 0] })],
    [t([], { data: [2] })],
    [t([0, 3])],
  ],
});

/** The elements of `x` with a number in place of those where the mask is true. */
export const maskedFill: (x: Tensor, mask: Tensor, value: number) => Tensor =
  elementwise<(x: Tensor, mask: Tensor, value: number) => Tensor>({
    name: "maskedFill",
    family: "indexing",
    inputs: ["x", "mask"],
    attrs: { value: 0 },
    bind: (x, mask, value) => ({ inputs: [x, mask], attrs: { value } }),
    check: ([, mask]) => requireMask(mask as Tensor, "fill"),
    define: ([x, mask], { value }) => k.select(k.ne(mask, 0), value, x),
    formula: "mask ? value : x",
    torch: "x.masked_fill(mask, value)",
    samples: [
      [t([2, 3]), bools([1, 0, 0, 1, 1, 0], [2, 3]), 1.5],
      [t([2, 3]), bools([1, 0, 0], [3]), -Infinity],
      [t([2, 3]), bools([1], []), 0],
      [t([3], { dtype: "i64" }), bools([0, 1, 0], [3]), 9],
      [t([3], { dtype: "bf16" }), bools([0, 1, 0], [3]), 0.1],
      [t([0, 3]), bools([1, 0, 0], [3]), 2],
    ],
  });

function requireMask(mask: Tensor, what: string): void {
  if (mask.dtype !== "bool") {
    throw new DTypeError(
      `Cannot ${what} where a tensor of dtype ${mask.dtype} says: a mask must be bool; compare it with something, or convert with .cast("bool")`,
    );
  }
}

/**
 * The elements where the mask is true, as a vector, in row-major order; `x`
 * and the mask are broadcast. Waits for their number.
 */
export const maskedSelect: (x: Tensor, mask: Tensor) => Tensor = operator<
  (x: Tensor, mask: Tensor) => Tensor
>({
  name: "maskedSelect",
  family: "indexing",
  inputs: ["x", "mask"],
  torch: "torch.masked_select(x, mask)",
  onnx: "Compress",
  caffe2: "BooleanMask",
  run: ([x, mask]) => {
    requireMask(mask, "select");
    const shape = broadcastShapes([x.shape, mask.shape], "select by a mask of");
    return take(expand(x, shape), flatPositions(expand(mask, shape)));
  },
  samples: [
    [t([2, 3]), bools([1, 0, 0, 1, 1, 0], [2, 3])],
    [t([2, 3]), bools([1, 0, 1], [3])],
    [t([3]), bools([1, 0], [2, 1])],
    [t([3]), bools([0, 0, 0], [3])],
    [t([3], { dtype: "u8" }), bools([0, 1, 1], [3])],
  ],
});

/** What {@linkcode index} takes of an axis: see {@linkcode SlicePart}, or the positions (or the mask) in a tensor. */
export type IndexPart = SlicePart | Tensor;

/**
 * Python's `x[…]`: positions, ranges, null for all of an axis, `"..."`, and
 * at most one tensor: positions (negative ones count from the end), or a
 * mask as long as its axis.
 *
 * @throws {IndexError} when something is out of range.
 */
export const index: (x: Tensor, ...parts: IndexPart[]) => Tensor = operator<
  (x: Tensor, ...parts: IndexPart[]) => Tensor,
  { parts: readonly SlicePart[]; at: number }
>({
  name: "index",
  family: "indexing",
  inputs: ["x", "positions"],
  attrs: { parts: [], at: -1 },
  bind: (x, ...parts: IndexPart[]) => {
    const isPlain = (p: IndexPart): p is SlicePart =>
      typeof p !== "object" || p === null || Array.isArray(p);
    const at = parts.findIndex((p) => !isPlain(p));
    if (parts.filter((p) => !isPlain(p)).length > 1) {
      throw new IndexError(
        "Cannot index with two tensors at once: index with one after the other, or use gather",
      );
    }
    return {
      inputs: [x, parts[at] as Tensor | undefined],
      attrs: { parts: parts.map((p) => isPlain(p) ? p : null), at },
    };
  },
  torch:
    "x[tuple(positions.cpu() if i == at else ... if p == '...' else slice(None) if p is None else p if isinstance(p, int) else slice(*(list(p) + [None, None])[:3]) for i, p in enumerate(parts))]",
  run: ([x, positions], { parts, at }) => {
    const cut = slice(x, parts);
    if (positions === undefined) return cut;
    // Numbers before the tensor drop axes; "..." stands for those not named.
    const dots = parts.slice(0, at).includes("...");
    const named = parts.filter((p) => p !== "...").length;
    const kept = parts.slice(0, at).filter((p) =>
      typeof p !== "number" && p !== "..."
    ).length;
    const axis = kept + (dots ? x.rank - named : 0);
    const extent = cut.shape[axis];
    if (positions.dtype !== "bool") {
      const wrapped = wrapIndices(
        positions,
        extent,
        `index axis ${axis} of a tensor of shape ${shapeText(cut.shape)}`,
      );
      return indexSelect(cut, axis, wrapped);
    }
    if (positions.rank !== 1 || positions.size !== extent) {
      throw new ShapeError(
        `Cannot index axis ${axis} of a tensor of shape ${
          shapeText(cut.shape)
        } with a mask of shape ${
          shapeText(positions.shape)
        }: it must be a vector of ${extent}; maskedSelect takes other masks`,
      );
    }
    return indexSelect(cut, axis, flatPositions(positions));
  },
  samples: [
    [t([3, 4]), 1],
    [t([3, 4]), [0, 2], -1],
    [t([2, 3, 4]), "...", ints([3, -1, 0], [3])],
    [t([2, 3, 4]), 1, ints([2, 0], [2]), [1, null, 2]],
    [t([2, 3]), ints([1, 0, 0, 1], [2, 2])],
    [t([2, 3]), null, bools([1, 0, 1], [3])],
  ],
});

// ---- one-hot ----

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

// ---- searching and counting ----

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
    const table = contiguous(sorted.value);
    const [value] = runRows(values.device, {
      name: `search ${lead} ${steps} ${right}`,
      space: values.shape,
      axes: [],
      streams: [values.value],
      tables: [table],
      scalars: [length, ...values.shape.slice(0, lead)],
      scalarTypes: [length, ...values.shape.slice(0, lead)].map(() => "i32"),
      passes: 1,
      build: ({ streams: [x], scalars: [n, ...extents], coord, load }) => {
        let row = k.constant(0, "i32");
        extents.forEach((extent, d) => {
          row = k.add(k.mul(row, extent), coord(d));
        });
        const start = k.mul(row, n);
        // Powers of two from the largest: each keeps the invariant that all before `low` come before x.
        let low = k.constant(0, "i32");
        for (let step = steps - 1; step >= 0; step--) {
          const probe = k.add(low, 2 ** step);
          const there = load(0, k.add(start, k.sub(probe, 1)));
          const stop = right ? k.lt(x, there) : k.le(x, there);
          low = k.select(k.and(k.le(probe, n), k.not(stop)), probe, low);
        }
        return {
          stages: [],
          outputs: [{ dtype: "i64", value: low, per: "element" }],
        };
      },
    });
    table.release();
    return new Tensor(value);
  },
  samples: [
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
  torch: "torch.bucketize(x, boundaries, right=right)",
  constant: true,
  run: ([x, boundaries], { right }) => searchSorted(boundaries, x, { right }),
  samples: [
    [t([2, 3]), t([3], { data: [-1, 0, 1] })],
    [t([4], { data: [1, 2, 3, 0] }), t([2], { data: [1, 2] }), { right: true }],
  ],
});

/** Options of {@linkcode bincount}. */
export interface BincountOptions {
  /** What each element counts, instead of 1. */
  weights?: Tensor;
  /** Fewest bins of the result. */
  minLength?: number;
}

/**
 * How often each of 0, 1, 2, … occurs in a vector of integers, or the sum of
 * the weights where it does. Waits for the largest element.
 *
 * @throws {IndexError} when an element is negative.
 */
export const bincount: (x: Tensor, options?: BincountOptions) => Tensor =
  operator<(x: Tensor, options?: BincountOptions) => Tensor, {
    minLength: number;
  }>({
    name: "bincount",
    family: "indexing",
    inputs: ["x", "weights"],
    attrs: { minLength: 0 },
    bind: (x, { weights, minLength } = {}) => ({
      inputs: [x, weights],
      attrs: { minLength },
    }),
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
      [ints([1, 1], [2]), { minLength: 4 }],
      [ints([], [0]), { minLength: 2 }],
      [ints([1, 3, 1], [3]), { weights: t([3], { dtype: "f64" }) }],
      [ints([2, 2], [2]), { weights: ints([5, 6], [2]) }],
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
  bind: (x, counts, axis) => ({ inputs: [x], attrs: { counts, axis } }),
  torch:
    "torch.repeat_interleave(x, counts if isinstance(counts, int) else torch.tensor(counts), axis)",
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
