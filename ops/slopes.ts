/**
 * Derivatives that several operators share, with PyTorch's values where a
 * logarithm has its pole or a bound cuts.
 *
 * @module
 */

import * as k from "../kernel/expr.ts";

/** ∂(x·ln y): ln y, 0 where x is 0 and y not above it; and x / y, NaN where both are 0. */
export function xlogySlopes(x: k.Expr, y: k.Expr): [k.Expr, k.Expr] {
  const nothing = k.and(k.eq(x, 0), k.le(y, 0));
  return [k.select(nothing, 0, k.log(y)), k.div(x, y)];
}

/** 1 above 0, else 0, as a factor: 0 · ∞ and 0 · NaN of what it is multiplied by are NaN. */
export function step(x: k.Expr): k.Expr {
  return k.cast(k.gt(x, 0), x.type);
}
