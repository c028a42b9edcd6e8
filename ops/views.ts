/**
 * What operators on shapes share: views of a tensor's memory, and writing a
 * tensor into a part of another.
 *
 * @module
 */

import type { DType } from "../core/dtype.ts";
import type { Device } from "../core/device.ts";
import { IndexError, ShapeError, shapeText } from "../core/errors.ts";
import { materialize } from "../core/fuse.ts";
import type { LaunchQueue } from "../core/launches.ts";
import { runRows } from "../core/row_kernels.ts";
import { normalizeAxis, type Shape } from "../core/shape.ts";
import { Tensor } from "../core/tensor.ts";
import type { Value } from "../core/value.ts";
import * as k from "../kernel/expr.ts";
import { fill } from "./foundation.ts";

/** How a part of some memory is walked. */
export interface Layout {
  /** Extents. */
  readonly shape: Shape;
  /** Steps in elements. */
  readonly strides: readonly number[];
  /** First element. */
  readonly offset: number;
}

/** Finds the part of a layout that an operator is about. */
export type Window = (whole: Layout) => Layout;

/** A window on the value's memory, computed first if it is pending. */
export function windowOn(value: Value, window: Window): Value {
  materialize(value);
  const { shape, strides, offset } = window(value);
  return value.view(shape, strides, offset);
}

/** The same as a tensor. */
export function viewOf(x: Tensor, window: Window): Tensor {
  return new Tensor(windowOn(x.value, window));
}

/** x with two axes exchanged, counted from the front; itself where they are one. Not recorded. */
export function exchanged(x: Tensor, a: number, b: number): Tensor {
  if (a === b) return x;
  return viewOf(x, ({ shape, strides, offset }) => ({
    shape: swapped(shape, a, b),
    strides: swapped(strides, a, b),
    offset,
  }));
}

function swapped(list: readonly number[], a: number, b: number): number[] {
  const result = new Array<number>(list.length);
  for (let d = 0; d < list.length; d++) {
    result[d] = list[d === a ? b : d === b ? a : d];
  }
  return result;
}

/** A stored tensor, every element `number`. */
export function filled(
  device: Device,
  dtype: DType,
  shape: Shape,
  number: number,
): Tensor {
  return fill(shape, number, dtype, device).materialize();
}

/**
 * Writes the source, which may be pending, into stored memory of the same
 * shape, converted to its dtype; when the queue is run, where one is given.
 */
export function copyInto(
  target: Value,
  source: Value,
  queue?: LaunchQueue,
): void {
  runRows(target.device, {
    name: `copy to ${target.dtype}`,
    space: target.shape,
    axes: [],
    streams: [source],
    into: [target],
    passes: 1,
    build: ({ streams }) => ({
      stages: [],
      outputs: [{
        dtype: target.dtype,
        value: k.roundTo(streams[0], target.dtype),
        per: "element",
      }],
    }),
  }, queue);
}

/**
 * Parts of one block of memory that already lie one after the other along an
 * axis, as one view; undefined when they do not.
 */
export function sideBySide(
  parts: readonly Value[],
  axis: number,
): Value | undefined {
  const [first, second] = parts;
  if (
    second === undefined ||
    parts.some((p) => p.expression !== undefined || p.size === 0)
  ) return undefined;
  const step = (second.offset - first.offset) / first.shape[axis];
  let offset = first.offset, extent = 0;
  for (const part of parts) {
    const follows = part.storage === first.storage &&
      part.dtype === first.dtype && part.offset === offset &&
      part.strides.every((n, d) =>
        d === axis
          ? part.shape[d] === 1 || n === step
          : part.shape[d] === 1 || n === first.strides[d]
      );
    if (!follows) return undefined;
    offset += part.shape[axis] * step;
    extent += part.shape[axis];
  }
  if (!(step > 0) || !Number.isInteger(step)) return undefined;
  const at = (list: readonly number[], value: number) =>
    list.map((n, d) => d === axis ? value : n);
  return first.view(
    at(first.shape, extent),
    at(first.strides, step),
    first.offset,
  );
}

/** A tensor of zeros (or `number`) with `part` written into the window of it. */
export function placed(
  part: Tensor,
  shape: Shape,
  window: Window,
  number = 0,
): Tensor {
  const whole = filled(part.device, part.dtype, shape, number);
  const view = windowOn(whole.value, window);
  copyInto(view, part.value);
  view.release();
  return whole;
}

/** Axis and position counted from the front. */
export function normalizeIndex(
  index: number,
  axis: number,
  shape: Shape,
  what: string,
): number {
  const extent = shape[axis];
  if (!Number.isInteger(index) || index < -extent || index >= extent) {
    throw new IndexError(
      `Cannot ${what} position ${index} of axis ${axis} of a tensor of shape ${
        shapeText(shape)
      }: positions on that axis are integers from ${-extent} to ${extent - 1}`,
    );
  }
  return index < 0 ? index + extent : index;
}

/** An axis of a tensor that must have at least one, counted from the front. */
export function axisOf(x: Tensor, axis: number, what: string): number {
  const at = normalizeAxis(axis, x.rank, what);
  if (x.rank === 0) {
    throw new IndexError(
      `Cannot ${what} a tensor of shape []: it has no axes; reshape it to [1] first`,
    );
  }
  return at;
}

/** Refuses an empty list. */
export function requireTensors(xs: readonly Tensor[], what: string): void {
  if (xs.length === 0) {
    throw new ShapeError(
      `Cannot ${what} no tensors: give a list of at least one`,
    );
  }
}

/** The window of `length` positions of an axis from `start` on. */
export function stretch(axis: number, start: number, length: number): Window {
  return ({ shape, strides, offset }) => ({
    shape: shape.map((n, d) => d === axis ? length : n),
    strides,
    offset: length > 0 ? offset + start * strides[axis] : offset,
  });
}

/** Extents along an axis, after checking that the other extents agree. */
export function extentsAlong(xs: readonly Tensor[], axis: number): number[] {
  const [first] = xs;
  for (const x of xs) {
    const fits = x.rank === first.rank &&
      x.shape.every((n, d) => d === axis || n === first.shape[d]);
    if (!fits) {
      throw new ShapeError(
        `Cannot concatenate tensors of shapes ${
          xs.map((each) => shapeText(each.shape)).join(", ")
        } along axis ${axis}: all other extents must be equal`,
      );
    }
  }
  return xs.map((x) => x.shape[axis]);
}
