/**
 * Vectors of operands in a loop over neighbouring elements: read whole where
 * they lie inside, element by element where the last one is cut short.
 *
 * @module
 */

import type { DType } from "../../core/dtype.ts";
import {
  declareWords,
  lane,
  laneElement,
  readOne,
  readWords,
  setLane,
  wordsOf,
  writeOne,
  writeWords,
} from "./access.ts";
import { indent } from "./emit.ts";
import { narrow, storageTypes, widen } from "./types.ts";
import type { Step } from "./variant.ts";

/** Reads and writes the vectors of one walk. Lane `v` is a variable of the loop that the caller writes. */
export class Vectors {
  /**
   * Vectors of `lanes` elements.
   *
   * @param lanes Elements of a vector.
   * @param whole Condition under which the whole vector lies inside; undefined where it always does.
   * @param inside Condition under which lane `v` does.
   */
  constructor(
    readonly lanes: number,
    readonly whole: string | undefined,
    readonly inside: string,
  ) {}

  /** Reads the vector at `pointer[offset]`; returns the text of lane `v`. */
  read(
    lines: string[],
    dtype: DType,
    pointer: string,
    offset: string,
    step: Step,
    words: string,
  ): string {
    if (this.lanes === 1 || step !== "unit") {
      return readOne(dtype, pointer, offset);
    }
    lines.push(declareWords(dtype, this.lanes, words));
    this.#fill(lines, dtype, pointer, offset, words);
    return lane(dtype, words, "v");
  }

  /** Declares registers for `chunks` vectors. */
  declareKept(dtype: DType, chunks: number, name: string): string {
    return this.lanes === 1
      ? `${storageTypes[dtype]} ${name}[${chunks}];`
      : `unsigned ${name}[${chunks}][${wordsOf(dtype, this.lanes)}] = {};`;
  }

  /** Reads the vector at `pointer[offset]` into registers, as number `c`. */
  keep(
    lines: string[],
    dtype: DType,
    pointer: string,
    offset: string,
    name: string,
  ): void {
    if (this.lanes === 1) lines.push(`${name}[c] = ${pointer}[${offset}];`);
    else this.#fill(lines, dtype, pointer, offset, `${name}[c]`);
  }

  /** Copies the vector at `pointer[offset]` to `to[at]`, by way of `words`. */
  copy(
    lines: string[],
    dtype: DType,
    pointer: string,
    offset: string,
    to: string,
    at: string,
    words: string,
  ): void {
    if (this.lanes === 1) lines.push(`${to}[${at}] = ${pointer}[${offset}];`);
    else {
      lines.push(declareWords(dtype, this.lanes, words));
      this.#fill(lines, dtype, pointer, offset, words);
      this.end(lines, dtype, to, at, words);
    }
  }

  /** Lane `v` of the vector that is kept as number `c`. */
  kept(dtype: DType, name: string): string {
    return this.lanes === 1
      ? widen(dtype, `${name}[c]`)
      : lane(dtype, `${name}[c]`, "v");
  }

  #fill(
    lines: string[],
    dtype: DType,
    pointer: string,
    offset: string,
    words: string,
  ): void {
    // Elements past the end stay 0.
    this.#cut(
      lines,
      readWords(dtype, this.lanes, `${pointer} + ${offset}`, words),
      setLane(dtype, words, "v", `${pointer}[${offset} + v]`),
    );
  }

  /** Before the loop over lanes: makes room for results. */
  begin(lines: string[], dtype: DType, words: string): void {
    if (this.lanes > 1) lines.push(declareWords(dtype, this.lanes, words));
  }

  /** In the loop over lanes: takes a result. */
  set(
    lines: string[],
    dtype: DType,
    pointer: string,
    offset: string,
    words: string,
    value: string,
  ): void {
    if (this.lanes === 1) lines.push(writeOne(dtype, pointer, offset, value));
    else lines.push(...setLane(dtype, words, "v", narrow(dtype, value)));
  }

  /** After the loop over lanes: writes the results. */
  end(
    lines: string[],
    dtype: DType,
    pointer: string,
    offset: string,
    words: string,
  ): void {
    if (this.lanes === 1) return;
    this.#cut(
      lines,
      writeWords(dtype, this.lanes, `${pointer} + ${offset}`, words),
      [`${pointer}[${offset} + v] = ${laneElement(dtype, words, "v")};`],
    );
  }

  /** Writes the loop over lanes around `body`; without lanes just the body. */
  each(lines: string[], body: readonly string[]): void {
    if (this.lanes === 1) lines.push(...body);
    else {
      lines.push(
        "#pragma unroll",
        `for (int v = 0; v < ${this.lanes}; v++) {`,
        ...indent(body),
        "}",
      );
    }
  }

  #cut(lines: string[], all: readonly string[], one: readonly string[]): void {
    if (this.whole === undefined) lines.push(...all);
    else {
      lines.push(
        `if (${this.whole}) {`,
        ...indent(all),
        "} else {",
        "#pragma unroll",
        `  for (int v = 0; v < ${this.lanes}; v++) {`,
        `    if (${this.inside}) {`,
        ...indent(indent(indent(one))),
        "    }",
        "  }",
        "}",
      );
    }
  }
}
