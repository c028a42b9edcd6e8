/**
 * What functions that make tensors share.
 *
 * @module
 */

import { defaultDevice, type Device, getDevice } from "../core/device.ts";
import { type DType, isFloat } from "../core/dtype.ts";
import {
  DTypeError,
  IndexError,
  ShapeError,
  shapeText,
} from "../core/errors.ts";
import type { Shape } from "../core/shape.ts";
import type { Tensor, TensorOptions } from "../core/tensor.ts";

/** The extents, checked. */
export function checkedShape(shape: Shape, what: string): Shape {
  if (
    !Array.isArray(shape) || shape.some((n) => !Number.isInteger(n) || n < 0)
  ) {
    throw new ShapeError(
      `Cannot make ${what} of shape ${
        Array.isArray(shape) ? shapeText(shape) : shape
      }: a shape is a list of whole numbers from 0 on, such as [2, 3]`,
    );
  }
  return shape;
}

/** Where the options ask for a tensor to be. */
export function deviceOf(options: TensorOptions): Device {
  return options.device === undefined
    ? defaultDevice()
    : getDevice(options.device);
}

/** Refuses a number of elements that is none. */
export function checkCount(count: number, what: string): void {
  if (!Number.isInteger(count) || count < 0 || count >= 2 ** 31) {
    throw new IndexError(
      `Cannot make ${what} of ${count} elements: give a whole number from 0 to ${
        2 ** 31 - 1
      }`,
    );
  }
}

/** Asks for a gradient if the options do. */
export function marked(x: Tensor, { requiresGrad }: TensorOptions): Tensor {
  if (requiresGrad && !isFloat(x.dtype)) {
    throw new DTypeError(
      `Cannot make a tensor of dtype ${x.dtype} that requires a gradient: it takes f32, f64, f16 or bf16`,
    );
  }
  x.requiresGrad = requiresGrad ?? false;
  return x;
}

/** The dtype of a plain value, as PyTorch infers it; floats where a gradient is asked for. */
export function inferredType(
  value: number | boolean,
  { dtype, requiresGrad }: TensorOptions,
): DType {
  if (dtype !== undefined) return dtype;
  if (requiresGrad) return "f32";
  if (typeof value === "boolean") return "bool";
  return Number.isInteger(value) ? "i64" : "f32";
}
