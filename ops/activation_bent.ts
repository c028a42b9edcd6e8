/**
 * Activation functions with a bend at 0 or at bounds.
 *
 * @module
 */

import type { Tensor } from "../core/tensor.ts";
import * as k from "../kernel/expr.ts";
import { floatSamples, integerSamples } from "./elementwise_samples.ts";
import { elementwise, type Unary } from "./engine.ts";
import { bends, refuseBool } from "./bends.ts";
import { t } from "./samples.ts";

export * from "./activation_hard.ts";

/** x where positive, 0 elsewhere; its derivative at 0 is 0. */
export const relu: Unary = elementwise<Unary>({
  name: "relu",
  family: "activation",
  check: refuseBool,
  define: ([x]) => k.select(k.lt(x, 0), 0, x),
  // −0 stays −0, but has no slope
  slopes: ([x]) => [k.select(k.le(x, 0), k.constant(0, x.type), 1)],
  formula: "max(x, 0)",
  torch: "F.relu(x)",
  onnx: "Relu",
  caffe2: "Relu",
  samples: [...floatSamples(), [bends], ...integerSamples()],
});

/** Options of {@linkcode leakyRelu}. */
export interface LeakyReluOptions {
  /** Slope below 0; 0.01 when omitted. */
  slope?: number;
}

/** `leakyRelu`, with its options. */
export type LeakyRelu = (x: Tensor, options?: LeakyReluOptions) => Tensor;

/** x where positive, slope · x elsewhere. */
export const leakyRelu: LeakyRelu = elementwise<LeakyRelu>({
  name: "leakyRelu",
  family: "activation",
  attrs: { slope: 0.01 },
  result: "float",
  define: ([x], { slope }) => k.select(k.gt(x, 0), x, k.mul(x, slope)),
  formula: "x > 0 ? x : slope · x",
  torch: "F.leaky_relu(x, slope)",
  onnx: "LeakyRelu",
  caffe2: "LeakyRelu",
  samples: [...floatSamples(), [bends], [t([5]), { slope: 0.25 }]],
});

/** Options of {@linkcode elu}, {@linkcode celu} and {@linkcode thresholdedRelu}. */
export interface AlphaOptions {
  /** Scale below 0, or the threshold; 1 when omitted. */
  alpha?: number;
}

/** A function with the option `alpha`. */
export type WithAlpha = (x: Tensor, options?: AlphaOptions) => Tensor;

/** Exponential linear unit: x where positive, α · (eˣ − 1) elsewhere. */
export const elu: WithAlpha = elementwise<WithAlpha>({
  name: "elu",
  family: "activation",
  attrs: { alpha: 1 },
  result: "float",
  define: ([x], { alpha }) => k.select(k.le(x, 0), k.mul(alpha, k.expm1(x)), x),
  formula: "x > 0 ? x : α · (eˣ − 1)",
  torch: "F.elu(x, alpha)",
  onnx: "Elu",
  caffe2: "Elu",
  samples: [...floatSamples(), [bends], [bends, { alpha: 1.5 }], [
    t([3], { data: [100, 1000, -100] }),
  ]],
});

/** Self-normalising exponential linear unit; Klambauer et al., 2017. */
export const selu: Unary = elementwise<Unary>({
  name: "selu",
  family: "activation",
  result: "float",
  define: ([x]) => {
    const bent = k.mul(1.6732632423543772, k.expm1(x));
    return k.mul(1.0507009873554805, k.select(k.le(x, 0), bent, x));
  },
  formula: "1.0507 · (x > 0 ? x : 1.6733 · (eˣ − 1))",
  torch: "F.selu(x)",
  onnx: "Selu",
  caffe2: "Selu",
  samples: [...floatSamples(), [bends], [t([3], { data: [100, 1000, -100] })]],
});

/** Continuously differentiable exponential linear unit: x where positive, α · (e^(x/α) − 1) elsewhere. */
export const celu: WithAlpha = elementwise<WithAlpha>({
  name: "celu",
  family: "activation",
  attrs: { alpha: 1 },
  result: "float",
  define: ([x], { alpha }) =>
    k.select(
      k.le(x, 0),
      k.mul(alpha, k.expm1(k.div(x, alpha))),
      x,
    ),
  formula: "x > 0 ? x : α · (e^(x/α) − 1)",
  torch: "F.celu(x, alpha)",
  onnx: "Celu",
  samples: [...floatSamples(), [bends], [bends, { alpha: 2 }], [
    t([3], { data: [100, 1000, -100] }),
  ]],
});

/** `threshold`, with its parameters. */
export type Threshold = (x: Tensor, threshold: number, value: number) => Tensor;

/** x above the threshold, `value` elsewhere; for integers both are made integers first. */
export const threshold: Threshold = elementwise<Threshold>({
  name: "threshold",
  family: "activation",
  attrs: { threshold: 0, value: 0 },
  bind: (x: Tensor, threshold: number, value: number) => ({
    inputs: [x],
    attrs: { threshold, value },
  }),
  check: refuseBool,
  define: ([x], { threshold, value }) =>
    k.select(k.le(x, k.cast(threshold, x.type)), k.cast(value, x.type), x),
  formula: "x > threshold ? x : value",
  torch: "F.threshold(x, threshold, value)",
  samples: [
    [t([2, 3]), 0.5, -7],
    [bends, 1, 7],
    [t([]), 0, 1],
    [
      t([3], { dtype: "f64" }),
      0,
      1,
    ],
    [t([0]), 0, 1],
    [
      t([5], { dtype: "i64", data: [-1, 0, 1, 2, 3] }),
      -0.5,
      7.5,
    ],
  ],
});

/** x above α, 0 elsewhere; for integers α is made one first. */
export const thresholdedRelu: WithAlpha = elementwise<WithAlpha>({
  name: "thresholdedRelu",
  family: "activation",
  attrs: { alpha: 1 },
  check: refuseBool,
  define: ([x], { alpha }) => k.select(k.le(x, k.cast(alpha, x.type)), 0, x),
  formula: "x > α ? x : 0",
  torch: "F.threshold(x, alpha, 0.0)",
  onnx: "ThresholdedRelu",
  caffe2: "ThresholdedRelu",
  samples: [
    ...floatSamples(),
    [bends],
    [bends, { alpha: -0.5 }],
    ...integerSamples(),
  ],
});
