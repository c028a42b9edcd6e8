/**
 * Scratch space that library routines of the CPU device keep between calls.
 *
 * @module
 */

import { allocatePermanent, heap, releasePermanent } from "./memory.ts";

/** A block that grows as needed; its contents do not survive a growth. */
export class Scratch {
  #address = 0;
  #bytes = 0;

  /** The address of a block of at least `bytes` bytes, valid until the next call. */
  at(bytes: number): number {
    if (bytes > this.#bytes) {
      if (this.#address !== 0) releasePermanent(this.#address);
      this.#bytes = 0;
      this.#address = 0;
      this.#address = allocatePermanent(bytes);
      this.#bytes = bytes;
    }
    return this.#address;
  }
}

/** A parameter block of a kernel, filled word by word. */
export class ParameterBlock {
  /** Address of the block. */
  readonly address: number;

  /** Takes room for `words` words. */
  constructor(words: number) {
    this.address = allocatePermanent(words * 4);
  }

  /** Writes the words in order and returns the address of the block. */
  fill(...values: number[]): number {
    const at = this.address >>> 2;
    for (let i = 0; i < values.length; i++) heap.i32[at + i] = values[i];
    return this.address;
  }
}
