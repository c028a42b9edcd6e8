/**
 * Rounding. Integers are left as they are; the gradient is 0.
 *
 * @module
 */

import * as k from "../kernel/expr.ts";
import { floatSamples, integerSamples } from "./elementwise_samples.ts";
import {
  elementwise,
  type Operand,
  requireKinds,
  type Unary,
} from "./engine.ts";
import { t } from "./samples.ts";

function refuseBool(operands: readonly Operand[]): void {
  requireKinds("round", operands, ["int", "float"]);
}

function rounded(x: k.Expr, how: "floor" | "ceil" | "round" | "trunc"): k.Expr {
  return x.type === "f32" || x.type === "f64" ? k.call(how, x) : x;
}

const halves = t([8], {
  data: [0.5, 1.5, -0.5, -1.5, 2.5, -2.5, 3.49, 1e10],
  grad: false,
});

/** Largest whole number not above x. */
export const floor: Unary = elementwise<Unary>({
  name: "floor",
  family: "math",
  define: ([x]) => rounded(x, "floor"),
  check: refuseBool,
  formula: "⌊x⌋",
  torch: "x.floor()",
  onnx: "Floor",
  caffe2: "Floor",
  samples: [
    ...floatSamples({ low: -5, high: 5 }),
    [t([7], { data: [NaN, Infinity, -Infinity, 0, -0, 1, -1], grad: false })],
    [halves],
    ...integerSamples(),
  ],
});

/** Smallest whole number not below x. */
export const ceil: Unary = elementwise<Unary>({
  name: "ceil",
  family: "math",
  define: ([x]) => rounded(x, "ceil"),
  check: refuseBool,
  formula: "⌈x⌉",
  torch: "x.ceil()",
  onnx: "Ceil",
  caffe2: "Ceil",
  samples: [
    ...floatSamples({ low: -5, high: 5 }),
    [t([7], { data: [NaN, Infinity, -Infinity, 0, -0, 1, -1], grad: false })],
    [halves],
    ...integerSamples(),
  ],
});

/** Nearest whole number; halves go to the even one. */
export const round: Unary = elementwise<Unary>({
  name: "round",
  family: "math",
  define: ([x]) => rounded(x, "round"),
  check: refuseBool,
  formula: "⌊x⌉, halves to the even number",
  torch: "x.round()",
  onnx: "Round",
  samples: [
    ...floatSamples({ low: -5, high: 5 }),
    [t([7], { data: [NaN, Infinity, -Infinity, 0, -0, 1, -1], grad: false })],
    [halves],
    ...integerSamples(),
  ],
});

/** Whole part of x, toward 0. */
export const trunc: Unary = elementwise<Unary>({
  name: "trunc",
  family: "math",
  define: ([x]) => rounded(x, "trunc"),
  check: refuseBool,
  formula: "sgn x · ⌊|x|⌋",
  torch: "x.trunc()",
  samples: [
    ...floatSamples({ low: -5, high: 5 }),
    [t([7], { data: [NaN, Infinity, -Infinity, 0, -0, 1, -1], grad: false })],
    [halves],
    ...integerSamples(),
  ],
});

/** Fraction of x, x − trunc x, with the sign of x. */
export const frac: Unary = elementwise<Unary>({
  name: "frac",
  family: "math",
  define: ([x]) => k.sub(x, rounded(x, "trunc")),
  check: refuseBool,
  formula: "x − trunc x",
  torch: "x.frac()",
  samples: [...floatSamples({ low: -5, high: 5 }), [
    t([5], { data: [NaN, Infinity, -Infinity, 0.25, -0.75] }),
  ]],
});
