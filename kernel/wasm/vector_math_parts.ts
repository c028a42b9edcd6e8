/**
 * Building blocks of the vector functions: polynomials, clamps that let NaN
 * pass, sign transfer, and rounding by a large constant.
 *
 * @module
 */

import * as k from "../expr.ts";
import type { Expr, FloatFunction } from "../expr.ts";

/** 1.5 · 2²³: adding it rounds an f32 below 2²² to an integer, which the low bits then hold. */
export const rounder: number = 12582912;

/** The bit that holds the sign of an f32. */
export const signBit: number = -(2 ** 31);

/** c₀ + c₁x + c₂x² + … by Horner's rule, a multiply-add per coefficient after the last. */
export function polynomial(x: Expr, coefficients: readonly number[]): Expr {
  const highest = coefficients.length - 1;
  let sum = k.constant(coefficients[highest], "f32");
  for (let i = highest - 1; i >= 0; i--) {
    sum = k.fma(sum, x, coefficients[i]);
  }
  return sum;
}

/** The smaller of x and a bound; NaN when x is NaN. */
export function atMost(x: Expr, bound: number): Expr {
  const limit = k.constant(bound, "f32");
  return k.select(k.lt(limit, x), limit, x);
}

/** The larger of x and a bound; NaN when x is NaN. */
export function atLeast(x: Expr, bound: number): Expr {
  const limit = k.constant(bound, "f32");
  return k.select(k.lt(x, limit), limit, x);
}

/** The bits of an f32 as i32. */
export function bitsOf(x: Expr): Expr {
  return k.bitcast(x, "i32");
}

/** The f32 with the given bits. */
export function fromBits(bits: Expr): Expr {
  return k.bitcast(bits, "f32");
}

/** `magnitude` (whose sign bit is clear) with the sign of `x`. */
export function withSign(magnitude: Expr, x: Expr): Expr {
  return fromBits(k.or(bitsOf(magnitude), k.and(bitsOf(x), signBit)));
}

/** The first 12 bits of x's significand: products of two such are exact. */
export function leading(x: Expr): Expr {
  return fromBits(k.and(bitsOf(x), -4096));
}

/** 2ⁿ for the biased exponent n + 127 in the low bits of `bits`; what is above the exponent falls out. */
export function powerOfTwo(bits: Expr): Expr {
  return fromBits(k.shl(bits, 23));
}

/**
 * x − n·c for an integer-valued n and a constant c given as a sum of parts,
 * largest first. Exact wherever n times all parts but the last is.
 */
export function reduce(x: Expr, n: Expr, parts: readonly number[]): Expr {
  return parts.reduce((rest, part) => k.fma(n, -part, rest), x);
}

/**
 * `usual` where the condition holds, else what the float64 function gives. It
 * is called, lane by lane, only when a vector needs it.
 */
export function orRarely(
  condition: Expr,
  usual: Expr,
  name: FloatFunction,
  x: Expr,
): Expr {
  const rare = k.node(name, "f32", [x], 1);
  return k.node("select", "f32", [condition, usual, rare], 1);
}

/** Whether a function is called lane by lane although there is a polynomial. */
export function isRare(e: Expr): boolean {
  return e.value === 1 && e.args.length === 1;
}
