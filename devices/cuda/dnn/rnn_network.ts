/**
 * One configuration of recurrent network as cuDNN knows it: its descriptor,
 * and where its weights lie in the block that the library wants them in.
 *
 * @module
 */

import { bytesOf, type DType } from "../../../core/dtype.ts";
import type { RecurrentSpec } from "../../../core/sequence_kernels.ts";
import type { Cudnn } from "../../../ffi/cudnn.ts";
import { DataType } from "../../../ffi/cudnn_enums.ts";
import {
  checkRnn,
  type CudnnRnn,
  MathType,
  RnnAlgorithm,
  RnnBias,
  RnnDirection,
  RnnFlags,
  RnnInput,
  RnnLayout,
  RnnMode,
} from "../../../ffi/cudnn_rnn.ts";

/** Types that recurrent networks have, with the type of the computation. */
const types: Partial<Record<DType, { data: number; compute: number }>> = {
  f32: { data: DataType.FLOAT, compute: DataType.FLOAT },
  f64: { data: DataType.DOUBLE, compute: DataType.DOUBLE },
  f16: { data: DataType.HALF, compute: DataType.FLOAT },
  bf16: { data: DataType.BFLOAT16, compute: DataType.FLOAT },
};

/** Gates per unit, and the library's name of a cell. */
const cells = {
  lstm: { gates: 4, mode: RnnMode.LSTM },
  gru: { gates: 3, mode: RnnMode.GRU },
  tanh: { gates: 1, mode: RnnMode.RNN_TANH },
  relu: { gates: 1, mode: RnnMode.RNN_RELU },
} as const;

/** The library's functions on one device, with descriptors that every call fills anew. */
export interface RnnLibrary {
  /** The library. */
  readonly cudnn: Cudnn;
  /** Its functions for recurrent networks. */
  readonly functions: CudnnRnn;
  /** Its handle on the device. */
  readonly handle: bigint;
  /** Dropout that drops nothing: Decaf's stands between networks. */
  readonly dropout: bigint;
  /** Shape of a weight. */
  readonly matrix: bigint;
  /** Shape of a bias. */
  readonly bias: bigint;
  /** Shape of states. */
  readonly states: bigint;
  /** Inputs. */
  readonly x: bigint;
  /** Outputs. */
  readonly y: bigint;
}

const one = new BigUint64Array(1);
const two = new BigUint64Array(1);

/** Where addresses of weights are counted from: only their distance matters. */
const base = 1n << 40n;

/** A descriptor with the layout of its weights. */
export class RnnNetwork {
  /** `cudnnRNNDescriptor_t`. */
  readonly descriptor: bigint;
  /** Bytes of the packed weights. */
  readonly weightBytes: bigint;
  /** Start of each weight in elements: w_ih, w_hh (, b_ih, b_hh) of each layer and direction. */
  readonly offsets: readonly number[];

  private constructor(descriptor: bigint, bytes: bigint, offsets: number[]) {
    this.descriptor = descriptor;
    this.weightBytes = bytes;
    this.offsets = offsets;
  }

  /**
   * Describes a network; undefined where the library has no such cell, type or layout.
   *
   * @param library The library.
   * @param spec The network; batch, steps and lengths do not matter.
   * @param tf32 Whether f32 may be rounded to TF32.
   */
  static make(
    library: RnnLibrary,
    spec: RecurrentSpec,
    tf32: boolean,
  ): RnnNetwork | undefined {
    const { cudnn, functions, handle, dropout } = library;
    const { kind, dtype, features, hidden, layers, directions, bias } = spec;
    const type = types[dtype];
    if (type === undefined) return undefined;
    const math = dtype === "f32" && !tf32
      ? MathType.FMA_MATH
      : dtype === "f16" || dtype === "bf16"
      ? MathType.TENSOR_OP_MATH
      : MathType.DEFAULT_MATH;
    const created = functions.cudnnCreateRNNDescriptor(one);
    checkRnn(cudnn, "cudnnCreateRNNDescriptor", created);
    const descriptor = one[0];
    // Refused where the library does not have the combination of types.
    const refused = functions.cudnnSetRNNDescriptor_v8(
      descriptor,
      RnnAlgorithm.STANDARD,
      cells[kind].mode,
      bias ? RnnBias.DOUBLE_BIAS : RnnBias.NO_BIAS,
      directions === 2
        ? RnnDirection.BIDIRECTIONAL
        : RnnDirection.UNIDIRECTIONAL,
      RnnInput.LINEAR_INPUT,
      type.data,
      type.compute,
      math,
      features,
      hidden,
      hidden,
      layers,
      dropout,
      RnnFlags.PADDED_IO_ENABLED,
    );
    let made: RnnNetwork | undefined;
    try {
      if (refused === 0) {
        const status = functions.cudnnGetRNNWeightSpaceSize(
          handle,
          descriptor,
          one,
        );
        checkRnn(cudnn, "cudnnGetRNNWeightSpaceSize", status);
        const bytes = one[0];
        const offsets = offsetsOf(library, descriptor, spec, bytes);
        if (offsets !== undefined) {
          made = new RnnNetwork(descriptor, bytes, offsets);
        }
      }
      return made;
    } finally {
      if (made === undefined) functions.cudnnDestroyRNNDescriptor(descriptor);
    }
  }
}

