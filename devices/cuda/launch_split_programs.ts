/**
 * The programs of a reduction in pieces, made from the program of the whole.
 *
 * @module
 */

import type { DType } from "../../core/dtype.ts";
import * as k from "../../kernel/expr.ts";
import type { Expr, ScalarType } from "../../kernel/expr.ts";
import { planPasses } from "../../kernel/passes.ts";
import {
  type Output,
  type Program,
  program,
  type Stage,
  stageType,
} from "../../kernel/program.ts";

/** One walk of a program, cut in two kernels. */
export interface SplitWalk {
  /** Numbers of its stages. */
  readonly stages: readonly number[];
  /** Reduces pieces of rows: a value per stage, and for arg reductions a position after it. */
  readonly partial: Program;
  /** Reduces the pieces' results to those of the stages, where later kernels need them, then the outputs per row, where this is the last walk, which tells of refused rows, too. */
  readonly join: Program;
  /** Whether `join` stores the stages' results. */
  readonly stores: boolean;
}

/** The programs of a reduction in pieces; all of them read the inputs, then the results of all stages. */
export interface SplitPrograms {
  /** The walks that reduce. */
  readonly walks: readonly SplitWalk[];
  /** Types in which the stages' results are stored. */
  readonly results: readonly DType[];
  /** The outputs per element. */
  readonly perElement: Program | undefined;
}

function isArg(stage: Stage): boolean {
  return stage.op === "argmax" || stage.op === "argmin";
}

/** Cuts a program with stages. */
export function split(p: Program): SplitPrograms {
  const results = p.stages.map((s) => stageType(s) as DType);
  const first = p.inputs.length, after = first + p.stages.length;
  const inputs = [...p.inputs, ...results];
  /** The expression with results of stages as operands, but for those that `own` gives. */
  const stored = (root: Expr, own: ReadonlyMap<number, Expr> = new Map()) =>
    k.transform(
      root,
      (e) =>
        e.op === "stage"
          ? own.get(Number(e.value)) ?? k.input(first + Number(e.value), e.type)
          : e,
    );
  const perElement = p.outputs.filter((o) => o.per === "element")
    .map((o) => ({ ...o, value: stored(o.value) }));
  const { passes } = planPasses(p, false);
  const walks = passes.map(({ stages }, pass): SplitWalk => {
    const last = pass === passes.length - 1;
    const stores = !last || perElement.length > 0;
    const partial: Stage[] = [], partials: Output[] = [];
    const joined: Stage[] = [], own = new Map<number, Expr>();
    for (const s of stages) {
      const { op } = p.stages[s];
      const value = stored(p.stages[s].value);
      const at = after + partials.length;
      own.set(s, k.stage(joined.length, stageType(p.stages[s])));
      joined.push({ op, value: k.input(at, value.type) });
      if (isArg(p.stages[s])) {
        // The value of a piece's winner, then its position.
        addOutput(partial, partials, {
          op: op === "argmax" ? "max" : "min",
          value,
        });
        // The first row of positions that belong to this row, plus the piece.
        const piece = k.add(k.linear(), own.get(s)!);
        own.set(s, k.load(at + 1, "i32", piece));
      }
      addOutput(partial, partials, { op, value });
    }
    const outputs: Output[] = [];
    if (stores) {
      for (const s of stages) {
        outputs.push({ dtype: results[s], value: own.get(s)!, per: "row" });
      }
    }
    if (last) {
      for (const o of p.outputs) {
        if (o.per === "row") {
          outputs.push({ ...o, value: stored(o.value, own) });
        }
      }
    }
    return {
      stages,
      partial: program(inputs, p.scalars, partial, partials),
      join: program(
        [...inputs, ...partials.map((o) => o.dtype)],
        p.scalars,
        joined,
        outputs,
        last && p.refuses !== undefined ? stored(p.refuses, own) : undefined,
      ),
      stores,
    };
  });
  return {
    walks,
    results,
    perElement: perElement.length === 0
      ? undefined
      : program(inputs, p.scalars, [], perElement),
  };
}

/** Adds a stage whose result is stored as it is. */
function addOutput(stages: Stage[], outputs: Output[], stage: Stage): void {
  const type: ScalarType = stageType(stage);
  outputs.push({
    dtype: type as DType,
    value: k.stage(stages.push(stage) - 1, type),
    per: "row",
  });
}
