/**
 * What each walk over a row computes, and what walks have in common.
 *
 * @module
 */

import type { Expr } from "../expr.ts";
import { planPasses } from "../passes.ts";
import type { Program } from "../program.ts";
import { streamsOf } from "./emit.ts";

/** For each walk of a program over its rows, the results last, what it computes for each element. */
export function walksOf(plan: ReturnType<typeof planPasses>): Expr[][] {
  return [
    ...plan.passes.map((pass) => [
      ...pass.stages.map((s) => plan.stages[s].value),
      ...pass.kept.map((kept) => kept.value),
    ]),
    plan.outputs.filter((o) => o.per === "element").map((o) => o.value),
  ];
}

/** Inputs that more than one walk over a row reads, when costly values are kept. */
export function repeatedOperands(p: Program): number[] {
  const walks = walksOf(planPasses(p, true, true)).map(streamsOf);
  return p.inputs.flatMap((_, i) =>
    walks.filter((w) => w.includes(i)).length > 1 ? [i] : []
  );
}

/** 32-bit registers per element for costly values that walks share. */
export function keptWords(p: Program): number {
  let words = 0;
  for (const { kept } of planPasses(p, true, true).passes) {
    for (const { value } of kept) {
      words += value.type === "f64" || value.type === "i64" ? 2 : 1;
    }
  }
  return words;
}
