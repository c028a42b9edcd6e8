/**
 * Data sets: what a loader takes its batches from.
 *
 * @module
 */
import {
  DTypeError,
  IndexError,
  ShapeError,
  shapeText,
} from "../core/errors.ts";
import { checkOptions } from "../core/options.ts";
import { sizeOf } from "../core/shape.ts";
import {
  type ArrayRecord,
  arrayTypes,
  byteView,
  checkRecord,
} from "../formats/array_record.ts";
import { permutation, Philox } from "./rng.ts";

/** Examples put together, the first axis counting them. */
export interface Batch {
  /** What the model is given. */
  inputs: ArrayRecord;
  /** What it should answer. */
  targets: ArrayRecord;
}

/** One example. */
export interface Example {
  /** What the model is given. */
  input: ArrayRecord;
  /** What it should answer. */
  target: ArrayRecord;
}

/** Where the random numbers of one epoch come from. */
export interface EpochRandom {
  /** The loader's seed. */
  readonly seed: number;
  /** The epoch, counted from 0. */
  readonly epoch: number;
}

/** Examples by index, handed out in batches. */
export interface Dataset<T = Batch> {
  /** How many examples there are. */
  readonly length: number;
  /**
   * Puts the examples at `indices` together, in memory that later batches leave alone.
   *
   * @param indices Each at least 0 and below {@linkcode Dataset.length}.
   * @param random For transforms; see {@linkcode exampleRandom}.
   */
  batch(indices: Uint32Array, random: EpochRandom): T | Promise<T>;
}

/** Examples by index, handed out one by one. */
export interface ExampleSource {
  /** How many examples there are. */
  readonly length: number;
  /** The example at `index`; `random` depends on seed, epoch and index only. */
  get(index: number, random: Philox): Example | Promise<Example>;
}

/** Whole arrays as a data set; see {@linkcode arrayDataset}. */
export interface ArrayDatasetOptions {
  /** Changes each batch, for example to scale its inputs. */
  map?: (batch: Batch) => Batch;
}

/** The random numbers of one example: by seed, epoch and index, not by order. */
export function exampleRandom(random: EpochRandom, index: number): Philox {
  // Substream 0 belongs to the order of the epoch.
  return new Philox(random.seed, random.epoch, index + 1);
}

/**
 * A data set over two arrays in memory whose first axes count the examples.
 *
 * @throws {ShapeError} when the two counts differ.
 * @example
 * ```ts
 * import { arrayDataset, type Batch } from "./dataset.ts";
 * const data = arrayDataset(
 *   { data: new Float32Array([1, 2, 3, 4, 5, 6]), shape: [3, 2], dtype: "f32" },
 *   { data: new Int32Array([0, 1, 0]), shape: [3], dtype: "i32" },
 * );
 * const batch = data.batch(new Uint32Array([2, 0]), { seed: 0, epoch: 0 });
 * if ((batch as Batch).inputs.data.join() !== "5,6,1,2") throw new Error();
 * ```
 */
export function arrayDataset(
  inputs: ArrayRecord,
  targets: ArrayRecord,
  options: ArrayDatasetOptions = {},
): Dataset<Batch> {
  checkOptions("make a data set of arrays", options, { map: true });
  checkRecord(inputs, "The inputs");
  checkRecord(targets, "The targets");
  const { map = (batch) => batch } = options;
  const [length] = inputs.shape;
  if (length === undefined || length !== targets.shape[0]) {
    throw new ShapeError(
      `Inputs and targets count the same examples along their first axes, and have shapes ${
        shapeText(inputs.shape)
      } and ${shapeText(targets.shape)}`,
    );
  }
  return {
    length,
    batch: (indices) =>
      map({
        inputs: takeRows(inputs, indices),
        targets: takeRows(targets, indices),
      }),
  };
}

