/**
 * Rows of a table by number, and sums of bags of them.
 *
 * @module
 */

import { oneOf } from "../core/attributes.ts";
import { isFloat } from "../core/dtype.ts";
import {
  DTypeError,
  IndexError,
  ShapeError,
  shapeText,
} from "../core/errors.ts";
import { operator } from "../core/op.ts";
import { scope } from "../core/scope.ts";
import { fromHost, type Tensor } from "../core/tensor.ts";
import * as k from "../kernel/expr.ts";
import { div, mul } from "./arithmetic.ts";
import { searchSorted } from "./counting.ts";
import { Elementwise } from "./engine.ts";
import { expand, fill, reshape } from "./foundation.ts";
import { requireIndex } from "./index_values.ts";
import { scatterAdd, scatterReduce } from "./indexing.ts";
import { maskedFill } from "./masks.ts";
import { countUp } from "./positions.ts";
import { ints, t } from "./samples.ts";
import { indexAdd, indexSelect } from "./selection.ts";
import { narrow } from "./slicing.ts";

const isNumber = new Elementwise(
  "isNumber",
  2,
  ([i, number]) => k.eq(i, number),
  "bool",
  true,
);

const replaceNumber = new Elementwise(
  "replaceNumber",
  4,
  ([i, number, by, otherwise]) => k.select(k.eq(i, number), by, otherwise),
  "promote",
  true,
);

/** Options of {@linkcode embedding}. */
export interface EmbeddingOptions {
  /** Row whose gradient is left out; negative ones count from the end. */
  paddingIdx?: number;
}

function paddingRow(
  paddingIdx: number | undefined,
  rows: number,
): number | undefined {
  if (paddingIdx === undefined) return undefined;
  const row = paddingIdx < 0 ? paddingIdx + rows : paddingIdx;
  if (!Number.isInteger(row) || row < 0 || row >= rows) {
    throw new IndexError(
      `Cannot use row ${paddingIdx} as padding of an embedding with ${rows} rows: it must be an integer from ${-rows} to ${
        rows - 1
      }`,
    );
  }
  return row;
}

function requireTable(weight: Tensor, what: string): void {
  if (weight.rank !== 2) {
    throw new ShapeError(
      `Cannot ${what} a table of shape ${
        shapeText(weight.shape)
      }: it must be [rows, width]`,
    );
  }
}

/**
 * The rows of a table that the index names: [..., width] for an index [...].
 *
 * @throws {IndexError} when an index is out of range.
 */
export const embedding: (
  index: Tensor,
  weight: Tensor,
  options?: EmbeddingOptions,
) => Tensor = operator<
  (index: Tensor, weight: Tensor, options?: EmbeddingOptions) => Tensor,
  { paddingIdx: number | undefined }
>({
  name: "embedding",
  family: "embedding",
  inputs: ["index", "weight"],
  attrs: { paddingIdx: undefined },
  formula: "y[…] = weight[index[…]]",
  torch: "F.embedding(index.long(), weight, padding_idx=paddingIdx)",
  onnx: "Gather",
  caffe2: "Gather",
  saves: [0],
  run: ([index, weight], { paddingIdx }) => {
    requireTable(weight, "look up rows of");
    paddingRow(paddingIdx, weight.shape[0]);
    return indexSelect(weight, 0, index);
  },
  // ∂embedding: the gradient added up in the rows it came from, nothing in the padding row
  gradient: ({ inputs: [index], shapes, dtypes, grad, attrs }) => {
    const [rows, width] = shapes[1];
    const flat = reshape(index, [index.size]);
    let parts = reshape(grad, [index.size, width]);
    const padding = paddingRow(attrs.paddingIdx, rows);
    if (padding !== undefined) {
      const hit = isNumber.apply([reshape(index, [index.size, 1]), padding]);
      parts = maskedFill(parts, hit, 0);
    }
    const zeros = fill([rows, width], 0, dtypes[1], grad.device);
    return [undefined, indexAdd(zeros, 0, flat, parts)];
  },
  samples: [
    [ints([1, 0, 2, 1], [2, 2]), t([3, 4])],
    [ints([1, 2, 1, 0], [4]), t([3, 2], { grad: false }), { paddingIdx: 1 }],
    [t([2], { dtype: "i32", data: [0, 1] }), t([3, 2]), { paddingIdx: -1 }],
    [ints([2], []), t([3, 2])],
    [ints([], [0]), t([3, 2])],
    [ints([1, 1], [2]), t([2, 3], { dtype: "bf16" })],
  ],
});

