/**
 * What activation functions with bends share.
 *
 * @module
 */

import type { SampleTensor } from "../core/op.ts";
import * as k from "../kernel/expr.ts";
import { type Operand, requireKinds } from "./engine.ts";
import { t } from "./samples.ts";

/** The places where activation functions bend; the NaN keeps finite differences away from them. */
export const bends: SampleTensor = t([13], {
  data: [NaN, Infinity, -Infinity, 0, -0, -3, 3, -1, 1, 6, 0.5, -0.5, 4],
});

/** The same places for functions whose gradient at NaN PyTorch gives differently in f32 and f64. */
export const bentValues: SampleTensor = { ...bends, grad: false };

/** Refuses truth values. */
export function refuseBool(operands: readonly Operand[]): void {
  requireKinds("activate", operands, ["int", "float"]);
}

/** What a branch without a gradient gives: 0, or NaN for NaN. */
export function nothing(x: k.Expr): k.Expr {
  return k.detach(k.mul(x, 0));
}
