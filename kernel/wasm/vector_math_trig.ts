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
  polynomial,
  reduce,
  rounder,
} from "./vector_math_parts.ts";

// Sums of four parts, the first two of 12 bits: n times them is exact for n < 2¹² on any machine.
const pi = [3.140625, 0.0009675026, 1.5099067e-07, 5.126688e-12];
const halfPi = [1.5703125, 0.0004837513, 7.5495336e-08, 2.563344e-12];

// sin(r)/r in r², |r| ≤ π/2
const sinTerms = [1, -0.1666666, 0.008333069, -0.00019809768, 2.6060538e-06];

// tan(r)/r in r², |r| ≤ π/4: a ratio
const tanNumerator = [1, -0.095781215];
const tanDenominator = [1, -0.42911506, 0.0097094765];

/** (−1)ⁿ sin r, n in the low bit of `count`. */
function alternatingSin(r: Expr, count: Expr): Expr {
  const value = k.mul(r, polynomial(k.mul(r, r), sinTerms));
  return fromBits(k.xor(bitsOf(value), k.shl(count, 31)));
}

/** Sine. */
export function sin(x: Expr): Expr {
  const shifted = k.fma(x, 1 / Math.PI, rounder);
  const n = k.sub(shifted, rounder);
  return alternatingSin(reduce(x, n, pi), bitsOf(shifted));
}

/** Cosine. */
export function cos(x: Expr): Expr {
  // x = (n − 1/2)π + r: cos x = (−1)ⁿ sin r
  const shifted = k.add(k.fma(x, 1 / Math.PI, 0.5), rounder);
  const n = k.sub(k.sub(shifted, rounder), 0.5);
  return alternatingSin(reduce(x, n, pi), bitsOf(shifted));
}

/** Tangent. */
export function tan(x: Expr): Expr {
  const shifted = k.fma(x, 2 / Math.PI, rounder);
  const r = reduce(x, k.sub(shifted, rounder), halfPi);
  const z = k.mul(r, r);
  const p = k.mul(r, polynomial(z, tanNumerator));
  const q = polynomial(z, tanDenominator);
  // For odd n the tangent of x is −1/tan r.
  const sign = k.shl(bitsOf(shifted), 31);
  const odd = k.lt(sign, 0);
  const ratio = k.div(k.select(odd, q, p), k.select(odd, p, q));
  return fromBits(k.xor(bitsOf(ratio), sign));
}