/** Where each weight starts, in elements; undefined when the gates of one do not follow each other as Decaf's do. */
function offsetsOf(
  library: RnnLibrary,
  descriptor: bigint,
  spec: RecurrentSpec,
  bytes: bigint,
): number[] | undefined {
  const { cudnn, functions, handle, matrix, bias } = library;
  const { gates } = cells[spec.kind];
  const { features, hidden, layers, directions } = spec;
  const width = bytesOf(spec.dtype);
  const offsets: number[] = [];
  for (let i = 0; i < layers * directions; i++) {
    const weights: number[] = [], biases: number[] = [];
    for (const recurrent of [false, true]) {
      const columns = recurrent
        ? hidden
        : i < directions
        ? features
        : hidden * directions;
      for (let gate = 0; gate < gates; gate++) {
        const status = functions.cudnnGetRNNWeightParams(
          handle,
          descriptor,
          i,
          bytes,
          base,
          (recurrent ? gates : 0) + gate,
          matrix,
          one,
          bias,
          two,
        );
        checkRnn(cudnn, "cudnnGetRNNWeightParams", status, `${spec.kind} ${i}`);
        const at = Number(one[0] - base) / width;
        const biasAt = Number(two[0] - base) / width;
        if (gate === 0) {
          weights.push(at);
          if (spec.bias) biases.push(biasAt);
          continue;
        }
        const follows = at === weights[weights.length - 1] +
              gate * hidden * columns &&
          (!spec.bias || biasAt === biases[biases.length - 1] + gate * hidden);
        if (!follows) return undefined;
      }
    }
    offsets.push(...weights, ...biases);
  }
  return offsets;
}

const shape = new Int32Array(3);
const steps = new Int32Array(3);
const padding = new Uint8Array(8);

/** Fills the descriptors of inputs, outputs and states for one call. */
export function describe(library: RnnLibrary, spec: RecurrentSpec): void {
  const { cudnn, functions } = library;
  const { dtype, batch, hidden, layers, directions } = spec;
  const type = types[dtype]!.data;
  const layout = spec.batchFirst
    ? RnnLayout.BATCH_MAJOR_UNPACKED
    : RnnLayout.SEQ_MAJOR_UNPACKED;
  const lengths = Int32Array.from(spec.lengths);
  const sequences = (descriptor: bigint, width: number) => {
    const status = functions.cudnnSetRNNDataDescriptor(
      descriptor,
      type,
      layout,
      spec.steps,
      batch,
      width,
      lengths,
      padding,
    );
    checkRnn(
      cudnn,
      "cudnnSetRNNDataDescriptor",
      status,
      `${spec.steps} steps, batch ${batch}, width ${width}`,
    );
  };
  sequences(library.x, spec.features);
  sequences(library.y, hidden * directions);
  shape.set([layers * directions, batch, hidden]);
  steps.set([batch * hidden, hidden, 1]);
  const status = functions.cudnnSetTensorNdDescriptor(
    library.states,
    type,
    3,
    shape,
    steps,
  );
  checkRnn(cudnn, "cudnnSetTensorNdDescriptor", status, `[${shape}]`);
}
