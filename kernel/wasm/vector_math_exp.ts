/**
 * Exponential and hyperbolic functions and the error function in f32, as
 * expressions. Coefficients come from tools/minimax, errors are in docs/accuracy.md.
 *
 * @module
 */

import * as k from "../expr.ts";
import type { Expr } from "../expr.ts";
import {
  atLeast,
  atMost,
  bitsOf,
  polynomial,
  powerOfTwo,
  reduce,
  rounder,
  withSign,
} from "./vector_math_parts.ts";

// eʳ for |r| ≤ ln 2
const expTerms = [
  1,
  1,
  0.50000036,
  0.16666616,
  0.04166119,
  0.008335959,
  0.001410574,
  0.00019633534,
];

// (eʳ − 1 − r) / r² for |r| ≤ ln 2 / 2
const expm1Terms = [0.5, 0.16666548, 0.04166684, 0.008366126, 0.0013899534];

// 2ʳ for |r| ≤ 1/2
const exp2Terms = [
  1,
  0.6931472,
  0.24022648,
  0.055503596,
  0.009618503,
  0.0013391008,
  0.0001532804,
];

const twoLn2 = [1.3862915, 2.8572136e-06];
const ln2 = [0.69314575, 1.4286068e-06];

/**
 * e^x as p·s·s with x = 2m·ln 2 + r, p ≈ eʳ and s = 2ᵐ: both factors stay
 * normal, so subnormal results are rounded once and overflow is exact.
 * `last` replaces the second s, as a multiple of it.
 */
function expTimes(x: Expr, last: (s: Expr) => Expr): Expr {
  // Below −176 s is 0, so that e^−∞ costs no subnormal arithmetic.
  const bounded = atLeast(atMost(x, 91), -176);
  const biased = k.fma(bounded, 1 / (2 * Math.LN2), rounder + 127);
  const m = k.sub(biased, rounder + 127);
  const r = reduce(bounded, m, twoLn2);
  const s = powerOfTwo(bitsOf(biased));
  return k.mul(k.mul(polynomial(r, expTerms), s), last(s));
}

/** e^x. */
export function exp(x: Expr): Expr {
  return expTimes(x, (s) => s);
}

/** 2^r · 2^n for |r| ≤ 1/2, given n + 254 in the low bits of an i32; n from −252 to 256. */
export function scaledExp2(r: Expr, biased: Expr): Expr {
  // n in two halves, so that subnormal results are rounded once.
  const half = k.shr(biased, 1);
  const first = powerOfTwo(half), second = powerOfTwo(k.sub(biased, half));
  return k.mul(k.mul(polynomial(r, exp2Terms), first), second);
}

/** 2^x; exact for integers. */
export function exp2(x: Expr): Expr {
  const bounded = atLeast(atMost(x, 129), -160);
  const biased = k.add(bounded, rounder + 254);
  const r = k.sub(bounded, k.sub(biased, rounder + 254));
  return scaledExp2(r, bitsOf(biased));
}

/** (e^x − 1) · 2^−shift for x in [−80, 91]. */
function scaledExpm1(x: Expr, shift: number): Expr {
  // x = n·ln 2 + r: e^x − 1 = 2ⁿ(eʳ − 1) + (2ⁿ − 1)
  const bias = rounder + 127 - shift;
  const biased = k.fma(x, 1 / Math.LN2, bias);
  const n = k.sub(biased, bias);
  const r = reduce(x, n, ln2);
  const s = powerOfTwo(bitsOf(biased));
  const p = k.fma(k.mul(r, r), polynomial(r, expm1Terms), r);
  return k.fma(s, p, k.sub(s, 2 ** -shift));
}

/** e^x − 1. */
export function expm1(x: Expr): Expr {
  const half = scaledExpm1(atLeast(atMost(x, 91), -18), 1);
  // Near 0 the result is x, whose last bit and sign of zero halving would lose.
  return k.select(k.lt(k.abs(x), 1e-20), x, k.add(half, half));
}

/** (e^x − e^−x) / 2. */
export function sinh(x: Expr): Expr {
  // With h = (e^|x| − 1)/2: h + h/(2h + 1); the quarter avoids early overflow.
  const quarter = scaledExpm1(atMost(k.abs(x), 91), 2);
  const h = k.add(quarter, quarter);
  const value = k.add(h, k.div(h, k.add(k.add(h, h), 1)));
  return k.select(k.lt(k.abs(x), 1e-20), x, withSign(value, x));
}

/** (e^x + e^−x) / 2. */
export function cosh(x: Expr): Expr {
  // With h = e^|x| / 2: h + 1/(4h), without early overflow.
  const h = expTimes(k.abs(x), (s) => k.mul(s, 0.5));
  return k.add(h, k.div(0.25, h));
}

/** x·P(x²)/Q(x²), the square bounded, and the result bounded by ±1. */
function oddRatio(
  x: Expr,
  bound: number,
  p: readonly number[],
  q: readonly number[],
): Expr {
  const z = atMost(k.mul(x, x), bound);
  const ratio = k.div(k.mul(x, polynomial(z, p)), polynomial(z, q));
  return atLeast(atMost(ratio, 1), -1);
}

/** Hyperbolic tangent. */
export function tanh(x: Expr): Expr {
  return oddRatio(x, 81.5, [
    1,
    0.13382685,
    0.003497416,
    2.063363e-05,
    1.3378853e-08,
  ], [
    1,
    0.46716008,
    0.025884304,
    0.0003288382,
    7.7885034e-07,
  ]);
}

/** 2/√π · ∫₀ˣ exp(−t²) dt. */
export function erf(x: Expr): Expr {
  return oddRatio(x, 15.5, [
    1.1283791,
    0.20613576,
    0.05460259,
    0.0043723052,
    0.00028685143,
    1.7805158e-06,
  ], [
    1,
    0.51601475,
    0.120403446,
    0.016201219,
    0.0012873815,
    3.539086e-05,
  ]);
}
