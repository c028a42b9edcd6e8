/**
 * Element types of tensors, their sizes, and PyTorch's promotion rules.
 *
 * @module
 */

import { DTypeError, nearest } from "./errors.ts";

/** Name of an element type. */
export type DType =
  | "f32"
  | "f64"
  | "f16"
  | "bf16"
  | "i64"
  | "i32"
  | "i8"
  | "u8"
  | "bool";

/** The typed arrays that hold elements on the host; f16 and bf16 as raw bits. */
export type HostArray =
  | Float32Array
  | Float64Array
  | Uint16Array
  | BigInt64Array
  | Int32Array
  | Int8Array
  | Uint8Array;

/** Category of an element type; promotion goes from `bool` over `int` to `float`. */
export type DTypeKind = "bool" | "int" | "float";

/** What the library knows of an element type. */
export interface DTypeInfo {
  /** Bytes per element. */
  readonly bytes: number;
  /** Category for promotion. */
  readonly kind: DTypeKind;
  /** PyTorch's name, as printed in `dtype=torch.…`. */
  readonly torch: string;
}

/** Every element type with its size, category and PyTorch name. */
export const dtypes: Readonly<Record<DType, DTypeInfo>> = {
  f32: { bytes: 4, kind: "float", torch: "float32" },
  f64: { bytes: 8, kind: "float", torch: "float64" },
  f16: { bytes: 2, kind: "float", torch: "float16" },
  bf16: { bytes: 2, kind: "float", torch: "bfloat16" },
  i64: { bytes: 8, kind: "int", torch: "int64" },
  i32: { bytes: 4, kind: "int", torch: "int32" },
  i8: { bytes: 1, kind: "int", torch: "int8" },
  u8: { bytes: 1, kind: "int", torch: "uint8" },
  bool: { bytes: 1, kind: "bool", torch: "bool" },
};

/** The dtype in which devices scan and scatter: at least 32 bits wide. */
export function accumulated(dtype: DType): DType {
  switch (dtype) {
    case "f16":
    case "bf16":
      return "f32";
    case "u8":
    case "i8":
    case "bool":
      return "i32";
    default:
      return dtype;
  }
}

/** Element types as numbers, in keys of what is kept by type. */
export const dtypeCodes: Readonly<Record<DType, number>> = {
  f32: 0,
  f64: 1,
  f16: 2,
  bf16: 3,
  i64: 4,
  i32: 5,
  i8: 6,
  u8: 7,
  bool: 8,
};

/**
 * Refuses names that are no dtype; `what` follows "Cannot".
 *
 * @throws {DTypeError} naming the dtype that is meant, where that is clear.
 */
export function requireDTypeName(name: string, what: string): void {
  if (Object.hasOwn(dtypes, name)) return;
  const names = Object.keys(dtypes) as DType[];
  const meant = names.find((dtype) => dtypes[dtype].torch === name) ??
    nearest(name, names);
  throw new DTypeError(
    `Cannot ${what} dtype "${name}": there is ${names.join(", ")}${
      meant === undefined ? "" : `; did you mean "${meant}"?`
    }`,
  );
}

/** Whether the dtype is a floating-point type. */
export function isFloat(dtype: DType): boolean {
  return dtypes[dtype].kind === "float";
}

/** Bytes of one element. */
export function bytesOf(dtype: DType): number {
  return dtypes[dtype].bytes;
}

/**
 * The dtype that two tensors are brought to before an operator works on them.
 *
 * Follows PyTorch, except that `i8` with `u8` gives `i32` (there is no 16-bit integer here).
 */
export function promote(a: DType, b: DType): DType {
  if (a === b) return a;
  const ka = dtypes[a].kind, kb = dtypes[b].kind;
  if (ka !== kb) {
    if (ka === "float" || kb === "bool") return a;
    return b;
  }
  if (ka === "float") {
    if (a === "f64" || b === "f64") return "f64";
    return "f32"; // f32 with a half type, or f16 with bf16
  }
  if (a === "i64" || b === "i64") return "i64";
  return "i32"; // i32 with a narrow type, or i8 with u8
}

/**
 * An operand for promotion: a tensor with dimensions, a zero-dimensional
 * tensor, or a plain number. Each class promotes the one before it only when
 * its category is higher, as in PyTorch.
 */
