/**
 * Arithmetic of two tensors, or of a tensor and a number.
 *
 * @module
 */

import { provideArithmetic } from "../core/autograd.ts";
import type { Tensor } from "../core/tensor.ts";
import * as k from "../kernel/expr.ts";
import { elementwise, type Operand } from "./engine.ts";
import { fill } from "./foundation.ts";
import { t } from "./samples.ts";

/** A function of two operands, broadcast against each other. */
export type Binary = (a: Operand, b: Operand) => Tensor;

const pairs = [
  [t([2, 3]), t([2, 3], { low: 0.5 })],
  [t([2, 3]), t([3], { low: 0.5 })],
  [t([2, 1]), t([1, 3], { low: 0.5 })],
  [t([4]), t([], { low: 0.5 })],
  [t([0, 3]), t([3], { low: 0.5 })],
  [t([5], { dtype: "f64" }), t([5], { low: 0.5 })],
];

/** Sum a + b. */
export const add: Binary = elementwise<Binary>({
  name: "add",
  family: "arithmetic",
  inputs: ["a", "b"],
  define: ([a, b]) => a.type === "bool" ? k.or(a, b) : k.add(a, b),
  formula: "a + b",
  torch: "a + b",
  onnx: "Add",
  caffe2: "Add",
  samples: pairs,
});

/** Difference a − b. */
export const sub: Binary = elementwise<Binary>({
  name: "sub",
  family: "arithmetic",
  inputs: ["a", "b"],
  define: ([a, b]) => k.sub(a, b),
  formula: "a − b",
  torch: "a - b",
  onnx: "Sub",
  caffe2: "Sub",
  samples: pairs,
});

/** Product a · b. */
export const mul: Binary = elementwise<Binary>({
  name: "mul",
  family: "arithmetic",
  inputs: ["a", "b"],
  define: ([a, b]) => a.type === "bool" ? k.and(a, b) : k.mul(a, b),
  formula: "a · b",
  torch: "a * b",
  onnx: "Mul",
  caffe2: "Mul",
  samples: pairs,
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
  samples: pairs,
});

provideArithmetic({
  add,
  onesLike: (x) => fill(x.shape, 1, x.dtype, x.device),
});
