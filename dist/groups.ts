/**
 * Process groups over the devices of this process.
 *
 * @module
 */

import { type Device, getDevice } from "../core/device.ts";
import type { Communicator } from "../core/collectives.ts";
import { LocalCommunicator } from "./local.ts";
import { type GroupOptions, ProcessGroup } from "./process_group.ts";

/**
 * A process group over devices of this process: rank i is on device i. All
 * devices are different ones of one kind, joined by their library (NCCL for
 * CUDA), or all are the same one, whose ranks then share it.
 *
 * @throws {RangeError} for no device, or one that does not exist.
 * @throws {TypeError} when the devices cannot be joined.
 *
 * @example
 * ```ts
 * import { dist, tensor } from "@decaf/decaf";
 *
 * using group = dist.processGroup(["cpu", "cpu"]);
 * const [a, b] = group.allGather([tensor([1]), tensor([2])]).wait();
 * if (`${a.toArray()} ${b.toArray()}` !== "1,2 1,2") throw new Error("gather");
 * ```
 */
export function processGroup(
  devices: readonly string[],
  options: GroupOptions = {},
): ProcessGroup {
  if (devices.length === 0) {
    throw new RangeError(
      "Cannot make a process group of no devices: name at least one",
    );
  }
  const opened = devices.map(getDevice);
  return new ProcessGroup(communicatorOf(opened), opened, options);
}

function communicatorOf(devices: readonly Device[]): Communicator {
  const [first] = devices;
  const distinct = new Set(devices);
  if (distinct.size === 1 && devices.length > 1) {
    return new LocalCommunicator(first, devices.length);
  }
  const names = devices.map((d) => d.name).join(", ");
  if (distinct.size < devices.length) {
    throw new TypeError(
      `Cannot join the devices ${names}: each may be there once, or all are the same`,
    );
  }
  const { collectives } = first;
  if (devices.some((d) => kindOf(d) !== kindOf(first))) {
    throw new TypeError(
      `Cannot join the devices ${names}: they are of different kinds`,
    );
  }
  if (collectives !== undefined) return collectives.open(devices);
  if (devices.length === 1) return new LocalCommunicator(first, 1);
  throw new TypeError(
    `Cannot join the devices ${names}: there is no library for collectives among them`,
  );
}

/** `cuda` for `cuda:1`. */
function kindOf({ name }: Device): string {
  return name.split(":")[0];
}
