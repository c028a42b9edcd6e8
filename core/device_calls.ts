/**
 * The calls of a device that compute or copy, for those who want to watch them.
 *
 * @module
 */

import type { Device, DeviceKernels } from "./device.ts";

/** One call of a device. */
export interface DeviceCall {
  /** The method: `launch`, `matmul`, …, `conv` of the fast paths, `recurrent forward` of their groups. */
  readonly method: string;
  /** What it was given. */
  readonly args: readonly unknown[];
}

/** Runs a call and returns its result; may do something before and after. */
export type Around = (call: DeviceCall, run: () => unknown) => unknown;

/** Methods of a device that compute or copy, or wait for that. */
const methods = [
  "launch",
  "launchAll",
  "matmul",
  "packFactor",
  "scatter",
  "sort",
  "scan",
  "read",
  "readLater",
  "write",
  "copy",
  "defer",
  "synchronize",
] as const satisfies readonly (keyof Device)[];

/** Fast paths that are groups of functions. */
type GroupName = {
  [K in keyof DeviceKernels]-?: NonNullable<DeviceKernels[K]> extends
    boolean | ((...args: never[]) => unknown) ? never : K;
}[keyof DeviceKernels];

/** Functions of each group that compute. */
const groups = {
  normalization: ["forward", "gradient"],
  recurrent: ["forward", "backward"],
  attention: ["forward", "backward"],
} as const satisfies {
  [K in GroupName]: readonly (keyof NonNullable<DeviceKernels[K]>)[];
};

type Method = (...args: unknown[]) => unknown;

/** Puts `around` about a method of an object, if it has it; returns what undoes it. */
function wrap(
  target: object,
  name: string,
  method: string,
  around: Around,
): () => void {
  const owner = target as Record<string, unknown>;
  const before = owner[name];
  if (typeof before !== "function") return () => {};
  const own = Object.hasOwn(owner, name);
  owner[name] = (...args: unknown[]) =>
    around({ method, args }, () => (before as Method).apply(target, args));
  return () => {
    if (own) owner[name] = before;
    else delete owner[name];
  };
}

/**
 * Has all calls of a device watched.
 *
 * @param device The device.
 * @param around Called for each call of it.
 * @returns What ends it; the last that began to watch must end first.
 */
export function watchCalls(device: Device, around: Around): () => void {
  const { kernels } = device;
  const undo = methods.map((name) => wrap(device, name, name, around));
  for (const name of Object.keys(kernels)) {
    undo.push(wrap(kernels, name, name, around));
  }
  for (const [group, names] of Object.entries(groups)) {
    const target = kernels[group as GroupName];
    if (target === undefined) continue;
    for (const name of names) {
      undo.push(wrap(target, name, `${group} ${name}`, around));
    }
  }
  return () => {
    for (const each of undo.toReversed()) each();
  };
}
