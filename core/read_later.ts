/**
 * Reads that are asked for now and waited for later, so that the device has
 * work while the host looks at what came before.
 *
 * @module
 */

import type { LaterRead } from "./device.ts";
import { bytesOf } from "./dtype.ts";
import { contiguous, readBytes } from "./row_kernels.ts";
import type { Tensor } from "./tensor.ts";
import type { Value } from "./value.ts";

/**
 * Asks for the raw bytes of tensors on one device, as they are when the device
 * comes to it: what overwrites them afterwards makes no difference. On a device
 * that runs at once they are there at once.
 *
 * @param tensors At least one.
 */
export function readLater(tensors: readonly Tensor[]): LaterRead {
  const [{ device }] = tensors;
  if (device.readLater === undefined) {
    const parts = tensors.map(({ value }) => readBytes(value));
    return { wait: () => parts, [Symbol.dispose]() {} };
  }
  const values: Value[] = [];
  try {
    for (const { value } of tensors) values.push(contiguous(value));
    return device.readLater(values.map(({ storage, offset, dtype, size }) => ({
      storage,
      byteOffset: offset * bytesOf(dtype),
      bytes: size * bytesOf(dtype),
    })));
  } finally {
    // The copies are queued: what gets this memory next is queued behind them.
    for (const value of values) value.release();
  }
}
