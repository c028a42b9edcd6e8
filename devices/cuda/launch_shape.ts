/**
 * Chooses the shape of a kernel from sizes and strides alone: never from the
 * device, so that results are the same on every GPU.
 *
 * @module
 */

import { bytesOf, type DType } from "../../core/dtype.ts";
import {
  elementThreads,
  type ElementVariant,
  type RowVariant,
  type Step,
} from "../../kernel/cuda/variant.ts";
import { product, type Walk } from "../../kernel/walk.ts";
import type { Facts } from "./launch_facts.ts";
import { powerOfTwo } from "./own_kernels.ts";

/** Cuts of rows. */
export interface Pieces {
  /** Pieces of a row. */
  readonly count: number;
  /** Elements of a piece; the last may have fewer. */
  readonly length: number;
}

/** An operand, as far as the shape of a kernel depends on it. */
export interface Placed {
  /** Element type. */
  readonly dtype: DType;
  /** Address of the first element. */
  readonly address: number;
}

/** Bounds that tests lower to reach what else takes giant tensors. */
export const bounds: {
  /** Counts and offsets up to which indices are 32 bits wide. */
  narrow: number;
  /** Elements up to which a launch takes longer than its work: the simplest shape will do, so that programs have few kernels. */
  small: number;
  /** 32-bit registers per thread that may hold a row between walks. */
  registers: number;
} = { narrow: 2 ** 31 - 1, small: 8192, registers: 64 };

/** Whether a walk has so few elements that its shape makes no difference. */
function isSmall({ sizes }: Walk): boolean {
  return product(sizes, 0, sizes.length) <= bounds.small;
}

/** Whether counts or offsets need 64 bits; axes before `first` count pieces of what the others walk. */
function needsWide(walk: Walk, first = 0): boolean {
  const { sizes, strides } = walk;
  if (product(sizes, first, sizes.length) > bounds.narrow) return true;
  for (let i = 0; i < strides.length; i++) {
    let reach = 0;
    for (let d = 0; d < sizes.length; d++) {
      reach += (sizes[d] - 1) * Math.abs(strides[i][d]);
    }
    if (reach > bounds.narrow) return true;
  }
  return false;
}

/** Whether vectors of `lanes` elements of the operand are aligned at every step of all axes but the last. */
function aligned(
  { dtype, address }: Placed,
  strides: readonly number[],
  lanes: number,
): boolean {
  if (address % Math.min(16, lanes * bytesOf(dtype)) !== 0) return false;
  for (let d = 0; d < strides.length - 1; d++) {
    if (strides[d] % lanes !== 0) return false;
  }
  return true;
}

/** How an operand moves along the last axis. */
function stepOf(strides: readonly number[]): Step {
  const along = strides[strides.length - 1];
  if (along !== 0) return along === 1 ? "unit" : "any";
  for (let d = 0; d < strides.length - 1; d++) {
    if (strides[d] !== 0) return "row";
  }
  return "fixed";
}

/** The shape of an elementwise kernel over merged axes. */
export function elementVariant(
  facts: Facts,
  walk: Walk,
  operands: readonly Placed[],
  inputs: number,
): ElementVariant {
  const { sizes, strides } = walk;
  const rank = sizes.length, last = rank - 1;
  if (isSmall(walk) && !needsWide(walk)) return smallElements(facts, rank);
  const steps = new Array<Step>(strides.length);
  for (let i = 0; i < steps.length; i++) steps[i] = stepOf(strides[i]);
  const { lanes } = facts;
  let vector = lanes > 1 && (rank === 1 || sizes[last] % lanes === 0);
  for (let i = 0; vector && i < steps.length; i++) {
    if (i < inputs && !facts.streams.includes(i)) continue;
    if (steps[i] === "any" || (i >= inputs && steps[i] !== "unit")) {
      vector = false;
    } else if (steps[i] === "unit") {
      vector = aligned(operands[i], strides[i], lanes);
    }
  }
  return {
    kind: "elements",
    rank,
    steps,
    lanes: vector ? lanes : 1,
    ragged: vector && sizes[last] % lanes !== 0,
    wide: needsWide(walk),
  };
}

const smallVariants = new WeakMap<Facts, ElementVariant[]>();

/** The shape of an elementwise kernel that is right for all strides. */
export function smallElements(facts: Facts, rank: number): ElementVariant {
  let variants = smallVariants.get(facts);
  if (variants === undefined) smallVariants.set(facts, variants = []);
  return variants[rank] ??= {
    kind: "elements",
    rank,
    steps: new Array(facts.operands).fill("any"),
    lanes: 1,
    ragged: false,
    wide: false,
  };
}

/** Blocks that walk `count` vectors of an elementwise kernel. */
export function elementBlocks(count: number, multiprocessors: number): number {
  return Math.min(
    Math.ceil(count / elementThreads),
    multiprocessors * 32,
  );
}

const chunkCounts = [1, 2, 3, 4, 6, 8, 12, 16];

/** 32-bit registers per thread that may hold a row, in a block of so many threads. */
function registers(block: number): number {
  return Math.min(bounds.registers, block <= 256 ? 64 : block <= 512 ? 40 : 20);
}

/** Rows of a block of a kernel over few elements. */
export const smallSlots = 4;

/** How an operand moves along rows. */
function rowStepOf(
  strides: readonly number[],
  outerRank: number,
  order: RowVariant["order"],
): Step {
  const last = strides.length - 1;
  for (let d = outerRank; d <= last; d++) {
    if (strides[d] !== 0) {
      return strides[last] === 1 && order === "row" ? "unit" : "any";
    }
  }
  for (let d = 0; d < outerRank; d++) if (strides[d] !== 0) return "row";
  return "fixed";
}

