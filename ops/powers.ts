/**
 * Powers and roots.
 *
 * @module
 */

import { isFloat } from "../core/dtype.ts";
import { DTypeError } from "../core/errors.ts";
import * as k from "../kernel/expr.ts";
import {
  allFloatSamples,
  floatSamples,
  integerSamples,
  pairSamples,
} from "./elementwise_samples.ts";
import {
  type Binary,
  elementwise,
  type Operand,
  refuseTruths,
  type Unary,
} from "./engine.ts";
import { t } from "./samples.ts";

/** Exponents that have a cheaper form than the general power. */
const forms: Readonly<Record<string, (a: k.Expr) => k.Expr>> = {
  "2": (a) => k.mul(a, a),
  "3": (a) => k.mul(k.mul(a, a), a),
  "-1": (a) => k.div(1, a),
  "-2": (a) => k.div(1, k.mul(a, a)),
  "0.5": (a) => k.sqrt(a),
  "-0.5": (a) => k.div(1, k.sqrt(a)),
};

/** Square and multiply; wraps around as products do. Negative exponents round toward 0. */
function integerPower(a: k.Expr, b: k.Expr): k.Expr {
  const bits = a.type === "i64" ? 63 : 31;
  let result = k.constant(1, a.type), square = a;
  for (let i = 0; i < bits; i++) {
    const bit = k.and(i === 0 ? b : k.shr(b, i), 1);
    result = k.mul(result, k.select(k.ne(bit, 0), square, 1));
    square = k.mul(square, square);
  }
  const unit = k.select(k.ne(k.and(b, 1), 0), a, 1);
  const fraction = k.select(k.eq(k.abs(a), 1), unit, 0);
  return k.select(k.lt(b, 0), fraction, result);
}

function checkPower([a, b]: readonly Operand[]): void {
  refuseTruths("take the power of", [a, b]);
  if (
    typeof a !== "number" && !isFloat(a.dtype) && typeof b === "number" &&
    Number.isInteger(b) && b < 0
  ) {
    throw new DTypeError(
      `Cannot raise a tensor of dtype ${a.dtype} to the power ${b}: the result is no integer; convert it with cast(x, "f32")`,
    );
  }
}

/**
 * Power aᵇ. Integers stay integers and wrap around; truth values count as 0 and 1.
 *
 * @throws {DTypeError} for truth values to truth values, and for integers to a negative number.
 */
export const pow: Binary = elementwise<Binary>({
  name: "pow",
  family: "arithmetic",
  inputs: ["a", "b"],
  attrs: { form: "" },
  bind: (a: Operand, b: Operand) => ({
    inputs: [a, b],
    attrs: { form: typeof b === "number" && `${b}` in forms ? `${b}` : "" },
  }),
  check: checkPower,
  define: ([a, b], _, { form }) => {
    if (form !== "") return forms[String(form)](a);
    return a.type === "i32" || a.type === "i64"
      ? integerPower(a, b)
      : k.pow(a, b);
  },
  formula: "aᵇ",
  torch: "torch.pow(a, b)",
  onnx: "Pow",
  caffe2: "Pow",
  samples: [
    ...pairSamples({ low: 0.25 }),
    ...[2, 3, -1, -2, 0.5, -0.5, 0, 1, 2.5].map((exponent) => [
      t([2, 3], { low: 0.25 }),
      exponent,
    ]),
    [t([4]), 3],
    [t([4]), 4],
    [2, t([3])],
    [t([4], { dtype: "i32", data: [3, -2, 0, 7] }), 2],
    [t([4], { dtype: "u8", data: [3, 2, 0, 7] }), 5],
    [t([4], { dtype: "i64", data: [3, 2, 0, 7] }), 0.5],
    [t([2], { dtype: "bool", data: [1, 0] }), 2],
    [2, t([2], { dtype: "bool", data: [1, 0] })],
    [t([2], { dtype: "bool", data: [1, 0] }), 0.5],
    [
      t([2], { dtype: "bool", data: [1, 0] }),
      t([2], { dtype: "i32", data: [2, 0] }),
    ],
    [t([2], { grad: false }), t([2], { dtype: "bool", data: [1, 0] })],
    [
      t([6], { dtype: "i64", data: [3, -2, 0, 1, -1, -1] }),
      t([6], {
        dtype: "i64",
        data: [39, 63, 0, -2, -3, 70],
      }),
    ],
    [
      t([5], { dtype: "i32", data: [3, -2, 0, 5, 2] }),
      t([5], {
        dtype: "i32",
        data: [5, 31, 3, 40, -1],
      }),
    ],
    [
      t([9], { data: [0, 0, 0, -8, 2, NaN, 1, Infinity, 0] }),
      t([9], { data: [0, 1, -1, 3, NaN, 0, NaN, -1, 2] }),
    ],
  ],
});

/** Square x²; of truth values as i64. */
export const square: Unary = elementwise<Unary>({
  name: "square",
  family: "arithmetic",
  result: "number",
  define: ([x]) => k.mul(x, x),
  formula: "x²",
  torch: "x.square()",
  caffe2: "Sqr",
  samples: [
    ...allFloatSamples(),
    ...integerSamples(),
    [t([2], { dtype: "bool", data: [1, 0] })],
  ],
});

/** Square root √x; NaN below 0. */
export const sqrt: Unary = elementwise<Unary>({
  name: "sqrt",
  family: "arithmetic",
  result: "float",
  define: ([x]) => k.sqrt(x),
  formula: "√x",
  torch: "x.sqrt()",
  onnx: "Sqrt",
  caffe2: "Sqrt",
  samples: [
    ...allFloatSamples({ low: 0.25 }),
    ...integerSamples({ low: 0 }),
  ],
});

/** Reciprocal of the square root, 1/√x. */
export const rsqrt: Unary = elementwise<Unary>({
  name: "rsqrt",
  family: "arithmetic",
  result: "float",
  define: ([x]) => k.div(1, k.sqrt(x)),
  formula: "1 / √x",
  torch: "x.rsqrt()",
  caffe2: "Rsqrt",
  samples: [
    ...floatSamples({ low: 0.25 }),
    [t([5], { data: [NaN, Infinity, 0, -0, -1] })],
    ...integerSamples({ low: 0 }),
  ],
});