export interface PromotionOperand {
  /** The operand's own type (for numbers: `f32`, `i64` or `bool`). */
  readonly dtype: DType;
  /** 2 with dimensions, 1 zero-dimensional, 0 a number. */
  readonly priority: 0 | 1 | 2;
}

const kindOrder: Record<DTypeKind, number> = { bool: 0, int: 1, float: 2 };

/** The common dtype of several operands, by PyTorch's `result_type` rule. */
export function resultType(operands: readonly PromotionOperand[]): DType {
  const byPriority: (DType | undefined)[] = [undefined, undefined, undefined];
  for (const { dtype, priority } of operands) {
    const seen = byPriority[priority];
    byPriority[priority] = seen === undefined ? dtype : promote(seen, dtype);
  }
  let result = byPriority[2];
  for (const candidate of [byPriority[1], byPriority[0]]) {
    if (candidate === undefined) continue;
    if (result === undefined) result = candidate;
    else if (
      kindOrder[dtypes[candidate].kind] > kindOrder[dtypes[result].kind]
    ) result = promote(result, candidate);
  }
  return result ?? "f32";
}

/** An empty host array of the dtype, `length` elements long. */
export function hostArray(dtype: DType, length: number): HostArray {
  switch (dtype) {
    case "f32":
      return new Float32Array(length);
    case "f64":
      return new Float64Array(length);
    case "f16":
    case "bf16":
      return new Uint16Array(length);
    case "i64":
      return new BigInt64Array(length);
    case "i32":
      return new Int32Array(length);
    case "i8":
      return new Int8Array(length);
    case "u8":
    case "bool":
      return new Uint8Array(length);
    default:
      return dtype satisfies never;
  }
}

const scratch = new DataView(new ArrayBuffer(8));

/** The number that 16 bits of a half-precision float stand for. */
export function fromF16Bits(bits: number): number {
  scratch.setUint16(0, bits);
  return scratch.getFloat16(0);
}

/** The 16 bits of the half-precision float nearest to `value`. */
export function toF16Bits(value: number): number {
  scratch.setFloat16(0, value);
  return scratch.getUint16(0);
}

/** The number that 16 bits of a bfloat16 stand for. */
export function fromBf16Bits(bits: number): number {
  scratch.setUint32(0, bits << 16);
  return scratch.getFloat32(0);
}

/** The 16 bits of the bfloat16 nearest to `value`, ties to even. */
export function toBf16Bits(value: number): number {
  if (Number.isNaN(value)) return 0x7fc0;
  scratch.setFloat32(0, value);
  const bits = scratch.getUint32(0);
  return ((bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16) & 0xffff;
}

/** The 64-bit integer of a number, as casts make it: fractions cut off, NaN as 0, limited to the type's range. */
export function toI64(value: number): bigint {
  if (Number.isNaN(value)) return 0n;
  if (value >= 2 ** 63) return 2n ** 63n - 1n;
  return value < -(2 ** 63) ? -(2n ** 63n) : BigInt(Math.trunc(value));
}

/** Reads element `i` of a host array as a number (i64 rounds past 2^53). */
export function getElement(
  array: HostArray,
  dtype: DType,
  i: number,
): number {
  switch (dtype) {
    case "f16":
      return fromF16Bits(array[i] as number);
    case "bf16":
      return fromBf16Bits(array[i] as number);
    default:
      return Number(array[i]);
  }
}

/** Converts a number to the dtype and stores it as element `i`. */
export function setElement(
  array: HostArray,
  dtype: DType,
  i: number,
  value: number,
): void {
  switch (dtype) {
    case "f32":
    case "f64":
    case "i32":
    case "i8":
    case "u8":
      array[i] = value;
      return;
    case "bool":
      array[i] = value !== 0 ? 1 : 0;
      return;
    case "f16":
      array[i] = toF16Bits(value);
      return;
    case "bf16":
      array[i] = toBf16Bits(value);
      return;
    case "i64":
      (array as BigInt64Array)[i] = toI64(value);
      return;
    default:
      dtype satisfies never;
  }
}

/** The error for operands whose dtypes are not one floating-point type. */
export function notOneFloat(
  doing: string,
  dtypes: Iterable<DType>,
): DTypeError {
  return new DTypeError(
    `Cannot ${doing} tensors of dtypes ${
      [...new Set(dtypes)].join(", ")
    }: they must be one floating-point type; tensor(data, { dtype: "f32" }) and cast(x, "f32") make one of whole numbers`,
  );
}
