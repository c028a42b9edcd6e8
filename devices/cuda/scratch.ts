/**
 * Scratch memory for one operation, cut into arrays.
 *
 * @module
 */

import type { CudaContext } from "./context.ts";

/** Bytes at whose multiples arrays start. */
const alignment = 256;

/** Several arrays in the device's scratch memory, valid until the next operation asks for some. */
export class Scratch {
  /** Where each array starts. */
  readonly addresses: readonly number[];

  /**
   * Takes memory.
   *
   * @param context The device.
   * @param bytes Size of each array.
   */
  constructor(context: CudaContext, bytes: readonly number[]) {
    const starts: number[] = [];
    let end = 0;
    for (const size of bytes) {
      starts.push(end);
      end += Math.ceil(size / alignment) * alignment;
    }
    const base = Number(context.workspace(Math.max(end, alignment)));
    this.addresses = starts.map((start) => base + start);
  }
}
