/**
 * Arithmetic of tensors, or of a tensor and a number.
 *
 * @module
 */

import { provideArithmetic } from "../core/autograd.ts";
import type { Tensor } from "../core/tensor.ts";
import * as k from "../kernel/expr.ts";
import {
  allFloatSamples,
  floatSamples,
  integerPairSamples,
  integerSamples,
  pairSamples,
} from "./elementwise_samples.ts";
import {
  type Binary,
  elementwise,
  type Operand,
  refuseTruths,
  requireKinds,
  type Unary,
} from "./engine.ts";
import { cast, fill, sum } from "./foundation.ts";
import { t } from "./samples.ts";

export type { Binary, Operand, Unary } from "./engine.ts";
export * from "./division.ts";
export * from "./extremes.ts";
export * from "./powers.ts";

const mixed = [
  [t([3], { dtype: "i64", low: -3, high: 4 }), t([3])],
  [t([3], { dtype: "u8", low: 0, high: 4 }), 2.5],
  [1.5, t([3], { dtype: "f16" })],
  [t([2], { dtype: "bool", data: [1, 0] }), t([2], { dtype: "i32", high: 5 })],
];
const truths = [
  t([4], { dtype: "bool", data: [0, 0, 1, 1] }),
  t([4], { dtype: "bool", data: [0, 1, 0, 1] }),
];

/** Sum a + b; of truth values: or. */
export const add: Binary = elementwise<Binary>({
  name: "add",
  family: "arithmetic",
  inputs: ["a", "b"],
  define: ([a, b]) => a.type === "bool" ? k.or(a, b) : k.add(a, b),
  formula: "a + b",
  torch: "a + b",
  onnx: "Add",
  caffe2: "Add",
  samples: [...pairSamples(), ...integerPairSamples(), ...mixed, truths],
});

/**
 * Difference a − b.
 *
 * @throws {DTypeError} for truth values; `logicalXor` is what they have.
 */
export const sub: Binary = elementwise<Binary>({
  name: "sub",
  family: "arithmetic",
  inputs: ["a", "b"],
  define: ([a, b]) => k.sub(a, b),
  check: (operands) => {
    requireKinds("subtract", operands, ["int", "float"]);
  },
  formula: "a − b",
  torch: "a - b",
  onnx: "Sub",
  caffe2: "Sub",
  samples: [...pairSamples(), ...integerPairSamples(), ...mixed.slice(0, 3)],
});

/** Product a · b; of truth values: and. */
export const mul: Binary = elementwise<Binary>({
  name: "mul",
  family: "arithmetic",
  inputs: ["a", "b"],
  define: ([a, b]) => a.type === "bool" ? k.and(a, b) : k.mul(a, b),
  formula: "a · b",
  torch: "a * b",
  onnx: "Mul",
  caffe2: "Mul",
  samples: [...pairSamples(), ...integerPairSamples(), ...mixed, truths],
});

/** Quotient a / b, in floating point. */
export const div: Binary = elementwise<Binary>({
  name: "div",
  family: "arithmetic",
  inputs: ["a", "b"],
  result: "float",
  define: ([a, b]) => k.div(a, b),
  formula: "a / b",
  torch: "a / b",
  onnx: "Div",
  caffe2: "Div",
  samples: [
    ...pairSamples({}, { low: 0.5 }),
    ...integerPairSamples(),
    [
      t([5], { data: [1, -1, 0, NaN, Infinity] }),
      t([5], {
        data: [0, 0, 0, 1, Infinity],
      }),
    ],
    truths,
  ],
});

/**
 * The negative −x.
 *
 * @throws {DTypeError} for truth values; `logicalNot` is what they have.
 */
export const neg: Unary = elementwise<Unary>({
  name: "neg",
  family: "arithmetic",
  define: ([x]) => k.neg(x),
  check: (operands) => requireKinds("negate", operands, ["int", "float"]),
  formula: "−x",
  torch: "-x",
  onnx: "Neg",
  caffe2: "Negative",
  samples: [...allFloatSamples(), ...integerSamples()],
});

/**
 * Absolute value |x|; its derivative at 0 is 0.
 *
 * @throws {DTypeError} for truth values.
 */
export const abs: Unary = elementwise<Unary>({
  name: "abs",
  family: "arithmetic",
  define: ([x]) => k.abs(x),
  check: (operands) =>
    requireKinds("take the absolute value of", operands, ["int", "float"]),
  formula: "|x|",
  torch: "x.abs()",
  onnx: "Abs",
  caffe2: "Abs",
  samples: [...allFloatSamples(), ...integerSamples()],
});

