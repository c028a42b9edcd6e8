/**
 * Reductions over axes: means, products, logical ones, counts.
 *
 * @module
 */

import { type DType, isFloat } from "../core/dtype.ts";
import { operator } from "../core/op.ts";
import { normalizeAxes } from "../core/shape.ts";
import type { Tensor } from "../core/tensor.ts";
import * as k from "../kernel/expr.ts";
import type { Expr } from "../kernel/expr.ts";
import { div, mul } from "./arithmetic.ts";
import { Elementwise } from "./engine.ts";
import { expand, sum, withKeptAxes } from "./foundation.ts";
import {
  alongside,
  bindReduction,
  inDType,
  type ReduceAttrs,
  reduceRows,
  type Reduction,
  rowSize,
} from "./reduce_rows.ts";
import { t } from "./samples.ts";

export type { Axes } from "./foundation.ts";
export type { ReduceOptions, Reduction } from "./reduce_rows.ts";

const attrs: ReduceAttrs = { axes: undefined, keepDim: false };

/** Floats over every kind of axes, for operators with gradients. */
const floatCalls = [
  [t([2, 3, 4])],
  [t([2, 3, 4]), 1],
  [t([2, 3, 4]), [0, -1], { keepDim: true }],
  [t([3, 1, 2]), 1],
  [t([5], { dtype: "f64" }), 0, { keepDim: true }],
  [t([2, 3], { dtype: "f16" }), 1],
  [t([2, 3], { dtype: "bf16" }), 0],
  [t([])],
];

/**
 * Mean over axes, all of them when `axes` is left out. Integers and truth
 * values have an f32 mean.
 */
export const mean: Reduction = operator<Reduction, ReduceAttrs>({
  name: "mean",
  family: "reduction",
  inputs: ["x"],
  attrs,
  bind: bindReduction,
  formula: "Σ x / n",
  torch:
    "(x if x.is_floating_point() else x.float()).mean(dim=axes, keepdim=keepDim)",
  onnx: "ReduceMean",
  caffe2: "ReduceMean",
  saves: [],
  run: ([x], { axes, keepDim }) => {
    const which = normalizeAxes(axes, x.rank, "take the mean");
    const dtype: DType = isFloat(x.dtype) ? x.dtype : "f32";
    const type = k.computeType(dtype);
    const [value] = reduceRows(x, which, {
      name: "mean",
      scalars: [rowSize(x.shape, which)],
      build: (element, [n]) => ({
        stages: [{ op: "sum", value: k.cast(element, type) }],
        results: [{ dtype, value: k.div(k.stage(0, type), n) }],
      }),
    });
    return withKeptAxes(value, x.shape, which, keepDim);
  },
  // ∂mean: g / n, repeated along the axes
  gradient: ({ shapes: [shape], dtypes: [dtype], grad, attrs: { axes } }) => {
    const which = normalizeAxes(axes, shape.length, "take the mean");
    const share = div(alongside(grad, shape, which), rowSize(shape, which));
    return [expand(inDType(share, dtype), shape)];
  },
  samples: [
    ...floatCalls,
    [t([3, 0]), 1],
    [t([3, 0]), 0],
    [t([4], { dtype: "bool", data: [1, 0, 1, 1] })],
    [t([2, 3], { dtype: "i64" }), 0],
    [t([2, 2], { data: [NaN, 1, Infinity, 2] }), 1],
  ],
});

/** 1 where x is 0. */
const isZero = new Elementwise(
  "isZero",
  1,
  ([x]) => k.select(k.eq(x, 0), k.constant(1, x.type), k.constant(0, x.type)),
  "promote",
  true,
);

/** x with its zeros replaced by ones. */
const withoutZeros = new Elementwise(
  "withoutZeros",
  1,
  ([x]) => k.select(k.eq(x, 0), k.constant(1, x.type), x),
  "promote",
  false,
);

/** x where it is 0, and 0 elsewhere: no value, but a derivative. */
const zeroOf = new Elementwise(
  "zeroOf",
  1,
  ([x]) => k.select(k.eq(x, 0), x, k.constant(0, x.type)),
  "promote",
  false,
);

/**
 * g times the product of all others, from the product p of what is not 0, the
 * number of zeros and their sum s. With one zero, the others' products hold it
 * once; with two, the zeros' products hold the other: s − x. Both are 0, but
 * not their derivatives.
 */
const productOfOthers = new Elementwise(
  "prod gradient",
  5,
  ([x, p, zeros, s, g]) => {
    const none = k.constant(0, x.type);
    const zero = k.eq(x, 0);
    const whole = k.select(k.eq(k.sub(p, p), 0), p, none);
    const one = k.select(zero, p, k.mul(k.div(whole, x), s));
    const two = k.select(zero, k.mul(whole, k.sub(s, x)), none);
    const some = k.select(
      k.eq(zeros, 1),
      one,
      k.select(k.eq(zeros, 2), two, none),
    );
    return k.mul(g, k.select(k.eq(zeros, 0), k.div(p, x), some));
  },
  "promote",
  false,
);

