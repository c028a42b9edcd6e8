/**
 * Activation functions. The smooth ones are here.
 *
 * @module
 */

import type { Sample } from "../core/op.ts";
import type { Tensor } from "../core/tensor.ts";
import * as k from "../kernel/expr.ts";
import { allFloatSamples, floatSamples } from "./elementwise_samples.ts";
import { elementwise, type Unary } from "./engine.ts";
import { geluTanh } from "./gelu_tanh.ts";
import { t } from "./samples.ts";

export * from "./activation_bent.ts";
export * from "./gated.ts";

const wide = t([8], { data: [100, -100, 1000, -1000, 15, -15, 88, -88] });

/** Logistic function 1 / (1 + e⁻ˣ). */
export const sigmoid: Unary = elementwise<Unary>({
  name: "sigmoid",
  family: "activation",
  result: "float",
  define: ([x]) => k.sigmoid(x),
  formula: "1 / (1 + e⁻ˣ)",
  torch: "x.sigmoid()",
  onnx: "Sigmoid",
  caffe2: "Sigmoid",
  samples: [...allFloatSamples(), [wide], [t([3], { dtype: "i32" })]],
});

/** ln(1 + eˣ), never overflowing. */
function softplusOf(x: k.Expr): k.Expr {
  const below = k.lt(x, 0);
  const decay = k.exp(k.select(below, x, k.neg(x)));
  return k.add(
    k.select(below, k.constant(0, x.type), x),
    k.log1p(decay),
  );
}

/** Logarithm of the logistic function, −ln(1 + e⁻ˣ). */
export const logSigmoid: Unary = elementwise<Unary>({
  name: "logSigmoid",
  family: "activation",
  result: "float",
  define: ([x]) => k.sub(0, softplusOf(k.neg(x))),
  formula: "−ln(1 + e⁻ˣ)",
  torch: "F.logsigmoid(x)",
  samples: [...allFloatSamples(), [wide]],
});

/** Options of {@linkcode softplus}. */
export interface SoftplusOptions {
  /** Sharpness of the bend; 1 when omitted. */
  beta?: number;
  /** Where beta · x is above this the result is x; 20 when omitted. */
  threshold?: number;
}

/** `softplus`, with its options. */
export type Softplus = (x: Tensor, options?: SoftplusOptions) => Tensor;

/** Smooth form of relu, ln(1 + e^(βx)) / β. */
export const softplus: Softplus = elementwise<Softplus>({
  name: "softplus",
  family: "activation",
  attrs: { beta: 1, threshold: 20 },
  result: "float",
  define: ([x], { beta, threshold }) => {
    const scaled = k.mul(x, beta);
    return k.select(
      k.gt(scaled, threshold),
      x,
      k.mul(softplusOf(scaled), k.div(1, beta)),
    );
  },
  formula: "ln(1 + e^(βx)) / β",
  torch: "F.softplus(x, beta, threshold)",
  onnx: "Softplus",
  caffe2: "Softplus",
  samples: [...allFloatSamples(), [wide], [t([5]), { beta: 2.5 }], [t([5]), {
    beta: 2,
    threshold: 1.5,
  }]],
});

/** x times the logistic function of x; also called swish. */
export const silu: Unary = elementwise<Unary>({
  name: "silu",
  family: "activation",
  result: "float",
  define: ([x]) => k.mul(x, k.sigmoid(x)),
  formula: "x / (1 + e⁻ˣ)",
  torch: "F.silu(x)",
  onnx: "Swish",
  caffe2: "Swish",
  samples: [...allFloatSamples(), [wide]],
});

/** x · tanh(softplus x). */
export const mish: Unary = elementwise<Unary>({
  name: "mish",
  family: "activation",
  result: "float",
  define: ([x]) => k.mul(x, k.tanh(softplusOf(x))),
  formula: "x · tanh(ln(1 + eˣ))",
  torch: "F.mish(x)",
  onnx: "Mish",
  caffe2: "Mish",
  samples: [...allFloatSamples(), [wide]],
});

/** Options of {@linkcode gelu}. */
export interface GeluOptions {
  /** `tanh` for the cheaper form of GPT-2; exact when omitted. */
  approximate?: "none" | "tanh";
}

// PyTorch's f32 gelu of an infinity is NaN, in f64 it is not.
const gelus: Sample[] = [
  ...floatSamples(),
  [t([5], { data: [NaN, 0, -0, 1, -1] })],
  [wide],
];

/** `gelu`, with its options. */
export type Gelu = (x: Tensor, options?: GeluOptions) => Tensor;

/** Gaussian error linear unit, x · Φ(x) with Φ the normal distribution function. */
export const gelu: Gelu = elementwise<Gelu>({
  name: "gelu",
  family: "activation",
  attrs: { approximate: "none" },
  result: "float",
  define: ([x], _, { approximate }) => {
    if (approximate === "tanh") return geluTanh(x);
    return k.mul(k.mul(x, 0.5), k.add(1, k.erf(k.mul(x, Math.SQRT1_2))));
  },
  formula: "x · (1 + erf(x / √2)) / 2",
  torch: "F.gelu(x, approximate=approximate)",
  onnx: "Gelu",
  caffe2: "Gelu",
  samples: [...gelus, ...gelus.map(([x]) => [x, { approximate: "tanh" }])],
});

/** x / (1 + |x|). */
export const softsign: Unary = elementwise<Unary>({
  name: "softsign",
  family: "activation",
  result: "float",
  define: ([x]) => k.div(x, k.add(1, k.abs(x))),
  formula: "x / (1 + |x|)",
  torch: "F.softsign(x)",
  onnx: "Softsign",
  caffe2: "Softsign",
  samples: [...allFloatSamples(), [wide]],
});

/** x − tanh x. */
export const tanhShrink: Unary = elementwise<Unary>({
  name: "tanhShrink",
  family: "activation",
  result: "float",
  define: ([x]) => k.sub(x, k.tanh(x)),
  formula: "x − tanh x",
  torch: "F.tanhshrink(x)",
  samples: [...allFloatSamples(), [wide]],
});
