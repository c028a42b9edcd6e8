/**
 * The last step of a launch on the CPU: picks the loop order, finds or
 * compiles the kernel, fills its parameters, and splits the work among the
 * pool.
 *
 * @module
 */

import { bytesOf, toI64 } from "../../core/dtype.ts";
import type { Strided } from "../../core/device.ts";
import { type ParamLayout, paramLayout } from "../../kernel/wasm/params.ts";
import { columnBlock, render, type Variant } from "../../kernel/wasm/render.ts";
import type { Program } from "../../kernel/program.ts";
import * as k from "../../kernel/expr.ts";
import { product, type Walk } from "../../kernel/walk.ts";
import { allocatePermanent, heap, memoryLimits } from "./memory.ts";
import { type CpuKernel, createKernel, runKernel } from "./pool.ts";

/** A compiled program and what is needed to call it. */
export interface Compiled {
  /** Its code. */
  readonly kernel: CpuKernel;
  /** Where its parameters stand. */
  readonly layout: ParamLayout;
  /** Cost of one element, in expression nodes, to size the chunks. */
  readonly weight: number;
  /** Columns of one work item in column order. */
  readonly block: number;
}

const compiled = new Map<string, Compiled>();

const blockBytes = 4096;
const block = allocatePermanent(blockBytes);

/** Node visits that one chunk should take at least: about 10 µs. */
const chunkWork = 1 << 18;

/** What is known about a program, whatever its sizes. */
export interface Facts {
  /** Whether it uses the linear index, so that rows must be walked in order. */
  readonly linear: boolean;
  /** Whether an output is one per row, or there is a reduction. */
  readonly perRow: boolean;
  /** Kernels by their variant. */
  readonly kernels: Map<number | string, Compiled>;
}

const known = new WeakMap<Program, Facts>();

/** The facts about a program. */
export function factsOf(p: Program): Facts {
  let facts = known.get(p);
  if (facts === undefined) {
    let linear = false;
    k.traverse([
      ...p.stages.map((s) => s.value),
      ...p.outputs.map((o) => o.value),
    ], (e) => {
      if (e.op === "linear") linear = true;
    });
    const perRow = p.stages.length > 0 ||
      p.outputs.some((o) => o.per === "row");
    known.set(p, facts = { linear, perRow, kernels: new Map() });
  }
  return facts;
}

/** Chooses the loop order, compiles if needed, fills the parameter block and runs. */
export function execute(
  p: Program,
  walk: Walk,
  operands: readonly Strided[],
  limits: readonly number[],
  scalars: readonly number[],
): void {
  const facts = factsOf(p);
  const rank = walk.sizes.length;
  let { sizes, outerRank, strides } = walk;
  let mode: Variant["mode"] = "row";
  if (rank === outerRank) {
    if (facts.perRow || rank === 0) {
      const step = facts.perRow ? 0 : 1;
      sizes = [...sizes, 1];
      strides = strides.map((s) => [...s, step]);
    } else outerRank--;
  } else if (
    outerRank > 0 && p.stages.length > 0 && !facts.linear &&
    !sizes.includes(0) && columnsAreBetter(p, sizes, outerRank, strides)
  ) {
    mode = "column";
  }
  const innerRank = sizes.length - outerRank;
  const axis = mode === "column" ? outerRank - 1 : sizes.length - 1;
  const keep = p.stages.length > 0 && !overlaps(p, operands);
  const found = find(p, facts, mode, outerRank, innerRank, axis, strides, keep);
  fill(found.layout, p, sizes, strides, operands, limits, scalars);
  const inner = product(sizes, outerRank, sizes.length);
  if (mode === "column") {
    const width = sizes[axis];
    const items = product(sizes, 0, axis) * Math.ceil(width / found.block);
    const cost = found.block * inner * found.weight;
    runKernel(
      found.kernel,
      block,
      items,
      Math.max(1, Math.ceil(chunkWork / cost)),
    );
  } else if (outerRank > 0) {
    const rows = product(sizes, 0, outerRank);
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

/** The kernel for a variant of a program, compiled when it is the first of its kind. */
function find(
  p: Program,
  facts: Facts,
  mode: Variant["mode"],
  outerRank: number,
  innerRank: number,
  axis: number,
  strides: readonly (readonly number[])[],
  keep: boolean,
): Compiled {
  // A number names the variant as long as the operands' steps fit in.
  let code = ((mode === "row" ? 0 : 1) * 32 + outerRank) * 32 + innerRank;
  code = 2 * code + (keep ? 1 : 0);
  for (let i = 0; i < strides.length; i++) {
    const stride = strides[i][axis];
    code = 3 * code + (stride === 1 ? 1 : stride === 0 ? 0 : 2);
  }
  let found = code < Number.MAX_SAFE_INTEGER
    ? facts.kernels.get(code)
    : undefined;
  if (found !== undefined) return found;
  const steps = strides.map((s) => stepKind(s[axis]));
  const key = `${p.key}/${mode}${outerRank},${innerRank}/${steps}/${keep}`;
  found = compiled.get(key);
  if (found === undefined) {
    const variant: Variant = { mode, outerRank, innerRank, steps, keep };
    const bytes = render(p, variant, memoryLimits);
    found = {
      kernel: createKernel(`kernel ${compiled.size}`, bytes),
      layout: paramLayout(p, outerRank + innerRank),
      weight: weightOf(p),
      block: columnBlock(p),
    };
    compiled.set(key, found);
  }
  if (code < Number.MAX_SAFE_INTEGER) facts.kernels.set(code, found);
  return found;
}

/** Whether an output is written to memory that an input is read from. */
function overlaps(p: Program, operands: readonly Strided[]): boolean {
  const count = p.inputs.length;
  for (let o = count; o < operands.length; o++) {
    for (let i = 0; i < count; i++) {
      if (operands[i].storage.address === operands[o].storage.address) {
        return true;
      }
    }
  }
  return false;
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
  strides: readonly (readonly number[])[],
): boolean {
  const along = outerRank - 1, inner = sizes.length - 1;
  if (sizes[along] < 4) return false;
  let row = 0, column = 0;
  for (let i = 0; i < p.inputs.length; i++) {
    row += stepCost(strides[i][inner]);
    column += stepCost(strides[i][along]);
  }
  return column < row;
}

/** Lanes that follow each other, or are all the same element, take one load; others one each. */
function stepCost(stride: number): number {
  return stride === 0 || stride === 1 ? 1 : 4;
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
  // In the order of the layout: addresses, extents, strides, limits.
  const words = heap.i32;
  const rank = sizes.length;
  let at = block >>> 2;
  let stride = at + operands.length + rank;
  for (let i = 0; i < operands.length; i++) {
    const { storage, dtype, offset } = operands[i];
    const width = bytesOf(dtype);
    words[at++] = storage.address + offset * width;
    const own = strides[i];
    for (let d = 0; d < rank; d++) words[stride++] = own[d] * width;
  }
  for (let d = 0; d < rank; d++) words[at++] = sizes[d];
  for (let i = 0; i < p.inputs.length; i++) {
    words[stride++] = (limits[i] ?? 1) - 1;
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
        heap.i64[at >>> 3] = toI64(scalars[i]);
        break;
      default:
        words[at >>> 2] = scalars[i];
    }
  }
}
