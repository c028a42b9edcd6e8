/**
 * Float functions in f32 as expressions of what WebAssembly SIMD has
 * instructions for. Errors and how they are measured: docs/accuracy.md.
 *
 * @module
 */

import type { Expr, ExprOp } from "../expr.ts";
import { erfinv } from "./vector_math_erfinv.ts";
import {
  cosh,
  erf,
  erfc,
  exp,
  exp2,
  expm1,
  sinh,
  tanh,
} from "./vector_math_exp.ts";
import {
  acos,
  acosh,
  asin,
  asinh,
  atan,
  atan2,
  atanh,
} from "./vector_math_inverse.ts";
import { log, log10, log1p, log2 } from "./vector_math_log.ts";
import { pow } from "./vector_math_pow.ts";
import { isRare } from "./vector_math_parts.ts";
import { cos, sin, tan } from "./vector_math_trig.ts";

const rules: { readonly [op in ExprOp]?: (x: Expr, y: Expr) => Expr } = {
  exp,
  exp2,
  expm1,
  log,
  log2,
  log10,
  log1p,
  sin,
  cos,
  tan,
  asin,
  acos,
  atan,
  sinh,
  cosh,
  tanh,
  asinh,
  acosh,
  atanh,
  erf,
  erfc,
  erfinv,
  pow,
  atan2,
};

/**
 * An expression equal to an f32 function node, built from arithmetic,
 * comparison, selection and bit operations; undefined for functions (and
 * types) that have none and are called lane by lane.
 */
export function lowerMath(e: Expr): Expr | undefined {
  if (e.type !== "f32" || isRare(e)) return undefined;
  return rules[e.op]?.(e.args[0], e.args[1]);
}
