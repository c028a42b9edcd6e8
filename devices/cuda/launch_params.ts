/**
 * Fills the parameter struct of a kernel, in one buffer for all launches.
 *
 * @module
 */

import { bytesOf } from "../../core/dtype.ts";
import type { Launch } from "../../core/device.ts";
import { type Count, maxParamBytes } from "../../kernel/cuda/params.ts";
import { divider } from "../../kernel/cuda/prelude.ts";
import type { ParamLayout } from "../../kernel/cuda/render.ts";
import type { Walk } from "../../kernel/walk.ts";
import type { CudaStorage } from "./context.ts";

const buffer = new ArrayBuffer(maxParamBytes);
const words = new Uint32Array(buffer);
const floats = new Float32Array(buffer);
const doubles = new Float64Array(buffer);
const views: Uint8Array[] = [];

const two32 = 2 ** 32;

/** The first bytes of the buffer; made once per size. */
function bytes(count: number): Uint8Array {
  return views[count] ??= new Uint8Array(buffer, 0, count);
}

/** Writes a number as a signed 64-bit integer. */
function setLong(word: number, value: number): void {
  words[word] = value;
  words[word + 1] = Math.floor(value / two32);
}

/** The struct, as it was filled in last. */
export function paramBytes(layout: ParamLayout): Uint8Array {
  return bytes(layout.bytes);
}

/** Addresses, scalars and limits of a launch; returns the struct's bytes. */
export function fillOperands(layout: ParamLayout, l: Launch): Uint8Array {
  const { inputs, outputs, scalars } = l;
  // What pads the struct at its end says the same in every launch.
  words[(layout.bytes >>> 2) - 1] = 0;
  let word = 0; // addresses come first, in order
  for (let i = 0; i < inputs.length; i++, word += 2) {
    const { storage, offset, dtype } = inputs[i];
    (storage as CudaStorage).upload?.join();
    setLong(word, storage.address + offset * bytesOf(dtype));
  }
  for (let i = 0; i < outputs.length; i++, word += 2) {
    const { storage, offset, dtype } = outputs[i];
    (storage as CudaStorage).upload?.join();
    setLong(word, storage.address + offset * bytesOf(dtype));
  }
  if (layout.flag !== undefined) setLong(layout.flag, l.flag!.address);
  for (let i = 0; i < layout.scalars.length; i++) {
    const { word, of, type } = layout.scalars[i];
    switch (type) {
      case "f32":
        floats[word] = scalars[of];
        words[word + 1] = 0; // no leftover that looks like part of an address
        break;
      case "f64":
        doubles[word >>> 1] = scalars[of];
        break;
      case "i64":
        setLong(word, Math.trunc(scalars[of]));
        break;
      default:
        words[word] = scalars[of];
    }
  }
  for (let i = 0; i < layout.limits.length; i++) {
    const { word, of } = layout.limits[i];
    // Where there is no element, the first bytes of the block are read, not those before it.
    words[word] = Math.max((l.limits[of] ?? 1) - 1, 0);
  }
  return bytes(layout.bytes);
}

/** Extents and strides of a walk. */
export function fillWalk(layout: ParamLayout, walk: Walk): void {
  const { wide } = layout;
  for (let i = 0; i < layout.sizes.length; i++) {
    const { word, of } = layout.sizes[i];
    const size = walk.sizes[of];
    if (wide) setLong(word, size);
    else {
      const [magic, shift] = divider(size);
      words[word] = size;
      words[word + 1] = magic;
      words[word + 2] = shift;
    }
  }
  for (let i = 0; i < layout.strides.length; i++) {
    const { word, of, axis } = layout.strides[i];
    const stride = walk.strides[of][axis];
    if (wide) setLong(word, stride);
    else words[word] = stride;
  }
}

/** Strides along the only axis. */
export function fillFlat(layout: ParamLayout, l: Launch): void {
  const inputs = l.inputs.length;
  for (let i = 0; i < layout.strides.length; i++) {
    const { word, of } = layout.strides[i];
    words[word] = (of < inputs ? l.inputs[of] : l.outputs[of - inputs])
      .strides[0];
  }
}

/** A count, where the kernel asks for it. */
export function fillCount(
  layout: ParamLayout,
  name: Count,
  value: number,
): void {
  const word = layout.counts[name];
  if (word === undefined) return;
  if (layout.wide) setLong(word, value);
  else words[word] = value;
}

/** Words of a struct that follow from extents and steps alone: where they stand, and what they are. */
export interface FixedWords {
  /** Places. */
  readonly at: readonly number[];
  /** Contents. */
  readonly are: readonly number[];
}

/** Those of the struct that was filled in last. */
export function fixedWords(layout: ParamLayout): FixedWords {
  const { wide, counts, sizes, strides } = layout;
  const at: number[] = [];
  const add = (word: number, count: number) => {
    for (let i = 0; i < count; i++) at.push(word + i);
  };
  for (const word of Object.values(counts)) add(word, wide ? 2 : 1);
  for (const { word } of sizes) add(word, wide ? 2 : 3);
  for (const { word } of strides) add(word, wide ? 2 : 1);
  return { at, are: at.map((word) => words[word]) };
}

/** Fills in a struct whose extents and steps are those of before. */
export function refill(
  layout: ParamLayout,
  l: Launch,
  { at, are }: FixedWords,
): void {
  fillOperands(layout, l);
  for (let i = 0; i < at.length; i++) words[at[i]] = are[i];
}
