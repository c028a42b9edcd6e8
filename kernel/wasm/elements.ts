/**
 * Loads and stores of vectors of elements: widening from the storage type on
 * the way in, narrowing on the way out, whole, gathered or one at a time.
 *
 * @module
 */

import { bytesOf, type DType } from "../../core/dtype.ts";
import type { FunctionBuilder } from "./assembler.ts";
import * as k from "../expr.ts";
import type { Expr } from "../expr.ts";
import { fromBf16, fromF16, toBf16, toF16 } from "./halves.ts";
import { LaneEmitter } from "./lanes.ts";

/** How an operand moves from lane to lane: not at all, to the neighbour, or by a stride in bytes held in a local. */
export type Step = "zero" | "unit" | { readonly stride: number };

/** Loads and stores for one function. */
export class Elements {
  /**
   * Prepares to write into a function.
   *
   * @param f Function that gets the code.
   * @param wide Whether lanes are 64 bits wide.
   */
  constructor(readonly f: FunctionBuilder, readonly wide: boolean) {}

  /** Pushes the elements at the address in local `pointer` plus `offset` bytes; one lane only when `single`. */
  load(
    dtype: DType,
    pointer: number,
    offset: number,
    step: Step,
    single: boolean,
  ): void {
    if (step === "zero") this.#one(dtype, pointer, offset, true);
    else if (single) this.#one(dtype, pointer, offset, false);
    else if (step === "unit") this.#whole(dtype, pointer, offset);
    else {
      const lane = this.f.local("i32");
      this.f.get(pointer).set(lane);
      this.#gather(dtype, (i) => {
        if (i > 0) this.f.get(lane).get(step.stride).op("i32.add").set(lane);
        return lane;
      }, offset);
    }
    this.#widen(dtype);
  }

  /** Pushes the elements at `base` + index · size, the indices being the lanes of local `indices` (i32). */
  loadAt(dtype: DType, base: number, indices: number, single: boolean): void {
    const { f } = this;
    const address = f.local("i32");
    const shift = Math.log2(bytesOf(dtype));
    const lanes = single ? 1 : this.wide ? 2 : 4;
    this.#gather(
      dtype,
      (i) => {
        f.get(indices).lane("i32x4.extract_lane", Math.min(i, lanes - 1));
        f.i32(shift).op("i32.shl").get(base).op("i32.add").set(address);
        return address;
      },
      0,
      lanes,
    );
    this.#widen(dtype);
  }

  /** Stores the lanes on the stack at the address in `pointer` plus `offset` bytes. */
  store(
    dtype: DType,
    type: k.ScalarType,
    pointer: number,
    offset: number,
    step: Step,
    single: boolean,
  ): void {
    const { f } = this;
    this.#narrow(dtype, type);
    const vector = f.local("v128");
    f.set(vector);
    if (step === "unit" && !single) {
      this.#storeWhole(dtype, vector, pointer, offset);
      return;
    }
    const lanes = single || step === "zero" ? 1 : this.wide ? 2 : 4;
    const address = f.local("i32");
    f.get(pointer).set(address);
    for (let i = 0; i < lanes; i++) {
      if (i > 0) {
        f.get(address).get((step as { stride: number }).stride).op("i32.add")
          .set(address);
      }
      this.#storeLane(dtype, vector, i, address, offset);
    }
  }

  // Raw elements: f32, i32 as 32-bit lanes, f64, i64 as 64-bit lanes, narrow ones zero- or sign-extended to 32 bits.

  #one(dtype: DType, pointer: number, offset: number, splat: boolean): void {
    const { f } = this;
    f.get(pointer);
    switch (dtype) {
      case "f32":
      case "i32":
        f.load(splat ? "v128.load32_splat" : "v128.load32_zero", offset);
        return;
      case "f64":
      case "i64":
        f.load(splat ? "v128.load64_splat" : "v128.load64_zero", offset);
        return;
      case "f16":
      case "bf16":
        f.load("i32.load16_u", offset).op("i32x4.splat");
        return;
      case "u8":
      case "bool":
        f.load("i32.load8_u", offset).op("i32x4.splat");
        return;
      case "i8":
        f.load("i32.load8_s", offset).op("i32x4.splat");
        return;
      default:
        dtype satisfies never;
    }
  }

  #whole(dtype: DType, pointer: number, offset: number): void {
    const { f, wide } = this;
    f.get(pointer);
    switch (dtype) {
      case "f32":
      case "i32":
        f.load(wide ? "v128.load64_zero" : "v128.load", offset);
        return;
      case "f64":
      case "i64":
        f.load("v128.load", offset);
        return;
      case "f16":
      case "bf16":
        f.load(wide ? "v128.load32_zero" : "v128.load64_zero", offset);
        f.op("i32x4.extend_low_i16x8_u");
        return;
      case "u8":
      case "bool":
        if (wide) f.load("i32.load16_u", offset).op("i16x8.splat");
        else f.load("v128.load32_zero", offset);
        f.op("i16x8.extend_low_i8x16_u").op("i32x4.extend_low_i16x8_u");
        return;
      case "i8":
        if (wide) f.load("i32.load16_u", offset).op("i16x8.splat");
        else f.load("v128.load32_zero", offset);
        f.op("i16x8.extend_low_i8x16_s").op("i32x4.extend_low_i16x8_s");
        return;
      default:
        dtype satisfies never;
    }
  }

  #gather(
    dtype: DType,
    address: (lane: number) => number,
    offset: number,
    lanes = this.wide ? 2 : 4,
  ): void {
    const { f } = this;
    this.#one(dtype, address(0), offset, false);
    if (lanes === 1) return;
    const vector = f.local("v128");
    f.set(vector);
    for (let i = 1; i < lanes; i++) {
      const pointer = address(i);
      switch (dtype) {
        case "f32":
        case "i32":
          f.get(pointer).get(vector).loadLane("v128.load32_lane", i, offset);
          break;
        case "f64":
        case "i64":
          f.get(pointer).get(vector).loadLane("v128.load64_lane", i, offset);
          break;
        default:
          f.get(vector);
          f.get(pointer).load(
            dtype === "i8"
              ? "i32.load8_s"
              : bytesOf(dtype) === 1
              ? "i32.load8_u"
              : "i32.load16_u",
            offset,
          );
          f.lane("i32x4.replace_lane", i);
      }
      f.set(vector);
    }
    f.get(vector);
  }

  /** From raw lanes on the stack to the compute type. */
  #widen(dtype: DType): void {
    const { f } = this;
    if (dtype === "f16" || dtype === "bf16") {
      this.#apply(dtype === "f16" ? fromF16 : fromBf16, "i32");
    } else if (dtype === "bool") {
      f.v128(new Uint8Array(16)).op("i32x4.ne");
      if (this.wide) f.op("i64x2.extend_low_i32x4_s");
    }
  }

  /** From the compute type on the stack to raw lanes. */
  #narrow(dtype: DType, type: k.ScalarType): void {
    const { f } = this;
    if (dtype === "f16" || dtype === "bf16") {
      this.#apply(dtype === "f16" ? toF16 : toBf16, "f32");
    } else if (dtype === "bool") {
      if (this.wide) {
        const mask = f.local("v128");
        f.tee(mask).get(mask);
        f.shuffle([0, 1, 2, 3, 8, 9, 10, 11, 0, 1, 2, 3, 8, 9, 10, 11]);
      }
      f.v128(new Uint8Array(16).map((_, i) => i % 4 === 0 ? 1 : 0));
      f.op("v128.and");
    } else if (dtype === "i64" && type === "i32" && this.wide) {
      f.op("i64x2.extend_low_i32x4_s");
    }
  }

  #apply(convert: (e: Expr) => Expr, type: k.ScalarType): void {
    const { f } = this;
    const argument = f.local("v128");
    f.set(argument);
    const leaf = k.input(0, type);
    const root = convert(leaf);
    const emitter = new LaneEmitter(
      f,
      this.wide,
      neverImports,
      () => f.get(argument),
    );
    emitter.plan([root]);
    emitter.emit(root);
  }

  #storeWhole(
    dtype: DType,
    vector: number,
    pointer: number,
    offset: number,
  ): void {
    const { f, wide } = this;
    switch (dtype) {
      case "f32":
      case "i32":
        f.get(pointer).get(vector);
        if (wide) f.storeLane("v128.store64_lane", 0, offset);
        else f.store("v128.store", offset);
        return;
      case "f64":
        f.get(pointer).get(vector).store("v128.store", offset);
        return;
      case "i64":
        f.get(pointer).get(vector);
        if (!wide) {
          f.op("i64x2.extend_low_i32x4_s").store("v128.store", offset);
          f.get(pointer).get(vector).op("i64x2.extend_high_i32x4_s");
          f.store("v128.store", offset + 16);
        } else f.store("v128.store", offset);
        return;
      case "f16":
      case "bf16":
        f.get(pointer).get(vector).get(vector).op("i16x8.narrow_i32x4_u");
        f.storeLane(
          wide ? "v128.store32_lane" : "v128.store64_lane",
          0,
          offset,
        );
        return;
      case "u8":
      case "bool":
      case "i8":
        f.get(pointer).get(vector);
        f.v128(new Uint8Array(16).map((_, i) => i % 4 === 0 ? 255 : 0)).op(
          "v128.and",
        );
        f.get(vector).op("i16x8.narrow_i32x4_u");
        f.get(vector).op("i8x16.narrow_i16x8_u");
        f.storeLane(
          wide ? "v128.store16_lane" : "v128.store32_lane",
          0,
          offset,
        );
        return;
      default:
        dtype satisfies never;
    }
  }

  #storeLane(
    dtype: DType,
    vector: number,
    lane: number,
    address: number,
    offset: number,
  ): void {
    const { f, wide } = this;
    f.get(address).get(vector);
    switch (dtype) {
      case "f32":
      case "i32":
        f.storeLane("v128.store32_lane", lane, offset);
        return;
      case "f64":
        f.storeLane("v128.store64_lane", lane, offset);
        return;
      case "i64":
        if (wide) f.storeLane("v128.store64_lane", lane, offset);
        else {f.lane("i32x4.extract_lane", lane).op("i64.extend_i32_s").store(
            "i64.store",
            offset,
          );}
        return;
      case "f16":
      case "bf16":
        f.lane("i32x4.extract_lane", lane).store("i32.store16", offset);
        return;
      case "u8":
      case "bool":
      case "i8":
        f.lane("i32x4.extract_lane", lane).store("i32.store8", offset);
        return;
      default:
        dtype satisfies never;
    }
  }
}

function neverImports(name: string): number {
  throw new TypeError(`Cannot call ${name} in a conversion`);
}
