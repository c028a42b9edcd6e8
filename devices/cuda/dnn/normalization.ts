/**
 * Normalisations by cuDNN.
 *
 * Decaf's own kernels walk a layer's rows once, and the library compiles its
 * kernels for a shape in seconds: so only batches whose channels lie last are
 * left to it, where a row is scattered over the whole memory, and layers, root
 * mean squares and instances when the user asked for a search.
 *
 * @module
 */

import type { Block } from "../../../core/device.ts";
import { bytesOf, dtypeCodes } from "../../../core/dtype.ts";
import type {
  NormGradientOperands,
  NormKernels,
  NormKind,
  NormOperands,
  NormSpec,
} from "../../../core/norm_kernels.ts";
import { addressOf, type CudaContext } from "../context.ts";
import { alignmentOf, type Dnn, dnnOf, noAddress } from "./dnn.ts";
import type { Graph } from "./graph.ts";
import { graphType } from "./graph.ts";
import {
  normalizationGradientGraph,
  normalizationGraph,
  type NormProblem,
} from "./normalization_graph.ts";

/** First part of the keys of plans; convolutions have 0 to 2, attention 100 and 101. */
const keys = { forward: 200, gradient: 201 };

const kinds: Readonly<Record<NormKind, number>> = {
  batch: 0,
  layer: 1,
  rms: 2,
  instance: 3,
};

/** ε and the share of a batch, which plans read from the host when they are queued. */
const host = new Float32Array(2);
const hostAddress = (i: number) =>
  Deno.UnsafePointer.value(
    Deno.UnsafePointer.of(host.subarray(i)),
  );

/** Extents with at least two positions axes, as graphs have them. */
function dimsOf({ shape }: NormSpec): number[] {
  const dims = [...shape];
  while (dims.length < 4) dims.push(1);
  return dims;
}

class Normalizations implements NormKernels {
  readonly #context: CudaContext;
  readonly #key: number[] = [];

  constructor(context: CudaContext) {
    this.#context = context;
  }

  takes(spec: NormSpec): boolean {
    const { dtype, kind, channelsLast, shape } = spec;
    if (dtype !== "f32" && dtype !== "f16" && dtype !== "bf16") return false;
    if (shape.length > 5) return false;
    // Its engines load 16 bytes of neighbouring channels at once.
    if (channelsLast && shape[1] * bytesOf(dtype) % 16 !== 0) return false;
    const worth = kind === "batch"
      ? channelsLast
      : this.#context.options.benchmark;
    return worth && dnnOf(this.#context) !== undefined;
  }

  forward(spec: NormSpec, o: NormOperands): boolean {
    const { dtype } = spec;
    const { running } = o;
    const x = addressOf(o.x, dtype), y = addressOf(o.y, dtype);
    const before = [x, ...this.#floats(o.weight, o.bias)];
    const after = [y, ...this.#floats(o.mean, o.inverse)];
    const moved = this.#floats(running?.mean, running?.variance);
    return this.#run(
      "cudnnBackendExecute (normalization)",
      keys.forward,
      spec,
      running !== undefined,
      [...before, ...after, ...moved],
      normalizationGraph,
      () => {
        host[0] = spec.eps;
        const all = [...before, hostAddress(0), ...after];
        if (running === undefined) return all;
        host[1] = running.share;
        return [...all, hostAddress(1), ...moved, ...moved];
      },
    );
  }

  gradient(spec: NormSpec, o: NormGradientOperands): boolean {
    const { dtype } = spec;
    const addresses = [
      addressOf(o.x, dtype),
      addressOf(o.dy, dtype),
      ...this.#floats(o.weight, o.mean, o.inverse),
      addressOf(o.dx, dtype),
      ...this.#floats(o.dweight, o.dbias),
    ];
    return this.#run(
      "cudnnBackendExecute (gradient of normalization)",
      keys.gradient,
      spec,
      false,
      addresses,
      normalizationGradientGraph,
      () => addresses,
    );
  }

  /** Addresses of those that there are. */
  #floats(...blocks: (Block | undefined)[]): bigint[] {
    return blocks.flatMap((b) => b === undefined ? [] : addressOf(b, "f32"));
  }

  #run(
    what: string,
    first: number,
    spec: NormSpec,
    running: boolean,
    used: readonly bigint[],
    build: (problem: NormProblem) => Graph,
    addresses: () => readonly bigint[],
  ): boolean {
    const dnn: Dnn | undefined = dnnOf(this.#context);
    const dtype = graphType(spec.dtype);
    if (dnn === undefined || dtype === undefined) return false;
    const alignment = alignmentOf(used.reduce((a, b) => a | b, noAddress));
    const { kind, channelsLast } = spec;
    const dims = dimsOf(spec);
    const key = this.#key;
    key.length = 0;
    key.push(first, kinds[kind], dtypeCodes[spec.dtype], alignment);
    key.push(channelsLast ? 1 : 0, running ? 1 : 0, ...dims);
    const problem = { kind, dtype, dims, channelsLast, running, alignment };
    // Running statistics would move with every trial.
    const plan = dnn.plan(key, spec.dtype, () => build(problem), !running);
    if (plan === undefined) return false;
    dnn.run(plan, addresses(), what);
    return true;
  }
}

/** Normalisations on a device. */
export function normKernels(context: CudaContext): NormKernels {
  return new Normalizations(context);
}
