/**
 * The loader: goes through a data set in batches, in an order that depends on
 * the seed and the epoch only, from a place that can be saved and restored.
 *
 * @module
 */
import { IndexError } from "../core/errors.ts";
import { checkOptions } from "../core/options.ts";
import type { Batch, Dataset, EpochRandom } from "./dataset.ts";
import { checkSeed, permutation } from "./rng.ts";

/** How a {@linkcode DataLoader} goes through its data set. */
export interface LoaderOptions {
  /** Examples per batch. */
  batchSize: number;
  /** Whether each epoch has its own random order; `false` by default. */
  shuffle?: boolean;
  /** Chooses the random orders and the transforms' numbers; 0 by default. */
  seed?: number;
  /** Whether to leave out a last batch that is not full; `false` by default. */
  dropLast?: boolean;
  /** Batches made ahead, for data sets that answer with a promise; 1 by default. */
  prefetch?: number;
}

/** Where a loader stands, as plain data. */
export interface LoaderState {
  /** The epoch, counted from 0. */
  epoch: number;
  /** Batches of this epoch that have been handed out. */
  position: number;
  /** The seed of the orders. */
  seed: number;
  /** Examples per batch. */
  batchSize: number;
  /** Examples in the data set. */
  length: number;
  /** Whether the order is random. */
  shuffle: boolean;
  /** Whether a last batch that is not full is left out. */
  dropLast: boolean;
}

/**
 * Batches of a data set, epoch after epoch.
 *
 * `for await` goes through the rest of the current epoch; the next `for await`
 * goes through the next one. Leaving the loop early keeps the place.
 *
 * @example
 * ```ts
 * import { arrayDataset } from "./dataset.ts";
 * import { DataLoader } from "./loader.ts";
 * const numbers = { data: new Int32Array([0, 1, 2, 3, 4]), shape: [5] };
 * const array = { ...numbers, dtype: "i32" as const };
 * const loader = new DataLoader(arrayDataset(array, array), { batchSize: 2 });
 * const sizes: number[] = [];
 * for await (const { inputs } of loader) sizes.push(inputs.shape[0]);
 * if (sizes.join() !== "2,2,1") throw new Error("sizes");
 * ```
 */
export class DataLoader<T = Batch> {
  /** The data set that the batches are from. */
  readonly dataset: Dataset<T>;
  /** Batches in one epoch. */
  readonly batchesPerEpoch: number;
  #options: Required<LoaderOptions>;
  #epoch = 0;
  #position = 0;
  #order: { epoch: number; indices: Uint32Array } | undefined;
  /** Batches on their way, the next one first. */
  #ahead: Promise<T>[] = [];

  /**
   * Makes a loader that stands at the start of epoch 0.
   *
   * @throws {IndexError} when the batch size is not from 1 to the number of
   *   examples, or another option is out of range.
   */
  constructor(dataset: Dataset<T>, options: LoaderOptions) {
    checkOptions("make a loader", options, {
      batchSize: true,
      shuffle: true,
      seed: true,
      dropLast: true,
      prefetch: true,
    });
    const { batchSize, shuffle = false, seed = 0 } = options;
    const { dropLast = false, prefetch = 1 } = options;
    if (!Number.isInteger(batchSize) || batchSize < 1) {
      throw new IndexError(
        `The batch size must be a whole number ≥ 1, and is ${batchSize}`,
      );
    }
    if (batchSize > dataset.length) {
      throw new IndexError(
        dataset.length === 0
          ? "The data set is empty; a loader needs at least one example"
          : `The batch size of ${batchSize} is larger than the data set of ${dataset.length} examples; choose a batch size of at most ${dataset.length}`,
      );
    }
    if (!Number.isInteger(prefetch) || prefetch < 0) {
      throw new IndexError(
        `The number of batches made ahead must be a whole number ≥ 0, and is ${prefetch}`,
      );
    }
    checkSeed(seed);
    this.dataset = dataset;
    this.#options = { batchSize, shuffle, seed, dropLast, prefetch };
    const batches = dataset.length / batchSize;
    this.batchesPerEpoch = dropLast ? Math.floor(batches) : Math.ceil(batches);
    this.#indicesAt(0);
  }

