/**
 * The inverse of the error function in f32, as an expression: Giles,
 * "Approximating the erfinv function" (2012), where |x| is not next to 1.
 *
 * @module
 */

import * as k from "../expr.ts";
import type { Expr } from "../expr.ts";
import { log } from "./vector_math_log.ts";
import { orRarely, polynomial } from "./vector_math_parts.ts";

// erfinv(x)/x in w − 2.5, w = −ln(1 − x²) < 5
const terms = [
  1.50140941,
  0.246640727,
  -0.00417768164,
  -0.00125372503,
  0.00021858087,
  -4.39150654e-06,
  -3.5233877e-06,
  3.43273939e-07,
  2.81022636e-08,
];

/** Below this w is below 5. */
const central = 0.9966;

/** Inverse error function. */
export function erfinv(x: Expr): Expr {
  const w = k.neg(log(k.fma(k.neg(x), x, 1)));
  const value = k.mul(x, polynomial(k.sub(w, 2.5), terms));
  return orRarely(k.le(k.abs(x), central), value, "erfinv", x);
}
