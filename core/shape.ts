/**
 * Shapes and strides: sizes, broadcasting, axes, views.
 *
 * @module
 */

import { IndexError, ShapeError, shapeText } from "./errors.ts";

/** Extents of a tensor, outermost axis first; `[]` is a zero-dimensional tensor. */
export type Shape = readonly number[];

/** Number of elements of a shape. */
export function sizeOf(shape: Shape): number {
  let size = 1;
  for (let i = 0; i < shape.length; i++) size *= shape[i];
  return size;
}

/** Strides, in elements, of a contiguous row-major tensor. */
export function contiguousStrides(shape: Shape): number[] {
  const strides = new Array<number>(shape.length);
  let stride = 1;
  for (let i = shape.length - 1; i >= 0; i--) {
    strides[i] = stride;
    stride *= shape[i];
  }
  return strides;
}

/** Whether strides walk the shape row by row without gaps. */
export function isContiguous(
  shape: Shape,
  strides: readonly number[],
): boolean {
  let expected = 1;
  for (let i = shape.length - 1; i >= 0; i--) {
    if (shape[i] !== 1 && strides[i] !== expected) return shape.includes(0);
    expected *= shape[i];
  }
  return true;
}

/** Strides, in elements, of dense images [N, C, spatial…] whose channels lie last in memory. */
export function channelsLastStrides(shape: Shape): number[] {
  const strides = new Array<number>(shape.length);
  let stride = strides[1] = 1;
  stride = shape[1];
  for (let i = shape.length - 1; i >= 2; i--) {
    strides[i] = stride;
    stride *= shape[i];
  }
  strides[0] = stride;
  return strides;
}

/**
 * Whether images [N, C, spatial…] are dense with their channels last in
 * memory, and not row by row as well (as images of one channel or one position
 * are).
 */
export function isChannelsLast(
  shape: Shape,
  strides: readonly number[],
): boolean {
  if (shape.length < 3 || shape.length > 5) return false;
  if (isContiguous(shape, strides)) return false;
  const last = channelsLastStrides(shape);
  return shape.every((n, d) => n === 1 || strides[d] === last[d]);
}

/** Whether two shapes are the same. */
export function sameShape(a: Shape, b: Shape): boolean {
  if (a === b) return true;
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}

/** Whether a shape broadcasts to another that stays as it is. */
function spreadsTo(shape: Shape, target: Shape): boolean {
  const lead = target.length - shape.length;
  if (lead < 0) return false;
  for (let d = 0; d < shape.length; d++) {
    if (shape[d] !== 1 && shape[d] !== target[d + lead]) return false;
  }
  return true;
}

/**
 * The shape that several shapes broadcast to, by NumPy's rule.
 *
 * @throws {ShapeError} when two extents on one axis differ and neither is 1.
 */
export function broadcastShapes(shapes: readonly Shape[], what: string): Shape {
  let result = shapes[0] ?? [];
  for (let i = 1; i < shapes.length; i++) {
    if (spreadsTo(shapes[i], result)) continue;
    const a = result, b = shapes[i];
    const rank = Math.max(a.length, b.length);
    const joined = new Array<number>(rank);
    for (let d = 1; d <= rank; d++) {
      const x = d <= a.length ? a[a.length - d] : 1;
      const y = d <= b.length ? b[b.length - d] : 1;
      if (x !== y && x !== 1 && y !== 1) {
        throw new ShapeError(
          `Cannot ${what} tensors of shapes ${
            shapes.map(shapeText).join(" and ")
          }: axis ${-d} has extents ${x} and ${y}, which must be equal or 1`,
        );
      }
      joined[rank - d] = x === 1 ? y : x;
    }
    result = joined;
  }
  return result;
}

