/**
 * Trigonometric and hyperbolic functions; angles in radians.
 *
 * @module
 */

import * as k from "../kernel/expr.ts";
import {
  allFloatSamples,
  floatSamples,
  integerSamples,
  pairSamples,
} from "./elementwise_samples.ts";
import { type Binary, elementwise, type Unary } from "./engine.ts";
import { t } from "./samples.ts";

/** Sine. */
export const sin: Unary = elementwise<Unary>({
  name: "sin",
  family: "math",
  result: "float",
  define: ([x]) => k.call("sin", x),
  formula: "sin x",
  torch: "x.sin()",
  onnx: "Sin",
  caffe2: "Sin",
  samples: [...allFloatSamples(), ...integerSamples(), [
    t([7], {
      data: [100, -1000, 12345, -70000, 1e7, 3e38, -1e30],
      grad: false,
    }),
  ]],
});

/** Cosine. */
export const cos: Unary = elementwise<Unary>({
  name: "cos",
  family: "math",
  result: "float",
  define: ([x]) => k.call("cos", x),
  formula: "cos x",
  torch: "x.cos()",
  onnx: "Cos",
  caffe2: "Cos",
  samples: [...allFloatSamples(), ...integerSamples(), [
    t([7], {
      data: [100, -1000, 12345, -70000, 1e7, 3e38, -1e30],
      grad: false,
    }),
  ]],
});

/** Tangent. */
export const tan: Unary = elementwise<Unary>({
  name: "tan",
  family: "math",
  result: "float",
  define: ([x]) => k.call("tan", x),
  formula: "tan x",
  torch: "x.tan()",
  onnx: "Tan",
  caffe2: "Tan",
  samples: [...allFloatSamples({ low: -1.4, high: 1.4 }), ...integerSamples(), [
    t([7], {
      data: [100, -1000, 12345, -70000, 1e7, 3e38, -1e30],
      grad: false,
    }),
  ]],
});

/** Arc sine; NaN outside [−1, 1]. */
export const asin: Unary = elementwise<Unary>({
  name: "asin",
  family: "math",
  result: "float",
  define: ([x]) => k.call("asin", x),
  formula: "sin⁻¹ x",
  torch: "x.asin()",
  onnx: "Asin",
  caffe2: "Asin",
  samples: [...allFloatSamples({ low: -0.9, high: 0.9 }), ...integerSamples()],
});

/** Arc cosine; NaN outside [−1, 1]. */
export const acos: Unary = elementwise<Unary>({
  name: "acos",
  family: "math",
  result: "float",
  define: ([x]) => k.call("acos", x),
  formula: "cos⁻¹ x",
  torch: "x.acos()",
  onnx: "Acos",
  caffe2: "Acos",
  samples: [...allFloatSamples({ low: -0.9, high: 0.9 }), ...integerSamples()],
});

/** Arc tangent. */
export const atan: Unary = elementwise<Unary>({
  name: "atan",
  family: "math",
  result: "float",
  define: ([x]) => k.call("atan", x),
  formula: "tan⁻¹ x",
  torch: "x.atan()",
  onnx: "Atan",
  caffe2: "Atan",
  samples: [...allFloatSamples(), ...integerSamples()],
});

/** Hyperbolic sine. */
export const sinh: Unary = elementwise<Unary>({
  name: "sinh",
  family: "math",
  result: "float",
  define: ([x]) => k.call("sinh", x),
  formula: "(eˣ − e⁻ˣ) / 2",
  torch: "x.sinh()",
  onnx: "Sinh",
  caffe2: "Sinh",
  samples: [...allFloatSamples(), ...integerSamples()],
});

/** Hyperbolic cosine. */
export const cosh: Unary = elementwise<Unary>({
  name: "cosh",
  family: "math",
  result: "float",
  define: ([x]) => k.call("cosh", x),
  formula: "(eˣ + e⁻ˣ) / 2",
  torch: "x.cosh()",
  onnx: "Cosh",
  caffe2: "Cosh",
  samples: [...allFloatSamples(), ...integerSamples()],
});

