/**
 * Random numbers from Philox4x32-10, a counter-based generator: the numbers
 * are a function of a key and a counter, so any place in the stream is reached
 * at once, kernels compute them wherever they run, and a seed gives the same
 * numbers on every device and number of threads.
 * Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3",
 * 2011.
 *
 * @module
 */

import { beforeReplay, capturing } from "./capture.ts";

/** The numbers that Philox4x32 is made of. */
export const philoxConstants = {
  /** Factors of the first and the third word. */
  multipliers: [0xd2511f53, 0xcd9e8d57],
  /** What is added to the words of the key after each round. */
  steps: [0x9e3779b9, 0xbb67ae85],
  /** Rounds. */
  rounds: 10,
} as const;

const [MULTIPLIER_0, MULTIPLIER_1] = philoxConstants.multipliers;
const [WEYL_0, WEYL_1] = philoxConstants.steps;

/** Four 32-bit words. */
export type Words4 = [number, number, number, number];

/** Ten rounds of Philox: four random words for a counter of four and a key of two. */
export function philox4x32(
  counter: Readonly<Words4>,
  key: readonly [number, number],
): Words4 {
  let [c0, c1, c2, c3] = counter;
  let [k0, k1] = key;
  for (let round = 0; round < philoxConstants.rounds; round++) {
    const high0 = multiplyHigh(MULTIPLIER_0, c0);
    const low0 = Math.imul(MULTIPLIER_0, c0) >>> 0;
    const high1 = multiplyHigh(MULTIPLIER_1, c2);
    const low1 = Math.imul(MULTIPLIER_1, c2) >>> 0;
    c0 = (high1 ^ c1 ^ k0) >>> 0;
    c1 = low1;
    c2 = (high0 ^ c3 ^ k1) >>> 0;
    c3 = low0;
    k0 = (k0 + WEYL_0) >>> 0;
    k1 = (k1 + WEYL_1) >>> 0;
  }
  return [c0, c1, c2, c3];
}

/**
 * A stream of random numbers, chosen by a seed and up to two further numbers.
 *
 * @example
 * ```ts
 * import { Philox } from "./random.ts";
 * const one = new Philox(7, 3), other = new Philox(7, 3);
 * if (one.uniform() !== other.uniform()) throw new Error("not reproducible");
 * ```
 */
export class Philox {
  #key: readonly [number, number];
  #stream: readonly [number, number];
  #block: number;
  #words: Words4 = [0, 0, 0, 0];
  #used = 4;

  /**
   * Opens a stream at its start.
   *
   * @param seed A whole number from 0 to 2⁵³ − 1.
   * @param stream Chooses among the streams of a seed, for example the epoch.
   * @param substream Chooses further, for example the index of a picture.
   * @param block Block of four words to start at.
   * @throws {RangeError} for a number that is not whole or out of range.
   */
  constructor(seed: number, stream = 0, substream = 0, block = 0) {
    checkSeed(seed);
    for (const number of [stream, substream]) {
      if (!Number.isInteger(number) || number < 0 || number > 0xffffffff) {
        throw new RangeError(
          `A stream is a whole number from 0 to 4294967295, and ${number} is not`,
        );
      }
    }
    this.#key = [seed >>> 0, Math.floor(seed / 2 ** 32)];
    this.#stream = [stream, substream];
    this.#block = block;
  }

