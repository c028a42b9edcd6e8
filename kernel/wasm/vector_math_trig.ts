/**
 * Trigonometric functions in f32, as expressions. Coefficients come from
 * tools/minimax, errors are in docs/accuracy.md.
 *
 * @module
 */

import * as k from "../expr.ts";
import type { Expr } from "../expr.ts";
import {
  bitsOf,
  fromBits,
  orRarely,
  polynomial,
  reduce,
  rounder,
  signBit,
} from "./vector_math_parts.ts";

// π/2 as a sum, the first two parts of 12 bits: n times them is exact for n < 2¹² on any machine.
const halfPi = [1.5703125, 0.0004837513, 7.5495336e-08, 2.563344e-12];

// sin(r)/r and cos r in r², |r| ≤ π/4
const sinTerms = [1, -0.16666654, 0.008332106, -0.00019507883];
const cosTerms = [1, -0.5, 0.041666646, -0.0013887305, 2.4431425e-05];

// tan(r)/r in r², |r| ≤ π/4: a ratio
const tanNumerator = [1, -0.095781215];
const tanDenominator = [1, -0.42911506, 0.0097094765];

/** x = n·π/2 + r: r, and n in the low bits of an i32. */
function quadrant(x: Expr): { r: Expr; count: Expr } {
  const shifted = k.fma(x, 2 / Math.PI, rounder);
  const r = reduce(x, k.sub(shifted, rounder), halfPi);
  return { r, count: bitsOf(shifted) };
}

/** Beyond this, the float64 function computes, which takes as many digits of π as it needs. */
const farAway = 12_000;

function near(x: Expr): Expr {
  return k.le(k.abs(x), farAway);
}

/** Truth of the lowest bit. */
function isOdd(count: Expr): Expr {
  return k.lt(k.shl(count, 31), 0);
}

/** sin(n·π/2 + r) */
function quarterSine(r: Expr, count: Expr): Expr {
  const z = k.mul(r, r);
  const sine = k.mul(r, polynomial(z, sinTerms));
  const value = k.select(isOdd(count), polynomial(z, cosTerms), sine);
  return fromBits(
    k.xor(bitsOf(value), k.and(k.shl(count, 30), signBit)),
  );
}

/** Sine. */
export function sin(x: Expr): Expr {
  const { r, count } = quadrant(x);
  return orRarely(near(x), quarterSine(r, count), "sin", x);
}

/** Cosine. */
export function cos(x: Expr): Expr {
  const { r, count } = quadrant(x);
  return orRarely(near(x), quarterSine(r, k.add(count, 1)), "cos", x);
}

/** Tangent. */
export function tan(x: Expr): Expr {
  const { r, count } = quadrant(x);
  const z = k.mul(r, r);
  const p = k.mul(r, polynomial(z, tanNumerator));
  const q = polynomial(z, tanDenominator);
  // For odd n the tangent of x is −1/tan r.
  const odd = isOdd(count);
  const ratio = k.div(k.select(odd, q, p), k.select(odd, p, q));
  const value = fromBits(k.xor(bitsOf(ratio), k.shl(count, 31)));
  return orRarely(near(x), value, "tan", x);
}
