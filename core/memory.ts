/**
 * What is live, how to keep something alive, and what to say when there is
 * no memory left.
 *
 * @module
 */

import {
  type BlockOrigin,
  type Device,
  type DeviceStats,
  guardedBlocks,
  openDevices,
} from "./device.ts";
import { type MemoryRoom, OutOfMemoryError, shapeText } from "./errors.ts";
import { openScopes, persist } from "./scope.ts";
import { liveTensors, type Tensor } from "./tensor.ts";
import { allocation, type FailedAllocation, type Value } from "./value.ts";

/** Memory in use. */
export interface MemoryReport {
  /**
   * Live tensor handles, on all devices. A handle that was dropped without
   * being disposed still counts; its memory does not once it was collected.
   */
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

/** A block of memory, and who holds it. */
interface Holding {
  readonly bytes: number;
  readonly origin: BlockOrigin;
  readonly saved: boolean;
}

/** The blocks that open scopes, the tape, and everything outside scopes hold on a device, by address. */
function holdings(device: Device): Map<number, Holding> {
  const found = new Map<number, Holding>();
  const add = (value: Value, saved: boolean) => {
    if (value.refs <= 0) return;
    if (value.expression !== undefined) {
      for (const arg of value.expression.args) {
        if (typeof arg !== "number") add(arg, saved);
      }
    } else if (value.device === device && !found.has(value.storage.address)) {
      const { address, bytes } = value.storage;
      found.set(address, { bytes, origin: value, saved });
    }
  };
  for (const block of guardedBlocks()) {
    if (block.device !== device) continue;
    found.set(block.address, {
      bytes: block.bytes,
      origin: block,
      saved: false,
    });
  }
  for (const { holdings: { tensors, nodes } } of openScopes()) {
    for (const tensor of tensors) {
      if (!tensor.disposed) add(tensor.value, false);
    }
    for (const node of nodes) {
      for (const { value } of node.saved) add(value, true);
    }
  }
  return found;
}

/** How many kinds of blocks a message names. */
const named = 3;

/** The kinds of blocks that take most memory. */
function largest(device: Device): string {
  const kinds = new Map<string, { count: number; bytes: number }>();
  for (const { bytes, origin, saved } of holdings(device).values()) {
    const { dtype, shape, madeBy } = origin;
    const kind = [
      `${dtype} ${shapeText(shape)}`,
      ...madeBy === undefined ? [] : [madeBy],
      ...saved ? ["saved for the backward pass"] : [],
    ].join(", ");
    const before = kinds.get(kind) ?? { count: 0, bytes: 0 };
    kinds.set(kind, { count: before.count + 1, bytes: before.bytes + bytes });
  }
  const texts = [...kinds].sort(([, a], [, b]) => b.bytes - a.bytes)
    .slice(0, named).map(([kind, { count, bytes }]) =>
      `${sizeText(bytes)} in ${count} × (${kind})`
    );
  return texts.length === 0 ? "" : `: ${texts.join("; ")}`;
}

/** Smaller amounts are not worth a word. */
const worthSaying = 1 << 20;

/** What is free, and who holds what tensors do not: `, 1.0 GiB are free, 3.0 GiB are held by captured graphs`. */
function restOf(bytes: number, { freeBytes, others }: MemoryRoom): string {
  if (freeBytes >= bytes) {
    return `, and the ${
      sizeText(freeBytes)
    } that are free lie in pieces that are too small`;
  }
  const held = Object.entries(others).filter(([, n]) => n >= worthSaying)
    .map(([what, n]) => `, ${sizeText(n)} ${what}`);
  return `, ${sizeText(freeBytes)} are free${held.join("")}`;
}

/** Says what was asked, what is live, who holds it, and what would work. */
function outOfMemory(failure: FailedAllocation): Error {
  const { device, what, bytes, cause } = failure;
  const { liveBytes, limitBytes, blocks } = device.stats();
  const { room } = cause;
  const head = `Cannot allocate ${
    sizeText(bytes)
  } on ${device.name} for ${what}`;
  const limit = sizeText(limitBytes);
  if (bytes >= limitBytes) {
    return new OutOfMemoryError(
      `${head}: the device holds ${limit} in all; split the tensor, or use a narrower dtype`,
      { cause, room },
    );
  }
  return new OutOfMemoryError(
    `${head}: ${sizeText(liveBytes)} of ${limit} are live in ${blocks} blocks${
      room === undefined ? "" : restOf(bytes, room)
    }${
      largest(device)
    }; dispose of tensors that are no longer needed (a scope per step does), use smaller batches, or keep less for the backward pass with noGrad() or recompute()`,
    { cause, room },
  );
}

allocation.failed = outOfMemory;

function sizeText(bytes: number): string {
  const units = ["bytes", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  for (; bytes >= 1024 && unit < units.length - 1; unit++) bytes /= 1024;
  return `${unit === 0 ? bytes : bytes.toFixed(1)} ${units[unit]}`;
}
