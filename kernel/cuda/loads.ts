/**
 * Loads at computed offsets.
 *
 * @module
 */

import * as k from "../expr.ts";
import type { Expr } from "../expr.ts";
import type { Program } from "../program.ts";
import { readOne } from "./access.ts";

/** Element of input `i` at an offset that is clamped into the operand. */
export function loadText(p: Program, i: number, offset: string): string {
  return readOne(p.inputs[i], `p.in${i}`, `clamp(${offset}, p.l${i})`);
}

/** Numbers of the operands that expressions load from. */
export function loadsOf(exprs: readonly Expr[]): number[] {
  const found = new Set<number>();
  k.traverse(exprs, (e) => {
    if (e.op === "load") found.add(Number(e.value));
  });
  return [...found].sort((a, b) => a - b);
}
