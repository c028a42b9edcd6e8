/**
 * Fresh tensors for parameters and buffers.
 *
 * @module
 */

import { getDevice } from "../core/device.ts";
import type { Shape } from "../core/shape.ts";
import type { Tensor } from "../core/tensor.ts";
import { fill } from "../ops/foundation.ts";
import type { ModuleOptions } from "./module.ts";

/** A tensor of one value, in the dtype and on the device of the options. */
export function filled(
  shape: Shape,
  value: number,
  options: ModuleOptions = {},
): Tensor {
  const { dtype = "f32", device } = options;
  const where = device === undefined ? undefined : getDevice(device);
  return fill(shape, value, dtype, where);
}

/** A tensor that an initialiser is about to fill. */
export function empty(shape: Shape, options: ModuleOptions = {}): Tensor {
  return filled(shape, 0, options);
}
