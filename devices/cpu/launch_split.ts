/**
 * Reductions with few and long rows: pieces of the rows are reduced at once,
 * then the pieces' results. The cut depends on sizes alone, so results do not
 * depend on the number of threads.
 *
 * @module
 */

import { bytesOf } from "../../core/dtype.ts";
import type { Launch, Strided } from "../../core/device.ts";
import { type Program, program, stageType } from "../../kernel/program.ts";
import * as k from "../../kernel/expr.ts";
import { product, type Walk } from "../../kernel/walk.ts";
import { execute, factsOf } from "./launch_execute.ts";
import { allocate, release } from "./memory.ts";

/** Elements of a long row that are reduced at once when there are few rows. */
const splitLength = 1 << 15;

const splittable = new WeakMap<Program, boolean>();

/** Whether a reduction has so few and long rows that cutting them in pieces pays. */
export function splits(
  p: Program,
  { sizes, outerRank }: Walk,
): boolean {
  if (p.stages.length !== 1 || p.usesCoords) return false;
  const rows = product(sizes, 0, outerRank);
  const inner = product(sizes, outerRank, sizes.length);
  if (inner < 2 * splitLength || rows > 64 || sizes.length === outerRank) {
    return false;
  }
  let can = splittable.get(p);
  if (can === undefined) {
    const [s] = p.stages;
    can = s.op !== "argmax" && s.op !== "argmin" && !factsOf(p).linear &&
      p.outputs.every((o) => o.per === "row" && !readsInputs(o.value));
    splittable.set(p, can);
  }
  return can;
}

function readsInputs(e: k.Expr): boolean {
  let reads = false;
  k.traverse([e], (n) => {
    if (n.op === "input" || n.op === "load") reads = true;
  });
  return reads;
}

/** Reduces pieces of the first inner axis, then the pieces; the cut depends on sizes only. */
export function runSplit(l: Launch, walk: Walk): void {
  const { sizes, outerRank, strides } = walk;
  const p = l.program;
  const [stage] = p.stages;
  const type = stageType(stage);
  const dtype = type === "bool" ? "i32" : type;
  const rows = product(sizes, 0, outerRank);
  const first = sizes[outerRank];
  const perStep = product(sizes, outerRank + 1, sizes.length);
  const piece = Math.max(1, Math.floor(splitLength / perStep));
  const whole = Math.floor(first / piece);
  const rest = first - whole * piece;
  const count = whole + (rest > 0 ? 1 : 0);
  const partial = partialProgram(p);
  const width = bytesOf(dtype);
  const address = allocate(Math.max(1, rows * count * width));
  const scratch = { ...l.outputs[0].storage, address } as Strided["storage"];
  const inputs = l.inputs;
  const outerSizes = sizes.slice(0, outerRank),
    innerSizes = sizes.slice(outerRank + 1);
  // Partial results stand as [rows…, count].
  const rowStrides: number[] = [];
  let step = count;
  for (let d = outerRank - 1; d >= 0; d--) {
    rowStrides[d] = step;
    step *= sizes[d];
  }
  const run = (pieces: number, length: number, from: number) => {
    const cut = inputs.map((o, i) => ({
      ...o,
      offset: o.offset + from * piece * strides[i][outerRank],
    }));
    const cutStrides = inputs.map((_, i) => [
      ...strides[i].slice(0, outerRank),
      strides[i][outerRank] * piece,
      strides[i][outerRank],
      ...strides[i].slice(outerRank + 1),
    ]);
    const output = {
      storage: scratch,
      dtype,
      offset: from,
      strides: [...rowStrides, 1, 0, ...innerSizes.map(() => 0)],
    };
    execute(
      partial,
      {
        sizes: [...outerSizes, pieces, length, ...innerSizes],
        outerRank: outerRank + 1,
        strides: [...cutStrides, output.strides],
      },
      [...cut, output],
      l.limits,
      l.scalars,
    );
  };
  if (whole > 0) run(whole, piece, 0);
  if (rest > 0) run(1, rest, whole);
  const joined: Strided = {
    storage: scratch,
    dtype,
    offset: 0,
    strides: [...rowStrides, 1],
  };
  const results = l.outputs.map((_, i) => [
    ...strides[inputs.length + i].slice(0, outerRank),
    0,
  ]);
  execute(
    joinProgram(p),
    {
      sizes: [...outerSizes, count],
      outerRank,
      strides: [joined.strides, ...results],
    },
    [joined, ...l.outputs],
    [1],
    l.scalars,
  );
  release(address);
}

const partials = new WeakMap<Program, Program>();
const joins = new WeakMap<Program, Program>();

/** The same reduction, its raw result as the only output. */
function partialProgram(p: Program): Program {
  let made = partials.get(p);
  if (made === undefined) {
    const type = stageType(p.stages[0]);
    made = program(p.inputs, p.scalars, p.stages, [
      {
        dtype: type === "bool" ? "i32" : type,
        value: k.stage(0, type),
        per: "row",
      },
    ]);
    partials.set(p, made);
  }
  return made;
}

/** The reduction of the pieces' results, with the outputs of the original. */
function joinProgram(p: Program): Program {
  let made = joins.get(p);
  if (made === undefined) {
    const type = stageType(p.stages[0]);
    const dtype = type === "bool" ? "i32" : type;
    made = program([dtype], p.scalars, [{
      op: p.stages[0].op,
      value: k.input(0, type),
    }], p.outputs);
    joins.set(p, made);
  }
  return made;
}
