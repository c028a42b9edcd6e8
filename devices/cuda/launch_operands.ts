/**
 * What launches look at in their operands.
 *
 * @module
 */

import { bytesOf } from "../../core/dtype.ts";
import type { Launch, Strided } from "../../core/device.ts";
import { product } from "../../kernel/walk.ts";
import type { Facts } from "./launch_facts.ts";
import type { Placed } from "./launch_shape.ts";

/** Elements that `load` can reach: expressions count in signed 32-bit integers. */
const maxLoad = 2 ** 31;

/** Elements along an axis whose coordinates are computed with, and of a row in which positions are found: both count in signed 32-bit integers. */
const maxPositions = 2 ** 31 - 1;

/** Strides of all operands, inputs first. */
export function stridesOf({ inputs, outputs }: Launch): (readonly number[])[] {
  const strides = new Array<readonly number[]>(inputs.length + outputs.length);
  for (let i = 0; i < inputs.length; i++) strides[i] = inputs[i].strides;
  for (let i = 0; i < outputs.length; i++) {
    strides[inputs.length + i] = outputs[i].strides;
  }
  return strides;
}

/** Refuses operands that loads cannot reach all of. */
export function checkLoads(facts: Facts, { limits }: Launch): void {
  for (const i of facts.loads) {
    if (limits[i] > maxLoad) {
      throw new RangeError(
        `Cannot read at computed offsets in an operand of ${
          limits[i]
        } elements: offsets reach ${maxLoad} elements; work on parts of the tensor`,
      );
    }
  }
}

/** Refuses axes and rows with more positions than expressions can count. */
export function checkPositions({ finds }: Facts, l: Launch): void {
  const { sizes, outerRank, program: { usesCoords } } = l;
  if (!finds && !usesCoords) return;
  const longest = finds
    ? product(sizes, outerRank, sizes.length)
    : Math.max(0, ...sizes);
  if (longest <= maxPositions) return;
  throw new RangeError(
    `Cannot ${
      finds ? "find positions" : "compute with coordinates"
    } among ${longest} elements: positions count up to ${maxPositions} elements; work on parts of the tensor`,
  );
}

/** Addresses and types of all operands. */
export function placedOf(l: Launch): Placed[] {
  const { inputs, outputs } = l;
  const placed = new Array<Placed>(inputs.length + outputs.length);
  for (let i = 0; i < placed.length; i++) {
    const { storage, offset, dtype } = i < inputs.length
      ? inputs[i]
      : outputs[i - inputs.length];
    placed[i] = { dtype, address: storage.address + offset * bytesOf(dtype) };
  }
  return placed;
}

/** Whether an address is a multiple of a power of two; remainders of numbers beyond 32 bits take longer. */
export function isMultiple(address: number, of: number): boolean {
  return ((address >>> 0) & (of - 1)) === 0;
}

/** Whether vectors of `lanes` elements may start where an operand starts. */
export function isAligned(
  { storage, offset, dtype }: Strided,
  lanes: number,
): boolean {
  const width = bytesOf(dtype);
  return isMultiple(storage.address + offset * width, lanes * width);
}
