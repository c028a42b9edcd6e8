/**
 * Recurrent networks by cuDNN: all layers and directions at once, forward and
 * backward.
 *
 * @module
 */

import type { Block } from "../../../core/device.ts";
import { bytesOf, type DType } from "../../../core/dtype.ts";
import type {
  RecurrentGradients,
  RecurrentKernels,
  RecurrentOperands,
  RecurrentPlan,
  RecurrentResults,
  RecurrentSpec,
} from "../../../core/sequence_kernels.ts";
import {
  checkRnn,
  type CudnnRnn,
  cudnnRnn,
  ForwardMode,
  WeightGradMode,
} from "../../../ffi/cudnn_rnn.ts";
import { addressOf, type CudaContext } from "../context.ts";
import { type Dnn, dnnOf, noAddress } from "./dnn.ts";
import { describe, type RnnLibrary, RnnNetwork } from "./rnn_network.ts";

/** A network for one batch of sequences. */
interface Problem extends RecurrentPlan {
  readonly network: RnnNetwork;
  /** Scratch memory of each call, in bytes. */
  readonly scratch: number;
}

const one = new BigUint64Array(1);
const two = new BigUint64Array(1);

/** Makes the descriptors that every call fills anew; the device destroys them when it closes. */
function openRnn(context: CudaContext, dnn: Dnn): RnnLibrary | undefined {
  const { cudnn, handle } = dnn;
  const functions = cudnnRnn(cudnn);
  if (functions === undefined) return undefined;
  context.activate();
  type Maker = "Tensor" | "Dropout" | "RNNData";
  const make = (kind: Maker) => {
    const status = functions[`cudnnCreate${kind}Descriptor`](one);
    checkRnn(cudnn, `cudnnCreate${kind}Descriptor`, status);
    const made = one[0];
    context.onClose(() => functions[`cudnnDestroy${kind}Descriptor`](made));
    return made;
  };
  const dropout = make("Dropout");
  const status = functions.cudnnSetDropoutDescriptor(
    dropout,
    handle,
    0,
    noAddress,
    0n,
    0n,
  );
  checkRnn(cudnn, "cudnnSetDropoutDescriptor", status);
  return {
    cudnn,
    functions,
    handle,
    dropout,
    matrix: make("Tensor"),
    bias: make("Tensor"),
    states: make("Tensor"),
    x: make("RNNData"),
    y: make("RNNData"),
  };
}

/** Numbers that tell a configuration from all others, as text. */
function networkKey(spec: RecurrentSpec, tf32: boolean): string {
  const { kind, dtype, features, hidden, layers, directions, bias } = spec;
  return `${kind} ${dtype} ${features} ${hidden} ${layers} ${directions} ${bias} ${tf32}`;
}

class Recurrent implements RecurrentKernels {
  readonly #context: CudaContext;
  /** The library; undefined before the first call, null where there is none. */
  #library: RnnLibrary | null | undefined;
  readonly #networks = new Map<string, RnnNetwork | undefined>();
  readonly #problems = new Map<string, Problem>();

  constructor(context: CudaContext) {
    this.#context = context;
  }

  /** The library, opened at the first call. */
  #open(): RnnLibrary | null {
    if (this.#library === undefined) {
      const dnn = dnnOf(this.#context);
      this.#library = dnn && openRnn(this.#context, dnn) || null;
    }
    return this.#library;
  }

