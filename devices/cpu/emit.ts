/**
 * Small pieces of WebAssembly that the hand-shaped kernels of the CPU device share.
 *
 * @module
 */

import {
  type FunctionBuilder,
  hasRelaxedSimd,
  type Label,
} from "../../kernel/wasm/assembler.ts";

/** Emits something, usually the push of one value. */
export type Emit = () => void;

/** Runs `body` while the signed local `i` is below the limit, adding `step` after each turn. */
export function loopWhileBelow(
  f: FunctionBuilder,
  i: number,
  limit: Emit,
  step: number,
  body: (leave: Label) => void,
): void {
  f.block((done) => {
    f.loop((again) => {
      f.get(i);
      limit();
      f.op("i32.ge_s").brIf(done);
      body(done);
      f.get(i).i32(step).op("i32.add").set(i).br(again);
    });
  });
}

/** Runs `body` as often as the local `count` says (signed), counting it down to zero. */
export function repeat(
  f: FunctionBuilder,
  count: number,
  body: Emit,
  step = 1,
): void {
  f.block((done) => {
    f.get(count).i32(step).op("i32.lt_s").brIf(done);
    f.loop((again) => {
      body();
      f.get(count).i32(step).op("i32.sub").tee(count);
      f.i32(step).op("i32.ge_s").brIf(again);
    });
  });
}

/** Sets `local` to the lesser of two pushed signed values. */
export function setMin(
  f: FunctionBuilder,
  local: number,
  a: Emit,
  b: Emit,
): void {
  a();
  b();
  a();
  b();
  f.op("i32.lt_s").select().set(local);
}

/** Adds a pushed value to the local. */
export function advance(f: FunctionBuilder, local: number, by: Emit): void {
  f.get(local);
  by();
  f.op("i32.add").set(local);
}

/** With a, b and c on the stack, leaves a·b + c, rounded once where the engine can. */
export function multiplyAdd(
  f: FunctionBuilder,
  type: "f32" | "f64",
  scratch: number,
): void {
  const relaxed = hasRelaxedSimd();
  if (type === "f32") {
    if (relaxed) f.op("f32x4.relaxed_madd");
    else f.set(scratch).op("f32x4.mul").get(scratch).op("f32x4.add");
  } else {
    if (relaxed) f.op("f64x2.relaxed_madd");
    else f.set(scratch).op("f64x2.mul").get(scratch).op("f64x2.add");
  }
}

/** The locals that hold the words of a parameter block, by name. */
export type Parameters<Name extends string> = Readonly<Record<Name, number>>;

/** Declares a local per name and loads word k of the block at local 0 into the k-th. */
export function loadParameters<Name extends string>(
  f: FunctionBuilder,
  names: readonly Name[],
): Parameters<Name> {
  const locals = {} as Record<Name, number>;
  names.forEach((name, k) => {
    locals[name] = f.local("i32");
    f.get(0).load("i32.load", 4 * k).set(locals[name]);
  });
  return locals;
}

/** A v128 constant with one 32-bit pattern in each lane. */
export function bits32(f: FunctionBuilder, bits: number): FunctionBuilder {
  return f.v128(new Uint8Array(new Uint32Array(4).fill(bits).buffer));
}