  /** The next 32 random bits, as a whole number ≥ 0. */
  next32(): number {
    if (this.#used === 4) {
      const low = this.#block >>> 0;
      const high = Math.floor(this.#block / 2 ** 32);
      this.#words = philox4x32([low, high, ...this.#stream], this.#key);
      this.#block++;
      this.#used = 0;
    }
    return this.#words[this.#used++];
  }

  /** The next number from 0 up to but without 1, a multiple of 2⁻³². */
  uniform(): number {
    return this.next32() / 2 ** 32;
  }

  /**
   * The next whole number from 0 up to but without `count`, each equally
   * likely.
   *
   * @throws {RangeError} when `count` is not a whole number from 1 to 2³².
   */
  below(count: number): number {
    if (!Number.isInteger(count) || count < 1 || count > 2 ** 32) {
      throw new RangeError(
        `A number is drawn below a whole number from 1 to 4294967296, and not below ${count}`,
      );
    }
    // Draws beyond the last whole multiple of count are thrown away.
    const limit = 2 ** 32 - 2 ** 32 % count;
    let word = this.next32();
    while (word >= limit) word = this.next32();
    return word % count;
  }
}

/**
 * A random order of the numbers from 0 up to but without `length`: a function
 * of the seed and the stream only (Fisher and Yates' shuffle).
 */
export function permutation(
  length: number,
  seed: number,
  stream = 0,
): Uint32Array {
  const random = new Philox(seed, stream);
  const order = Uint32Array.from({ length }, (_, i) => i);
  for (let last = length - 1; last > 0; last--) {
    const other = random.below(last + 1);
    const index = order[last];
    order[last] = order[other];
    order[other] = index;
  }
  return order;
}

/** The upper 32 bits of the 64-bit product of two 32-bit numbers. */
function multiplyHigh(a: number, b: number): number {
  const aHigh = a >>> 16, aLow = a & 0xffff;
  const bHigh = b >>> 16, bLow = b & 0xffff;
  const middle = aHigh * bLow + ((aLow * bLow) >>> 16);
  const other = aLow * bHigh + (middle & 0xffff);
  return (aHigh * bHigh + Math.floor(middle / 65536) +
    Math.floor(other / 65536)) >>> 0;
}

/** The stream of a seed that generators read; other numbers are left to other uses of the seed. */
export const generatorStream = 0xdecaf;

/** Where a generator stands: equal states give equal numbers. */
export interface RandomState {
  /** Seed. */
  readonly seed: number;
  /** Blocks of four words that were used. */
  readonly offset: number;
}

/**
 * A source of random tensors: a seed, and a counter of what was used of its
 * stream. Its words are those of `new Philox(seed, 0, generatorStream)`.
 *
 * @example
 * ```ts
 * import { Generator, rand } from "@decaf/decaf";
 *
 * const generator = new Generator(7);
 * const state = generator.state();
 * const first = rand([3], { generator }).toArray();
 * generator.restore(state);
 * const again = rand([3], { generator }).toArray();
 * if (`${first}` !== `${again}`) throw new Error("not reproducible");
 * ```
 */
export class Generator {
  #seed: number;
  #offset = 0;
  /** In a capture: the state that the generator was restored to, which changes from run to run. */
  #origin: RandomState | undefined;
  /** In a capture: the state that was asked for last, if nothing was taken since. */
  #latest: RandomState | undefined;

  /**
   * Starts a stream.
   *
   * @param seed A whole number from 0 to 2⁵³ − 1.
   * @throws {RangeError} for another number.
   */
  constructor(seed: number) {
    this.#seed = checkSeed(seed);
  }

  /** Where the generator stands. */
  state(): RandomState {
    const state = { seed: this.#seed, offset: this.#offset };
    if (capturing() && this.#origin === undefined) {
      beforeReplay(() => Object.assign(state, this.state()));
      this.#latest = state;
    }
    return state;
  }

  /**
   * Goes to a state.
   *
   * @throws {RangeError} when its numbers are no seed or no offset.
   */
  restore(state: RandomState): void {
    const { seed, offset } = state;
    checkSeed(seed);
    if (!Number.isSafeInteger(offset) || offset < 0) {
      throw new RangeError(
        `Cannot restore a generator to offset ${offset}: an offset is a whole number from 0 to ${Number.MAX_SAFE_INTEGER}`,
      );
    }
    this.#seed = seed;
    this.#offset = offset;
    this.#origin = capturing() && state !== this.#latest ? state : undefined;
  }

  /** Starts the stream of another seed. */
  reseed(seed: number): void {
    this.restore({ seed, offset: 0 });
  }

  /**
   * Uses up `blocks` blocks of four words; the returned state is where they
   * start. In a captured step it is, at each run, where the blocks of that run
   * start.
   */
  take(blocks: number): RandomState {
    const state = { seed: this.#seed, offset: this.#offset };
    const origin = capturing() ? this.#origin : undefined;
    if (capturing() && origin === undefined) {
      // The capture itself runs nothing, so its first run takes these blocks.
      beforeReplay(() => Object.assign(state, this.take(blocks)));
      this.#latest = undefined;
      return state;
    }
    this.#offset += blocks;
    if (origin === undefined) return state;
    const from = state.offset - origin.offset;
    return {
      get seed() {
        return origin.seed;
      },
      get offset() {
        return origin.offset + from;
      },
    };
  }

  /** The words from the place of the generator on, for use on the host; uses up what `blocks` says. */
  host(blocks: number): Philox {
    const { seed, offset } = this.take(blocks);
    return new Philox(seed, 0, generatorStream, offset);
  }
}

function entropy(): number {
  const [low, high] = crypto.getRandomValues(new Uint32Array(2));
  return (high & 0x1fffff) * 2 ** 32 + low;
}

let shared: Generator | undefined;

/** The generator that is used where none is given; its seed is random until `manualSeed` sets it. */
export function defaultGenerator(): Generator {
  return shared ??= new Generator(entropy());
}

/**
 * Seeds the default generator: from here on the same calls give the same numbers.
 *
 * @param seed A whole number from 0 to 2⁵³ − 1.
 * @throws {RangeError} for another number.
 */
export function manualSeed(seed: number): Generator {
  const generator = defaultGenerator();
  generator.reseed(seed);
  return generator;
}

/** The seed, where it can be one. @throws {RangeError} when it is no whole number from 0 on. */
export function checkSeed(seed: number): number {
  if (!Number.isSafeInteger(seed) || seed < 0) {
    throw new RangeError(
      `A seed is a whole number from 0 to ${Number.MAX_SAFE_INTEGER}, and ${seed} is not`,
    );
  }
  return seed;
}
