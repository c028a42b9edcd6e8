/**
 * Values limited to an interval, with the gradient that PyTorch gives them.
 *
 * @module
 */

import * as k from "../kernel/expr.ts";

/** x between numbers: no gradient at the bounds nor beyond; NaN passes it. */
export function cut(x: k.Expr, min: k.Expr, max: k.Expr): k.Expr {
  const bounded = k.min(k.max(x, min), max);
  if (x.type !== "f32" && x.type !== "f64") return bounded;
  const outside = k.or(k.le(x, min), k.ge(x, max));
  return k.select(outside, k.detach(bounded), x);
}

/** x between numbers: no gradient at the bounds nor beyond, nor for NaN. */
export function between(x: k.Expr, min: k.Expr, max: k.Expr): k.Expr {
  const bounded = k.min(k.max(x, min), max);
  if (x.type !== "f32" && x.type !== "f64") return bounded;
  const inside = k.and(k.lt(min, x), k.lt(x, max));
  return k.select(inside, x, k.detach(bounded));
}
