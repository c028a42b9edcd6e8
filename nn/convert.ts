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
import { contiguous, type MemoryFormat } from "../ops/memory_format.ts";

/** Where and how tensors are to be kept; what is left out stays as it is. */
export interface Placement {
  /** Floating-point dtype. */
  dtype?: DType;
  /** Device by name. */
  device?: string;
  /** Order of the elements of filters and images (tensors of four or five axes). */
  memoryFormat?: MemoryFormat;
}

/** A dtype, a device by name, or several of the choices at once. */
export type Destination = string | Placement;

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

interface Parsed {
  dtype?: DType;
  device?: Device;
  memoryFormat?: MemoryFormat;
}

function parse(destination: Destination): Parsed {
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
  const { dtype, device, memoryFormat } = destination;
  if (dtype !== undefined && !(dtype in dtypes)) return parse(dtype);
  if (
    memoryFormat !== undefined && memoryFormat !== "contiguous" &&
    memoryFormat !== "channelsLast"
  ) {
    throw new RangeError(
      `Cannot convert a module to the memory format "${memoryFormat}": there is "contiguous" and "channelsLast"`,
    );
  }
  return {
    dtype,
    memoryFormat,
    device: device === undefined ? undefined : getDevice(device),
  };
}

/** Converts tensors in place; only floating-point ones change their dtype. Gradients are dropped. */
export function convert(
  tensors: readonly Tensor[],
  destination: Destination,
): void {
  const { dtype, device, memoryFormat } = parse(destination);
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
    if (
      memoryFormat !== undefined && (tensor.rank === 4 || tensor.rank === 5)
    ) {
      reorder(tensor, memoryFormat);
    }
  }
}

/** Stores the elements in another order. */
function reorder(tensor: Tensor, memoryFormat: MemoryFormat): void {
  noGrad(() =>
    scope(() => {
      const value = contiguous(tensor, { memoryFormat }).value;
      if (value === tensor.value) return;
      value.retain().loosen();
      tensor.setValue(value);
    })
  );
}
