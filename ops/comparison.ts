/**
 * Comparisons, questions about elements, and choices between tensors.
 *
 * @module
 */

import type { Sample, SampleTensor } from "../core/op.ts";
import type { Tensor } from "../core/tensor.ts";
import * as k from "../kernel/expr.ts";
import {
  extremes,
  integerPairSamples,
  integerSamples,
  pairSamples,
} from "./elementwise_samples.ts";
import {
  type Binary,
  elementwise,
  type Operand,
  requireKinds,
  type Unary,
} from "./engine.ts";
import { cast, sum } from "./foundation.ts";
import { t } from "./samples.ts";

export * from "./logical.ts";

const pairs: Sample[] = [
  ...pairSamples(),
  ...integerPairSamples(),
  [
    t([7], { data: extremes }),
    t([7], { data: [NaN, Infinity, Infinity, -0, 0, 1, 1] }),
  ],
  [
    t([4], { dtype: "bool", data: [0, 0, 1, 1] }),
    t([4], {
      dtype: "bool",
      data: [0, 1, 0, 1],
    }),
  ],
  [t([3], { dtype: "i32", data: [-1, 0, 1] }), 0.5],
  [
    t([3], { dtype: "bool", data: [0, 1, 1] }),
    t([3], {
      dtype: "i64",
      data: [0, 1, 2],
    }),
  ],
];

/** Where a = b. */
export const eq: Binary = elementwise<Binary>({
  name: "eq",
  family: "comparison",
  inputs: ["a", "b"],
  result: "bool",
  define: ([a, b]) => k.eq(a, b),
  formula: "a = b",
  torch: "torch.eq(torch.as_tensor(a), b)",
  onnx: "Equal",
  caffe2: "EQ",
  samples: pairs,
});

/** Where a ≠ b; true where either is NaN. */
export const ne: Binary = elementwise<Binary>({
  name: "ne",
  family: "comparison",
  inputs: ["a", "b"],
  result: "bool",
  define: ([a, b]) => k.ne(a, b),
  formula: "a ≠ b",
  torch: "torch.ne(torch.as_tensor(a), b)",
  caffe2: "NE",
  samples: pairs,
});

/** Where a < b. */
export const lt: Binary = elementwise<Binary>({
  name: "lt",
  family: "comparison",
  inputs: ["a", "b"],
  result: "bool",
  define: ([a, b]) => k.lt(a, b),
  formula: "a < b",
  torch: "torch.lt(torch.as_tensor(a), b)",
  onnx: "Less",
  caffe2: "LT",
  samples: pairs,
});

/** Where a ≤ b. */
export const le: Binary = elementwise<Binary>({
  name: "le",
  family: "comparison",
  inputs: ["a", "b"],
  result: "bool",
  define: ([a, b]) => k.le(a, b),
  formula: "a ≤ b",
  torch: "torch.le(torch.as_tensor(a), b)",
  onnx: "LessOrEqual",
  caffe2: "LE",
  samples: pairs,
});

/** Where a > b. */
export const gt: Binary = elementwise<Binary>({
  name: "gt",
  family: "comparison",
  inputs: ["a", "b"],
  result: "bool",
  define: ([a, b]) => k.gt(a, b),
  formula: "a > b",
  torch: "torch.gt(torch.as_tensor(a), b)",
  onnx: "Greater",
  caffe2: "GT",
  samples: pairs,
});

/** Where a ≥ b. */
export const ge: Binary = elementwise<Binary>({
  name: "ge",
  family: "comparison",
  inputs: ["a", "b"],
  result: "bool",
  define: ([a, b]) => k.ge(a, b),
  formula: "a ≥ b",
  torch: "torch.ge(torch.as_tensor(a), b)",
  onnx: "GreaterOrEqual",
  caffe2: "GE",
  samples: pairs,
});

function floatOnly(
  x: k.Expr,
  question: (x: k.Expr) => k.Expr,
  other = false,
): k.Expr {
  return x.type === "f32" || x.type === "f64"
    ? question(x)
    : k.constant(other ? 1 : 0, "bool");
}

const questionable: Sample[] = [
  [t([7], { data: extremes })],
  [t([7], { data: extremes, dtype: "f64" })],
  [t([7], { data: extremes, dtype: "f16" })],
  [t([7], { data: extremes, dtype: "bf16" })],
  [t([])],
  [t([0, 2])],
  ...integerSamples(),
  [t([2], { dtype: "bool", data: [0, 1] })],
];

/** Where x is not a number. */
export const isNan: Unary = elementwise<Unary>({
  name: "isNan",
  family: "comparison",
  result: "bool",
  define: ([x]) => floatOnly(x, (x) => k.ne(x, x)),
  formula: "x is not a number",
  torch: "torch.isnan(x)",
  onnx: "IsNaN",
  caffe2: "IsNaN",
  samples: questionable,
});

/** Where x is +∞ or −∞. */
export const isInf: Unary = elementwise<Unary>({
  name: "isInf",
  family: "comparison",
  result: "bool",
  define: ([x]) => floatOnly(x, (x) => k.eq(k.abs(x), Infinity)),
  formula: "x is +∞ or −∞",
  torch: "torch.isinf(x)",
  onnx: "IsInf",
  samples: questionable,
});

