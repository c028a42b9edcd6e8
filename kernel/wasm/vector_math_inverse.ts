/**
 * Inverse trigonometric and hyperbolic functions in f32, as expressions.
 * Coefficients come from tools/minimax, errors are in docs/accuracy.md.
 *
 * @module
 */

import * as k from "../expr.ts";
import type { Expr } from "../expr.ts";
import { log1p } from "./vector_math_log.ts";
import { bitsOf, polynomial, withSign } from "./vector_math_parts.ts";

// (atan(t)/t − 1)/t² in t², |t| ≤ 1
const atanTerms = [
  -0.33333153,
  0.19993767,
  -0.14211002,
  0.1066577,
  -0.075516656,
  0.043204863,
  -0.016363332,
  0.0029194772,
];

// (asin(t)/t − 1)/t² in t², |t| ≤ 1/2
const asinTerms = [
  0.16666752,
  0.074953094,
  0.045469154,
  0.024184743,
  0.042158388,
];

const halfPi = Math.PI / 2;

/** t + t·z·P(z), z = t². */
function oddSeries(t: Expr, z: Expr, terms: readonly number[]): Expr {
  return k.fma(k.mul(t, z), polynomial(z, terms), t);
}

/** atan(p/q) for 0 ≤ p, 0 ≤ q, the larger of which is neither 0 nor infinite. */
function atanOfRatio(p: Expr, q: Expr): Expr {
  // Above 1: π/2 + atan(−q/p)
  const steep = k.lt(q, p);
  const t = k.div(k.select(steep, k.neg(q), p), k.select(steep, p, q));
  const offset = k.select(steep, k.constant(halfPi, "f32"), 0);
  return k.add(oddSeries(t, k.mul(t, t), atanTerms), offset);
}

/** Inverse tangent. */
export function atan(x: Expr): Expr {
  return withSign(atanOfRatio(k.abs(x), k.constant(1, "f32")), x);
}

/** Angle of the point (x, y). */
export function atan2(y: Expr, x: Expr): Expr {
  const a = k.abs(y), b = k.abs(x);
  // Two zeros count as 0 over 1, two infinities as 1 over 1.
  const origin = k.lt(k.add(a, b), 2 ** -149);
  const corner = k.and(k.eq(a, Infinity), k.eq(b, Infinity));
  const q = k.select(k.or(origin, corner), k.constant(1, "f32"), b);
  const p = k.select(corner, k.constant(1, "f32"), a);
  const first = atanOfRatio(p, q);
  const left = k.lt(bitsOf(x), 0);
  const angle = k.select(left, k.sub(Math.PI, first), first);
  return k.select(
    k.and(k.eq(x, x), k.eq(y, y)),
    withSign(angle, y),
    k.add(x, y),
  );
}

/**
 * asin |x| in pieces: `part` is asin |x| where `outer` is false, and
 * (π/2 − asin |x|)/2 where it is true, above 1/2.
 */
function arcs(x: Expr): { part: Expr; outer: Expr } {
  const a = k.abs(x), outer = k.lt(0.5, a);
  const half = k.mul(k.sub(1, a), 0.5);
  const z = k.select(outer, half, k.mul(a, a));
  const t = k.select(outer, k.sqrt(half), a);
  return { part: oddSeries(t, z, asinTerms), outer };
}

/** Inverse sine. */
export function asin(x: Expr): Expr {
  const { part, outer } = arcs(x);
  const value = k.select(outer, k.fma(part, -2, halfPi), part);
  return withSign(value, x);
}

/** Inverse cosine. */
export function acos(x: Expr): Expr {
  const { part, outer } = arcs(x);
  const negative = k.lt(x, 0);
  // Inside π/2 ∓ part; outside 2·part, or π − 2·part for negative x.
  const twice = k.add(part, part);
  const far = k.select(negative, k.sub(Math.PI, twice), twice);
  const near = k.sub(halfPi, withSign(part, x));
  return k.select(outer, far, near);
}

/** log(1 + y), or log(2·y) where `large`. */
function logOrLog2y(y: Expr, large: Expr): Expr {
  return k.add(log1p(y), k.select(large, k.constant(Math.LN2, "f32"), 0));
}

/** Inverse hyperbolic sine. */
export function asinh(x: Expr): Expr {
  // a + a²/(1 + √(a² + 1)) = a + √(a² + 1) − 1
  const a = k.abs(x), large = k.lt(2 ** 30, a), square = k.mul(a, a);
  const root = k.sqrt(k.add(square, 1));
  const sum = k.add(a, k.div(square, k.add(root, 1)));
  return withSign(logOrLog2y(k.select(large, a, sum), large), x);
}

/** Inverse hyperbolic cosine. */
export function acosh(x: Expr): Expr {
  const t = k.sub(x, 1), large = k.lt(2 ** 30, x);
  const root = k.mul(k.sqrt(t), k.sqrt(k.add(x, 1)));
  return logOrLog2y(k.select(large, x, k.add(t, root)), large);
}

/** Inverse hyperbolic tangent. */
export function atanh(x: Expr): Expr {
  const a = k.abs(x);
  const ratio = k.div(k.add(a, a), k.sub(1, a));
  // Subnormal results would lose a bit in the halving.
  const value = k.select(k.lt(a, 1e-20), a, k.mul(log1p(ratio), 0.5));
  return withSign(value, x);
}
