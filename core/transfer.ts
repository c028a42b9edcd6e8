/**
 * Elements in another device's memory.
 *
 * @module
 */

import type { Device } from "./device.ts";
import { bytesOf } from "./dtype.ts";
import { dense } from "./row_kernels.ts";
import { freeingOnError, Value } from "./value.ts";

/** The elements of a value on another device, in the same order: directly where the two are linked, else through the host. */
export function transferred(value: Value, device: Device): Value {
  return freeingOnError(() => {
    const { dtype, shape } = value;
    const order = value.channelsLast ? value.strides : undefined;
    const result = Value.empty(device, dtype, shape, order);
    if (result.size === 0) return result;
    const source = dense(value, order);
    try {
      if (!copied(source, result)) {
        const width = bytesOf(dtype);
        const bytes = new Uint8Array(source.size * width);
        source.device.read(source.storage, source.offset * width, bytes);
        device.write(result.storage, 0, bytes);
      }
    } finally {
      source.release();
    }
    return result;
  });
}

/** Copies dense elements without the host; answers whether that went. */
function copied(source: Value, { device, storage }: Value): boolean {
  if (device.copy === undefined || source.device.copy === undefined) {
    return false;
  }
  const width = bytesOf(source.dtype);
  return device.copy(
    storage,
    0,
    source.storage,
    source.offset * width,
    source.size * width,
  );
}
