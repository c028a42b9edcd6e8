/**
 * Row programs: the shape of every kernel. A program walks outer axes (one
 * row per position) and inner axes (the elements of a row), runs zero or more
 * reductions over the row, each an expression of the operands and of earlier
 * reductions, then computes outputs per element or per row.
 *
 * No reduction: an elementwise kernel. One reduction and a per-row output: a
 * sum or a maximum. Softmax and the norms have two.
 *
 * @module
 */

import type { DType } from "../core/dtype.ts";
import { type Expr, exprText, type ScalarType, traverse } from "./expr.ts";

/** How a stage combines the values of a row; the arg forms give the i32 position in the row of the first winner. */
export type ReduceOp = "sum" | "prod" | "max" | "min" | "argmax" | "argmin";

/** One reduction over a row. */
export interface Stage {
  /** Combination. */
  readonly op: ReduceOp;
  /** Value of each element; may use `stage(k)` of earlier stages. */
  readonly value: Expr;
}

/** One result of a program. */
export interface Output {
  /** Storage type. The value's type is its compute type, or i32 where the storage is i64. */
  readonly dtype: DType;
  /** Value stored. */
  readonly value: Expr;
  /** Once for every element, or once for every row. */
  readonly per: "element" | "row";
}

/** A kernel before its sizes and strides are known. */
export interface Program {
  /** Storage types of the operands that `input(k)` and `load(k)` refer to. */
  readonly inputs: readonly DType[];
  /** Types of the run-time scalars. */
  readonly scalars: readonly ScalarType[];
  /** Reductions, in order. */
  readonly stages: readonly Stage[];
  /** Results. */
  readonly outputs: readonly Output[];
  /** Which elements are refused, as a condition: then the flag of the launch is set. With stages or outputs per row: which rows, told by what stays along them. Only on devices that have flags. */
  readonly refuses: Expr | undefined;
  /** Whether coordinates are used, so that axes must not be merged. */
  readonly usesCoords: boolean;
  /** Text that is equal for equal programs within this process. */
  readonly key: string;
}

/** Whether a stage's result is a position. */
export function isArg(stage: Stage): boolean {
  return stage.op === "argmax" || stage.op === "argmin";
}

/** The type of a stage's result. */
export function stageType(stage: Stage): ScalarType {
  return isArg(stage) ? "i32" : stage.value.type;
}

/** How two values of a stage become one. */
export function combineOf(stage: Stage): "add" | "mul" | "max" | "min" {
  switch (stage.op) {
    case "sum":
      return "add";
    case "prod":
      return "mul";
    case "max":
    case "argmax":
      return "max";
    case "min":
    case "argmin":
      return "min";
    default:
      return stage.op satisfies never;
  }
}

/** Assembles a program and its key. */
export function program(
  inputs: readonly DType[],
  scalars: readonly ScalarType[],
  stages: readonly Stage[],
  outputs: readonly Output[],
  refuses?: Expr,
): Program {
  let usesCoords = false;
  traverse(roots({ stages, outputs, refuses }), (e) => {
    if (e.op === "coord") usesCoords = true;
  });
  const key = `${inputs}|${scalars}|${
    stages.map((s) => `${s.op}:${s.value.id}`)
  }|${outputs.map((o) => `${o.dtype}:${o.value.id}:${o.per}`)}|${
    refuses?.id ?? ""
  }`;
  return { inputs, scalars, stages, outputs, refuses, usesCoords, key };
}

/** Every expression of a program. */
export function roots(
  { stages, outputs, refuses }: {
    readonly stages: readonly Stage[];
    readonly outputs: readonly Output[];
    readonly refuses?: Expr;
  },
): Expr[] {
  const exprs = stages.map((s) => s.value);
  for (const { value } of outputs) exprs.push(value);
  if (refuses !== undefined) exprs.push(refuses);
  return exprs;
}

/** Prints a program as readable text, as `explain` shows it. */
export function programText(p: Program): string {
  const lines = p.inputs.map((dtype, k) => `in${k}: ${dtype}`);
  p.scalars.forEach((type, k) => lines.push(`scalar${k}: ${type}`));
  p.stages.forEach((s, k) =>
    lines.push(`stage${k} = ${s.op} over row of ${exprText(s.value)}`)
  );
  p.outputs.forEach((o, k) =>
    lines.push(`out${k}: ${o.dtype} per ${o.per} = ${exprText(o.value)}`)
  );
  if (p.refuses !== undefined) lines.push(`refused: ${exprText(p.refuses)}`);
  return lines.join("\n");
}