/** Hyperbolic tangent. */
export const tanh: Unary = elementwise<Unary>({
  name: "tanh",
  family: "math",
  result: "float",
  define: ([x]) => k.call("tanh", x),
  formula: "(eˣ − e⁻ˣ) / (eˣ + e⁻ˣ)",
  torch: "x.tanh()",
  onnx: "Tanh",
  caffe2: "Tanh",
  samples: [...allFloatSamples(), ...integerSamples(), [
    t([4], { data: [20, -20, 1e-7, 90] }),
  ]],
});

/** Inverse hyperbolic sine. */
export const asinh: Unary = elementwise<Unary>({
  name: "asinh",
  family: "math",
  result: "float",
  define: ([x]) => k.call("asinh", x),
  formula: "ln(x + √(x² + 1))",
  torch: "x.asinh()",
  onnx: "Asinh",
  samples: [...allFloatSamples(), ...integerSamples()],
});

/** Inverse hyperbolic cosine; NaN below 1. */
export const acosh: Unary = elementwise<Unary>({
  name: "acosh",
  family: "math",
  result: "float",
  define: ([x]) => k.call("acosh", x),
  formula: "ln(x + √(x² − 1))",
  torch: "x.acosh()",
  onnx: "Acosh",
  samples: [...allFloatSamples({ low: 1.25, high: 4 }), ...integerSamples()],
});

/** Inverse hyperbolic tangent; NaN outside [−1, 1]. */
export const atanh: Unary = elementwise<Unary>({
  name: "atanh",
  family: "math",
  result: "float",
  define: ([x]) => k.call("atanh", x),
  formula: "½ · ln((1 + x) / (1 − x))",
  torch: "x.atanh()",
  onnx: "Atanh",
  samples: [...allFloatSamples({ low: -0.9, high: 0.9 }), ...integerSamples()],
});

/** Angle of the point (x, y) with the positive x axis, in (−π, π]. */
export const atan2: Binary = elementwise<Binary>({
  name: "atan2",
  family: "math",
  inputs: ["y", "x"],
  result: "float",
  define: ([y, x]) => k.atan2(y, x),
  formula: "tan⁻¹(y / x), in the quadrant of (x, y)",
  torch: "torch.atan2(y, x)",
  samples: [
    ...pairSamples(),
    [
      t([6], { data: [0, -0, 0, 1, NaN, -2] }),
      t([6], {
        data: [0, -0, -1, 0, 1, -3],
      }),
    ],
    [
      t([3], { data: [Infinity, -Infinity, 1], grad: false }),
      t([3], {
        data: [Infinity, 1, -Infinity],
        grad: false,
      }),
    ],
  ],
});

/** Normalised cardinal sine, sin πx / πx; 1 at 0. */
export const sinc: Unary = elementwise<Unary>({
  name: "sinc",
  family: "math",
  result: "float",
  define: ([x]) => {
    const angle = k.mul(x, Math.PI);
    const square = k.mul(angle, angle);
    // 1 − a²/6 + a⁴/120 − a⁶/5040, exact near 0, where derivatives of the quotient cancel
    let series = k.constant(-1 / 5040, x.type);
    for (const c of [1 / 120, -1 / 6, 1]) {
      series = k.add(k.mul(series, square), c);
    }
    return k.select(
      k.lt(square, 2 ** -10),
      series,
      k.div(k.call("sin", angle), angle),
    );
  },
  formula: "x = 0 ? 1 : sin πx / πx",
  torch: "x.sinc()",
  samples: [
    ...allFloatSamples({ low: 0.25 }),
    ...integerSamples(),
    [t([3], { data: [1e-40, -1e-45, 0] })],
    [t([2], { dtype: "f64", data: [1e-200, -1e-310] })],
  ],
});

/** Degrees to radians. */
export const deg2rad: Unary = elementwise<Unary>({
  name: "deg2rad",
  family: "math",
  result: "float",
  define: ([x]) => k.mul(x, Math.PI / 180),
  formula: "x · π / 180",
  torch: "x.deg2rad()",
  samples: [...floatSamples({ low: -180, high: 180 }), ...integerSamples()],
});

/** Radians to degrees. */
export const rad2deg: Unary = elementwise<Unary>({
  name: "rad2deg",
  family: "math",
  result: "float",
  define: ([x]) => k.mul(x, 180 / Math.PI),
  formula: "x · 180 / π",
  torch: "x.rad2deg()",
  samples: [...floatSamples(), ...integerSamples()],
});
