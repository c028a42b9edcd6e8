/**
 * Text as a data set for language models: a vocabulary of its characters, and
 * windows of a fixed length cut from it.
 *
 * @module
 */
import { IndexError } from "../core/errors.ts";
import { checkOptions } from "../core/options.ts";
import type { ArrayRecord } from "../formats/array_record.ts";
import { type Batch, type Dataset, exampleRandom } from "./dataset.ts";
import { readUtf8 } from "./text_file.ts";

/** The characters of a text, numbered in the order of their code points. */
export class CharVocabulary {
  /** The characters; a character's number is its place here. */
  readonly chars: readonly string[];
  #indexOf: Map<string, number>;

  /**
   * Makes a vocabulary of the given characters, for example saved ones.
   *
   * @throws {IndexError} when one of them is not one character, or comes twice.
   */
  constructor(chars: readonly string[]) {
    this.chars = [...chars];
    this.#indexOf = new Map(chars.map((char, i) => [char, i]));
    const odd = chars.find((char) => [...char].length !== 1);
    if (odd !== undefined) {
      throw new IndexError(
        `A vocabulary is made of single characters, and ${
          JSON.stringify(odd)
        } is not one`,
      );
    }
    if (this.#indexOf.size !== chars.length) {
      throw new IndexError("A vocabulary has each character once");
    }
  }

  /** The vocabulary of the characters that occur in `text`. */
  static of(text: string): CharVocabulary {
    const chars = [...new Set(text)];
    return new CharVocabulary(
      chars.sort((a, b) => a.codePointAt(0)! - b.codePointAt(0)!),
    );
  }

  /** How many characters there are. */
  get size(): number {
    return this.chars.length;
  }

  /**
   * The numbers of a text's characters.
   *
   * @throws {IndexError} for a character that is not in the vocabulary.
   */
  encode(text: string): Int32Array {
    const characters = Array.from(text);
    return Int32Array.from(characters, (char, at) => {
      const index = this.#indexOf.get(char);
      if (index !== undefined) return index;
      throw new IndexError(
        `The character ${
          JSON.stringify(char)
        } at place ${at} is not among the ${this.size} characters that the model knows: ${
          JSON.stringify(this.chars.join(""))
        }`,
      );
    });
  }

  /**
   * The text of the numbers.
   *
   * @throws {IndexError} for a number without a character.
   */
  decode(indices: Iterable<number>): string {
    return Array.from(indices, (index) => {
      const char = this.chars[index];
      if (char !== undefined) return char;
      throw new IndexError(
        `There is no character number ${index}: the vocabulary has ${this.size}`,
      );
    }).join("");
  }
}

/** A text, split for training and validation. */
export interface TextCorpus {
  /** The characters of the whole text. */
  vocabulary: CharVocabulary;
  /** The first part, as numbers. */
  train: Int32Array;
  /** The rest, as numbers. */
  validation: Int32Array;
}

/**
 * Numbers the characters of a text, and splits it in two.
 *
 * @param fraction The part of the text to train on; 0.9 by default.
 */
export function textCorpus(text: string, fraction = 0.9): TextCorpus {
  if (!(fraction > 0 && fraction <= 1)) {
    throw new IndexError(
      `The part of the text to train on is more than 0 and at most 1, and not ${fraction}`,
    );
  }
  const vocabulary = CharVocabulary.of(text);
  const indices = vocabulary.encode(text);
  const count = Math.floor(indices.length * fraction);
  return {
    vocabulary,
    train: indices.subarray(0, count),
    validation: indices.subarray(count),
  };
}

/** Reads a UTF-8 text file and splits it; errors name the file. */
export async function readTextCorpus(
  path: string | URL,
  fraction = 0.9,
): Promise<TextCorpus> {
  return textCorpus(await readUtf8(path), fraction);
}

/** How windows are cut; see {@linkcode textWindows}. */
export interface TextWindowsOptions {
  /** Characters per window: what the model sees at once. */
  blockLength: number;
  /** Windows per epoch; by default as many as lie side by side in the text. */
  length?: number;
  /** Names the text in error messages. */
  name?: string;
}

/**
 * Windows cut from a text at random places: inputs are `blockLength` characters,
 * targets the same moved on by one; both `i32`, `[count, blockLength]`. Where a
 * window is cut depends on seed, epoch and its index only.
 *
 * @throws {IndexError} when the text is not longer than a window.
 * @example
 * ```ts
 * import { textCorpus, textWindows } from "./text.ts";
 * const { train, vocabulary } = textCorpus("to be or not to be", 1);
 * const windows = textWindows(train, { blockLength: 5 });
 * const batch = windows.batch(new Uint32Array([0]), { seed: 1, epoch: 0 });
 * const { inputs, targets } = await batch;
 * const text = vocabulary.decode(inputs.data as Int32Array);
 * const next = vocabulary.decode(targets.data as Int32Array);
 * if (text.slice(1) !== next.slice(0, 4)) throw new Error("not moved by one");
 * ```
 */
export function textWindows(
  indices: Int32Array,
  options: TextWindowsOptions,
): Dataset<Batch> {
  checkOptions("cut a text into windows", options, {
    blockLength: true,
    length: true,
    name: true,
  });
  const { blockLength, name = "The text" } = options;
  const places = checkedPlaces(indices, blockLength, name);
  const length = options.length ??
    Math.max(1, Math.floor(places / blockLength));
  return {
    length,
    batch: (windows, random) =>
      cut(
        indices,
        Array.from(
          windows,
          (window) => exampleRandom(random, window).below(places),
        ),
        blockLength,
      ),
  };
}

/** All windows that lie side by side in the text, in order, for validation. */
export function textBlocks(
  indices: Int32Array,
  options: Omit<TextWindowsOptions, "length">,
): Dataset<Batch> {
  checkOptions("cut a text into blocks", options, {
    blockLength: true,
    name: true,
  });
  const { blockLength, name = "The text" } = options;
  checkedPlaces(indices, blockLength, name);
  return {
    length: Math.floor((indices.length - 1) / blockLength),
    batch: (windows) =>
      cut(
        indices,
        Array.from(windows, (window) => window * blockLength),
        blockLength,
      ),
  };
}

/** How many places a window with the character after it can start at. */
function checkedPlaces(
  indices: Int32Array,
  blockLength: number,
  name: string,
): number {
  if (!Number.isInteger(blockLength) || blockLength < 1) {
    throw new IndexError(
      `A window has a whole number ≥ 1 of characters, and not ${blockLength}`,
    );
  }
  if (indices.length <= blockLength) {
    throw new IndexError(
      `${name} has ${indices.length} characters, and a context of ${blockLength} needs at least ${
        blockLength + 1
      }; use a longer text${
        indices.length < 2
          ? ""
          : ` or a context of at most ${indices.length - 1}`
      }`,
    );
  }
  return indices.length - blockLength;
}

function cut(
  indices: Int32Array,
  starts: number[],
  blockLength: number,
): Batch {
  const inputs = new Int32Array(starts.length * blockLength);
  const targets = new Int32Array(starts.length * blockLength);
  starts.forEach((start, i) => {
    const end = start + blockLength;
    inputs.set(indices.subarray(start, end), i * blockLength);
    targets.set(indices.subarray(start + 1, end + 1), i * blockLength);
  });
  const record = (data: Int32Array): ArrayRecord => ({
    data,
    shape: [starts.length, blockLength],
    dtype: "i32",
  });
  return { inputs: record(inputs), targets: record(targets) };
}