// ---- bags ----

/** The number of the bag for each of `size` positions, bags beginning where `starts` says. */
function bagNumbers(starts: Tensor, size: number): Tensor {
  return scope(() => {
    const order = countUp(starts.device, size);
    const after = searchSorted(starts, order, { right: true });
    return decrease.apply([after, 1]).materialize();
  });
}

const decrease = new Elementwise(
  "decrease",
  2,
  ([a, b]) => k.sub(a, b),
  "promote",
  true,
);

/** How the rows of a bag become one. */
export type BagMode = "sum" | "mean" | "max";

/** Combines rows [n, …] by bag; rows of bag number `count` are left out. */
function combineBags(
  rows: Tensor,
  bags: Tensor,
  count: number,
  mode: BagMode,
): Tensor {
  const { device, dtype } = rows;
  const rest = rows.shape.slice(1);
  const zeros = fill([count + 1, ...rest], 0, dtype, device);
  if (mode === "max") {
    const each = expand(
      reshape(bags, [bags.size, ...rest.map(() => 1)]),
      rows.shape,
    );
    const options = { reduce: "amax", includeSelf: false } as const;
    return narrow(scatterReduce(zeros, 0, each, rows, options), 0, 0, count);
  }
  const sums = narrow(indexAdd(zeros, 0, bags, rows), 0, 0, count);
  if (mode === "sum") return sums;
  const ones = fill([bags.size], 1, dtype, device);
  const counts = narrow(
    scatterAdd(fill([count + 1], 0, dtype, device), 0, bags, ones),
    0,
    0,
    count,
  );
  const least = replaceNumber.apply([counts, 0, 1, counts]);
  return div(sums, reshape(least, [count, ...rest.map(() => 1)]));
}

/** Options of {@linkcode embeddingBag}. */
export interface EmbeddingBagOptions {
  /** How the rows of a bag become one. */
  mode?: BagMode;
  /** Whether the last offset is the end of the last bag. */
  includeLastOffset?: boolean;
  /** Row that is left out of every bag. */
  paddingIdx?: number;
}

type EmbeddingBagAttrs = {
  mode: BagMode;
  includeLastOffset: boolean;
  paddingIdx: number | undefined;
};

/** Numbers of the bags and how many there are. */
function bagsOf(
  index: Tensor,
  offsets: Tensor | undefined,
  includeLastOffset: boolean,
): { bags: Tensor; count: number } {
  const fail = (why: string) =>
    new ShapeError(
      `Cannot sum bags of an index of shape ${shapeText(index.shape)}${
        offsets === undefined ? "" : ` with ${offsets.size} offsets`
      }: ${why}`,
    );
  if (index.rank === 2) {
    if (offsets !== undefined) {
      throw fail("an index [bags, length] takes no offsets");
    }
    const [count, length] = index.shape;
    const numbers = reshape(countUp(index.device, count), [count, 1]);
    return {
      bags: reshape(expand(numbers, [count, length]), [count * length]),
      count,
    };
  }
  if (index.rank !== 1 || offsets === undefined || offsets.rank !== 1) {
    throw fail(
      "give an index [bags, length], or two vectors, index and offsets",
    );
  }
  requireIndex(offsets, "sum bags");
  const starts = Array.from(
    offsets.data() as ArrayLike<number | bigint>,
    Number,
  );
  const sorted = starts.every((n, i) =>
    n <= index.size && (i === 0 ? n === 0 : n >= starts[i - 1])
  );
  if (!sorted) {
    throw fail(
      `offsets must begin with 0, not fall, and end at most at ${index.size}, and are ${
        starts.slice(0, 8).join(", ")
      }${starts.length > 8 ? ", …" : ""}`,
    );
  }
  const count = starts.length - (includeLastOffset ? 1 : 0);
  if (count < 0) throw fail("at least one offset is needed");
  const first = BigInt64Array.from(starts.slice(0, count), BigInt);
  return {
    bags: scope(() =>
      bagNumbers(
        fromHost(first, "i64", [count], { device: index.device.name }),
        index.size,
      )
    ),
    count,
  };
}