  #network(library: RnnLibrary, spec: RecurrentSpec): RnnNetwork | undefined {
    const { tf32 } = this.#context.options;
    const key = networkKey(spec, tf32);
    if (!this.#networks.has(key)) {
      const made = RnnNetwork.make(library, spec, tf32);
      this.#networks.set(key, made);
      if (made !== undefined) {
        this.#context.onClose(() =>
          library.functions.cudnnDestroyRNNDescriptor(made.descriptor)
        );
      }
    }
    return this.#networks.get(key);
  }

  plan(spec: RecurrentSpec): RecurrentPlan | undefined {
    const library = this.#open();
    return library === null ? undefined : this.#problem(library, spec);
  }

  #problem(library: RnnLibrary, spec: RecurrentSpec): Problem | undefined {
    const { steps, batch, lengths, training, batchFirst } = spec;
    const key = `${
      networkKey(spec, this.#context.options.tf32)
    } ${steps} ${batch} ${training} ${batchFirst} ${lengths}`;
    const known = this.#problems.get(key);
    if (known !== undefined) return known;
    this.#context.activate();
    const network = this.#network(library, spec);
    if (network === undefined) return undefined;
    describe(library, spec);
    const status = library.functions.cudnnGetRNNTempSpaceSizes(
      library.handle,
      network.descriptor,
      training ? ForwardMode.TRAINING : ForwardMode.INFERENCE,
      library.x,
      one,
      two,
    );
    checkRnn(library.cudnn, "cudnnGetRNNTempSpaceSizes", status);
    const problem: Problem = {
      network,
      scratch: Number(one[0]),
      reserve: training ? Number(two[0]) : 0,
      packed: Number(network.weightBytes) / bytesOf(spec.dtype),
      offsets: network.offsets,
    };
    // Sequences of ever new lengths must not fill the memory.
    if (this.#problems.size >= mostProblems) this.#problems.clear();
    this.#problems.set(key, problem);
    return problem;
  }

  /** What a call needs: the library with its descriptors filled, the problem and scratch memory. */
  #prepare(spec: RecurrentSpec): {
    library: RnnLibrary;
    functions: CudnnRnn;
    problem: Problem;
    scratch: bigint;
  } {
    const library = this.#open();
    const problem = library === null ? undefined : this.#problem(library, spec);
    if (library === null || problem === undefined) {
      throw new TypeError(
        `Cannot run a recurrent network (${spec.kind}, ${spec.dtype}) that has no plan: ask for one first`,
      );
    }
    const context = this.#context;
    context.activate();
    describe(library, spec);
    const scratch = problem.scratch > 0
      ? context.workspace(problem.scratch)
      : noAddress;
    return { library, functions: library.functions, problem, scratch };
  }

  forward(
    spec: RecurrentSpec,
    operands: RecurrentOperands,
    { hidden, cell }: RecurrentResults,
  ): void {
    const { library, functions, problem, scratch } = this.#prepare(spec);
    const context = this.#context;
    const { dtype, kind } = spec;
    const { x, lengths, h0, c0, weights, y, reserve } = operands;
    context.called(`cudnnRNNForward (${kind})`);
    const status = functions.cudnnRNNForward(
      library.handle,
      problem.network.descriptor,
      spec.training ? ForwardMode.TRAINING : ForwardMode.INFERENCE,
      addressOf(lengths, "i32"),
      library.x,
      addressOf(x, dtype),
      library.y,
      addressOf(y, dtype),
      library.states,
      maybe(h0, dtype),
      addressOf(hidden, dtype),
      library.states,
      maybe(c0, dtype),
      maybe(cell, dtype),
      problem.network.weightBytes,
      addressOf(weights, dtype),
      BigInt(problem.scratch),
      scratch,
      BigInt(problem.reserve),
      maybe(reserve, "u8"),
    );
    checkRnn(library.cudnn, "cudnnRNNForward", status, words(spec));
    context.queued();
  }

  backward(
    spec: RecurrentSpec,
    operands: RecurrentOperands,
    gradients: RecurrentGradients,
  ): void {
    const { library, functions, problem, scratch } = this.#prepare(spec);
    const context = this.#context;
    const { dtype, kind } = spec;
    const { handle, cudnn } = library;
    const { descriptor, weightBytes } = problem.network;
    const { x, lengths, h0, c0, weights, y, reserve } = operands;
    const { dy, dhidden, dcell, dx, dh0, dc0, dweights } = gradients;
    const scratchBytes = BigInt(problem.scratch);
    const reserveBytes = BigInt(problem.reserve);
    const kept = maybe(reserve, "u8");
    context.called(`cudnnRNNBackwardData_v8 (${kind})`);
    const data = functions.cudnnRNNBackwardData_v8(
      handle,
      descriptor,
      addressOf(lengths, "i32"),
      library.y,
      addressOf(y, dtype),
      addressOf(dy, dtype),
      library.x,
      addressOf(dx, dtype),
      library.states,
      maybe(h0, dtype),
      maybe(dhidden, dtype),
      addressOf(dh0, dtype),
      library.states,
      maybe(c0, dtype),
      maybe(dcell, dtype),
      maybe(dc0, dtype),
      weightBytes,
      addressOf(weights, dtype),
      scratchBytes,
      scratch,
      reserveBytes,
      kept,
    );
    checkRnn(cudnn, "cudnnRNNBackwardData_v8", data, words(spec));
    context.queued();
    if (dweights === undefined) return;
    context.called(`cudnnRNNBackwardWeights_v8 (${kind})`);
    const weight = functions.cudnnRNNBackwardWeights_v8(
      handle,
      descriptor,
      WeightGradMode.ADD,
      addressOf(lengths, "i32"),
      library.x,
      addressOf(x, dtype),
      library.states,
      maybe(h0, dtype),
      library.y,
      addressOf(y, dtype),
      weightBytes,
      addressOf(dweights, dtype),
      scratchBytes,
      scratch,
      reserveBytes,
      kept,
    );
    checkRnn(cudnn, "cudnnRNNBackwardWeights_v8", weight, words(spec));
    context.queued();
  }
}

/** Most problems that are remembered. */
const mostProblems = 1000;

/** Address of a block; none where there is no block. */
function maybe(block: Block | undefined, dtype: DType): bigint {
  return block === undefined ? noAddress : addressOf(block, dtype);
}

/** A network in words, for messages. */
function words(spec: RecurrentSpec): string {
  const { kind, dtype, layers, directions, steps, batch } = spec;
  const { features, hidden } = spec;
  return `${kind} ${dtype}, ${layers} layers in ${directions} directions, ${steps} steps, batch ${batch}, ${features} to ${hidden}`;
}

/** Recurrent networks on a device. */
export function recurrentKernels(context: CudaContext): RecurrentKernels {
  return new Recurrent(context);
}