  /** The epoch that the next batch is from, counted from 0. */
  get epoch(): number {
    return this.#epoch;
  }

  /** Batches of the current epoch that have been handed out. */
  get position(): number {
    return this.#position;
  }

  /**
   * The next batch, or `undefined` once at the end of each epoch, after which
   * the next epoch begins. A batch that could not be made is not handed out: it
   * is the next one again.
   */
  async next(): Promise<T | undefined> {
    if (this.#position === this.batchesPerEpoch) {
      this.#epoch++;
      this.#position = 0;
      this.#ahead = [];
      return undefined;
    }
    const batch = this.#ahead.shift() ?? this.#make(this.#position);
    this.#position++;
    if (!(batch instanceof Promise)) return batch;
    this.#lookAhead();
    const { epoch, position } = this;
    try {
      return await batch;
    } catch (error) {
      if (this.#epoch === epoch && this.#position === position) {
        this.#position--;
        this.#ahead = [];
      }
      throw error;
    }
  }

  /** The rest of the current epoch. */
  async *[Symbol.asyncIterator](): AsyncIterator<T> {
    for (
      let batch = await this.next();
      batch !== undefined;
      batch = await this.next()
    ) {
      yield batch;
    }
  }

  /**
   * The place after the last batch that was handed out. Batches that were made
   * ahead do not count.
   */
  state(): LoaderState {
    const { batchSize, shuffle, seed, dropLast } = this.#options;
    return {
      epoch: this.#epoch,
      position: this.#position,
      seed,
      batchSize,
      length: this.dataset.length,
      shuffle,
      dropLast,
    };
  }

  /**
   * Goes to a place that {@linkcode state} said: the next batch is the one that
   * would have come then.
   *
   * @throws {IndexError} when this loader's options or data set differ from
   *   that one's, so that the batches would be others.
   */
  restore(state: LoaderState): void {
    const own = this.state();
    const keys = [
      "seed",
      "batchSize",
      "length",
      "shuffle",
      "dropLast",
    ] as const;
    for (const key of keys) {
      if (state[key] !== own[key]) {
        throw new IndexError(
          `The saved place has ${key} ${
            state[key]
          }, and this loader has ${key} ${
            own[key]
          }; both must be equal for the same batches to follow`,
        );
      }
    }
    const { epoch, position } = state;
    const valid = Number.isInteger(epoch) && epoch >= 0 &&
      Number.isInteger(position) && position >= 0 &&
      position <= this.batchesPerEpoch;
    if (!valid) {
      throw new IndexError(
        `The saved place is batch ${position} of epoch ${epoch}, and an epoch has ${this.batchesPerEpoch} batches`,
      );
    }
    this.#epoch = epoch;
    this.#position = position;
    this.#ahead = [];
  }

  #make(position: number): T | Promise<T> {
    const random: EpochRandom = {
      seed: this.#options.seed,
      epoch: this.#epoch,
    };
    return this.dataset.batch(this.#indicesAt(position), random);
  }

  /** Starts the batches that follow, so that they are ready when asked for. */
  #lookAhead(): void {
    while (
      this.#ahead.length < this.#options.prefetch &&
      this.#position + this.#ahead.length < this.batchesPerEpoch
    ) {
      const next = this.#position + this.#ahead.length;
      const batch = Promise.try(() => this.#make(next));
      // Whoever takes the batch sees its error; until then nobody listens.
      batch.catch(() => {});
      this.#ahead.push(batch);
    }
  }

  #indicesAt(position: number): Uint32Array {
    const { batchSize, shuffle, seed } = this.#options;
    if (this.#order?.epoch !== this.#epoch) {
      const { length } = this.dataset;
      const indices = shuffle
        ? permutation(length, seed, this.#epoch)
        : Uint32Array.from({ length }, (_, i) => i);
      this.#order = { epoch: this.#epoch, indices };
    }
    const start = position * batchSize;
    return this.#order.indices.slice(start, start + batchSize);
  }
}
