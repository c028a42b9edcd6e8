/**
 * What is live, and how to keep something alive.
 *
 * @module
 */

import { type DeviceStats, openDevices } from "./device.ts";
import { persist } from "./scope.ts";
import { liveTensors, type Tensor } from "./tensor.ts";

/** Memory in use. */
export interface MemoryReport {
  /** Live tensor handles, on all devices. */
  readonly tensors: number;
  /** Counters of each device that was used, by name. */
  readonly devices: Readonly<Record<string, DeviceStats>>;
}

/**
 * Live tensors and bytes.
 *
 * @example
 * ```ts
 * import { memory, scope, tensor } from "@decaf/decaf";
 *
 * const before = memory().tensors;
 * scope(() => {
 *   tensor([1, 2, 3]).add(1).data();
 * });
 * if (memory().tensors !== before) throw new Error("leak");
 * ```
 */
export function memory(): MemoryReport {
  const devices = Object.fromEntries(
    openDevices().map((device) => [device.name, device.stats()]),
  );
  return { tensors: liveTensors(), devices };
}

/** Takes a tensor out of every scope: it lives until it is disposed or nothing refers to it. */
export function keep<T extends Tensor>(tensor: T): T {
  return persist(tensor);
}
