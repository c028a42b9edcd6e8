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
  leading,
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
const expm1Terms = [
  0.49999997,
  0.16666546,
  0.041667435,
  0.008366272,
  0.0013870692,
];

// ((e²ʳ − 1)/2 − r) / r² for |r| ≤ ln 2 / 4
const tanhTerms = [0.99999994, 0.66666186, 0.33333948, 0.13386035, 0.044386216];

// 8(1 − (1 − erf a)^⅛)/a − 1 for a in [0, 3.95]
const erfTerms = [
  0.12837917,
  0.5570428,
  0.016713295,
  -0.05271642,
  -0.0014893097,
  0.0041011423,
  -0.00071053865,
  3.8355294e-05,
];

// e^(a²)·erfc a for a in [0, 10.1]: a ratio
const erfcNumerator = [1, 1.2364583, 0.72953546, 0.22822502, 0.03258421];
const erfcDenominator = [
  1,
  2.364838,
  2.3979611,
  1.321504,
  0.40454546,
  0.057753287,
];

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
const halfLn2 = [0.34657288, 7.143034e-07];

/**
 * e^x as p·s·s with x = 2m·ln 2 + r, p ≈ eʳ and s = 2ᵐ: both factors stay
 * normal, so subnormal results are rounded once and overflow is exact.
 * `factor` multiplies the second s, and `rest` is a small addition to x.
 */
function expTimes(x: Expr, factor?: number, rest?: Expr): Expr {
  // Below −176 s is 0, so that e^−∞ costs no subnormal arithmetic.
  const bounded = atLeast(atMost(x, 91), -176);
  const biased = k.fma(bounded, 1 / (2 * Math.LN2), rounder + 127);
  const m = k.sub(biased, rounder + 127);
  const main = reduce(bounded, m, twoLn2);
  const r = rest === undefined ? main : k.add(main, rest);
  const s = powerOfTwo(bitsOf(biased));
  const last = factor === undefined ? s : k.mul(s, factor);
  return k.mul(k.mul(polynomial(r, expTerms), s), last);
}

/** e^x. */
export function exp(x: Expr): Expr {
  return expTimes(x);
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

/** (e^x − 1) · 2^−shift for x in [−80, 88.3 + shift·ln 2]. */
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
  const half = scaledExpm1(atLeast(atMost(x, 89), -18), 1);
  // Near 0 the result is x, whose last bit and sign of zero halving would lose.
  return k.select(k.lt(k.abs(x), 1e-20), x, k.add(half, half));
}

/** (e^x − e^−x) / 2. */
export function sinh(x: Expr): Expr {
  // With h = (e^|x| − 1)/2: h + h/(2h + 1); the quarter avoids early overflow.
  const quarter = scaledExpm1(atMost(k.abs(x), 89.6), 2);
  const h = k.add(quarter, quarter), bounded = atMost(h, 2 ** 126);
  const value = k.add(h, k.div(bounded, k.fma(bounded, 2, 1)));
  return k.select(k.lt(k.abs(x), 1e-20), x, withSign(value, x));
}

/** (e^x + e^−x) / 2. */
export function cosh(x: Expr): Expr {
  // With h = e^|x| / 2: h + 1/(4h), without early overflow.
  const h = expTimes(k.abs(x), 0.5);
  return k.add(h, k.div(0.25, h));
}

/** Hyperbolic tangent. */
export function tanh(x: Expr): Expr {
  // With h = (e^(2|x|) − 1)/2, tanh |x| = h/(h + 1), which cannot exceed 1.
  const a = atMost(k.abs(x), 10);
  const biased = k.fma(a, 2 / Math.LN2, rounder + 127);
  const r = reduce(a, k.sub(biased, rounder + 127), halfLn2);
  const s = powerOfTwo(bitsOf(biased));
  const p = k.fma(k.mul(r, r), polynomial(r, tanhTerms), r);
  const h = k.fma(s, p, k.fma(s, 0.5, -0.5));
  return withSign(k.div(h, k.add(h, 1)), x);
}

/** 2/√π · ∫₀ˣ exp(−t²) dt. */
export function erf(x: Expr): Expr {
  // A polynomial gives v = 8(1 − c^⅛) for c = 1 − erf |x|, from which
  // w = 2(1 − c^½) = 2(1 − (1 − v/8)⁴), and erf |x| = 1 − (1 − w/2)². Near 0
  // v, w and the result are almost equal, so each step rounds once; near 1
  // the last step makes earlier errors vanish.
  const a = atMost(k.abs(x), 3.95);
  const v = k.fma(a, polynomial(a, erfTerms), a);
  const w = k.fma(k.mul(v, v), polynomial(v, [-3 / 16, 1 / 64, -1 / 2048]), v);
  return withSign(k.fma(k.mul(w, w), -0.25, w), x);
}

/** 1 − erf(x), without cancellation. */
export function erfc(x: Expr): Expr {
  // For a = |x|: e^(−a²) times a ratio. The square is taken apart,
  // a² = h² + (a − h)(a + h), where h² is exact.
  const a = atMost(k.abs(x), 11), h = leading(a);
  const rest = k.mul(k.sub(h, a), k.add(h, a));
  const decay = expTimes(k.neg(k.mul(h, h)), undefined, rest);
  const ratio = k.div(
    polynomial(a, erfcNumerator),
    polynomial(a, erfcDenominator),
  );
  const value = k.mul(decay, ratio);
  return k.select(k.lt(x, 0), k.sub(2, value), value);
}
