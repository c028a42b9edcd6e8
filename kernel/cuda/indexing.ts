/**
 * Index arithmetic: positions taken apart into coordinates, and coordinates
 * made offsets of operands.
 *
 * @module
 */

import type { Step } from "./variant.ts";

/** The pointer of operand `i`, inputs first. */
export function pointer(inputs: number, i: number): string {
  return i < inputs ? `p.in${i}` : `p.out${i - inputs}`;
}

/** Writes index arithmetic in 32 or 64 bits. */
export class Indexing {
  /** Type of counts and positions. */
  readonly count: "unsigned" | "long long";
  /** Type of offsets. */
  readonly offset: "int" | "long long";

  /**
   * Writes with the given width.
   *
   * @param wide Whether indices are 64 bits wide.
   */
  constructor(
    readonly wide: boolean,
  ) {
    this.count = wide ? "long long" : "unsigned";
    this.offset = wide ? "long long" : "int";
  }

  /** A number as a count. */
  number(n: number): string {
    return this.wide ? `${n}LL` : `${n}u`;
  }

  /** Takes the position `from` apart along axes `first` to before `end`; returns the coordinates' names by axis. */
  decompose(
    lines: string[],
    from: string,
    first: number,
    end: number,
    prefix: string,
  ): string[] {
    const coords: string[] = [];
    let rest = from;
    for (let d = end - 1; d > first; d--) {
      const quotient = `${prefix}q${d}`, coord = `${prefix}${d}`;
      lines.push(
        `const ${this.count} ${quotient} = ${
          this.wide
            ? `long_div(${rest}, p.n${d})`
            : `fast_div(${rest}, p.m${d}, p.h${d})`
        };`,
        `const ${this.count} ${coord} = ${rest} - ${quotient} * p.n${d};`,
      );
      coords[d] = coord;
      rest = quotient;
    }
    if (first < end) coords[first] = rest;
    return coords;
  }

  /** The offset of an operand at coordinates along axes `first` to before `end`, as text. */
  offsetOf(
    operand: number,
    coords: readonly string[],
    first: number,
    end: number,
    /** The axis of vectors, along which the step is known. */
    vector: number,
    step: Step,
  ): string {
    if (step === "fixed") return "0";
    const terms: string[] = [];
    for (let d = first; d < end; d++) {
      const coord = `(${this.offset})${coords[d]}`;
      if (d !== vector || step === "any") {
        terms.push(`${coord} * p.s${operand}_${d}`);
      } else if (step === "unit") terms.push(coord);
    }
    return terms.length === 0 ? "0" : terms.join(" + ");
  }
}

/** The strides that `offsetOf` names for the given operands; those of step "row" stand still from axis `still` on. */
export function strideNeeds(
  steps: readonly Step[],
  operands: readonly number[],
  rank: number,
  still: number,
): (readonly [number, number])[] {
  const needs: (readonly [number, number])[] = [];
  for (const i of operands) {
    const end = { fixed: 0, row: still, unit: rank - 1, any: rank }[steps[i]];
    for (let d = 0; d < end; d++) needs.push([i, d]);
  }
  return needs;
}
