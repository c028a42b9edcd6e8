/** Tests on a CUDA device of their own: on the stand-in libraries, or with DECAF_TEST_CUDA=real on a GPU. */

import { assertEquals } from "@std/assert";
import type { Block } from "../core/device.ts";
import {
  bytesOf,
  type DType,
  type HostArray,
  hostArray,
} from "../core/dtype.ts";
import { CudaDevice } from "../devices/cuda/device.ts";
import { cudaForTests } from "./cuda_host/device.ts";

const { absent, host } = await cudaForTests();

/** Registers a test on a device of its own; at its end nothing is wrong and nothing is left. */
export function cudaTest(
  name: string,
  body: (device: CudaDevice) => void | Promise<void>,
): void {
  Deno.test({
    name: absent === undefined ? name : `${name} (${absent})`,
    ignore: absent !== undefined,
    async fn() {
      host?.reset();
      host?.clearViolations();
      const device = new CudaDevice(0);
      try {
        await body(device);
        assertEquals(host?.violations() ?? [], []);
        assertEquals(device.stats().liveBytes, 0);
      } finally {
        device.close();
      }
      assertEquals(host?.leaks() ?? [], []);
    },
  });
}

/** Blocks of device memory that are given back together. */
export class Blocks {
  readonly #device: CudaDevice;
  readonly #blocks: Block[] = [];

  constructor(device: CudaDevice) {
    this.#device = device;
  }

  /** A block with these elements. */
  of(data: HostArray): Block {
    const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
    const storage = this.#device.allocate(Math.max(1, bytes.length));
    this.#device.write(storage, 0, bytes);
    const block = { storage, offset: 0 };
    this.#blocks.push(block);
    return block;
  }

  /** Elements of a block. */
  read(block: Block, dtype: DType, length: number): HostArray {
    const data = hostArray(dtype, length);
    const bytes = new Uint8Array(data.buffer, 0, length * bytesOf(dtype));
    this.#device.read(block.storage, 0, bytes);
    return data;
  }

  /** Gives all blocks back. */
  release(): void {
    for (const { storage } of this.#blocks.splice(0)) storage.release();
  }
}
