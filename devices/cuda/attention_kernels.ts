/**
 * Attention by Decaf's own kernels, which store no scores: f32, and half types
 * computed in f32.
 *
 * @module
 */

import type { Strided } from "../../core/device.ts";
import { bytesOf } from "../../core/dtype.ts";
import type {
  AttentionGradients,
  AttentionGradLayout,
  AttentionKernels,
  AttentionOperands,
  AttentionSpec,
} from "../../core/sequence_kernels.ts";
import {
  attentionEntry,
  attentionSource,
} from "../../kernel/cuda/attention.ts";
import {
  gradientThreads,
  keyGradEntry,
  keyGradSource,
  queryGradEntry,
  queryGradSource,
} from "../../kernel/cuda/attention_gradients.ts";
import {
  type AttentionCase,
  type AttentionElement,
  tileThreads,
} from "../../kernel/cuda/attention_tiles.ts";
import {
  attentionChoice,
  type AttentionEntry,
  chooseTile,
  type ChosenTile,
  leastShared,
} from "./attention_choice.ts";
import type { CudaContext, CudaFunction } from "./context.ts";
import {
  addedLongs,
  addLong,
  addressIn,
  ownKernel,
  startLongs,
} from "./own_kernels.ts";

/** Widest queries, keys and values. */
const widest = 128;

const sources = {
  [attentionEntry]: attentionSource,
  [queryGradEntry]: queryGradSource,
  [keyGradEntry]: keyGradSource,
} satisfies Record<AttentionEntry, unknown>;

const entries = Object.keys(sources) as AttentionEntry[];
const elements: readonly AttentionElement[] = ["f32", "f16", "bf16"];

const float = new Float32Array(1);
const bits = new Uint32Array(float.buffer);

/** The bits of an f32. */
function bitsOf(x: number): number {
  float[0] = x;
  return bits[0];
}

const still: readonly number[] = [0, 0, 0, 0];

/** Steps of the bias in each axis of the scores: none where its extent is 1. */
function biasSteps(extents: AttentionSpec["bias"]): readonly number[] {
  if (extents === undefined) return still;
  const [, heads, rows, columns] = extents;
  const dense = [heads * rows * columns, rows * columns, columns, 1];
  return dense.map((step, axis) => extents[axis] === 1 ? 0 : step);
}

/** Whether rows of four elements and more may be read as vectors. */
function inVectors(
  { dtype, depth, width, batch, heads, groups, queries, keys }: AttentionSpec,
  operands: readonly (Strided | undefined)[],
): boolean {
  if (depth % 4 !== 0 || width % 4 !== 0) return false;
  const bytes = 4 * bytesOf(dtype);
  for (const x of operands) {
    if (x === undefined) continue;
    if (addressIn(x, dtype) % bytes !== 0) return false;
    const [sequence, head, time] = x.strides;
    if (batch > 1 && sequence % 4 !== 0) return false;
    if ((heads > 1 || groups > 1) && head % 4 !== 0) return false;
    if ((queries > 1 || keys > 1) && time % 4 !== 0) return false;
  }
  return true;
}

function addAddress(x: Strided | undefined): void {
  addLong(x === undefined ? 0 : addressIn(x, x.dtype));
}

/** Steps along batch, heads and time; zeros for an operand that is not there. */
function addSteps(x: Strided | undefined): void {
  for (let axis = 0; axis < 3; axis++) {
    addLong(x === undefined ? 0 : x.strides[axis]);
  }
}

/** What one launch is about. */
interface Work {
  readonly entry: AttentionEntry;
  readonly threads: number;
  /** Rows of one head that blocks share, and heads of all sequences. */
  readonly length: number;
  readonly heads: number;
}

/** A kernel, and the tile that it was written for. */
interface Chosen {
  readonly kernel: CudaFunction;
  readonly tile: ChosenTile;
}

/** Decaf's own kernels on one device. */
export class OwnAttention implements AttentionKernels {
  readonly #context: CudaContext;
  /** By kind of case, then by how many blocks there may be. */
  readonly #chosen = new Map<number, Map<number, Chosen>>();

  /** Kernels are compiled when they are first needed. */
  constructor(context: CudaContext) {
    this.#context = context;
  }

