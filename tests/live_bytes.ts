/** Memory in use on the device that the tests run on. */

import { defaultDevice } from "../mod.ts";

/** Bytes in live storages of the default device. */
export function liveBytes(): number {
  return defaultDevice().stats().liveBytes;
}
