/**
 * Checks of elements, such as indices that must be in range: at once on a
 * device that runs at once, and at the next read of results on one that runs
 * behind the host, which a check must not make wait.
 *
 * @module
 */

import { capturing, noteCheck } from "./capture.ts";
import type { DeferredCheck, DeviceFlag } from "./device.ts";
import { readBytes } from "./row_kernels.ts";
import type { Value } from "./value.ts";

let gathered: Value[] | undefined;

/** Runs `body`, whose checks on devices that run behind the host are not made: their flags are added to a list, which owns them. */
export function withFlags<T>(into: Value[], body: () => T): T {
  const outer = gathered;
  gathered = into;
  try {
    return body();
  } finally {
    gathered = outer;
  }
}

/** Elements kept until their check is made; an operator that fails meanwhile takes back its values, but not these. */
function keptUntilChecked(elements: Value): Value {
  const { shape, strides, offset } = elements;
  const kept = elements.view(shape, strides, offset);
  kept.outlive();
  return kept;
}

/**
 * A flag for a kernel that refuses elements by itself, so that no kernel need
 * look at them first.
 *
 * @param elements What the flag will be about; kept until it was looked at.
 * @param failed Words the error from the elements' values; thrown at a read.
 * @returns The flag; undefined where elements have to be checked before, by a kernel for {@linkcode refuseFlagged}.
 */
export function flagFor(
  elements: Value,
  failed: (elements: Value) => Error,
): DeviceFlag | undefined {
  const { device } = elements;
  if (device.flag === undefined || gathered !== undefined || capturing()) {
    return undefined;
  }
  const kept = keptUntilChecked(elements);
  return device.flag({
    failed: () => failed(kept),
    release: () => kept.release(),
  });
}

/**
 * Refuses a call whose kernel has set a flag.
 *
 * @param flag One i32, not 0 where an element is wrong; taken over.
 * @param elements What the flag is about; kept until it was looked at.
 * @param failed Words the error from the elements' values.
 * @throws {Error} what `failed` gives; later, at a read, on a device that runs behind the host.
 */
export function refuseFlagged(
  flag: Value,
  elements: Value,
  failed: (elements: Value) => Error,
): void {
  const { device } = flag;
  if (device.defer === undefined) {
    const wrong = new Int32Array(readBytes(flag).buffer)[0] !== 0;
    flag.release();
    if (wrong) throw failed(elements);
    return;
  }
  if (gathered !== undefined) {
    flag.loosen();
    gathered.push(flag);
    return;
  }
  const kept = keptUntilChecked(elements);
  flag.outlive();
  const check: DeferredCheck = {
    flag,
    failed: () => failed(kept),
    release() {
      flag.release();
      kept.release();
    },
  };
  if (noteCheck(check)) return;
  try {
    device.defer(check);
  } catch (error) {
    check.release();
    throw error;
  }
}
