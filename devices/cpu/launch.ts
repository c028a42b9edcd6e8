/**
 * Runs row programs on the CPU: merges axes, picks the loop order, finds or
 * compiles the kernel, and splits the work among the pool.
 *
 * @module
 */

import { bytesOf } from "../../core/dtype.ts";
import type { Launch, Strided } from "../../core/device.ts";
import { type ParamLayout, paramLayout } from "../../kernel/wasm/params.ts";
import { columnBlock, render, type Variant } from "../../kernel/wasm/render.ts";
import { type Program, program, stageType } from "../../kernel/program.ts";
import * as k from "../../kernel/expr.ts";
import {
  allocate,
  allocatePermanent,
  heap,
  memoryLimits,
  release,
} from "./memory.ts";
import { type CpuKernel, createKernel, runKernel } from "./pool.ts";

/** A compiled program and what is needed to call it. */
interface Compiled {
  readonly kernel: CpuKernel;
  readonly layout: ParamLayout;
  /** Cost of one element, in expression nodes, to size the chunks. */
  readonly weight: number;
  readonly block: number;
}

const compiled = new Map<string, Compiled>();

/** Number of kernels compiled in this process. */
export function compiledKernels(): number {
  return compiled.size;
}

const blockBytes = 4096;
const block = allocatePermanent(blockBytes);

/** Node visits that one chunk should take at least: about 20 µs. */
const chunkWork = 1 << 16;
/** Elements of a long row that are reduced at once when there are few rows. */
const splitLength = 1 << 15;

/** Elements that a kernel can count: it does so in signed 32-bit integers. */
const maxElements = 2 ** 31 - 1;

function checkElements({ sizes, limits }: Launch): void {
  const count = Math.max(product(sizes, 0, sizes.length), ...limits);
  if (count > maxElements) {
    throw new RangeError(
      `Cannot run a kernel over ${count} elements on the CPU: it takes at most ${maxElements}; work on parts of the tensor`,
    );
  }
}

/**
 * Runs a launch to its end.
 *
 * @throws {RangeError} when there are 2³¹ elements or more.
 */
export function launch(l: Launch): void {
  checkElements(l);
  const { program: p } = l;
  if (l.sizes.includes(0)) {
    // Nothing to walk, but per-row outputs of empty rows hold the identity.
    emptyRows(l);
    return;
  }
  let sizes = l.sizes;
  let outerRank = l.outerRank;
  let operands: Strided[] = [...l.inputs, ...l.outputs];
  let strides = operands.map((o) => o.strides);
  if (!p.usesCoords) {
    ({ sizes, outerRank, strides } = merge(sizes, outerRank, strides));
  } else {
    sizes = [...sizes];
    strides = strides.map((s) => [...s]);
  }
  if (splits(p, sizes, outerRank)) {
    runSplit(l, sizes, outerRank, strides);
    return;
  }
  operands = operands.map((o, i) => ({ ...o, strides: strides[i] }));
  execute(p, sizes, outerRank, operands, l.limits, l.scalars);
}

function emptyRows(l: Launch): void {
  const outer = l.sizes.slice(0, l.outerRank);
  if (outer.includes(0) || !l.program.outputs.some((o) => o.per === "row")) {
    return;
  }
  // One pass over no elements: a row loop whose inner extent is zero.
  const sizes = [...outer, 0];
  const shrink = (o: Strided) => ({
    ...o,
    strides: [...o.strides.slice(0, l.outerRank), 0],
  });
  execute(
    l.program,
    sizes,
    l.outerRank,
    [...l.inputs.map(shrink), ...l.outputs.map(shrink)],
    l.limits,
    l.scalars,
  );
}

/** Drops axes of extent 1 and joins neighbours that every operand walks without a break. */
function merge(
  sizes: readonly number[],
  outerRank: number,
  strides: readonly (readonly number[])[],
): { sizes: number[]; outerRank: number; strides: number[][] } {
  const outSizes: number[] = [];
  const outStrides: number[][] = strides.map(() => []);
  let outerCount = 0;
  for (let d = 0; d < sizes.length; d++) {
    if (sizes[d] === 1) continue;
    const last = outSizes.length - 1;
    const sameGroup = d < outerRank ? last >= 0 : last >= outerCount;
    if (
      sameGroup &&
      strides.every((s, i) => outStrides[i][last] === s[d] * sizes[d])
    ) {
      outSizes[last] *= sizes[d];
      strides.forEach((s, i) => outStrides[i][last] = s[d]);
    } else {
      outSizes.push(sizes[d]);
      strides.forEach((s, i) => outStrides[i].push(s[d]));
      if (d < outerRank) outerCount = outSizes.length;
    }
  }
  return { sizes: outSizes, outerRank: outerCount, strides: outStrides };
}