/** Product over axes, all of them when `axes` is left out. Integers are multiplied as i64. */
export const prod: Reduction = operator<Reduction, ReduceAttrs>({
  name: "prod",
  family: "reduction",
  inputs: ["x"],
  attrs,
  bind: bindReduction,
  formula: "Π x",
  torch: "(x.prod().reshape([1] * x.dim() if keepDim else []) if axes is None" +
    " else x.prod(dim=axes, keepdim=keepDim) if isinstance(axes, int)" +
    " else x.prod(dim=max(a % x.dim() for a in axes), keepdim=keepDim)" +
    ".prod(dim=min(a % x.dim() for a in axes), keepdim=keepDim))",
  onnx: "ReduceProd",
  run: ([x], { axes, keepDim }) => {
    const which = normalizeAxes(axes, x.rank, "take the product");
    const dtype: DType = isFloat(x.dtype) ? x.dtype : "i64";
    const type = k.computeType(dtype);
    const [value] = reduceRows(x, which, {
      name: "prod",
      build: (element) => ({
        stages: [{ op: "prod", value: k.cast(element, type) }],
        results: [{ dtype, value: k.stage(0, type) }],
      }),
    });
    return withKeptAxes(value, x.shape, which, keepDim);
  },
  // ∂prod: g · Π of the other elements
  gradient: ({ inputs: [x], grad, attrs: { axes } }) => {
    const which = normalizeAxes(axes, x.rank, "take the product");
    const kept = { keepDim: true };
    const p = prod(withoutZeros.apply([x]), which, kept);
    const zeros = sum(isZero.apply([x]), which, kept);
    const s = sum(zeroOf.apply([x]), which, kept);
    const g = alongside(grad, x.shape, which);
    return [productOfOthers.apply([x, p, zeros, s, g])];
  },
  samples: [
    ...floatCalls,
    [t([3, 0]), 1],
    [t([2, 3], { dtype: "i32" }), 1],
    [t([3], { dtype: "bool", data: [1, 1, 0] })],
    [t([3, 3], { data: [1, 2, 3, 4, 0, 6, 0, 8, 0] }), 1],
    [t([4], { data: [0, 2, 3, -1] })],
    [t([4], { data: [0, 2, -0, -1] })],
  ],
});

/** Sum of squares over axes, all of them when `axes` is left out. */
export const sumSquares: Reduction = operator<Reduction, ReduceAttrs>({
  name: "sumSquares",
  family: "reduction",
  inputs: ["x"],
  attrs,
  bind: bindReduction,
  formula: "Σ x²",
  torch: "(x * x).sum(dim=axes, keepdim=keepDim)",
  onnx: "ReduceSumSquare",
  caffe2: "SumSqrElements",
  run: ([x], { axes, keepDim }) => {
    const which = normalizeAxes(axes, x.rank, "sum the squares");
    const dtype: DType = isFloat(x.dtype) ? x.dtype : "i64";
    const type = k.computeType(dtype);
    const [value] = reduceRows(x, which, {
      name: "sumSquares",
      build: (element) => {
        const e = k.cast(element, type);
        return {
          stages: [{ op: "sum", value: k.mul(e, e) }],
          results: [{ dtype, value: k.stage(0, type) }],
        };
      },
    });
    return withKeptAxes(value, x.shape, which, keepDim);
  },
  // ∂sumSquares: 2·g·x
  gradient: ({ inputs: [x], grad, attrs: { axes } }) => {
    const which = normalizeAxes(axes, x.rank, "sum the squares");
    return [mul(mul(alongside(grad, x.shape, which), 2), x)];
  },
  samples: [
    [t([2, 3, 4])],
    [t([2, 3]), 0, { keepDim: true }],
    [t([4], { dtype: "f64" })],
    [t([2, 3], { dtype: "i32" }), 1],
    [t([0])],
    [t([])],
  ],
});

/** 1 for each element that is not 0 (NaN is not), as i32. */
function truth(x: Expr): Expr {
  return k.cast(k.cast(x, "bool"), "i32");
}

const logicalCalls = [
  [t([2, 3], { data: [0, 0, 0, 1, 0, 2] })],
  [t([2, 3], { data: [0, 0, 0, 1, 0, 2] }), 1],
  [t([2, 3], { data: [1, 2, 3, 1, 0, NaN] }), 1, { keepDim: true }],
  [t([2, 2, 2], { dtype: "bool", data: [0, 0, 1, 1, 0, 1, 1, 1] }), [0, 2]],
  [t([3], { dtype: "i64", data: [0, 5, 0] }), 0],
  [t([2, 0]), 1],
  [t([], { data: [1] })],
];

