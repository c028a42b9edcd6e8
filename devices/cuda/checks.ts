/**
 * Checks of elements that wait for their kernel: flags in memory of the host,
 * set by the kernels themselves or copied in the order of the work, and looked
 * at when the host waits anyway.
 *
 * @module
 */

import type {
  DeferredCheck,
  DeviceFlag,
  PendingCheck,
} from "../../core/device.ts";
import { check, cudart, memcpyKind, pinned } from "../../ffi/cudart.ts";
import { addressOf } from "./context.ts";
import type { Gpu } from "./gpu.ts";

/** Checks that may be under way. */
const capacity = 256;

/** The checks of one device. */
export class Checks {
  readonly #gpu: Gpu;
  #flags: { address: bigint; values: Int32Array } | undefined;
  #waiting: PendingCheck[] = [];
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

  /** A flag that a kernel may set: pinned memory is where kernels reach it. */
  flag(pending: PendingCheck): DeviceFlag {
    const address = Number(this.#place());
    this.#waiting.push(pending);
    return { address };
  }

  /** Where the next flag goes; when there are too many, waits for all of them first. What failed among them is told at the next read. */
  #place(): bigint {
    if (this.#waiting.length === capacity) {
      this.#gpu.synchronize();
      this.#look();
    }
    const { address } = this.#flags ??= this.#reserve();
    return address + BigInt(4 * this.#waiting.length);
  }

  /** Adds a check whose flag is in device memory. */
  add(deferred: DeferredCheck): void {
    const target = this.#place();
    const source = addressOf(deferred.flag, "i32");
    this.#gpu.activate();
    this.#gpu.called("copy of a flag");
    check(
      cudart().cudaMemcpyAsync(
        target,
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
    const values = new Int32Array(bytes.buffer, 0, capacity).fill(0);
    return { address, values };
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
    const { values } = this.#flags!;
    const failed = waiting.findIndex((_, i) => values[i] !== 0);
    values.fill(0, 0, waiting.length);
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