/** Chooses the loop order, compiles if needed, fills the parameter block and runs. */
function execute(
  p: Program,
  sizes: readonly number[],
  outerRank: number,
  operands: readonly Strided[],
  limits: readonly number[],
  scalars: readonly number[],
): void {
  const rank = sizes.length;
  let innerRank = rank - outerRank;
  let mode: Variant["mode"] = "row";
  let dims = sizes;
  let steps = operands.map((o) => o.strides);
  if (innerRank === 0) {
    innerRank = 1;
    const perRow = p.stages.length > 0 ||
      p.outputs.some((o) => o.per === "row");
    if (perRow || rank === 0) {
      dims = [...sizes, 1];
      steps = steps.map((s) => [...s.slice(0, rank), perRow ? 0 : 1]);
    } else outerRank--;
  } else if (
    p.stages.length > 0 && outerRank > 0 && !sizes.includes(0) &&
    columnsAreBetter(p, sizes, outerRank, operands)
  ) {
    mode = "column";
  }
  const axis = mode === "column" ? outerRank - 1 : dims.length - 1;
  const kinds = steps.map((s) => stepKind(s[axis]));
  const keep = p.stages.length > 0 && !overlaps(p, operands);
  const key = `${p.key}/${mode}${outerRank},${innerRank}/${kinds}/${keep}`;
  let found = compiled.get(key);
  if (found === undefined) {
    const variant: Variant = { mode, outerRank, innerRank, steps: kinds, keep };
    const bytes = render(p, variant, memoryLimits);
    found = {
      kernel: createKernel(`kernel ${compiled.size}`, bytes),
      layout: paramLayout(p, dims.length),
      weight: weightOf(p),
      block: columnBlock(p),
    };
    compiled.set(key, found);
  }
  fill(found.layout, p, dims, steps, operands, limits, scalars);
  const inner = product(dims, outerRank, dims.length);
  if (mode === "column") {
    const width = dims[axis];
    const items = product(dims, 0, axis) * Math.ceil(width / found.block);
    const cost = found.block * inner * found.weight;
    runKernel(
      found.kernel,
      block,
      items,
      Math.max(1, Math.ceil(chunkWork / cost)),
    );
  } else if (outerRank > 0) {
    const rows = product(dims, 0, outerRank);
    runKernel(
      found.kernel,
      block,
      rows,
      Math.max(1, Math.ceil(chunkWork / (inner * found.weight + 16))),
    );
  } else if (p.stages.length > 0) {
    runKernel(found.kernel, block, 1, 1);
  } else {
    // Chunks of whole cache lines.
    const grain = Math.ceil(chunkWork / found.weight / 64) * 64;
    runKernel(found.kernel, block, inner, grain);
  }
}

/** Whether an output is written to memory that an input is read from. */
function overlaps(p: Program, operands: readonly Strided[]): boolean {
  const count = p.inputs.length;
  return operands.slice(count).some((o) =>
    operands.slice(0, count).some((i) =>
      i.storage.address === o.storage.address
    )
  );
}

function stepKind(
  stride: number,
): "zero" | "unit" | "any" {
  if (stride === 1) return "unit";
  return stride === 0 ? "zero" : "any";
}

/** Column order pays when reading along the last outer axis costs less than reading along rows. */
function columnsAreBetter(
  p: Program,
  sizes: readonly number[],
  outerRank: number,
  operands: readonly Strided[],
): boolean {
  const along = outerRank - 1, inner = sizes.length - 1;
  if (sizes[along] < 4 || usesLinear(p)) return false;
  let row = 0, column = 0;
  for (const { strides } of operands.slice(0, p.inputs.length)) {
    row += stepCost(strides[inner]);
    column += stepCost(strides[along]);
  }
  return column < row;
}

