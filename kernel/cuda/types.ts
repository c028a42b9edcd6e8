/**
 * How types and literals are written in CUDA C.
 *
 * @module
 */

import type { DType } from "../../core/dtype.ts";
import type { ScalarType } from "../expr.ts";

/** Types of computed values. */
export const valueTypes: Readonly<Record<ScalarType, string>> = {
  f32: "float",
  f64: "double",
  i32: "int",
  i64: "long long",
  bool: "bool",
};

/** Types of stored elements; half types are their bits. */
export const storageTypes: Readonly<Record<DType, string>> = {
  f32: "float",
  f64: "double",
  f16: "unsigned short",
  bf16: "unsigned short",
  i64: "long long",
  i32: "int",
  i8: "signed char",
  u8: "unsigned char",
  bool: "unsigned char",
};

/** A stored element, given as text, as the value that kernels compute with. */
export function widen(dtype: DType, element: string): string {
  switch (dtype) {
    case "f16":
      return `f16_to_f32(${element})`;
    case "bf16":
      return `bf16_to_f32(${element})`;
    case "bool":
      return `(${element} != 0)`;
    case "i8":
    case "u8":
      return `(int)${element}`;
    default:
      return element;
  }
}

/** A computed value, given as text, as the element that is stored. */
export function narrow(dtype: DType, value: string): string {
  switch (dtype) {
    case "f16":
      return `f32_to_f16(${value})`;
    case "bf16":
      return `f32_to_bf16(${value})`;
    case "bool":
      return `(unsigned char)(${value} ? 1 : 0)`;
    case "f32":
    case "f64":
      return value;
    default:
      return `(${storageTypes[dtype]})${value}`;
  }
}

/** A literal. */
export function literal(value: number | bigint, type: ScalarType): string {
  switch (type) {
    case "f32":
      return floatLiteral(
        Number(value),
        "f",
        "__int_as_float(0x7f800000)",
        "__int_as_float(0x7fc00000)",
      );
    case "f64":
      return floatLiteral(
        Number(value),
        "",
        "__longlong_as_double(0x7ff0000000000000LL)",
        "__longlong_as_double(0x7ff8000000000000LL)",
      );
    case "i32":
      return Number(value) === -(2 ** 31)
        ? "(-2147483647 - 1)"
        : signed(`${value}`);
    case "i64":
      return BigInt(value) === -(2n ** 63n)
        ? "(-9223372036854775807LL - 1)"
        : signed(`${value}LL`);
    case "bool":
      return value ? "true" : "false";
    default:
      return type satisfies never;
  }
}

function signed(text: string): string {
  return text.startsWith("-") ? `(${text})` : text;
}

function floatLiteral(
  value: number,
  suffix: string,
  infinity: string,
  nan: string,
): string {
  if (Number.isNaN(value)) return nan;
  if (!Number.isFinite(value)) return value > 0 ? infinity : `(-${infinity})`;
  const text = Object.is(value, -0) ? "-0.0" : String(value);
  return signed((/[.e]/.test(text) ? text : `${text}.0`) + suffix);
}
