/**
 * Changing the dtype, the device and the elements of parameters in place, so
 * that whoever holds them sees the new ones.
 *
 * @module
 */

import { noGrad } from "../core/autograd.ts";
import {
  type Device,
  deviceNames,
  getDevice,
  isDeviceName,
} from "../core/device.ts";
import { type DType, dtypes, isFloat } from "../core/dtype.ts";
import { materialize } from "../core/fuse.ts";
import { scope } from "../core/scope.ts";
import type { Tensor } from "../core/tensor.ts";
import { transferred } from "../core/transfer.ts";
import { assign } from "../core/update.ts";
import type { Value } from "../core/value.ts";
import { cast } from "../ops/foundation.ts";

/** A dtype, a device by name, or both. */
export type Destination = string | { dtype?: DType; device?: string };

/** The elements of a value on another device. */
function moved(value: Value, device: Device): Value {
  const result = transferred(value, device);
  result.loosen();
  return result;
}

/** Overwrites a tensor with the elements of another of the same shape, whatever its dtype and device. */
export function overwrite(target: Tensor, source: Tensor): void {
  if (source === target) return;
  const { dtype, device } = target;
  noGrad(() =>
    scope(() => {
      if (source.dtype !== dtype) source = cast(source, dtype);
      if (source.device === device) assign(target, source);
      else target.setValue(moved(source.value, device));
    })
  );
}

function parse(destination: Destination): { dtype?: DType; device?: Device } {
  if (typeof destination === "string") {
    if (destination in dtypes) return { dtype: destination as DType };
    if (isDeviceName(destination)) {
      return { device: getDevice(destination) };
    }
    throw new RangeError(
      `Cannot convert a module to "${destination}": it is neither a dtype (${
        Object.keys(dtypes).join(", ")
      }) nor a device (${deviceNames().join(", ")})`,
    );
  }
  const { dtype, device } = destination;
  if (dtype !== undefined && !(dtype in dtypes)) return parse(dtype);
  return {
    dtype,
    device: device === undefined ? undefined : getDevice(device),
  };
}

/** Converts tensors in place; only floating-point ones change their dtype. Gradients are dropped. */
export function convert(
  tensors: readonly Tensor[],
  destination: Destination,
): void {
  const { dtype, device } = parse(destination);
  if (dtype !== undefined && !isFloat(dtype)) {
    throw new RangeError(
      `Cannot convert a module to dtype ${dtype}: parameters are floating-point; there is f32, f64, f16 and bf16`,
    );
  }
  for (const tensor of tensors) {
    if (
      dtype !== undefined && isFloat(tensor.dtype) && tensor.dtype !== dtype
    ) {
      noGrad(() =>
        scope(() => {
          const value = cast(tensor, dtype).value.retain();
          materialize(value);
          value.loosen();
          tensor.setValue(value);
        })
      );
      tensor.grad?.dispose();
      tensor.grad = undefined;
    }
    if (device !== undefined && tensor.device !== device) {
      tensor.setValue(moved(tensor.value, device));
      tensor.grad?.dispose();
      tensor.grad = undefined;
    }
  }
}
