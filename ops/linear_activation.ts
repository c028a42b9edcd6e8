/**
 * An affine map that ends with an activation.
 *
 * @module
 */

import { gradEnabled } from "../core/autograd.ts";
import type { ProductActivation } from "../core/device.ts";
import { operator } from "../core/op.ts";
import type { Tensor } from "../core/tensor.ts";
import {
  activated,
  composed,
  functionOf,
  type LinearActivation,
  type LinearActivationOptions,
  mayFuse,
  slopes,
  torchActivation,
} from "./activated_products.ts";
import { fused, type FusedContext } from "./fused.ts";
import { checkLinear, weightGradients } from "./linear.ts";
import { batchMatmul } from "./matmul.ts";
import { asRows, fromRows } from "./products.ts";
import { t } from "./samples.ts";

export type {
  LinearActivation,
  LinearActivationOptions,
} from "./activated_products.ts";

/**
 * Affine map of the last axis, then an activation: f(x·wᵀ + b).
 *
 * @param x Tensor [..., in].
 * @param w Weights [out, in].
 * @param b Bias [out], or undefined for none.
 * @returns Tensor [..., out].
 * @throws {ShapeError} when the extents do not fit.
 * @throws {RangeError} for an activation that is not known.
 */
export const linearActivation: (
  x: Tensor,
  w: Tensor,
  b?: Tensor,
  options?: LinearActivationOptions,
) => Tensor = operator<
  (
    x: Tensor,
    w: Tensor,
    b?: Tensor,
    options?: LinearActivationOptions,
  ) => Tensor,
  { activation: LinearActivation }
>({
  name: "linearActivation",
  family: "matmul",
  inputs: ["x", "w", "b"],
  attrs: { activation: "relu" },
  formula: "f(x · wᵀ + b)",
  torch: `${torchActivation}(F.linear(x, w, b))`,
  run: ([x, w, b], { activation }) => {
    checkLinear(x, w, b);
    functionOf(activation);
    if (!mayFuse(x, activation)) return composed([x, w, b], activation).y;
    const f = activation as ProductActivation;
    const wanted = gradEnabled() && [x, w, b].some((o) => o?.requiresGrad);
    const keep = wanted ? "slope" : "nothing";
    const inputs = [asRows(x), w, b];
    const [y] = fused({
      name: "linearActivation",
      inputs,
      compute() {
        const made = activated(inputs, f, keep) ?? composed(inputs, f);
        return {
          outputs: [made.y],
          extras: made.kept === undefined ? [] : [made.kept],
        };
      },
      // ∂f(x·wᵀ + b): d = g·f′, then dx = d·w, dw = dᵀ·x, db = Σ d
      gradient(context) {
        const { inputs: [x, w], extras: [kept], needs } = context;
        const d = through(f, context.inputs, kept, context);
        return [
          needs(0) ? batchMatmul(d, w) : undefined,
          ...weightGradients(d, x, { weight: needs(1), bias: needs(2) }),
        ];
      },
    });
    return fromRows(y, x.shape);
  },
  samples: [
    [t([4, 3]), t([2, 3]), t([2])],
    [t([4, 3]), t([2, 3]), t([2]), { activation: "gelu" }],
    [t([4, 3]), t([9, 3]), t([9]), { activation: "geluTanh" }],
    [t([2, 2, 3]), t([4, 3]), undefined, { activation: "geluTanh" }],
    [t([3], { dtype: "f64" }), t([2, 3], { dtype: "f64" })],
    [t([0, 3]), t([2, 3]), t([2])],
    [t([2, 0]), t([3, 0]), t([3]), { activation: "geluTanh" }],
    [
      t([4, 8], { dtype: "bf16" }),
      t([8, 8], { dtype: "bf16" }),
      t([8], { dtype: "bf16" }),
      { activation: "geluTanh" },
    ],
  ],
});

/** Gradient of x·wᵀ + b from that of f(x·wᵀ + b); in the operands' operators where it must be differentiable. */
function through(
  activation: ProductActivation,
  inputs: readonly Tensor[],
  kept: Tensor,
  { differentiable, grad }: FusedContext,
): Tensor {
  const before = differentiable ? composed(inputs, activation).kept : kept;
  return slopes[activation].apply([before, grad]);
}