  /** Operands may lie anyhow, as long as the elements of a row are neighbours. */
  takes(
    { dtype, depth, width }: AttentionSpec,
    _: AttentionGradLayout,
  ): boolean {
    return (dtype === "f32" || dtype === "f16" || dtype === "bf16") &&
      depth <= widest && width <= widest &&
      this.#context.sharedMemoryPerBlock >= leastShared;
  }

  /** Queues one kernel. */
  forward(spec: AttentionSpec, operands: AttentionOperands): boolean {
    const { q, k, v, o } = operands;
    this.#run(spec, operands, undefined, 0, [q, k, v, o], {
      entry: attentionEntry,
      threads: tileThreads,
      length: spec.queries,
      heads: spec.batch * spec.heads,
    });
    return true;
  }

  /** Queues two kernels: the gradient of the queries, then those of keys and values. */
  backward(
    spec: AttentionSpec,
    operands: AttentionOperands,
    gradients: AttentionGradients,
  ): boolean {
    const { q, k, v, o } = operands;
    const { d, dq, dk, dv } = gradients;
    const { batch, heads, groups, queries, keys } = spec;
    const all = [q, k, v, o, d, dq, dk, dv];
    const delta = Number(this.#context.workspace(4 * batch * heads * queries));
    this.#run(spec, operands, gradients, delta, all, {
      entry: queryGradEntry,
      threads: gradientThreads,
      length: queries,
      heads: batch * heads,
    });
    this.#run(spec, operands, gradients, delta, all, {
      entry: keyGradEntry,
      threads: gradientThreads,
      length: keys,
      heads: batch * groups,
    });
    return true;
  }

  #run(
    spec: AttentionSpec,
    operands: AttentionOperands,
    gradients: AttentionGradients | undefined,
    delta: number,
    placed: readonly Strided[],
    work: Work,
  ): void {
    const { q, k, v, o, stats, bias, kept } = operands;
    const { kernel, tile } = this.#choose({
      dtype: spec.dtype as AttentionElement,
      depth: spec.depth,
      width: spec.width,
      causal: spec.causal,
      bias: bias !== undefined,
      dropout: kept !== undefined,
      vectors: inVectors(spec, placed),
    }, work);
    const blocks = work.heads * Math.ceil(work.length / (16 * tile.rows));
    const { d, dq, dk, dv } = gradients ?? {};
    startLongs();
    for (const x of [q, k, v, o, stats, bias, kept, d]) addAddress(x);
    addLong(delta);
    for (const x of [dq, dk, dv]) addAddress(x);
    addLong(spec.heads);
    addLong(spec.groups);
    addLong(spec.queries);
    addLong(spec.keys);
    for (const x of [q, k, v, o, d, dq, dk, dv]) addSteps(x);
    for (const step of biasSteps(spec.bias)) addLong(step);
    addLong(bitsOf(spec.scale));
    addLong(bitsOf(1 / (1 - spec.dropout)));
    const { threads } = work;
    const { shared } = tile;
    this.#context.launch(kernel, blocks, 1, 1, threads, shared, addedLongs());
  }

  #choose(wanted: AttentionCase, { entry, length, heads }: Work): Chosen {
    const { dtype, depth, width, causal, bias, dropout, vectors } = wanted;
    let kind = entries.indexOf(entry) * 4 + elements.indexOf(dtype);
    kind = (kind * (widest + 1) + depth) * (widest + 1) + width;
    kind = ((kind * 2 + Number(causal)) * 2 + Number(bias)) * 2;
    kind = (kind + Number(dropout)) * 2 + Number(vectors);
    kind = kind * 16 + (attentionChoice.rows ?? 0);
    let cases = this.#chosen.get(kind);
    if (cases === undefined) this.#chosen.set(kind, cases = new Map());
    const extent = length * 2 ** 31 + heads;
    let chosen = cases.get(extent);
    if (chosen === undefined) {
      const { sharedMemoryPerBlock, multiprocessors } = this.#context;
      const extents = { sharedMemoryPerBlock, multiprocessors, length, heads };
      const tile = chooseTile(wanted, entry, extents);
      const kernel = ownKernel(
        this.#context,
        `${entry} ${kind} ${tile.rows} ${tile.stages}`,
        entry,
        () => sources[entry](wanted, tile),
      );
      cases.set(extent, chosen = { kernel, tile });
    }
    return chosen;
  }
}