/** −1, 0 or 1: the sign of x; 0 for NaN. */
export const sign: Unary = elementwise<Unary>({
  name: "sign",
  family: "arithmetic",
  define: ([x]) =>
    x.type === "bool" ? x : k.select(
      k.gt(x, 0),
      k.constant(1, x.type),
      k.select(k.lt(x, 0), k.constant(-1, x.type), k.constant(0, x.type)),
    ),
  formula: "sgn x",
  torch: "x.sign()",
  onnx: "Sign",
  caffe2: "Sign",
  samples: [
    ...floatSamples(),
    [t([7], { data: [NaN, Infinity, -Infinity, 0, -0, 2, -2], grad: false })],
    ...integerSamples(),
    [truths[0]],
  ],
});

/** Whether the sign bit is set: true for −0. */
export const signBit: Unary = elementwise<Unary>({
  name: "signBit",
  family: "arithmetic",
  result: "bool",
  define: ([x]) => x.type === "bool" ? k.constant(0, "bool") : signOf(x),
  formula: "x < 0 or x = −0",
  torch: "x.signbit()",
  samples: [
    [t([6], { data: [Infinity, -Infinity, 0, -0, 2, -2] })],
    [t([3], { data: [-0, 0, -1], dtype: "f64" })],
    [t([3], { data: [-0, 0, -1], dtype: "f16" })],
    ...integerSamples(),
  ],
});

function signOf(x: k.Expr): k.Expr {
  if (x.type === "f32") return k.lt(k.bitcast(x, "i32"), 0);
  return x.type === "f64" ? k.lt(k.bitcast(x, "i64"), 0) : k.lt(x, 0);
}

/** |a| with the sign of b. */
function withSign(a: k.Expr, b: k.Expr): k.Expr {
  return k.select(signOf(b), k.neg(k.abs(a)), k.abs(a));
}

/** The magnitude of a with the sign of b, in floating point. */
export const copySign: Binary = elementwise<Binary>({
  name: "copySign",
  family: "arithmetic",
  inputs: ["a", "b"],
  result: "float",
  define: ([a, b]) => withSign(a, b),
  // ∂: the result / a, 0 at 0, NaN where a is not finite
  slopes: ([a, b]) => [
    k.select(k.eq(a, 0), 0, k.div(withSign(a, b), a)),
    undefined,
  ],
  formula: "b < 0 or b = −0 ? −|a| : |a|",
  torch: "torch.copysign(a, b)",
  samples: [
    // The NaN keeps finite differences away.
    [
      t([4], { data: [NaN, Infinity, -Infinity, 0] }),
      t([4], { data: [-1, -1, 1, -1] }),
    ],
    ...pairSamples({ low: 0.5 }, { low: -2, high: -0.5 }),
    [t([2], { data: [1, -3] }), t([2], { data: [-0, 2], grad: false })],
    [
      t([2], { data: [NaN, Infinity], grad: false }),
      t([2], { data: [-1, -1], grad: false }),
    ],
    [
      t([2], { dtype: "i32", data: [3, -3] }),
      t([2], {
        dtype: "i64",
        data: [-1, 1],
      }),
    ],
  ],
});

/** Reciprocal 1 / x, in floating point. */
export const reciprocal: Unary = elementwise<Unary>({
  name: "reciprocal",
  family: "arithmetic",
  result: "float",
  define: ([x]) => k.div(1, x),
  formula: "1 / x",
  torch: "x.reciprocal()",
  onnx: "Reciprocal",
  caffe2: "Reciprocal",
  samples: [...allFloatSamples({ low: 0.5 }), ...integerSamples()],
});

/** Options of {@linkcode addcmul} and {@linkcode addcdiv}. */
export interface ScaleOptions {
  /** Factor of the product or quotient; 1 when omitted. */
  value?: number;
}

/** A function of three operands with a scale. */
export type Fused = (
  x: Operand,
  a: Operand,
  b: Operand,
  options?: ScaleOptions,
) => Tensor;

/** Adds a scaled product: x + value · a · b. */
export const addcmul: Fused = elementwise<Fused>({
  name: "addcmul",
  family: "arithmetic",
  inputs: ["x", "a", "b"],
  attrs: { value: 1 },
  check: (operands) => refuseTruths("add up products of", operands),
  define: ([x, a, b], { value }) =>
    k.add(x, k.mul(k.mul(k.cast(value, x.type), a), b)),
  formula: "x + value · a · b",
  torch: "torch.addcmul(x, a, b, value=value)",
  samples: [
    [t([2, 3]), t([2, 3]), t([2, 3])],
    [t([2, 3]), t([3]), t([2, 1]), { value: -0.5 }],
    [t([3], { dtype: "f64" }), t([3]), t([]), { value: 3 }],
    [
      t([3], { dtype: "i32" }),
      t([3], { dtype: "i32" }),
      t([3], { dtype: "i32", high: 5 }),
      { value: 2 },
    ],
    [t([0]), t([0]), t([1])],
  ],
});

