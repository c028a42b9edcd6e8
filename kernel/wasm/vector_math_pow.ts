/**
 * Powers in f32, as expressions.
 *
 * @module
 */

import * as k from "../expr.ts";
import type { Expr } from "../expr.ts";
import { exp2, scaledExp2 } from "./vector_math_exp.ts";
import { splitExponent } from "./vector_math_log.ts";
import {
  atLeast,
  atMost,
  bitsOf,
  fromBits,
  leading,
  polynomial,
  rounder,
  signBit,
} from "./vector_math_parts.ts";

/** Bits of √½: significands are taken from [√½, √2). */
const rootHalf = 0x3f3504f3;

// 2/ln 2 in two parts, the first of 12 bits
const slope = [2.8847656, 0.0006244568];

// (log₂((1 + s)/(1 − s)) − 2s/ln 2) / s³ in s², |s| ≤ 0.1716
const cubic = [0.9617967, 0.5770788, 0.41192693, 0.33650437];

/** A number as an unevaluated sum, the second part below the rounding error of the first. */
type Sum = readonly [high: Expr, low: Expr];

/** log₂ x to about 32 bits, for positive finite x; exact where fma rounds its product, too. */
function preciseLog2(x: Expr): Sum {
  const { power, significand: m } = splitExponent(x, rootHalf);
  // s = (m − 1)/(m + 1): a short head and the rest, from the exact remainder of the division
  const u = k.sub(m, 1), v = k.add(m, 1);
  const inverse = k.div(1, v);
  const head = leading(k.mul(u, inverse));
  const vHead = leading(v), vRest = k.sub(u, k.sub(vHead, 2));
  const remainder = k.sub(
    k.sub(u, k.mul(head, vHead)),
    k.mul(head, vRest),
  );
  const rest = k.mul(remainder, inverse);
  // head·slope₀ is exact; all else is small.
  const s = k.add(head, rest), square = k.mul(s, s);
  const small = k.fma(
    k.mul(square, s),
    polynomial(square, cubic),
    k.fma(head, slope[1], k.mul(rest, slope[0] + slope[1])),
  );
  const main = k.mul(head, slope[0]);
  const sum = k.add(power, main);
  const lost = k.sub(main, k.sub(sum, power));
  const below = k.add(lost, small);
  const high = k.add(sum, below);
  return [high, k.sub(below, k.sub(high, sum))];
}

/** 2^(y·l), without overflow on the way. */
function powerOfLog(y: Expr, l: Sum): Expr {
  const bounded = atLeast(atMost(y, 2 ** 31), -(2 ** 31));
  const yHead = leading(bounded), yRest = k.sub(bounded, yHead);
  const lHead = leading(l[0]);
  const lRest = k.add(k.sub(l[0], lHead), l[1]);
  const main = k.mul(yHead, lHead);
  const small = k.fma(yRest, lHead, k.mul(bounded, lRest));
  const exponent = atLeast(atMost(k.add(main, small), 160), -160);
  const biased = k.add(exponent, rounder + 254);
  const n = k.sub(biased, rounder + 254);
  // Beyond ±160 the difference is arbitrary, and any value does.
  const r = atLeast(atMost(k.add(k.sub(main, n), small), 1), -1);
  return scaledExp2(r, bitsOf(biased));
}

/** x to a constant power for which a few multiplications do, as PyTorch has it. */
function constantPower(x: Expr, y: number): Expr | undefined {
  const square = k.mul(x, x);
  switch (y) {
    case 0:
      return k.constant(1, "f32");
    case 1:
      return x;
    case 2:
      return square;
    case 3:
      return k.mul(square, x);
    case 4:
      return k.mul(square, square);
    case 0.5:
      return k.sqrt(x);
    case -0.5:
      return k.div(1, k.sqrt(x));
    case -1:
      return k.div(1, x);
    case -2:
      return k.div(1, square);
    default:
      return undefined;
  }
}

/** x^y with IEEE 754's special cases. */
export function pow(x: Expr, y: Expr): Expr {
  if (y.op === "const") {
    const simple = constantPower(x, Number(y.value));
    if (simple !== undefined) return simple;
  }
  if (x.op === "const" && x.value === 2) return exp2(y);
  const size = k.abs(x);
  const normal = powerOfLog(y, preciseLog2(size));
  // |x| is 0 or infinite
  const extreme = k.or(k.eq(x, 0), k.eq(size, Infinity));
  const grows = k.eq(k.lt(y, 0), k.eq(x, 0));
  const limit = k.select(grows, k.constant(Infinity, "f32"), 0);
  const magnitude = k.select(extreme, limit, normal);
  // Negative bases: odd exponents keep the sign, and only integers have a result.
  const half = k.mul(y, 0.5);
  const whole = k.eq(k.call("trunc", y), y);
  const odd = k.and(whole, k.ne(k.call("trunc", half), half));
  const sign = k.select(odd, k.and(bitsOf(x), signBit), 0);
  const signed = fromBits(k.or(bitsOf(magnitude), sign));
  const invalid = k.and(
    k.and(k.lt(x, 0), k.lt(-Infinity, x)),
    k.not(whole),
  );
  const real = k.select(invalid, k.constant(NaN, "f32"), signed);
  const sum = k.add(x, y);
  const ordered = k.select(k.and(k.eq(x, x), k.eq(y, y)), real, sum);
  const one = k.or(k.eq(y, 0), k.eq(x, 1));
  return k.select(one, k.constant(1, "f32"), ordered);
}
