/**
 * Reductions: accumulators, how values join them, and how the threads that
 * share a row bring theirs together. Every combination happens in an order
 * that sizes alone decide, so results are the same from run to run.
 *
 * @module
 */

import * as k from "../expr.ts";
import { isFloatType } from "../expr.ts";
import { combineOf, isArg, type Stage } from "../program.ts";
import { rules } from "./ops.ts";
import { literal, valueTypes } from "./types.ts";

/** Position of an arg reduction that has seen nothing. */
const nowhere = 2 ** 31 - 1;

/** The value that changes nothing when combined, as text. */
export function identity(stage: Stage): string {
  const { type } = stage.value;
  const combine = combineOf(stage);
  if (combine === "add") return literal(0, type);
  if (combine === "mul") return literal(1, type);
  const sign = combine === "max" ? -1 : 1;
  if (isFloatType(type)) return literal(sign * Infinity, type);
  const bits = type === "i64" ? 63n : 31n;
  return literal(sign < 0 ? -(2n ** bits) : 2n ** bits - 1n, type);
}

/** a combined with b, as text. */
export function combined(stage: Stage, a: string, b: string): string {
  const { type } = stage.value;
  const op = combineOf(stage);
  const e = k.node(op, type, [k.input(0, type), k.input(1, type)]);
  return rules[op](e, [a, b]);
}

/** Statement with which candidate `x` at `at` replaces the accumulator of an arg reduction when it wins: NaN first, then the smallest position. */
export function contend(
  stage: Stage,
  s: number,
  x: string,
  at: string,
): string {
  const best = `a${s}`, place = `i${s}`;
  const better = `${x} ${stage.op === "argmax" ? ">" : "<"} ${best}`;
  const condition = isFloatType(stage.value.type)
    ? `${better} || (${x} != ${x} && ${best} == ${best}) || ((${x} == ${best} || (${x} != ${x} && ${best} != ${best})) && ${at} < ${place})`
    : `${better} || (${x} == ${best} && ${at} < ${place})`;
  return `if (${condition}) { ${best} = ${x}; ${place} = ${at}; }`;
}

/** Declares the accumulator of stage number `s`. */
export function begin(stage: Stage, s: number): string[] {
  const lines = [
    `${valueTypes[stage.value.type]} a${s} = ${identity(stage)};`,
  ];
  if (isArg(stage)) lines.push(`int i${s} = ${nowhere};`);
  return lines;
}

/** Joins `lanes` values, in an array of that name, to the accumulator: as a tree, so that none waits for all before it. */
export function joinLanes(
  stage: Stage,
  s: number,
  array: string,
  lanes: number,
): string[] {
  const lines: string[] = [];
  for (let half = lanes / 2; half >= 1; half /= 2) {
    for (let v = 0; v < half; v++) {
      lines.push(
        `${array}[${v}] = ${
          combined(stage, `${array}[${v}]`, `${array}[${v + half}]`)
        };`,
      );
    }
  }
  lines.push(`a${s} = ${combined(stage, `a${s}`, `${array}[0]`)};`);
  return lines;
}

/** A stage and its number. */
export interface Numbered {
  /** The stage. */
  readonly stage: Stage;
  /** Its number. */
  readonly s: number;
}

/** Brings together the accumulators of neighbouring lanes of a warp, `width` at a time; all of them get the result. */
function shuffle({ stage, s }: Numbered, width: number): string[] {
  if (width < 2) return [];
  const type = valueTypes[stage.value.type];
  const other = (name: string) => `__shfl_xor_sync(0xffffffffu, ${name}, d)`;
  return [
    "#pragma unroll",
    `for (int d = ${width / 2}; d > 0; d /= 2) {`,
    `  const ${type} x = ${other(`a${s}`)};`,
    ...isArg(stage)
      ? [
        `  const int at = ${other(`i${s}`)};`,
        `  ${contend(stage, s, "x", "at")}`,
      ]
      : [`  a${s} = ${combined(stage, `a${s}`, "x")};`],
    "}",
  ];
}

/** Threads of a team along a row: within a warp by shuffles, among warps through shared memory. */
export function joinTeam(
  stages: readonly Numbered[],
  team: number,
): { lines: string[]; shared: boolean } {
  const lines = stages.flatMap((n) => shuffle(n, Math.min(team, 32)));
  if (team <= 32) return { lines, shared: false };
  const warps = team / 32;
  for (const n of stages) {
    const type = valueTypes[n.stage.value.type];
    lines.push(`__shared__ ${type} m${n.s}[${warps}];`);
    if (isArg(n.stage)) lines.push(`__shared__ int mi${n.s}[${warps}];`);
  }
  lines.push("if (threadIdx.x % 32 == 0) {");
  for (const { stage, s } of stages) {
    lines.push(`  m${s}[threadIdx.x / 32] = a${s};`);
    if (isArg(stage)) lines.push(`  mi${s}[threadIdx.x / 32] = i${s};`);
  }
  lines.push("}", "__syncthreads();");
  for (const n of stages) {
    lines.push(`a${n.s} = m${n.s}[threadIdx.x % ${warps}];`);
    if (isArg(n.stage)) {
      lines.push(`i${n.s} = mi${n.s}[threadIdx.x % ${warps}];`);
    }
    lines.push(...shuffle(n, warps));
  }
  return { lines, shared: true };
}

/** Threads of a team down a column, `columns` threads apart: through shared memory. */
export function joinColumns(
  stages: readonly Numbered[],
  team: number,
  columns: number,
): { lines: string[]; shared: boolean } {
  if (team === 1) return { lines: [], shared: false };
  const lines: string[] = [];
  for (const { stage, s } of stages) {
    const type = valueTypes[stage.value.type];
    lines.push(
      `__shared__ ${type} m${s}[${team * columns}];`,
      `m${s}[threadIdx.x] = a${s};`,
    );
    if (isArg(stage)) {
      lines.push(
        `__shared__ int mi${s}[${team * columns}];`,
        `mi${s}[threadIdx.x] = i${s};`,
      );
    }
  }
  lines.push("__syncthreads();");
  lines.push(
    `for (int half = ${team / 2}; half > 0; half /= 2) {`,
    "  if (lane < half) {",
    `    const int other = threadIdx.x + half * ${columns};`,
  );
  for (const { stage, s } of stages) {
    if (isArg(stage)) {
      lines.push(
        `    ${contend(stage, s, `m${s}[other]`, `mi${s}[other]`)}`,
        `    m${s}[threadIdx.x] = a${s};`,
        `    mi${s}[threadIdx.x] = i${s};`,
      );
    } else {
      lines.push(
        `    a${s} = ${combined(stage, `a${s}`, `m${s}[other]`)};`,
        `    m${s}[threadIdx.x] = a${s};`,
      );
    }
  }
  lines.push("  }", "  __syncthreads();", "}");
  for (const { stage, s } of stages) {
    lines.push(`a${s} = m${s}[slot];`);
    if (isArg(stage)) lines.push(`i${s} = mi${s}[slot];`);
  }
  return { lines, shared: true };
}

/** The result of a stage as text, once its accumulator is complete. */
export function resultOf(stage: Stage, s: number): string {
  return isArg(stage) ? `(i${s} == ${nowhere} ? 0 : i${s})` : `a${s}`;
}