/** Adds a scaled quotient: x + value · a / b. */
export const addcdiv: Fused = elementwise<Fused>({
  name: "addcdiv",
  family: "arithmetic",
  inputs: ["x", "a", "b"],
  attrs: { value: 1 },
  result: "float",
  define: ([x, a, b], { value }) => k.add(x, k.div(k.mul(value, a), b)),
  formula: "x + value · a / b",
  torch: "torch.addcdiv(x, a, b, value=value)",
  samples: [
    [t([2, 3]), t([2, 3]), t([2, 3], { low: 0.5 })],
    [t([2, 3]), t([3]), t([2, 1], { low: 0.5 }), { value: -0.5 }],
    [t([3], { dtype: "f64" }), t([3]), t([], { low: 1 }), { value: 3 }],
    [t([0]), t([0]), t([1], { low: 1 })],
  ],
});

/** A function of two ends and a weight. */
export type Blend = (a: Operand, b: Operand, weight: Operand) => Tensor;

/** Linear interpolation from a (weight 0) to b (weight 1); exact at both ends. */
export const lerp: Blend = elementwise<Blend>({
  name: "lerp",
  family: "arithmetic",
  inputs: ["a", "b", "weight"],
  result: "float",
  define: ([a, b, w]) => {
    const step = k.sub(b, a);
    return k.select(
      k.lt(k.abs(w), 0.5),
      k.add(a, k.mul(w, step)),
      k.sub(b, k.mul(step, k.sub(1, w))),
    );
  },
  formula: "a + weight · (b − a)",
  torch: "torch.lerp(a, b, weight)",
  samples: [
    [t([2, 3]), t([2, 3]), 0.25],
    [t([2, 3]), t([3]), 0.75],
    [t([2, 3]), t([2, 3]), t([2, 1], { low: 0.1, high: 0.9 })],
    [t([3], { dtype: "f64" }), t([3], { dtype: "f64" }), 1],
    [t([0]), t([0]), 0.5],
  ],
});

/** √(a² + b²), scaled into the middle of the range; ∞ where an operand is infinite. */
function length(a: k.Expr, b: k.Expr): k.Expr {
  const large = k.max(k.abs(a), k.abs(b));
  const double = a.type === "f64";
  const scale = k.select(
    k.gt(large, double ? 2 ** 500 : 2 ** 60),
    k.constant(double ? 2 ** -600 : 2 ** -70, a.type),
    k.select(
      k.lt(large, double ? 2 ** -400 : 2 ** -40),
      k.constant(double ? 2 ** 700 : 2 ** 100, a.type),
      1,
    ),
  );
  const x = k.mul(a, scale), y = k.mul(b, scale);
  const root = k.sqrt(k.add(k.mul(x, x), k.mul(y, y)));
  const infinite = k.or(
    ...[a, b].map((c) => k.eq(k.abs(c), Infinity)) as [k.Expr, k.Expr],
  );
  return k.select(infinite, k.constant(Infinity, a.type), k.div(root, scale));
}

/** Length √(a² + b²) of the vector (a, b), without overflow on the way. */
export const hypot: Binary = elementwise<Binary>({
  name: "hypot",
  family: "arithmetic",
  inputs: ["a", "b"],
  result: "float",
  define: ([a, b]) => length(a, b),
  // ∂: a / √(a² + b²), NaN for an infinite a and at the origin
  slopes: ([a, b]) => [a, b].map((c) => k.div(c, length(a, b))),
  formula: "√(a² + b²)",
  torch: "torch.hypot(a, b)",
  samples: [
    // The NaN keeps finite differences away.
    [
      t([4], { data: [NaN, Infinity, 0, 3] }),
      t([4], { data: [Infinity, 1, 0, -Infinity] }),
    ],
    ...pairSamples({ low: 0.5 }, { low: 0.5 }),
    [
      t([4], { data: [Infinity, -3, 0, NaN], grad: false }),
      t([4], {
        data: [NaN, 4, 0, 1],
        grad: false,
      }),
    ],
    [t([3], { data: [3e30, -3e-30, NaN] }), t([3], { data: [4e30, 4e-30, 0] })],
    [
      t([3], { data: [Infinity, 3, -Infinity] }),
      t([3], { data: [2, -Infinity, Infinity] }),
    ],
  ],
});

provideArithmetic({
  add,
  mul,
  sum,
  onesLike: (x) => fill(x.shape, 1, x.dtype, x.device),
  cast,
});
