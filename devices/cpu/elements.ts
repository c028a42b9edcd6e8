/**
 * How kernels read and write elements of the floating-point dtypes: half
 * types are widened to f32 on the way in and rounded to nearest, ties to
 * even, on the way out.
 *
 * @module
 */

import type { FunctionBuilder } from "../../kernel/wasm/assembler.ts";
import { bits32, type Emit } from "./emit.ts";

/** Dtypes that matrix products and convolutions work on. */
export type FloatDType = "f32" | "f64" | "f16" | "bf16";

/** Emits reads and writes of elements of one dtype, as vectors of f32 (four lanes) or f64 (two). */
export interface Elements {
  /** The dtype. */
  readonly dtype: FloatDType;
  /** Bytes per element in memory. */
  readonly bytes: number;
  /** Type of a lane in registers. */
  readonly lane: "f32" | "f64";
  /** Lanes of a vector. */
  readonly lanes: 4 | 2;
  /** With an address on the stack, pushes a vector of consecutive elements. */
  load(f: FunctionBuilder, offset?: number): void;
  /** With an address on the stack, pushes a vector whose first lane is the element. */
  loadOne(f: FunctionBuilder, offset?: number): void;
  /** With an address on the stack, pushes a vector whose first two lanes are consecutive elements. */
  loadTwo(f: FunctionBuilder, offset?: number): void;
  /** Writes a pushed vector of elements at a pushed address. */
  store(f: FunctionBuilder, address: Emit, value: Emit): void;
  /** Writes the first lane of a pushed vector at a pushed address. */
  storeOne(f: FunctionBuilder, address: Emit, value: Emit): void;
}

/** The elements of a dtype that fills its lanes. */
function whole(dtype: "f32" | "f64"): Elements {
  const wide = dtype === "f64";
  const one = wide ? "v128.load64_zero" : "v128.load32_zero";
  const two = wide ? "v128.load" : "v128.load64_zero";
  return {
    dtype,
    bytes: wide ? 8 : 4,
    lane: dtype,
    lanes: wide ? 2 : 4,
    load: (f, offset) => void f.load("v128.load", offset),
    loadOne: (f, offset) => void f.load(one, offset),
    loadTwo: (f, offset) => void f.load(two, offset),
    store(f, address, value) {
      address();
      value();
      f.store("v128.store");
    },
    storeOne(f, address, value) {
      address();
      value();
      f.storeLane(wide ? "v128.store64_lane" : "v128.store32_lane", 0);
    },
  };
}

/** The elements of a 16-bit dtype, from its two conversions. */
function half(
  dtype: "f16" | "bf16",
  widen: (f: FunctionBuilder) => void,
  narrow: (f: FunctionBuilder) => void,
): Elements {
  function packed(f: FunctionBuilder, value: Emit): void {
    value();
    narrow(f);
    bits32(f, 0).op("i16x8.narrow_i32x4_u");
  }
  return {
    dtype,
    bytes: 2,
    lane: "f32",
    lanes: 4,
    load(f, offset) {
      f.load("v128.load16x4_u", offset);
      widen(f);
    },
    loadOne(f, offset) {
      f.load("i32.load16_u", offset).op("i32x4.splat");
      widen(f);
    },
    loadTwo(f, offset) {
      f.load("v128.load32_zero", offset).op("i32x4.extend_low_i16x8_u");
      widen(f);
    },
    store(f, address, value) {
      address();
      packed(f, value);
      f.storeLane("v128.store64_lane", 0);
    },
    storeOne(f, address, value) {
      address();
      packed(f, value);
      f.storeLane("v128.store16_lane", 0);
    },
  };
}

/** i32x4 of f16 patterns to f32x4. */
function widenF16(f: FunctionBuilder): void {
  const h = f.local("v128"), magnitude = f.local("v128");
  f.set(h);
  bits32(f.get(h), 0x7fff).op("v128.and").i32(13).op("i32x4.shl");
  f.set(magnitude);
  // Exponent and mantissa in f32's places need 2¹¹² more; subnormals get right too.
  bits32(f.get(magnitude), 0x77800000).op("f32x4.mul");
  // Infinities and NaN keep all exponent bits set.
  bits32(f.get(magnitude), 0x0f800000).op("i32x4.ge_s");
  bits32(f, 0x7f800000).op("v128.and").op("v128.or");
  bits32(f.get(h), 0x8000).op("v128.and").i32(16).op("i32x4.shl");
  f.op("v128.or");
}

/** f32x4 to i32x4 of f16 patterns. */
function narrowF16(f: FunctionBuilder): void {
  const x = f.local("v128"), a = f.local("v128");
  f.set(x);
  bits32(f.get(x), 0x7fffffff).op("v128.and").set(a);
  // Normal: rebias the exponent and round, the carry going where it should.
  f.get(a);
  bits32(f, 0xc8000fff).op("i32x4.add");
  bits32(f.get(a).i32(13).op("i32x4.shr_u"), 1).op("v128.and");
  f.op("i32x4.add").i32(13).op("i32x4.shr_u");
  // Subnormal: adding 0.5 leaves the rounded multiple of 2⁻²⁴ in the low bits.
  bits32(f.get(a), 0x3f000000).op("f32x4.add");
  bits32(f, 0x3f000000).op("i32x4.sub");
  bits32(f.get(a), 0x38800000).op("i32x4.ge_s");
  f.op("v128.bitselect");
  // Too large, infinite, NaN.
  bits32(f, 0x7e00);
  bits32(f, 0x7c00);
  bits32(f.get(a), 0x7f800000).op("i32x4.gt_s").op("v128.bitselect");
  bits32(f.get(a), 0x47800000).op("i32x4.lt_s").op("v128.bitselect");
  bits32(f.get(x).i32(16).op("i32x4.shr_u"), 0x8000).op("v128.and");
  f.op("v128.or");
}

/** f32x4 to i32x4 of bf16 patterns. */
function narrowBf16(f: FunctionBuilder): void {
  const x = f.local("v128");
  f.set(x);
  bits32(f.get(x).i32(16).op("i32x4.shr_u"), 1).op("v128.and");
  bits32(f, 0x7fff).op("i32x4.add").get(x).op("i32x4.add");
  f.i32(16).op("i32x4.shr_u");
  bits32(f, 0x7fc0);
  f.get(x).get(x).op("f32x4.eq").op("v128.bitselect");
}

/** The elements of each floating-point dtype. */
export const elements: Readonly<Record<FloatDType, Elements>> = {
  f32: whole("f32"),
  f64: whole("f64"),
  f16: half("f16", widenF16, narrowF16),
  bf16: half("bf16", (f) => void f.i32(16).op("i32x4.shl"), narrowBf16),
};
