/**
 * The driver's memory of one device, in the order of the compute stream.
 *
 * @module
 */

import {
  attribute,
  check,
  cudaError,
  cudart,
  defaultPool,
  memPoolAttribute,
} from "../../ffi/cudart.ts";
import type { Gpu } from "./gpu.ts";
import type { MemorySource } from "./memory.ts";

const out = new BigUint64Array(1);
const unlimited = new BigUint64Array([2n ** 64n - 1n]);

/** Where blocks outside of graphs come from: the device's pool, or plain allocations where it has none. */
export class DevicePool implements MemorySource {
  /** `cudaMemPool_t`; undefined where the device has none. */
  readonly handle: bigint | undefined;
  readonly #gpu: Gpu;
  /** What was released while a graph was captured, which would have made it part of the graph. */
  #released: bigint[] = [];

  /**
   * Finds the device's pool, and tells it to keep what is freed: giving it back
   * to the system costs time.
   *
   * @param gpu Device, which must be current.
   */
  constructor(gpu: Gpu) {
    this.#gpu = gpu;
    if (attribute("MemoryPoolsSupported", gpu.ordinal) === 0) return;
    this.handle = defaultPool(gpu.ordinal);
    check(
      cudart().cudaMemPoolSetAttribute(
        this.handle,
        memPoolAttribute.ReleaseThreshold,
        unlimited,
      ),
      "cudaMemPoolSetAttribute",
      "ReleaseThreshold",
    );
  }

  /** Memory for work queued from now on; undefined when there is none left. */
  reserve(bytes: number): bigint | undefined {
    const { faults, stream } = this.#gpu;
    faults.note("cudaMallocAsync");
    const size = BigInt(bytes);
    const plain = this.handle === undefined;
    const status = plain
      ? cudart().cudaMalloc(out, size)
      : cudart().cudaMallocAsync(out, size, stream);
    if (status === 0) return out[0];
    if (status === cudaError.MemoryAllocation) {
      cudart().cudaGetLastError();
      return undefined;
    }
    check(status, plain ? "cudaMalloc" : "cudaMallocAsync", `${bytes} bytes`);
  }

  /** Returns memory after the work that is queued; after a capture, when one is in progress. */
  release(pointer: bigint): void {
    const gpu = this.#gpu;
    if (gpu.faults.lost) return; // its memory went with it
    if (gpu.capturing) {
      this.#released.push(pointer);
      return;
    }
    gpu.activate();
    gpu.faults.note("cudaFreeAsync");
    if (this.handle === undefined) {
      check(cudart().cudaFree(pointer), "cudaFree");
    } else check(cudart().cudaFreeAsync(pointer, gpu.stream), "cudaFreeAsync");
  }

  /** Returns what was released during a capture. */
  captured(): void {
    for (const pointer of this.#released.splice(0)) this.release(pointer);
  }

  /** Bytes that the pool has taken from the system, and those of them that are in use; undefined where there is no pool. */
  held(): { reserved: number; used: number } | undefined {
    if (this.handle === undefined) return undefined;
    return {
      reserved: this.#attribute("ReservedMemCurrent"),
      used: this.#attribute("UsedMemCurrent"),
    };
  }

  #attribute(name: "ReservedMemCurrent" | "UsedMemCurrent"): number {
    check(
      cudart().cudaMemPoolGetAttribute(
        this.handle!,
        memPoolAttribute[name],
        out,
      ),
      "cudaMemPoolGetAttribute",
      name,
    );
    return Number(out[0]);
  }

  /** Returns what the pool keeps to the system. */
  trim(): void {
    if (this.handle === undefined) return;
    check(cudart().cudaMemPoolTrimTo(this.handle, 0n), "cudaMemPoolTrimTo");
  }
}
