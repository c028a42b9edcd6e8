/**
 * Batches cut into a part for each device.
 *
 * @module
 */

import type { Device } from "../core/device.ts";
import { ShapeError, shapeText } from "../core/errors.ts";
import { sizeOf } from "../core/shape.ts";
import { fromHost, Tensor } from "../core/tensor.ts";
import type { ArrayRecord } from "../formats/array_record.ts";
import { to } from "../ops/foundation.ts";
import { narrow } from "../ops/slicing.ts";

/** Examples, the first axis counting them. */
export type Examples = Tensor | ArrayRecord;

/** A batch: what the model is given, and what it should answer. */
export interface GivenBatch {
  /** What the model is given. */
  readonly inputs: Examples;
  /** What it should answer. */
  readonly targets: Examples;
}

/** Where the parts of `count` examples begin, and where the last ends; the first parts are larger by one where it does not come out even. */
export function boundaries(count: number, parts: number): number[] {
  const least = Math.floor(count / parts), more = count % parts;
  return Array.from(
    { length: parts + 1 },
    (_, i) => i * least + Math.min(i, more),
  );
}

/** Number of examples. @throws {ShapeError} when inputs and targets differ. */
export function countOf({ inputs, targets }: GivenBatch): number {
  const [n] = inputs.shape, [m] = targets.shape;
  if (n !== undefined && n === m) return n;
  throw new ShapeError(
    `Cannot split a batch with inputs of shape ${
      shapeText(inputs.shape)
    } and targets of shape ${
      shapeText(targets.shape)
    }: the first axis counts the examples, and must be the same`,
  );
}

/** The examples from `start` up to but without `end`, on a device. */
export function shard(
  examples: Examples,
  start: number,
  end: number,
  device: Device,
): Tensor {
  if (examples instanceof Tensor) {
    return to(narrow(examples, 0, start, end - start), device.name);
  }
  const { data, shape: [, ...rest], dtype } = examples;
  const width = sizeOf(rest);
  const part = data.subarray(start * width, end * width);
  return fromHost(part, dtype, [end - start, ...rest], {
    device: device.name,
  });
}