/** A data set over examples that are made one by one. */
export function exampleDataset(source: ExampleSource): Dataset<Batch> {
  return {
    length: source.length,
    async batch(indices, random) {
      const examples = await Promise.all(
        Array.from(
          indices,
          (index) => source.get(index, exampleRandom(random, index)),
        ),
      );
      return {
        inputs: stackRecords(examples.map((example) => example.input)),
        targets: stackRecords(examples.map((example) => example.target)),
      };
    },
  };
}

/** The examples of a data set at `indices` only. */
export function subset<T>(
  dataset: Dataset<T>,
  indices: Uint32Array,
): Dataset<T> {
  const outside = indices.find((index) => index >= dataset.length);
  if (outside !== undefined) {
    throw new IndexError(
      `A subset was asked for example ${outside} of a data set of ${dataset.length}`,
    );
  }
  return {
    length: indices.length,
    batch: (positions, random) =>
      dataset.batch(positions.map((position) => indices[position]), random),
  };
}

/**
 * Splits a data set at random into two: one with about `fraction` of the
 * examples, one with the rest.
 *
 * @throws {IndexError} when one of them would be empty.
 */
export function randomSplit<T>(
  dataset: Dataset<T>,
  fraction: number,
  seed: number,
): [first: Dataset<T>, second: Dataset<T>] {
  const count = Math.round(dataset.length * fraction);
  if (!(count >= 1 && count < dataset.length)) {
    throw new IndexError(
      `Splitting ${dataset.length} examples by ${fraction} leaves ${count} and ${
        dataset.length - count
      }; both parts need at least one`,
    );
  }
  const order = permutation(dataset.length, seed);
  return [
    subset(dataset, order.subarray(0, count)),
    subset(dataset, order.subarray(count)),
  ];
}

/** Rows of `array`, along its first axis, in the order of `indices`. */
export function takeRows(
  array: ArrayRecord,
  indices: ArrayLike<number>,
): ArrayRecord {
  const [count, ...row] = array.shape;
  const size = sizeOf(row);
  const shape = [indices.length, ...row];
  const out = empty(shape, array.dtype);
  // One call per row for any kind of array: seen as bytes, all are alike.
  const width = size * array.data.BYTES_PER_ELEMENT;
  const from = byteView(array.data), to = byteView(out.data);
  for (let i = 0; i < indices.length; i++) {
    const index = indices[i];
    if (!(index >= 0 && index < count)) {
      throw new IndexError(
        `Row ${index} was asked of an array of shape ${shapeText(array.shape)}`,
      );
    }
    to.set(from.subarray(index * width, (index + 1) * width), i * width);
  }
  return out;
}

/**
 * Puts arrays of one shape and dtype together along a new first axis.
 *
 * @throws {ShapeError} when their shapes differ.
 * @throws {DTypeError} when their element types differ.
 */
export function stackRecords(records: readonly ArrayRecord[]): ArrayRecord {
  const [first] = records;
  if (first === undefined) {
    throw new ShapeError("A batch needs at least one example, and has none");
  }
  const out = empty([records.length, ...first.shape], first.dtype);
  const to = byteView(out.data);
  const width = first.data.byteLength;
  records.forEach((record, i) => {
    if (record.dtype !== first.dtype) {
      throw new DTypeError(
        `Examples of one batch must have one dtype: the first has ${first.dtype}, number ${i} has ${record.dtype}`,
      );
    }
    if (shapeText(record.shape) !== shapeText(first.shape)) {
      throw new ShapeError(
        `Examples of one batch must have one shape: the first has ${
          shapeText(first.shape)
        }, number ${i} has ${shapeText(record.shape)}`,
      );
    }
    to.set(byteView(record.data), i * width);
  });
  return out;
}

function empty(shape: number[], dtype: ArrayRecord["dtype"]): ArrayRecord {
  const Type = arrayTypes[dtype];
  const length = sizeOf(shape);
  const buffer = new ArrayBuffer(length * Type.BYTES_PER_ELEMENT);
  return { data: new Type(buffer, 0, length), shape, dtype };
}
