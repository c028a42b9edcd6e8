/**
 * How often a row program walks its rows: stages that need nothing of each
 * other share a walk, and what an earlier walk computed for every element is
 * kept in an output's memory instead of being computed again.
 *
 * @module
 */

import * as k from "./expr.ts";
import type { Expr, ExprOp } from "./expr.ts";
import type { Output, Program, Stage } from "./program.ts";

/** A value of each element that a pass stores for the later ones. */
export interface Kept {
  /** What is stored. */
  readonly value: Expr;
  /** The output whose memory holds it until the output itself is written. */
  readonly output: number;
}

/** One walk over a row. */
export interface Pass {
  /** Numbers of the stages that it computes. */
  readonly stages: readonly number[];
  /** What it stores for later walks. */
  readonly kept: readonly Kept[];
}

/** A program cut into walks; the outputs per element are the last walk. */
export interface Passes {
  /** The walks that reduce. */
  readonly passes: readonly Pass[];
  /** Reductions, reading kept values where there are any. */
  readonly stages: readonly Stage[];
  /** Results, reading kept values as `input(inputs + output)`. */
  readonly outputs: readonly Output[];
}

/**
 * Cuts a program into walks. With `keep`, a costly expression (an
 * exponential, say) that a stage and a later output per element share is
 * computed once: the stage's walk stores it where the output will be. Softmax
 * then takes one exponential per element. No output's memory may be an
 * operand's with `keep`, unless values wait in registers, which have room for
 * any type.
 */
export function planPasses(
  p: Program,
  keep: boolean,
  inRegisters = false,
): Passes {
  const groups = groupStages(p.stages);
  const kept = keep ? keptValues(p, groups, inRegisters) : [];
  if (kept.length === 0) {
    const passes = groups.map((stages) => ({ stages, kept: [] }));
    return { passes, stages: p.stages, outputs: p.outputs };
  }
  const replace = (root: Expr, later: readonly Located[]) =>
    later.length === 0 ? root : k.transform(root, (e) => {
      const found = later.find((l) => l.value === e);
      return found === undefined
        ? e
        : k.input(p.inputs.length + found.output, e.type);
    });
  const passOf = (stage: number) => groups.findIndex((g) => g.includes(stage));
  return {
    passes: groups.map((stages, pass) => ({
      stages,
      kept: kept.filter((l) => l.pass === pass),
    })),
    stages: p.stages.map((s, i) => ({
      op: s.op,
      value: replace(s.value, kept.filter((l) => l.pass < passOf(i))),
    })),
    outputs: p.outputs.map((o) =>
      o.per === "row" ? o : { ...o, value: replace(o.value, kept) }
    ),
  };
}

/** Consecutive stages, as long as none reads another of its group. */
function groupStages(stages: readonly Stage[]): number[][] {
  const groups: number[][] = [];
  stages.forEach((stage, i) => {
    const group = groups[groups.length - 1];
    let reads = false;
    k.traverse([stage.value], (e) => {
      if (e.op === "stage" && group?.includes(Number(e.value))) reads = true;
    });
    if (group === undefined || reads) groups.push([i]);
    else group.push(i);
  });
  return groups;
}

interface Located extends Kept {
  readonly pass: number;
}

/** For each output per element, the largest costly expression that it shares with a stage. */
function keptValues(
  p: Program,
  groups: readonly (readonly number[])[],
  inRegisters: boolean,
): Located[] {
  const firstPass = new Map<Expr, number>();
  groups.forEach((stages, pass) =>
    k.traverse(stages.map((s) => p.stages[s].value), (e) => {
      if (!firstPass.has(e)) firstPass.set(e, pass);
    })
  );
  const found: Located[] = [];
  p.outputs.forEach((o, output) => {
    if (o.per !== "element" || p.stages.length === 0) return;
    const open = [o.value];
    const seen = new Set<Expr>();
    for (let e = open.pop(); e !== undefined; e = open.pop()) {
      // Shared parts would be walked once for each way that leads to them.
      if (seen.has(e)) continue;
      seen.add(e);
      const pass = firstPass.get(e);
      const fits = inRegisters || e.type === o.dtype;
      if (pass !== undefined && fits && isCostly(e)) {
        const value = e;
        if (!found.some((l) => l.value === value)) {
          found.push({ value, output, pass });
        }
        return;
      }
      open.push(...e.args);
    }
  });
  return found;
}

const cheapFunctions: ReadonlySet<ExprOp> = new Set<ExprOp>([
  "sqrt",
  "floor",
  "ceil",
  "trunc",
  "round",
]);
const costlyOps: ReadonlySet<ExprOp> = new Set<ExprOp>([
  ...k.floatFunctions.filter((name) => !cheapFunctions.has(name)),
  "pow",
  "atan2",
  "rem",
  "mulhiu",
]);

/** Whether computing it takes longer than storing it and loading it back. */
export function isCostly(root: Expr): boolean {
  let costly = false;
  k.traverse([root], (e) => {
    if (costlyOps.has(e.op)) costly = true;
  });
  return costly;
}
