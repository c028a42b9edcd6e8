/**
 * Logic of truth values and of bits.
 *
 * @module
 */

import type { Sample } from "../core/op.ts";
import * as k from "../kernel/expr.ts";
import { integerPairSamples, integerSamples } from "./elementwise_samples.ts";
import {
  type Binary,
  elementwise,
  type Operand,
  refuseTruths,
  requireKinds,
  type Unary,
} from "./engine.ts";
import { t } from "./samples.ts";

const truths: Sample = [
  t([4], { dtype: "bool", data: [0, 0, 1, 1] }),
  t([4], { dtype: "bool", data: [0, 1, 0, 1] }),
];
const numbers: Sample[] = [
  truths,
  [
    t([2, 1], { dtype: "bool", data: [0, 1] }),
    t([2], {
      dtype: "bool",
      data: [0, 1],
    }),
  ],
  [t([5], { data: [0, -0, NaN, 2, 0] }), t([5], { data: [1, 2, 0, NaN, 0] })],
  [
    t([4], { dtype: "i64", data: [0, 5, 0, 4] }),
    t([4], {
      dtype: "bool",
      data: [1, 1, 0, 0],
    }),
  ],
  [
    t([2], { dtype: "f64", data: [0, 5] }),
    t([2], { dtype: "u8", data: [0, 9] }),
  ],
  [t([0]), t([1])],
];

/** Where both are other than 0. */
export const logicalAnd: Binary = elementwise<Binary>({
  name: "logicalAnd",
  family: "comparison",
  inputs: ["a", "b"],
  result: "bool",
  define: ([a, b]) => k.and(k.cast(a, "bool"), k.cast(b, "bool")),
  formula: "a ∧ b",
  torch: "torch.logical_and(a, b)",
  onnx: "And",
  caffe2: "And",
  samples: numbers,
});

/** Where either is other than 0. */
export const logicalOr: Binary = elementwise<Binary>({
  name: "logicalOr",
  family: "comparison",
  inputs: ["a", "b"],
  result: "bool",
  define: ([a, b]) => k.or(k.cast(a, "bool"), k.cast(b, "bool")),
  formula: "a ∨ b",
  torch: "torch.logical_or(a, b)",
  onnx: "Or",
  caffe2: "Or",
  samples: numbers,
});

/** Where one is, and the other is not, other than 0. */
export const logicalXor: Binary = elementwise<Binary>({
  name: "logicalXor",
  family: "comparison",
  inputs: ["a", "b"],
  result: "bool",
  define: ([a, b]) => k.xor(k.cast(a, "bool"), k.cast(b, "bool")),
  formula: "a ⊻ b",
  torch: "torch.logical_xor(a, b)",
  onnx: "Xor",
  caffe2: "Xor",
  samples: numbers,
});

/** Where x is 0. */
export const logicalNot: Unary = elementwise<Unary>({
  name: "logicalNot",
  family: "comparison",
  result: "bool",
  define: ([x]) => k.not(k.cast(x, "bool")),
  formula: "¬x",
  torch: "torch.logical_not(x)",
  onnx: "Not",
  caffe2: "Not",
  samples: [
    [truths[0]],
    [t([4], { data: [0, -0, NaN, 3] })],
    [t([3], { dtype: "f64", data: [0, 1, -1] })],
    ...integerSamples(),
  ],
});

function refuseFloat(operands: readonly Operand[]): void {
  requireKinds("take the bits of", operands, ["bool", "int"]);
}

const bits: Sample[] = [
  truths,
  ...integerPairSamples({ low: -6 }),
  [t([3], { dtype: "bool", data: [0, 1, 1] }), t([3], { dtype: "i32" })],
];

/**
 * Bits that are set in both; truth values count as one bit.
 *
 * @throws {DTypeError} for floats.
 */
export const bitwiseAnd: Binary = elementwise<Binary>({
  name: "bitwiseAnd",
  family: "comparison",
  inputs: ["a", "b"],
  check: refuseFloat,
  define: ([a, b]) => k.and(a, b),
  formula: "a ∧ b, bit by bit",
  torch: "torch.bitwise_and(a, b)",
  onnx: "BitwiseAnd",
  caffe2: "BitwiseAnd",
  samples: bits,
});

/**
 * Bits that are set in either; truth values count as one bit.
 *
 * @throws {DTypeError} for floats.
 */
