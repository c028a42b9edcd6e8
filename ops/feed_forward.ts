/**
 * The feed-forward part of a transformer: two affine maps with an activation
 * between them.
 *
 * @module
 */

import { gradEnabled } from "../core/autograd.ts";
import type { ProductActivation } from "../core/device.ts";
import { operator } from "../core/op.ts";
import type { Tensor } from "../core/tensor.ts";
import {
  activated,
  backThrough,
  composed,
  type LinearActivation,
  type LinearActivationOptions,
  mayFuse,
  slopes,
  torchActivation,
} from "./activated_products.ts";
import { fused, type FusedContext } from "./fused.ts";
import { checkLinear, linear, weightGradients } from "./linear.ts";
import { linearActivation } from "./linear_activation.ts";
import { batchMatmul } from "./matmul.ts";
import { asRows, fromRows } from "./products.ts";
import { t } from "./samples.ts";

/** Signature of {@linkcode feedForward}. */
export type FeedForward = (
  x: Tensor,
  w1: Tensor,
  b1: Tensor | undefined,
  w2: Tensor,
  b2?: Tensor,
  options?: LinearActivationOptions,
) => Tensor;

/**
 * Two affine maps with an activation between them, f(x·w₁ᵀ + b₁)·w₂ᵀ + b₂.
 *
 * @param x Tensor [..., in].
 * @param w1 First weights [hidden, in].
 * @param b1 First bias [hidden], or undefined for none.
 * @param w2 Second weights [out, hidden].
 * @param b2 Second bias [out], or undefined for none.
 * @returns Tensor [..., out].
 * @throws {ShapeError} when the extents do not fit.
 * @throws {RangeError} for an activation that is not known.
 */
export const feedForward: FeedForward = operator<
  FeedForward,
  { activation: LinearActivation }
>({
  name: "feedForward",
  family: "matmul",
  inputs: ["x", "w1", "b1", "w2", "b2"],
  attrs: { activation: "relu" },
  formula: "f(x · w1ᵀ + b1) · w2ᵀ + b2",
  torch: `F.linear(${torchActivation}(F.linear(x, w1, b1)), w2, b2)`,
  run: ([x, w1, b1, w2, b2], { activation }) => {
    const options = { activation };
    if (!mayFuse(x, activation) || !gradEnabled()) {
      return linear(linearActivation(x, w1, b1, options), w2, b2);
    }
    checkLinear(x, w1, b1);
    const f = activation as ProductActivation;
    const flat = asRows(x);
    const [y] = fused({
      name: "feedForward",
      inputs: [flat, w1, b1, w2, b2],
      compute() {
        const made = activated([flat, w1, b1], f, "all");
        const { y: hidden, kept } = made ?? composed([flat, w1, b1], f);
        return {
          outputs: [linear(hidden, w2, b2)],
          extras: made === undefined
            ? [hidden, kept!]
            : [hidden, kept!, made.bits!],
        };
      },
      gradient: (context) => feedForwardGradient(f, context),
    });
    return fromRows(y, x.shape);
  },
  samples: [
    [t([4, 3]), t([5, 3]), t([5]), t([2, 5]), t([2])],
    [t([4, 3]), t([5, 3]), t([5]), t([2, 5]), t([2]), {
      activation: "geluTanh",
    }],
    [t([2, 2, 3]), t([4, 3]), undefined, t([3, 4]), undefined, {
      activation: "gelu",
    }],
    [t([3]), t([2, 3]), t([2]), t([4, 2])],
    [t([0, 3]), t([2, 3]), t([2]), t([4, 2]), t([4])],
    [
      t([4, 8], { dtype: "f64" }),
      t([8, 8], { dtype: "f64" }),
      t([8], { dtype: "f64" }),
      t([8, 8], { dtype: "f64" }),
      t([8], { dtype: "f64" }),
      { activation: "geluTanh" },
    ],
    [
      t([4, 8], { dtype: "f16" }),
      t([8, 8], { dtype: "f16", low: -1, high: 1 }),
      t([8], { dtype: "f16" }),
      t([8, 8], { dtype: "f16", low: -1, high: 1 }),
      t([8], { dtype: "f16" }),
    ],
  ],
});

// h = f(x·w₁ᵀ + b₁), y = h·w₂ᵀ + b₂: dw₂ = gᵀ·h, db₂ = Σ g, d = (g·w₂)·f′,
// dw₁ = dᵀ·x, db₁ = Σ d, dx = d·w₁
function feedForwardGradient(
  f: ProductActivation,
  context: FusedContext,
): (Tensor | undefined)[] {
  const { inputs, extras, grad, needs, differentiable } = context;
  const [x, w1, b1, w2] = inputs;
  const first = [x, w1, b1];
  const made = differentiable
    ? composed(first, f)
    : { y: extras[0], kept: extras[1] };
  const second = weightGradients(grad, made.y, {
    weight: needs(3),
    bias: needs(4),
  });
  if (!needs(0) && !needs(1) && !needs(2)) {
    return [undefined, undefined, undefined, ...second];
  }
  const bits = differentiable ? undefined : extras.at(2);
  const back = bits && backThrough(f, grad, w2, bits, needs(2));
  const d = back?.d ??
    slopes[f].apply([made.kept, batchMatmul(grad, w2)]);
  const [dw1, db1] = weightGradients(d, x, {
    weight: needs(1),
    bias: needs(2) && back?.sums === undefined,
  });
  return [
    needs(0) ? batchMatmul(d, w1) : undefined,
    dw1,
    back?.sums ?? db1,
    ...second,
  ];
}
