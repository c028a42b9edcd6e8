/**
 * Elements in another device's memory.
 *
 * @module
 */

import type { Device } from "./device.ts";
import { bytesOf } from "./dtype.ts";
import { contiguous, readBytes } from "./fuse.ts";
import { freeingOnError, Value } from "./value.ts";

/** The elements of a value on another device: directly where the two are linked, else through the host. */
export function transferred(value: Value, device: Device): Value {
  return freeingOnError(() => {
    const result = Value.empty(device, value.dtype, value.shape);
    if (result.size > 0 && !copied(value, result)) {
      device.write(result.storage, 0, readBytes(value));
    }
    return result;
  });
}

/** Copies without the host; answers whether that went. */
function copied(value: Value, { device, storage }: Value): boolean {
  if (device.copy === undefined || value.device.copy === undefined) {
    return false;
  }
  const dense = contiguous(value);
  try {
    const width = bytesOf(dense.dtype);
    return device.copy(
      storage,
      0,
      dense.storage,
      dense.offset * width,
      dense.size * width,
    );
  } finally {
    dense.release();
  }
}
