/**
 * The SIMD instructions of scalar operations by type, and vectors of constants.
 *
 * @module
 */

import type { PlainOp } from "./opcodes.ts";
import type { Expr, ExprOp, ScalarType } from "../expr.ts";

/** Shape of the vectors of a type. */
export const shapeOf: Record<Exclude<ScalarType, "bool">, string> = {
  f32: "f32x4",
  f64: "f64x2",
  i32: "i32x4",
  i64: "i64x2",
};

/** Picks the lower 32 bits of both 64-bit lanes. */
export const packLow: readonly number[] = [
  0,
  1,
  2,
  3,
  8,
  9,
  10,
  11,
  0,
  1,
  2,
  3,
  8,
  9,
  10,
  11,
];
/** Picks the upper words of four 64-bit products. */
export const highWords: readonly number[] = [4, 12, 20, 28]
  .flatMap((at) => [at, at + 1, at + 2, at + 3]);

/** The instruction of a name for vectors of a type. */
export function typed(type: ScalarType, name: string): PlainOp {
  if (type === "bool") {
    throw new TypeError(
      `Cannot emit ${name} of truth values: cast them first`,
    );
  }
  return `${shapeOf[type]}.${name}` as PlainOp;
}

/** Bytes of a vector with the same constant in every lane. */
export function splatBytes(value: number | bigint, of: ScalarType): Uint8Array {
  const view = new DataView(new ArrayBuffer(16));
  for (let at = 0; at < 16;) {
    switch (of) {
      case "f32":
        view.setFloat32(at, Number(value), true);
        at += 4;
        break;
      case "i32":
        view.setInt32(at, Number(value), true);
        at += 4;
        break;
      case "f64":
        view.setFloat64(at, Number(value), true);
        at += 8;
        break;
      case "i64":
        view.setBigInt64(at, BigInt(value), true);
        at += 8;
        break;
      case "bool":
        view.setInt32(at, value ? -1 : 0, true);
        at += 4;
        break;
      default:
        of satisfies never;
    }
  }
  return new Uint8Array(view.buffer);
}

/** Names of the shifts' instructions. */
export const shifts = {
  shl: "shl",
  shr: "shr_s",
  shru: "shr_u",
} as const satisfies Partial<Record<ExprOp, string>>;

/** Conversions that are one instruction. */
export const conversions: Record<string, PlainOp | undefined> = {
  "f32>i32": "i32x4.trunc_sat_f32x4_s",
  "i32>f32": "f32x4.convert_i32x4_s",
  "f32>f64": "f64x2.promote_low_f32x4",
  "f64>f32": "f32x4.demote_f64x2_zero",
  "i32>f64": "f64x2.convert_low_i32x4_s",
  "f64>i32": "i32x4.trunc_sat_f64x2_s_zero",
  "i32>i64": "i64x2.extend_low_i32x4_s",
};

/** Whether all bits of a literal are 0. */
export function isZero(e: Expr): boolean {
  return e.op === "const" && Number(e.value) === 0 && !Object.is(e.value, -0);
}

/** Whether a type is 32 bits wide. */
export function is32(type: ScalarType): boolean {
  return type === "f32" || type === "i32";
}
