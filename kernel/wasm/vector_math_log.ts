/**
 * Logarithms in f32, as expressions. Coefficients come from tools/minimax,
 * errors are in docs/accuracy.md.
 *
 * @module
 */

import * as k from "../expr.ts";
import type { Expr } from "../expr.ts";
import { bitsOf, fromBits, polynomial } from "./vector_math_parts.ts";

/** The smallest normal f32. */
const smallestNormal = 2 ** -126;
/** Bits of 2/3: significands are taken from [2/3, 4/3). */
const twoThirds = 0x3f2aaaab;
/** Sign and exponent of an f32. */
const exponentMask = -(2 ** 23);

/** A logarithm's constants: log(2ᵏ(1 + f)) = k·two + f·slope + f²·P(f). */
interface Base {
  /** log 2 in two parts, of which the first times k is exact; one part if it is exact. */
  readonly two: readonly number[];
  /** 1 / ln(base). */
  readonly slope: number;
  /** P, for f in [−1/3, 1/3]. */
  readonly terms: readonly number[];
}

const natural: Base = {
  two: [0.69314575, 1.4286068e-06],
  slope: 1,
  terms: [
    -0.49999937,
    0.333332,
    -0.25007746,
    0.2001108,
    -0.16417097,
    0.13997002,
    -0.15383233,
    0.14021303,
  ],
};

const binary: Base = {
  two: [1],
  slope: 1.442695,
  terms: [
    -0.72134686,
    0.4808981,
    -0.36077267,
    0.28865293,
    -0.2370467,
    0.20242722,
    -0.22100882,
    0.20045918,
  ],
};

const decimal: Base = {
  two: [0.3010254, 4.605039e-06],
  slope: 0.4342945,
  terms: [
    -0.21714725,
    0.14476147,
    -0.10857178,
    0.08703506,
    -0.072487764,
    0.058899794,
    -0.05221701,
    0.069557495,
    -0.059311572,
  ],
};

/** k·log 2 + log(1 + f) for an integer-valued k. */
function assemble(power: Expr, f: Expr, base: Base): Expr {
  const { two, slope, terms } = base;
  const square = k.mul(f, f), p = polynomial(f, terms);
  if (slope === 1) {
    const start = k.fma(power, two[1], f);
    return k.fma(power, two[0], k.fma(square, p, start));
  }
  let sum = k.fma(f, slope, k.mul(square, p));
  for (const part of two.toReversed()) sum = k.fma(power, part, sum);
  return sum;
}

/** The logarithm for arguments that are 0, negative, infinite or NaN; `value` for the others. */
function withSpecials(x: Expr, value: Expr): Expr {
  const finite = k.select(k.lt(x, Infinity), value, x);
  const rest = k.select(k.eq(x, 0), k.constant(-Infinity, "f32"), NaN);
  return k.select(k.lt(0, x), finite, rest);
}

/** x = 2ᵏ·m with m in [2/3, 4/3), for positive finite x, subnormal ones included. */
export function splitExponent(
  x: Expr,
  from: number = twoThirds,
): { power: Expr; significand: Expr } {
  const small = k.lt(x, smallestNormal);
  const bits = bitsOf(k.select(small, k.mul(x, 2 ** 23), x));
  const above = k.sub(bits, from);
  const exponent = k.cast(k.shr(above, 23), "f32");
  return {
    power: k.add(exponent, k.select(small, k.constant(-23, "f32"), 0)),
    significand: fromBits(k.sub(bits, k.and(above, exponentMask))),
  };
}

function logarithm(x: Expr, base: Base): Expr {
  const { power, significand } = splitExponent(x);
  return withSpecials(x, assemble(power, k.sub(significand, 1), base));
}

/** Natural logarithm. */
export function log(x: Expr): Expr {
  return logarithm(x, natural);
}

/** Logarithm to base 2; exact for powers of 2. */
export function log2(x: Expr): Expr {
  return logarithm(x, binary);
}

/** Logarithm to base 10. */
export function log10(x: Expr): Expr {
  return logarithm(x, decimal);
}

/** log(1 + x). */
export function log1p(x: Expr): Expr {
  // 1 + x ≈ 2ᵏ·m, and f = 2⁻ᵏ(1 + x) − 1 from x itself, so that the sum's rounding does not matter.
  const sum = k.add(x, 1);
  const above = k.sub(bitsOf(sum), twoThirds);
  const power = k.cast(k.shr(above, 23), "f32");
  // 2^(63 − k), which is normal for every k
  const scale = fromBits(
    k.sub(k.constant(0x5f000000, "i32"), k.and(above, exponentMask)),
  );
  const f = k.fma(k.mul(x, 2 ** -63), scale, k.fma(scale, 2 ** -63, -1));
  const value = withSpecials(sum, assemble(power, f, natural));
  return k.select(k.lt(k.abs(x), 1e-15), x, value);
}
