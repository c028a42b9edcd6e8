/**
 * What the losses share: how a loss per element becomes one number, and checks.
 *
 * @module
 */

import { ShapeError, shapeText } from "../core/errors.ts";
import { sameShape } from "../core/shape.ts";
import type { Tensor } from "../core/tensor.ts";
import type { Expr } from "../kernel/expr.ts";
import * as k from "../kernel/expr.ts";
import { Elementwise, type Slopes } from "./engine.ts";
import { sum } from "./foundation.ts";
import { mean } from "./reduction.ts";

/** What is returned: the loss of each element, their mean, or their sum. */
export type LossReduction = "none" | "mean" | "sum";

/** Options of every loss. */
export interface LossOptions {
  /** What is returned: the loss of each element, their mean (default), or their sum. */
  reduction?: LossReduction;
}

/** Refuses unknown reductions. */
export function checkReduction(
  reduction: string,
  known: readonly string[] = ["none", "mean", "sum"],
): void {
  if (known.includes(reduction)) return;
  throw new TypeError(
    `Cannot reduce a loss by "${reduction}": there is ${known.join(", ")}`,
  );
}

/** Reduces the losses of the elements. */
export function reduceLoss(loss: Tensor, reduction: LossReduction): Tensor {
  checkReduction(reduction);
  switch (reduction) {
    case "none":
      return loss;
    case "mean":
      return mean(loss);
    case "sum":
      return sum(loss);
    default:
      return reduction satisfies never;
  }
}

/**
 * Refuses operands of different shapes: broadcasting one of them would compare
 * every prediction with every target.
 */
export function requireSameShape(what: string, a: Tensor, b: Tensor): void {
  if (sameShape(a.shape, b.shape)) return;
  throw new ShapeError(
    `Cannot take the ${what} of tensors of shapes ${shapeText(a.shape)} and ${
      shapeText(b.shape)
    }: prediction and target must have one shape; reshape or expand one of them`,
  );
}

/** log(1 + e^x) without overflow, in a form whose derivatives are right everywhere. */
export function softplus(x: Expr): Expr {
  return k.select(
    k.gt(x, 0),
    k.add(x, k.log1p(k.exp(k.neg(x)))),
    k.log1p(k.exp(x)),
  );
}

/** max(x, 0), with derivative 0 at 0 and NaN; NaN stays. */
export function positive(x: Expr): Expr {
  const rest = k.select(k.le(x, 0), k.constant(0, x.type), k.detach(x));
  return k.select(k.gt(x, 0), x, rest);
}

/** A floating-point function of `count` tensors, then of `attributes` numbers. */
export function formula(
  name: string,
  count: number,
  define: (operands: readonly Expr[]) => Expr,
  attributes = 0,
  slopes?: Slopes,
): Elementwise {
  return new Elementwise(
    name,
    count + attributes,
    define,
    "float",
    false,
    attributes,
    slopes,
  );
}

/** A loss of predictions and targets of one shape. */
export type PairLoss = (
  x: Tensor,
  target: Tensor,
  options?: LossOptions,
) => Tensor;

/** Attributes of such a loss. */
export interface PairAttrs {
  /** What is returned. */
  readonly reduction: LossReduction;
}