/**
 * Sums, means or maxima of bags of rows of a table: of the rows of an index
 * [bags, length], or of the stretches of a vector that begin at `offsets`.
 * `perSampleWeights` multiply the rows before they are summed. An empty bag
 * is 0.
 *
 * @throws {IndexError} when an index is out of range.
 * @throws {ShapeError} when offsets fall or do not begin with 0.
 */
export const embeddingBag: (
  index: Tensor,
  weight: Tensor,
  offsets?: Tensor,
  perSampleWeights?: Tensor,
  options?: EmbeddingBagOptions,
) => Tensor = operator<
  (
    index: Tensor,
    weight: Tensor,
    offsets?: Tensor,
    perSampleWeights?: Tensor,
    options?: EmbeddingBagOptions,
  ) => Tensor,
  EmbeddingBagAttrs
>({
  name: "embeddingBag",
  family: "embedding",
  inputs: ["index", "weight", "offsets", "perSampleWeights"],
  attrs: { mode: "mean", includeLastOffset: false, paddingIdx: undefined },
  rules: { mode: oneOf("sum", "mean", "max") },
  formula:
    "y[b] = Σ perSampleWeights[i] · weight[index[i]] over i in bag b, or the mean or maximum of weight[index[i]]",
  torch:
    "F.embedding_bag(index, weight, offsets, mode=mode, per_sample_weights=perSampleWeights, include_last_offset=includeLastOffset, padding_idx=paddingIdx)",
  run: ([index, weight, offsets, perSampleWeights], attrs) => {
    const { mode, includeLastOffset, paddingIdx } = attrs;
    requireTable(weight, "sum bags of rows of");
    const { bags, count } = bagsOf(index, offsets, includeLastOffset);
    const flat = reshape(index, [index.size]);
    let rows = embedding(flat, weight, { paddingIdx });
    if (perSampleWeights !== undefined) {
      if (mode !== "sum" || perSampleWeights.size !== index.size) {
        throw new ShapeError(
          `Cannot weight the rows of bags (mode "${mode}") of ${index.size} indices by ${perSampleWeights.size} weights: the mode must be "sum", with a weight for each index`,
        );
      }
      rows = mul(rows, reshape(perSampleWeights, [index.size, 1]));
    }
    const padding = paddingRow(paddingIdx, weight.shape[0]);
    // Padding goes to a bag that is thrown away.
    const into = padding === undefined
      ? bags
      : replaceNumber.apply([flat, padding, count, bags]);
    return combineBags(rows, into, count, mode);
  },
  samples: [
    [ints([1, 0, 2, 1], [2, 2]), t([3, 4])],
    [ints([1, 0, 2, 1], [2, 2]), t([3, 4]), undefined, undefined, {
      mode: "max",
    }],
    [
      ints([1, 0, 2, 1, 0], [5]),
      t([3, 2]),
      ints([0, 2, 2], [3]),
      undefined,
      { mode: "sum" },
    ],
    [ints([1, 0, 2, 1, 0], [5]), t([3, 2]), ints([0, 2, 2], [3])],
    [
      ints([1, 0, 2, 1, 0], [5]),
      t([3, 2]),
      ints([0, 3], [2]),
      t([5]),
      { mode: "sum" },
    ],
    [
      ints([1, 0, 2, 1, 0], [5]),
      t([3, 2]),
      ints([0, 3, 5], [3]),
      undefined,
      { includeLastOffset: true },
    ],
    ...(["sum", "mean", "max"] as const).map((mode) => [
      ints([1, 0, 2, 1, 1], [5]),
      t([3, 2]),
      ints([0, 3], [2]),
      undefined,
      { mode, paddingIdx: 1 },
    ]),
  ],
});

