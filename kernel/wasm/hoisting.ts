/**
 * In which order a kernel computes: what is the same for every element before
 * the loop, and one node of all copies of a loop body after the other.
 *
 * @module
 */

import { type Expr, traverse } from "../expr.ts";
import type { LaneEmitter } from "./lanes.ts";

/** The largest parts that are made of constants, scalars and the leaves that `isFixed` tells. */
export function fixedParts(
  exprs: readonly Expr[],
  isFixed: (leaf: Expr) => boolean,
): Expr[] {
  const fixed = new Map<Expr, boolean>();
  const needed = new Set<Expr>();
  traverse(exprs, (e) => {
    const is = e.op === "const" || e.op === "scalar" || isFixed(e) ||
      (e.args.length > 0 && e.op !== "load" &&
        e.args.every((a) => fixed.get(a)));
    fixed.set(e, is);
    if (!is) { for (const a of e.args) if (fixed.get(a)) needed.add(a); }
  });
  for (const e of exprs) if (fixed.get(e)) needed.add(e);
  return [...needed];
}

/**
 * Computes expressions in several copies of a loop body, each node for all
 * copies before the next: a constant that had to leave the registers is then
 * fetched once for all, and the copies hide each other's latency.
 */
export function inLockstep(
  exprs: readonly Expr[],
  emitters: readonly LaneEmitter[],
): void {
  for (const emitter of emitters) emitter.plan(exprs);
  if (emitters.length === 1) return;
  const [first] = emitters;
  const walk = (e: Expr) => {
    if (first.memo.has(e)) return;
    e.args.forEach(walk);
    if (e.op === "const") return;
    for (const emitter of emitters) emitter.toLocal(e);
  };
  exprs.forEach(walk);
}