/** Whether any element along the axes is not 0. */
export const any: Reduction = operator<Reduction, ReduceAttrs>({
  name: "any",
  family: "reduction",
  inputs: ["x"],
  attrs,
  bind: bindReduction,
  formula: "∃ x ≠ 0",
  torch: "torch.any(x, dim=axes, keepdim=keepDim)",
  constant: true,
  run: ([x], { axes, keepDim }) => {
    const which = normalizeAxes(axes, x.rank, "look for true elements");
    const [value] = reduceRows(x, which, {
      name: "any",
      build: (element) => ({
        stages: [{ op: "max", value: truth(element) }],
        results: [{ dtype: "bool", value: k.gt(k.stage(0, "i32"), 0) }],
      }),
    });
    return withKeptAxes(value, x.shape, which, keepDim);
  },
  samples: logicalCalls,
});

/** Whether all elements along the axes are not 0. */
export const all: Reduction = operator<Reduction, ReduceAttrs>({
  name: "all",
  family: "reduction",
  inputs: ["x"],
  attrs,
  bind: bindReduction,
  formula: "∀ x ≠ 0",
  torch: "torch.all(x, dim=axes, keepdim=keepDim)",
  constant: true,
  run: ([x], { axes, keepDim }) => {
    const which = normalizeAxes(axes, x.rank, "look for false elements");
    const [value] = reduceRows(x, which, {
      name: "all",
      build: (element) => ({
        stages: [{ op: "min", value: truth(element) }],
        results: [{ dtype: "bool", value: k.gt(k.stage(0, "i32"), 0) }],
      }),
    });
    return withKeptAxes(value, x.shape, which, keepDim);
  },
  samples: logicalCalls,
});

/** Number of elements along the axes that are not 0, as i64. */
export const countNonzero: Reduction = operator<Reduction, ReduceAttrs>({
  name: "countNonzero",
  family: "reduction",
  inputs: ["x"],
  attrs,
  bind: bindReduction,
  formula: "Σ [x ≠ 0]",
  torch: "(x != 0).sum(dim=axes, keepdim=keepDim)",
  constant: true,
  run: ([x], { axes, keepDim }) => {
    const which = normalizeAxes(axes, x.rank, "count elements");
    const [value] = reduceRows(x, which, {
      name: "countNonzero",
      build: (element) => ({
        stages: [{ op: "sum", value: truth(element) }],
        results: [{ dtype: "i64", value: k.stage(0, "i32") }],
      }),
    });
    return withKeptAxes(value, x.shape, which, keepDim);
  },
  samples: logicalCalls,
});

/** x, and 0 where it is NaN. */
const zeroForNan = new Elementwise(
  "zeroForNan",
  1,
  ([x]) => k.select(k.ne(x, x), k.constant(0, x.type), x),
  "promote",
  false,
  0,
  // ∂: 0 for NaN, as a factor: of an infinite gradient it makes NaN
  ([x]) => [k.cast(k.eq(x, x), x.type)],
);

/** 1, and 0 where x is NaN. */
const isNumber = new Elementwise(
  "isNumber",
  1,
  ([x]) => k.select(k.ne(x, x), k.constant(0, x.type), k.constant(1, x.type)),
  "promote",
  true,
);

const nanCalls = [
  [t([2, 3], { data: [NaN, 1, 2, NaN, NaN, NaN], grad: false })],
  [t([2, 3], { data: [NaN, 1, 2, 3, NaN, 4], grad: false }), 1],
  [t([2, 3]), 0, { keepDim: true }],
  [t([])],
];

/** Sum over axes of the elements that are not NaN. */
export const nanSum: Reduction = operator<Reduction, ReduceAttrs>({
  name: "nanSum",
  family: "reduction",
  inputs: ["x"],
  attrs,
  bind: bindReduction,
  formula: "Σ x over x ≠ NaN",
  torch: "torch.nansum(x, dim=axes, keepdim=keepDim)",
  run: ([x], { axes, keepDim }) =>
    sum(isFloat(x.dtype) ? zeroForNan.apply([x]) : x, axes, { keepDim }),
  samples: nanCalls,
});

/** Mean over axes of the elements that are not NaN; NaN where there is none. */
export const nanMean: Reduction = operator<Reduction, ReduceAttrs>({
  name: "nanMean",
  family: "reduction",
  inputs: ["x"],
  attrs,
  bind: bindReduction,
  formula: "Σ x / n over x ≠ NaN",
  torch: "torch.nanmean(x, dim=axes, keepdim=keepDim)",
  run: ([x], { axes, keepDim }): Tensor => {
    if (!isFloat(x.dtype)) return mean(x, axes, { keepDim });
    const count = sum(isNumber.apply([x]), axes, { keepDim });
    return div(nanSum(x, axes, { keepDim }), count);
  },
  samples: nanCalls,
});
