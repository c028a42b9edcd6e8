/**
 * Conversions between f32 and the two half-precision storage formats, written
 * as expressions of integer operations.
 *
 * @module
 */

import * as k from "../expr.ts";
import type { Expr } from "../expr.ts";

function i32(value: number): Expr {
  return k.constant(value | 0, "i32");
}

/** The value of f16 bits held in an i32. */
export function fromF16(bits: Expr): Expr {
  const magnitude = k.and(bits, i32(0x7fff));
  // Multiplying by 2^112 moves the exponent, and makes subnormals normal.
  const scaled = k.mul(
    k.bitcast(k.shl(magnitude, 13), "f32"),
    k.constant(2 ** 112, "f32"),
  );
  const special = k.le(i32(0x7c00), magnitude);
  const finite = k.bitcast(scaled, "i32");
  const value = k.select(special, k.or(finite, i32(0x7f800000)), finite);
  return k.bitcast(k.or(value, k.shl(k.and(bits, i32(0x8000)), 16)), "f32");
}

/** The bits of the nearest f16 (ties to even) of an f32, in an i32. */
export function toF16(x: Expr): Expr {
  const bits = k.bitcast(x, "i32");
  const magnitude = k.and(bits, i32(0x7fffffff));
  const special = k.select(
    k.gt(magnitude, i32(0x7f800000)),
    i32(0x7e00),
    i32(0x7c00),
  );
  // Adding one half aligns a subnormal's bits with the end of the mantissa.
  const subnormal = k.sub(
    k.bitcast(k.add(k.bitcast(magnitude, "f32"), 0.5), "i32"),
    i32(0x3f000000),
  );
  const odd = k.and(k.shr(magnitude, 13), i32(1));
  const normal = k.shr(
    k.add(k.add(magnitude, i32(0xc8000fff)), odd),
    13,
  );
  const result = k.select(
    k.le(i32(0x47800000), magnitude),
    special,
    k.select(k.lt(magnitude, i32(0x38800000)), subnormal, normal),
  );
  return k.or(result, k.and(k.shru(bits, 16), i32(0x8000)));
}

/** The value of bf16 bits held in an i32. */
export function fromBf16(bits: Expr): Expr {
  return k.bitcast(k.shl(bits, 16), "f32");
}

/** The bits of the nearest bf16 (ties to even) of an f32, in an i32. */
export function toBf16(x: Expr): Expr {
  const bits = k.bitcast(x, "i32");
  const odd = k.and(k.shru(bits, 16), i32(1));
  const rounded = k.shru(k.add(k.add(bits, i32(0x7fff)), odd), 16);
  return k.select(k.ne(x, x), i32(0x7fc0), rounded);
}
