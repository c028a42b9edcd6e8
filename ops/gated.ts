/**
 * Activation functions with a second operand: learned slopes, and gates.
 *
 * @module
 */

import { ShapeError, shapeText } from "../core/errors.ts";
import { operator } from "../core/op.ts";
import { normalizeAxis } from "../core/shape.ts";
import type { Tensor } from "../core/tensor.ts";
import * as k from "../kernel/expr.ts";
import { Elementwise } from "./engine.ts";
import { reshape } from "./foundation.ts";
import { t } from "./samples.ts";
import { narrow } from "./slicing.ts";

const sloped = new Elementwise(
  "prelu",
  2,
  ([x, slope]) => k.select(k.gt(x, 0), x, k.mul(slope, x)),
  "float",
  false,
);

/**
 * x where positive, weight · x elsewhere. The weight has one element, or one
 * per channel (axis 1 of x).
 *
 * @throws {ShapeError} when the weight has another number of elements.
 */
export const prelu: (x: Tensor, weight: Tensor) => Tensor = operator<
  (x: Tensor, weight: Tensor) => Tensor
>({
  name: "prelu",
  family: "activation",
  inputs: ["x", "weight"],
  formula: "x > 0 ? x : weight · x",
  torch: "F.prelu(x, weight)",
  onnx: "PRelu",
  caffe2: "PRelu",
  run: ([x, weight]) => {
    const channels = x.rank >= 2 ? x.shape[1] : 1;
    if (weight.size !== 1 && weight.size !== channels) {
      throw new ShapeError(
        `Cannot apply prelu with a weight of shape ${
          shapeText(weight.shape)
        } to a tensor of shape ${
          shapeText(x.shape)
        }: it must have 1 element, or one for each of the ${channels} channels`,
      );
    }
    const shape = weight.size === 1
      ? []
      : [channels, ...x.shape.slice(2).map(() => 1)];
    return sloped.apply([x, reshape(weight, shape)]);
  },
  samples: [
    [t([2, 3, 2]), t([3], { low: 0, high: 1 })],
    [t([2, 3]), t([3], { low: 0, high: 1 })],
    [t([2, 3]), t([1], { data: [0.25] })],
    [t([5]), t([1], { data: [0.25] })],
    [t([3], { data: [0, NaN, -1] }), t([1], { data: [0.25] })],
    [t([0, 2]), t([2])],
    [t([2, 2], { dtype: "f64" }), t([2], { dtype: "f64" })],
  ],
});

const gatedBySigmoid = new Elementwise(
  "glu",
  2,
  ([a, b]) => k.mul(a, k.sigmoid(b)),
  "float",
  false,
);

const gatedBySilu = new Elementwise(
  "swiglu",
  2,
  ([a, b]) => k.mul(k.mul(a, k.sigmoid(a)), b),
  "float",
  false,
);

/** Applies a function of two operands to the two halves of x along an axis. */
function halves(x: Tensor, axis: number, name: string, f: Elementwise): Tensor {
  const at = normalizeAxis(axis, x.rank, name);
  const extent = x.shape[at];
  if (extent % 2 !== 0) {
    throw new ShapeError(
      `Cannot halve a tensor of shape ${
        shapeText(x.shape)
      } along axis ${at} for ${name}: the extent must be even, and is ${extent}`,
    );
  }
  const half = extent / 2;
  return f.apply([narrow(x, at, 0, half), narrow(x, at, half, half)]);
}

/** Splits a tensor in halves a and b along an axis, the last when omitted. */
export type Gate = (x: Tensor, axis?: number) => Tensor;

/**
 * Gated linear unit, a · sigmoid b with the halves a and b of x along an axis.
 *
 * @throws {ShapeError} when the extent of the axis is odd.
 */
export const glu: Gate = operator<Gate, { axis: number }>({
  name: "glu",
  family: "activation",
  inputs: ["x"],
  attrs: { axis: -1 },
  bind: (x, axis) => ({ inputs: [x], attrs: { axis } }),
  formula: "a · 1 / (1 + e⁻ᵇ)",
  torch: "F.glu(x, axis)",
  caffe2: "Glu",
  run: ([x], { axis }) => halves(x, axis, "glu", gatedBySigmoid),
  samples: [
    [t([3, 4])],
    [t([4, 3]), 0],
    [t([2, 2, 3]), 1],
    [t([2], { dtype: "f64" })],
    [t([2], { data: [2, -1000] })],
    [t([0, 4])],
  ],
});

/**
 * Gated unit of LLaMA, silu(a) · b with the halves a and b of x along an axis.
 *
 * @throws {ShapeError} when the extent of the axis is odd.
 */
export const swiglu: Gate = operator<Gate, { axis: number }>({
  name: "swiglu",
  family: "activation",
  inputs: ["x"],
  attrs: { axis: -1 },
  bind: (x, axis) => ({ inputs: [x], attrs: { axis } }),
  formula: "a / (1 + e⁻ᵃ) · b",
  torch: "(lambda a, b: F.silu(a) * b)(*x.chunk(2, axis))",
  onnx: "SwiGLU",
  run: ([x], { axis }) => halves(x, axis, "swiglu", gatedBySilu),
  samples: [
    [t([3, 4])],
    [t([4, 3]), 0],
    [t([2], { dtype: "f64" })],
    [t([2], { data: [-1000, 3] })],
    [t([0, 4])],
  ],
});
