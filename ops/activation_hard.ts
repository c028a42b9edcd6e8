/**
 * Activation functions made of straight pieces.
 *
 * @module
 */

import type { Tensor } from "../core/tensor.ts";
import * as k from "../kernel/expr.ts";
import { bends, bentValues, nothing, refuseBool } from "./bends.ts";
import { between, cut } from "./bounds.ts";
import { floatSamples, integerSamples } from "./elementwise_samples.ts";
import { elementwise, type Unary } from "./engine.ts";
import { t } from "./samples.ts";

const unbounded = t([9], {
  data: [Infinity, -Infinity, 0, -0, 1, -1, 0.5, -0.5, 4],
});

/** x limited to [0, 6]; no gradient at the bounds. */
export const relu6: Unary = elementwise<Unary>({
  name: "relu6",
  family: "activation",
  check: refuseBool,
  define: ([x]) => cut(x, k.constant(0, x.type), k.constant(6, x.type)),
  formula: "min(max(x, 0), 6)",
  torch: "F.relu6(x)",
  onnx: "Clip",
  caffe2: "ReluN",
  samples: [
    ...floatSamples({ high: 5 }),
    [bentValues],
    ...integerSamples({ high: 9 }),
  ],
});

/** Options of {@linkcode hardTanh}. */
export interface HardTanhOptions {
  /** Lower bound; −1 when omitted. */
  min?: number;
  /** Upper bound; 1 when omitted. */
  max?: number;
}

/** `hardTanh`, with its options. */
export type HardTanh = (x: Tensor, options?: HardTanhOptions) => Tensor;

/** x limited to [min, max]; no gradient at the bounds. */
export const hardTanh: HardTanh = elementwise<HardTanh>({
  name: "hardTanh",
  family: "activation",
  attrs: { min: -1, max: 1 },
  check: refuseBool,
  define: ([x], { min, max }) =>
    cut(x, k.cast(min, x.type), k.cast(max, x.type)),
  formula: "min(max(x, min), max)",
  torch: "F.hardtanh(x, min, max)",
  onnx: "Clip",
  samples: [
    ...floatSamples(),
    [bentValues],
    [t([5]), { min: -0.5, max: 1.5 }],
    ...integerSamples(),
  ],
});

/** x / 6 + 1/2, limited to [0, 1]; no gradient at the bounds. */
export const hardSigmoid: Unary = elementwise<Unary>({
  name: "hardSigmoid",
  family: "activation",
  result: "float",
  define: ([x]) =>
    between(
      k.add(k.div(x, 6), 0.5),
      k.constant(0, x.type),
      k.constant(1, x.type),
    ),
  formula: "min(max(x / 6 + ½, 0), 1)",
  torch: "(x / 6 + 0.5).clamp(0, 1)",
  onnx: "HardSigmoid",
  caffe2: "HardSigmoid",
  samples: [...floatSamples({ low: -4, high: 4 }), [bends]],
});

/** x times hardSigmoid x. */
export const hardSwish: Unary = elementwise<Unary>({
  name: "hardSwish",
  family: "activation",
  result: "float",
  define: ([x]) =>
    k.select(
      k.le(x, -3),
      nothing(x),
      k.select(k.lt(x, 3), k.div(k.mul(x, k.add(x, 3)), 6), x),
    ),
  formula: "x · min(max(x / 6 + ½, 0), 1)",
  torch: "F.hardswish(x)",
  onnx: "HardSwish",
  samples: [...floatSamples({ low: -4, high: 4 }), [bends]],
});

/** Options of {@linkcode hardShrink} and {@linkcode softShrink}. */
export interface ShrinkOptions {
  /** Half the width λ of the gap; 0.5 when omitted. */
  lambd?: number;
}

/** A function with the option `lambd`. */
export type Shrink = (x: Tensor, options?: ShrinkOptions) => Tensor;

/** x outside [−λ, λ], 0 inside. */
export const hardShrink: Shrink = elementwise<Shrink>({
  name: "hardShrink",
  family: "activation",
  attrs: { lambd: 0.5 },
  result: "float",
  define: ([x], { lambd }) => k.select(k.le(k.abs(x), lambd), 0, x),
  formula: "|x| > λ ? x : 0",
  torch: "F.hardshrink(x, lambd)",
  onnx: "Shrink",
  samples: [...floatSamples(), [bentValues], [unbounded], [unbounded, {
    lambd: 1,
  }]],
});

/** x drawn toward 0 by λ, 0 in [−λ, λ]. */
export const softShrink: Shrink = elementwise<Shrink>({
  name: "softShrink",
  family: "activation",
  attrs: { lambd: 0.5 },
  result: "float",
  define: ([x], { lambd }) =>
    k.select(
      k.gt(x, lambd),
      k.sub(x, lambd),
      k.select(
        k.lt(x, k.neg(lambd)),
        k.add(x, lambd),
        k.select(k.ne(x, x), x, nothing(x)),
      ),
    ),
  formula: "sgn x · max(|x| − λ, 0)",
  torch: "F.softshrink(x, lambd)",
  onnx: "Shrink",
  samples: [...floatSamples(), [bentValues], [unbounded], [unbounded, {
    lambd: 1,
  }]],
});
