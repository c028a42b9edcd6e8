/**
 * How operators over windows ask a device for a fast path: operands in one
 * memory order, a result in the same order, and an answer.
 *
 * @module
 */

import type { Block, WindowSpec } from "../core/device.ts";
import { contiguous, dense } from "../core/row_kernels.ts";
import { channelsLastStrides, type Shape } from "../core/shape.ts";
import { Tensor } from "../core/tensor.ts";
import { Value } from "../core/value.ts";

/** What a kernel over windows works on. */
export interface WindowOperands {
  /** Images and filters; the first has the dtype and the device of the result. */
  readonly images: readonly Tensor[];
  /** Operands of one axis. */
  readonly vectors?: readonly Tensor[];
  /** Shape of the result. */
  readonly result: Shape;
}

/** Whether images lie with their channels last, and their device takes them so. */
function channelsLast(images: readonly Tensor[]): boolean {
  return images[0].device.kernels.channelsLast === true &&
    images.some(({ value }) => value.channelsLast);
}

/**
 * Runs a kernel over windows. Where an image or a filter lies with its
 * channels last and the device can read that, so do all of them, and the
 * result.
 *
 * @returns The result; undefined when the kernel does not take the operands.
 */
export function overWindows(
  { images, vectors = [], result: shape }: WindowOperands,
  windows: Omit<WindowSpec, "dtype" | "channelsLast">,
  run: (spec: WindowSpec, operands: Block[], result: Value) => boolean,
): Tensor | undefined {
  const { dtype, device } = images[0];
  const last = channelsLast(images);
  const spec = { ...windows, dtype, channelsLast: last };
  const order = (shape: Shape) => last ? channelsLastStrides(shape) : undefined;
  const operands: Value[] = [];
  try {
    for (const { value } of images) {
      operands.push(dense(value, order(value.shape)));
    }
    for (const { value } of vectors) operands.push(contiguous(value));
    const result = new Tensor(Value.empty(device, dtype, shape, order(shape)));
    if (run(spec, operands, result.value)) return result;
    result.dispose();
    return undefined;
  } finally {
    for (const value of operands) value.release();
  }
}

/** Runs `body` with contiguous forms of values, and releases those. */
export function withBlocks<T>(
  values: readonly Value[],
  body: (...blocks: Block[]) => T,
): T {
  const operands: Value[] = [];
  try {
    for (const value of values) operands.push(contiguous(value));
    return body(...operands);
  } finally {
    for (const value of operands) value.release();
  }
}
