/**
 * Checks of elements, such as indices that must be in range: at once on a
 * device that runs at once, and at the next read of results on one that runs
 * behind the host, which a check must not make wait.
 *
 * @module
 */

import { noteCheck } from "./capture.ts";
import type { DeferredCheck } from "./device.ts";
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
  const kept = elements.view(
    elements.shape,
    elements.strides,
    elements.offset,
  );
  // An operator that fails later takes back its values, but not these.
  flag.loosen();
  kept.loosen();
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
