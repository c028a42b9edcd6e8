/**
 * Checks of elements that wait for their kernel: each flag is copied to the
 * host in the order of the work, and looked at when the host waits anyway.
 *
 * @module
 */

import type { DeferredCheck } from "../../core/device.ts";
import { check, cudart, memcpyKind, pinned } from "../../ffi/cudart.ts";
import { addressOf } from "./context.ts";
import type { Gpu } from "./gpu.ts";

/** Checks that may be under way. */
const capacity = 256;

/** The checks of one device. */
export class Checks {
  readonly #gpu: Gpu;
  #flags: { address: bigint; values: Int32Array } | undefined;
  #waiting: DeferredCheck[] = [];
  /** The first failure that was seen and that nobody was told of yet. */
  #failure: Error | undefined;

  /**
   * Nothing is reserved before the first check.
   *
   * @param gpu Device whose flags are looked at.
   */
  constructor(gpu: Gpu) {
    this.#gpu = gpu;
  }

  /** Adds a check; when there are too many, waits for all of them first. What failed among them is told at the next read. */
  add(deferred: DeferredCheck): void {
    if (this.#waiting.length === capacity) {
      this.#gpu.synchronize();
      this.#look();
    }
    const flags = this.#flags ??= this.#reserve();
    const slot = this.#waiting.length;
    const source = addressOf(deferred.flag, "i32");
    this.#gpu.activate();
    this.#gpu.called("copy of a flag");
    check(
      cudart().cudaMemcpyAsync(
        flags.address + BigInt(4 * slot),
        source,
        4n,
        memcpyKind.DeviceToHost,
        this.#gpu.stream,
      ),
      "cudaMemcpyAsync",
      "4 bytes to the host",
    );
    this.#gpu.queued();
    this.#waiting.push(deferred);
  }

  #reserve(): { address: bigint; values: Int32Array } {
    const { address, bytes } = pinned(4 * capacity);
    this.#gpu.onClose(() => cudart().cudaFreeHost(address));
    return { address, values: new Int32Array(bytes.buffer, 0, capacity) };
  }

  /**
   * Looks at all flags; the device must have been waited for.
   *
   * @throws {Error} what the first check that failed says.
   */
  settle(): void {
    if (this.#waiting.length > 0) this.#look();
    const failure = this.#failure;
    this.#failure = undefined;
    if (failure !== undefined) throw failure;
  }

  /** Looks at all flags, and notes the first failure. */
  #look(): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    const failed = waiting.findIndex((_, i) => this.#flags!.values[i] !== 0);
    try {
      if (failed >= 0) this.#failure ??= waiting[failed].failed();
    } finally {
      for (const deferred of waiting) deferred.release();
    }
  }

  /** Forgets all checks: the device is gone. */
  drop(): void {
    this.#failure = undefined;
    for (const deferred of this.#waiting.splice(0)) deferred.release();
  }
}