/** Options of {@linkcode sparseLengthsSum}. */
export interface SparseLengthsOptions {
  /** Sum, or the sum over the number of rows. */
  reduce?: "sum" | "mean";
}

/**
 * Sums of stretches of rows: result i is the sum of the next `lengths[i]`
 * rows of `data` that the index names, times their weights if there are any.
 *
 * @throws {IndexError} when an index is out of range.
 * @throws {ShapeError} when the lengths do not add up to the index.
 */
export const sparseLengthsSum: (
  data: Tensor,
  index: Tensor,
  lengths: Tensor,
  weights?: Tensor,
  options?: SparseLengthsOptions,
) => Tensor = operator<
  (
    data: Tensor,
    index: Tensor,
    lengths: Tensor,
    weights?: Tensor,
    options?: SparseLengthsOptions,
  ) => Tensor,
  { reduce: "sum" | "mean" }
>({
  name: "sparseLengthsSum",
  family: "embedding",
  inputs: ["data", "index", "lengths", "weights"],
  attrs: { reduce: "sum" },
  rules: { reduce: oneOf("sum", "mean") },
  formula: "y[i] = Σ_{j in stretch i} weights[j] · data[index[j]]",
  torch:
    "F.embedding_bag(index.long(), data, torch.cumsum(lengths.long(), 0) - lengths.long(), mode=reduce, per_sample_weights=weights)",
  caffe2: "SparseLengthsSum",
  run: ([data, index, lengths, weights], { reduce }) => {
    requireIndex(lengths, "sum stretches");
    const list = Array.from(
      lengths.data() as ArrayLike<number | bigint>,
      Number,
    );
    const total = list.reduce((a, b) => a + b, 0);
    const bad = index.rank !== 1 || lengths.rank !== 1 || data.rank === 0 ||
      total !== index.size || list.some((n) => n < 0) ||
      (weights !== undefined && weights.size !== index.size);
    if (bad) {
      throw new ShapeError(
        `Cannot sum stretches of rows of a tensor of shape ${
          shapeText(data.shape)
        } with an index of shape ${shapeText(index.shape)}${
          weights === undefined
            ? ""
            : `, weights of shape ${shapeText(weights.shape)}`
        } and lengths that add up to ${total}: index and lengths must be vectors, the lengths not negative, and their sum ${index.size}`,
      );
    }
    if (!isFloat(data.dtype) && reduce === "mean") {
      throw new DTypeError(
        `Cannot take means of a tensor of dtype ${data.dtype}: convert it with .cast("f32")`,
      );
    }
    let start = 0;
    const starts = BigInt64Array.from(list, (n) => {
      start += n;
      return BigInt(start - n);
    });
    const bags = scope(() =>
      bagNumbers(
        fromHost(starts, "i64", [list.length], { device: data.device.name }),
        total,
      )
    );
    let rows = indexSelect(data, 0, index);
    if (weights !== undefined) {
      const each = [total, ...data.shape.slice(1).map(() => 1)];
      rows = mul(rows, reshape(weights, each));
    }
    return combineBags(rows, bags, list.length, reduce);
  },
  samples: [
    [
      t([4, 3]),
      ints([0, 3, 3, 1, 2], [5]),
      t([3], { dtype: "i32", data: [2, 0, 3] }),
    ],
    [t([4, 3]), ints([0, 3, 3, 1, 2], [5]), ints([2, 0, 3], [3]), t([5])],
    [
      t([4, 3]),
      ints([0, 3, 3, 1, 2], [5]),
      ints([1, 0, 4], [3]),
      undefined,
      { reduce: "mean" },
    ],
  ],
});