export const bitwiseOr: Binary = elementwise<Binary>({
  name: "bitwiseOr",
  family: "comparison",
  inputs: ["a", "b"],
  check: refuseFloat,
  define: ([a, b]) => k.or(a, b),
  formula: "a ∨ b, bit by bit",
  torch: "torch.bitwise_or(a, b)",
  onnx: "BitwiseOr",
  caffe2: "BitwiseOr",
  samples: bits,
});

/**
 * Bits that are set in one and not in the other; truth values count as one bit.
 *
 * @throws {DTypeError} for floats.
 */
export const bitwiseXor: Binary = elementwise<Binary>({
  name: "bitwiseXor",
  family: "comparison",
  inputs: ["a", "b"],
  check: refuseFloat,
  define: ([a, b]) => k.xor(a, b),
  formula: "a ⊻ b, bit by bit",
  torch: "torch.bitwise_xor(a, b)",
  onnx: "BitwiseXor",
  caffe2: "BitwiseXor",
  samples: bits,
});

/**
 * The complement of the bits; truth values count as one bit.
 *
 * @throws {DTypeError} for floats.
 */
export const bitwiseNot: Unary = elementwise<Unary>({
  name: "bitwiseNot",
  family: "comparison",
  check: refuseFloat,
  define: ([x]) => k.not(x),
  formula: "¬x, bit by bit",
  torch: "torch.bitwise_not(x)",
  onnx: "BitwiseNot",
  samples: [[truths[0]], ...integerSamples()],
});

function onlyIntegers(operands: readonly Operand[]): void {
  const what = "shift the bits of";
  requireKinds(what, operands, ["bool", "int"]);
  refuseTruths(what, operands);
}

/** Shifts by every power of two that the amount has; `beyond` where it is negative or all bits leave. */
function shifted(
  x: k.Expr,
  amount: k.Expr,
  shift: (x: k.Expr, bits: number) => k.Expr,
  beyond: k.Expr,
): k.Expr {
  const width = x.type === "i64" ? 64 : 32;
  let result = x;
  for (let bit = 1; bit < width; bit *= 2) {
    const set = k.ne(k.and(amount, bit), 0);
    result = k.select(set, shift(result, bit), result);
  }
  const inside = k.and(k.ge(amount, 0), k.lt(amount, width));
  return k.select(inside, result, beyond);
}

const shifts: Sample[] = [
  ...integerPairSamples(),
  [
    t([4], { dtype: "i64", data: [3, -2, -9, 1] }),
    t([4], {
      dtype: "i64",
      data: [70, -1, 33, 62],
    }),
  ],
  [
    t([3], { dtype: "i32", data: [3, -2, 1] }),
    t([3], {
      dtype: "i32",
      data: [33, 31, 30],
    }),
  ],
  [
    t([3], { dtype: "u8", data: [200, 200, 255] }),
    t([3], {
      dtype: "u8",
      data: [1, 9, 7],
    }),
  ],
  [
    t([3], { dtype: "i8", data: [-100, -100, 64] }),
    t([3], {
      dtype: "i8",
      data: [1, 9, 1],
    }),
  ],
];

/**
 * The bits of a moved left by b places, 0 where b is negative or too large.
 *
 * @throws {DTypeError} for anything but integers.
 */
export const bitwiseLeftShift: Binary = elementwise<Binary>({
  name: "bitwiseLeftShift",
  family: "comparison",
  inputs: ["a", "b"],
  check: onlyIntegers,
  define: ([a, b]) => shifted(a, b, k.shl, k.constant(0, a.type)),
  formula: "a · 2ᵇ",
  torch: "torch.bitwise_left_shift(a, b)",
  onnx: "BitShift",
  samples: shifts,
});

/**
 * The bits of a moved right by b places, the sign repeated; the sign alone where b is negative or too large.
 *
 * @throws {DTypeError} for anything but integers.
 */
export const bitwiseRightShift: Binary = elementwise<Binary>({
  name: "bitwiseRightShift",
  family: "comparison",
  inputs: ["a", "b"],
  check: onlyIntegers,
  define: ([a, b]) => {
    const sign = k.select(k.lt(a, 0), k.constant(-1, a.type), 0);
    return shifted(a, b, k.shr, sign);
  },
  formula: "⌊a / 2ᵇ⌋",
  torch: "torch.bitwise_right_shift(a, b)",
  onnx: "BitShift",
  samples: shifts,
});