/** Lanes that follow each other, or are all the same element, take one load; others one each. */
function stepCost(stride: number): number {
  return stride === 0 || stride === 1 ? 1 : 4;
}

const linearUse = new WeakMap<Program, boolean>();

function usesLinear(p: Program): boolean {
  let uses = linearUse.get(p);
  if (uses === undefined) {
    let found = false;
    k.traverse([
      ...p.stages.map((s) => s.value),
      ...p.outputs.map((o) => o.value),
    ], (e) => {
      if (e.op === "linear") found = true;
    });
    linearUse.set(p, uses = found);
  }
  return uses;
}

function weightOf(p: Program): number {
  let nodes = 0;
  for (const root of [...p.stages, ...p.outputs]) {
    k.traverse([root.value], (e) => {
      nodes += e.args.length === 0 ? 1 : costs[e.op] ?? 1;
    });
  }
  return Math.max(1, nodes);
}

// Roughly how many cheap operations one element of each takes.
const costs: Partial<Record<k.ExprOp, number>> = {
  exp: 12,
  log: 15,
  tanh: 18,
  erf: 24,
  sin: 20,
  cos: 20,
  pow: 40,
  load: 4,
  div: 4,
  sqrt: 4,
  mulhiu: 3,
};

function fill(
  layout: ParamLayout,
  p: Program,
  sizes: readonly number[],
  strides: readonly (readonly number[])[],
  operands: readonly Strided[],
  limits: readonly number[],
  scalars: readonly number[],
): void {
  if (layout.bytes > blockBytes) {
    throw new RangeError(
      `Cannot run a kernel with ${operands.length} operands over ${sizes.length} axes: its parameters take ${layout.bytes} bytes and ${blockBytes} are reserved`,
    );
  }
  const words = heap.i32;
  for (let i = 0; i < operands.length; i++) {
    const { storage, dtype, offset } = operands[i];
    const width = bytesOf(dtype);
    words[(block + layout.address(i)) >>> 2] = storage.address + offset * width;
    for (let d = 0; d < sizes.length; d++) {
      words[(block + layout.stride(i, d)) >>> 2] = strides[i][d] * width;
    }
  }
  for (let d = 0; d < sizes.length; d++) {
    words[(block + layout.size(d)) >>> 2] = sizes[d];
  }
  for (let i = 0; i < p.inputs.length; i++) {
    words[(block + layout.limit(i)) >>> 2] = (limits[i] ?? 1) - 1;
  }
  for (let i = 0; i < p.scalars.length; i++) {
    const at = block + layout.scalar(i);
    switch (p.scalars[i]) {
      case "f32":
        heap.f32[at >>> 2] = scalars[i];
        break;
      case "f64":
        heap.f64[at >>> 3] = scalars[i];
        break;
      case "i64":
        heap.i64[at >>> 3] = BigInt(Math.trunc(scalars[i]));
        break;
      default:
        words[at >>> 2] = scalars[i];
    }
  }
}

function product(sizes: readonly number[], from: number, to: number): number {
  let result = 1;
  for (let d = from; d < to; d++) result *= sizes[d];
  return result;
}

// ---- few long rows ----

const splittable = new WeakMap<Program, boolean>();

/** Whether a reduction has so few and long rows that cutting them in pieces pays. */
function splits(
  p: Program,
  sizes: readonly number[],
  outerRank: number,
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
    can = s.op !== "argmax" && s.op !== "argmin" && !usesLinear(p) &&
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
function runSplit(
  l: Launch,
  sizes: readonly number[],
  outerRank: number,
  strides: readonly (readonly number[])[],
): void {
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
      strides: [
        ...strides[i].slice(0, outerRank),
        strides[i][outerRank] * piece,
        strides[i][outerRank],
        ...strides[i].slice(outerRank + 1),
      ],
    }));
    const output = {
      storage: scratch,
      dtype,
      offset: from,
      strides: [...rowStrides, 1, 0, ...innerSizes.map(() => 0)],
    };
    execute(
      partial,
      [...outerSizes, pieces, length, ...innerSizes],
      outerRank + 1,
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
  const outputs = l.outputs.map((o, i) => ({
    ...o,
    strides: [...strides[inputs.length + i].slice(0, outerRank), 0],
  }));
  execute(
    joinProgram(p),
    [...outerSizes, count],
    outerRank,
    [joined, ...outputs],
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