/** Strides that read a tensor of `shape` as if it had the larger shape `target`. */
export function broadcastStrides(
  shape: Shape,
  strides: readonly number[],
  target: Shape,
): number[] {
  const lead = target.length - shape.length;
  const result = new Array<number>(target.length);
  for (let i = 0; i < target.length; i++) {
    const own = i - lead;
    result[i] = own < 0 || (shape[own] === 1 && target[i] !== 1)
      ? 0
      : strides[own];
  }
  return result;
}

/**
 * An axis counted from the front.
 *
 * @throws {IndexError} when the axis is not in `[-rank, rank)`.
 */
export function normalizeAxis(
  axis: number,
  rank: number,
  what: string,
): number {
  const extent = Math.max(rank, 1);
  if (!Number.isInteger(axis) || axis < -extent || axis >= extent) {
    throw new IndexError(
      `Cannot ${what} along axis ${axis} of a tensor with ${rank} axes: the axis must be an integer from ${-extent} to ${
        extent - 1
      }`,
    );
  }
  return axis < 0 ? axis + extent : axis;
}

/** Several axes counted from the front, sorted, each at most once; all axes when `axes` is undefined. */
export function normalizeAxes(
  axes: number | readonly number[] | undefined,
  rank: number,
  what: string,
): number[] {
  if (axes === undefined) return Array.from({ length: rank }, (_, i) => i);
  const list = typeof axes === "number" ? [axes] : axes;
  const result = list.map((axis) => normalizeAxis(axis, rank, what));
  if (new Set(result).size !== result.length) {
    throw new IndexError(
      `Cannot ${what} along axes [${
        list.join(", ")
      }] of a tensor with ${rank} axes: an axis is named twice`,
    );
  }
  result.sort((a, b) => a - b);
  return rank === 0 ? [] : result;
}

/**
 * Resolves one `-1` in a requested shape.
 *
 * @throws {ShapeError} when the sizes do not agree.
 */
export function inferShape(
  requested: Shape,
  size: number,
  from: Shape,
): number[] {
  let known = 1;
  let unknown = -1;
  requested.forEach((extent, i) => {
    if (extent === -1 && unknown < 0) unknown = i;
    else if (!Number.isInteger(extent) || extent < 0) {
      throw new ShapeError(
        `Cannot reshape ${shapeText(from)} to ${
          shapeText(requested)
        }: extents must be non-negative integers, with at most one -1`,
      );
    } else known *= extent;
  });
  const shape = requested.slice();
  if (unknown >= 0) {
    if (known === 0 || size % known !== 0) {
      throw new ShapeError(
        `Cannot reshape ${shapeText(from)} (${size} elements) to ${
          shapeText(requested)
        }: ${size} is not divisible by ${known}`,
      );
    }
    shape[unknown] = size / known;
  } else if (known !== size) {
    throw new ShapeError(
      `Cannot reshape ${shapeText(from)} (${size} elements) to ${
        shapeText(requested)
      } (${known} elements): the numbers of elements must be equal`,
    );
  }
  return shape;
}

/** Strides that view strided data under a new shape without a copy, or undefined when there are none. */
export function reshapeStrides(
  shape: Shape,
  strides: readonly number[],
  target: Shape,
): number[] | undefined {
  if (isContiguous(shape, strides)) return contiguousStrides(target);
  const result = new Array<number>(target.length);
  let t = target.length - 1;
  let i = shape.length - 1;
  while (i >= 0) {
    // Gather the longest run of axes that is contiguous in memory.
    let run = shape[i];
    const innermost = strides[i];
    while (
      i > 0 && (shape[i - 1] === 1 || strides[i - 1] === innermost * run)
    ) {
      i--;
      run *= shape[i];
    }
    i--;
    let stride = innermost;
    let left = run;
    while (t >= 0 && left % target[t] === 0 && (left > 1 || target[t] === 1)) {
      result[t] = stride;
      stride *= target[t];
      left /= target[t];
      t--;
    }
    if (left !== 1) return undefined;
  }
  return t < 0 ? result : undefined;
}