/** Where x is +∞. */
export const isPosInf: Unary = elementwise<Unary>({
  name: "isPosInf",
  family: "comparison",
  result: "bool",
  define: ([x]) => floatOnly(x, (x) => k.eq(x, Infinity)),
  formula: "x is +∞",
  torch: "torch.isposinf(x)",
  onnx: "IsInf",
  samples: questionable,
});

/** Where x is −∞. */
export const isNegInf: Unary = elementwise<Unary>({
  name: "isNegInf",
  family: "comparison",
  result: "bool",
  define: ([x]) => floatOnly(x, (x) => k.eq(x, -Infinity)),
  formula: "x is −∞",
  torch: "torch.isneginf(x)",
  onnx: "IsInf",
  samples: questionable,
});

/** Where x is neither infinite nor NaN. */
export const isFinite: Unary = elementwise<Unary>({
  name: "isFinite",
  family: "comparison",
  result: "bool",
  define: ([x]) => floatOnly(x, (x) => k.lt(k.abs(x), Infinity), true),
  formula: "x is neither infinite nor NaN",
  torch: "torch.isfinite(x)",
  samples: questionable,
});

/** Options of {@linkcode isClose} and {@linkcode allClose}. */
export interface CloseOptions {
  /** Allowed difference as a fraction of |b|; 1e-5 when omitted. */
  rtol?: number;
  /** Allowed difference beside that; 1e-8 when omitted. */
  atol?: number;
  /** Whether NaN is close to NaN; false when omitted. */
  equalNan?: boolean;
}

/** A comparison with a tolerance. */
export type Close = (a: Operand, b: Operand, options?: CloseOptions) => Tensor;

/** Where a and b differ by at most atol + rtol · |b|; equal infinities are close. */
export const isClose: Close = elementwise<Close>({
  name: "isClose",
  family: "comparison",
  inputs: ["a", "b"],
  attrs: { rtol: 1e-5, atol: 1e-8, equalNan: false },
  result: "bool",
  define: ([a, b], { rtol, atol }, { equalNan }) => {
    const x = k.cast(a, rtol.type), y = k.cast(b, rtol.type);
    const difference = k.abs(k.sub(x, y));
    const near = k.and(
      k.lt(difference, Infinity),
      k.le(difference, k.add(atol, k.abs(k.mul(rtol, y)))),
    );
    const close = k.or(k.eq(a, b), near);
    return equalNan ? k.or(close, k.and(k.ne(a, a), k.ne(b, b))) : close;
  },
  formula: "|a − b| ≤ atol + rtol · |b|",
  torch:
    "torch.isclose(*(lambda u, v: (u.expand_as(u + v), v.expand_as(u + v)))(a, b), rtol=rtol, atol=atol, equal_nan=equalNan)",
  samples: [
    [t([2, 3]), t([2, 3])],
    [t([2, 3]), t([3]), { atol: 1 }],
    [t([7], { data: extremes }), t([7], { data: extremes })],
    [t([7], { data: extremes }), t([7], { data: extremes }), {
      equalNan: true,
    }],
    [
      t([3], { data: [100, 100.0001, 101] }),
      t([3], { data: [100, 100, 100] }),
      {
        rtol: 1e-2,
      },
    ],
    [
      t([3], { data: [1, Infinity, 1] }),
      t([3], {
        data: [Infinity, -Infinity, 1],
      }),
    ],
    [t([4], { dtype: "i64" }), t([4], { dtype: "i64", low: 0 }), { atol: 1.5 }],
    [t([4], { dtype: "f64" }), t([], { dtype: "f64" })],
  ],
});

/** Whether all elements of a and b are close, see {@linkcode isClose}. */
export function allClose(
  a: Tensor,
  b: Operand,
  options?: CloseOptions,
): boolean {
  const far = cast(eq(isClose(a, b, options), 0), "i64");
  return sum(far).item() === 0;
}

/** A choice by a condition. */
export type Where = (condition: Tensor, a: Operand, b: Operand) => Tensor;

/**
 * a where the condition holds and b elsewhere. The gradient goes to the one
 * that was taken, whatever the other one is.
 *
 * @throws {DTypeError} when the condition is not of dtype bool.
 */
export const where: Where = elementwise<Where>({
  name: "where",
  family: "comparison",
  inputs: ["condition", "a", "b"],
  check: ([condition]) => requireKinds("choose by", [condition], ["bool"]),
  define: ([condition, a, b]) => k.select(k.ne(condition, 0), a, b),
  formula: "condition ? a : b",
  torch: "torch.where(condition, a, b)",
  onnx: "Where",
  caffe2: "Where",
  samples: [
    [choice([2, 3]), t([2, 3]), t([2, 3])],
    [choice([2, 1]), t([3]), t([])],
    [choice([4]), t([4], { dtype: "f64" }), t([4])],
    [choice([4]), t([4], { dtype: "f16" }), 0.5],
    [choice([4]), 1, t([4], { dtype: "i32" })],
    [choice([4]), 1, 0],
    [choice([4]), 1.5, 0],
    [choice([]), t([2]), t([2])],
    [choice([0, 2]), t([2]), t([2])],
    [choice([4]), choice([4]), choice([])],
    [choice([2]), t([2], { data: [NaN, 1] }), t([2], { data: [2, Infinity] })],
    [
      choice([3]),
      t([3], { dtype: "u8", high: 5, low: 0 }),
      t([3], { dtype: "i8" }),
    ],
  ],
});

function choice(shape: readonly number[]): SampleTensor {
  return t(shape, { dtype: "bool", low: 0, high: 2 });
}
