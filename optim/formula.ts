/**
 * Small elementwise functions that the optimizers need between kernels:
 * norms, factors, clipping. Everything stays on the device and pending.
 *
 * @module
 */

import type { Tensor } from "../core/tensor.ts";
import type { Expr } from "../kernel/expr.ts";
import * as k from "../kernel/expr.ts";
import { mul } from "../ops/arithmetic.ts";
import { Elementwise, type Operand } from "../ops/engine.ts";
import { sum } from "../ops/foundation.ts";

/** An elementwise function of tensors and numbers that is no operator: nothing records it. */
export function formula(
  name: string,
  count: number,
  define: (operands: readonly Expr[]) => Expr,
): (...operands: Operand[]) => Tensor {
  const f = new Elementwise(name, count, define, "promote", true);
  return (...operands) => f.apply(operands);
}

/** Σ x² over all elements, as a zero-dimensional tensor. */
export function squaredNorm(x: Tensor): Tensor {
  return sum(mul(x, x));
}

/** x brought into [−bound, bound]; NaN stays. */
export function clampExpr(x: Expr, bound: Expr): Expr {
  return k.min(k.max(x, k.neg(bound)), bound);
}

/** Each element brought into [−bound, bound]. */
export const clampTensor: (x: Operand, bound: Operand) => Tensor = formula(
  "clamp gradient",
  2,
  ([x, bound]) => clampExpr(x, bound),
);
