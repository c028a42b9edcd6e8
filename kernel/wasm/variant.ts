/**
 * How a program is specialised before its sizes are known.
 *
 * @module
 */

import * as k from "../expr.ts";
import { type Program, roots } from "../program.ts";

/** How a program is specialised before its sizes are known. */
export interface Variant {
  /** Loop order. */
  readonly mode: "row" | "column";
  /** Outer axes. */
  readonly outerRank: number;
  /** Inner axes. */
  readonly innerRank: number;
  /** For each operand, inputs first: its movement along the vector axis. */
  readonly steps: readonly ("zero" | "unit" | "any")[];
  /** Whether costly values may wait in the memory of outputs: no output is an operand too. */
  readonly keep: boolean;
}

/** Whether anything in the program is 64 bits wide in registers. */
export function isWide(p: Program): boolean {
  let wide = false;
  k.traverse(roots(p), (e) => {
    if (e.type === "f64" || e.type === "i64") wide = true;
  });
  return wide;
}

/** Columns that one work item of column order covers. */
export function columnBlock(p: Program): number {
  return isWide(p) ? 8 : 16;
}
