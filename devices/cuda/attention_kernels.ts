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
import { addressIn, longs, ownKernel } from "./own_kernels.ts";

/** Widest queries, keys and values. */
const widest = 128;

const sources = {
  [attentionEntry]: attentionSource,
  [queryGradEntry]: queryGradSource,
  [keyGradEntry]: keyGradSource,
} satisfies Record<AttentionEntry, unknown>;

const float = new Float32Array(1);
const bits = new Uint32Array(float.buffer);

/** The bits of an f32. */
function bitsOf(x: number): number {
  float[0] = x;
  return bits[0];
}

type Place = Pick<Strided, "strides">;

/** Steps along batch, heads and time; zeros for an operand that is not there. */
function stepsOf(x: Place | undefined): readonly number[] {
  return x === undefined ? [0, 0, 0] : x.strides.slice(0, 3);
}

/** Steps of the bias in each axis of the scores: none where its extent is 1. */
function biasSteps(extents: AttentionSpec["bias"]): number[] {
  if (extents === undefined) return [0, 0, 0, 0];
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
  const alone = [
    batch === 1,
    heads === 1 && groups === 1,
    queries === 1 && keys === 1,
  ];
  const bytes = 4 * bytesOf(dtype);
  return operands.every((x) =>
    x === undefined ||
    addressIn(x, dtype) % bytes === 0 &&
      stepsOf(x).every((step, axis) => alone[axis] || step % 4 === 0)
  );
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
  readonly #chosen = new Map<string, Chosen>();

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
    const address = (x: Strided | undefined) =>
      x === undefined ? 0 : addressIn(x, x.dtype);
    const { d, dq, dk, dv } = gradients ?? {};
    const argument = longs([
      ...[q, k, v, o, stats, bias, kept, d].map(address),
      delta,
      ...[dq, dk, dv].map(address),
      spec.heads,
      spec.groups,
      spec.queries,
      spec.keys,
      ...[q, k, v, o, d, dq, dk, dv].flatMap(stepsOf),
      ...biasSteps(spec.bias),
      bitsOf(spec.scale),
      bitsOf(1 / (1 - spec.dropout)),
    ]);
    const { threads } = work;
    this.#context.launch(kernel, blocks, 1, 1, threads, tile.shared, argument);
  }

  #choose(wanted: AttentionCase, { entry, length, heads }: Work): Chosen {
    const { dtype, depth, width, causal, bias, dropout, vectors } = wanted;
    const kind =
      `${entry} ${dtype} ${depth} ${width} ${causal} ${bias} ${dropout} ${vectors}`;
    const key = `${kind} ${length} ${heads} ${attentionChoice.rows}`;
    let chosen = this.#chosen.get(key);
    if (chosen === undefined) {
      const { sharedMemoryPerBlock, multiprocessors } = this.#context;
      const extents = { sharedMemoryPerBlock, multiprocessors, length, heads };
      const tile = chooseTile(wanted, entry, extents);
      const kernel = ownKernel(
        this.#context,
        `${kind} ${tile.rows} ${tile.stages}`,
        entry,
        () => sources[entry](wanted, tile),
      );
      this.#chosen.set(key, chosen = { kernel, tile });
    }
    return chosen;
  }
}