/** Whether a walk takes the kernel of {@linkcode smallRows}. */
export function hasSmallRows(walk: Walk): boolean {
  return isSmall(walk) && !needsWide(walk);
}

/** The shape of a kernel over rows that is right for all strides, for few elements. */
export function smallRows(
  { operands }: Facts,
  outerRank: number,
  innerRank: number,
): RowVariant {
  return {
    kind: "rows",
    outerRank,
    innerRank,
    steps: new Array(operands).fill("any"),
    lanes: 1,
    ragged: false,
    wide: false,
    order: "row",
    team: 32,
    block: 32 * smallSlots,
    chunks: 0,
    shared: false,
    pieces: false,
  };
}

/** The shape of a kernel over rows; the walk has an inner axis, and its first outer axis counts the pieces where there are any. */
export function rowVariant(
  facts: Facts,
  walk: Walk,
  operands: readonly Placed[],
  inputs: number,
  pieces: Pieces | undefined,
  /** Shared memory that a block may use; where rows wait makes no difference to results. */
  sharedBytes: number,
): RowVariant {
  const { sizes, outerRank, strides } = walk;
  const last = sizes.length - 1;
  const length = pieces?.length ?? product(sizes, outerRank, sizes.length);
  // A walk whose only outer axis counts pieces has no columns.
  const order = outerRank > (pieces === undefined ? 0 : 1) &&
      columnsAreBetter(facts, walk)
    ? "column"
    : "row";
  const steps = new Array<Step>(strides.length);
  for (let i = 0; i < steps.length; i++) {
    // Inputs that are not read at their own position do not count.
    steps[i] = i < inputs && !facts.streams.includes(i)
      ? "fixed"
      : rowStepOf(strides[i], outerRank, order);
  }
  let lanes = order === "row" ? facts.lanes : 1;
  const single = sizes.length - outerRank === 1;
  if (
    lanes > 1 && (length < 2 * lanes || (!single && sizes[last] % lanes !== 0))
  ) {
    lanes = 1;
  }
  for (let i = 0; lanes > 1 && i < steps.length; i++) {
    if (
      steps[i] === "any" ||
      (steps[i] === "unit" && !aligned(operands[i], strides[i], lanes))
    ) lanes = 1;
  }
  let words = facts.kept;
  for (const i of facts.repeated) {
    if (steps[i] === "unit" || steps[i] === "any") {
      words += Math.max(lanes > 1 ? 0 : 1, bytesOf(operands[i].dtype) / 4);
    }
  }
  const vectors = Math.ceil(length / lanes);
  let team = 1, block = 128, chunks = 0;
  if (order === "row") {
    team = Math.min(512, powerOfTwo(vectors / 4));
    for (;; team *= 2) {
      if (team > 32) team = Math.max(team, 128);
      block = team <= 32 ? 128 : team;
      chunks = chunksFor(vectors, team, lanes * words, block);
      if (chunks > 0 || words === 0 || team >= 1024) break;
    }
    // Long rows are read again: from shared memory, where the GPU has enough, or from its cache.
    if (chunks === 0 && words > 0) team = block = 1024;
  } else {
    team = Math.min(16, powerOfTwo(vectors / 16));
    block = team * Math.max(32, 128 / team);
    chunks = chunksFor(vectors, team, words, block);
  }
  const bytes = sharedRowBytes(facts, steps, operands, length);
  return {
    kind: "rows",
    outerRank,
    innerRank: sizes.length - outerRank,
    steps,
    lanes,
    ragged: lanes > 1 && product(sizes, outerRank, sizes.length) % lanes !== 0,
    wide: needsWide(walk, pieces === undefined ? 0 : 1),
    order,
    team,
    block,
    chunks,
    shared: order === "row" && team >= 1024 && chunks === 0 &&
      pieces === undefined && bytes > 0 && bytes <= sharedBytes,
    pieces: pieces !== undefined,
  };
}

/** Bytes that the operands which several walks read take in shared memory, a row of each. */
export function sharedRowBytes(
  facts: Facts,
  steps: readonly Step[],
  operands: readonly Placed[],
  length: number,
): number {
  let bytes = 0;
  for (const i of facts.repeated) {
    if (steps[i] !== "unit" && steps[i] !== "any") continue;
    bytes += Math.ceil(length * bytesOf(operands[i].dtype) / 16) * 16;
  }
  return bytes;
}

/** Vectors per thread to keep in registers; 0 when there is nothing to keep or no room. */
function chunksFor(
  vectors: number,
  team: number,
  words: number,
  block: number,
): number {
  if (words === 0) return 0;
  const chunks = chunkCounts.find((c) => c * team >= vectors);
  return chunks !== undefined && chunks * words <= registers(block)
    ? chunks
    : 0;
}

/** Whether neighbouring threads should walk neighbouring rows: reading along the last outer axis costs less than along rows. */
export function columnsAreBetter(
  facts: Facts,
  { sizes, outerRank, strides }: Walk,
): boolean {
  if (outerRank === 0) return false;
  const along = outerRank - 1, inner = sizes.length - 1;
  if (sizes[along] < 8) return false;
  let row = 0, column = 0;
  for (const i of facts.streams) {
    row += stepCost(strides[i][inner]);
    column += stepCost(strides[i][along]);
  }
  return column < row;
}

/** Threads that read neighbours, or the same element, share a transaction; others take one each. */
function stepCost(stride: number): number {
  return stride === 0 || stride === 1 ? 1 : 8;
}
