/**
 * cuDNN: recurrent networks, which have functions of their own beside the
 * graphs of `cudnn.ts`.
 *
 * @module
 */

import { type Cudnn, lastMessage, statusName } from "./cudnn.ts";
import { fail } from "./errors.ts";

/** Functions that are called; in the file of `cudnn.ts`. */
export const symbols = {
  cudnnCreateTensorDescriptor: { parameters: ["buffer"], result: "u32" },
  cudnnDestroyTensorDescriptor: { parameters: ["u64"], result: "u32" },
  cudnnSetTensorNdDescriptor: {
    parameters: ["u64", "u32", "i32", "buffer", "buffer"],
    result: "u32",
  },
  cudnnCreateDropoutDescriptor: { parameters: ["buffer"], result: "u32" },
  cudnnDestroyDropoutDescriptor: { parameters: ["u64"], result: "u32" },
  cudnnSetDropoutDescriptor: {
    parameters: ["u64", "u64", "f32", "u64", "usize", "u64"],
    result: "u32",
  },
  cudnnCreateRNNDescriptor: { parameters: ["buffer"], result: "u32" },
  cudnnDestroyRNNDescriptor: { parameters: ["u64"], result: "u32" },
  cudnnSetRNNDescriptor_v8: {
    parameters: [
      "u64", // descriptor
      "u32", // algorithm
      "u32", // cell
      "u32", // bias
      "u32", // direction
      "u32", // input
      "u32", // data type
      "u32", // type of the computation
      "u32", // tensor cores
      "i32", // input size
      "i32", // hidden size
      "i32", // projected size
      "i32", // layers
      "u64", // dropout
      "u32", // flags
    ],
    result: "u32",
  },
  cudnnCreateRNNDataDescriptor: { parameters: ["buffer"], result: "u32" },
  cudnnDestroyRNNDataDescriptor: { parameters: ["u64"], result: "u32" },
  cudnnSetRNNDataDescriptor: {
    parameters: ["u64", "u32", "u32", "i32", "i32", "i32", "buffer", "buffer"],
    result: "u32",
  },
  cudnnGetRNNTempSpaceSizes: {
    parameters: ["u64", "u64", "u32", "u64", "buffer", "buffer"],
    result: "u32",
  },
  cudnnGetRNNWeightSpaceSize: {
    parameters: ["u64", "u64", "buffer"],
    result: "u32",
  },
  cudnnGetRNNWeightParams: {
    parameters: [
      "u64", // handle
      "u64", // descriptor
      "i32", // layer and direction
      "usize", // bytes of the weights
      "u64", // weights
      "i32", // which product of the cell
      "u64", // shape of the matrix
      "buffer", // its address
      "u64", // shape of the bias
      "buffer", // its address
    ],
    result: "u32",
  },
  cudnnRNNForward: {
    parameters: [
      "u64", // handle
      "u64", // descriptor
      "u32", // mode
      "u64", // lengths
      "u64",
      "u64", // x
      "u64",
      "u64", // y
      "u64",
      "u64",
      "u64", // hx, hy
      "u64",
      "u64",
      "u64", // cx, cy
      "usize",
      "u64", // weights
      "usize",
      "u64", // scratch
      "usize",
      "u64", // reserve
    ],
    result: "u32",
  },
  cudnnRNNBackwardData_v8: {
    parameters: [
      "u64", // handle
      "u64", // descriptor
      "u64", // lengths
      "u64",
      "u64",
      "u64", // y, dy
      "u64",
      "u64", // dx
      "u64",
      "u64",
      "u64",
      "u64", // hx, dhy, dhx
      "u64",
      "u64",
      "u64",
      "u64", // cx, dcy, dcx
      "usize",
      "u64", // weights
      "usize",
      "u64", // scratch
      "usize",
      "u64", // reserve
    ],
    result: "u32",
  },
  cudnnRNNBackwardWeights_v8: {
    parameters: [
      "u64", // handle
      "u64", // descriptor
      "u32", // add or set
      "u64", // lengths
      "u64",
      "u64", // x
      "u64",
      "u64", // hx
      "u64",
      "u64", // y
      "usize",
      "u64", // gradients of the weights
      "usize",
      "u64", // scratch
      "usize",
      "u64", // reserve
    ],
    result: "u32",
  },
} as const satisfies Deno.ForeignLibraryInterface;

/** `cudnnRNNAlgo_t`, without `CUDNN_RNN_ALGO_`. */
export const RnnAlgorithm = {
  STANDARD: 0,
  PERSIST_STATIC: 1,
  PERSIST_DYNAMIC: 2,
  PERSIST_STATIC_SMALL_H: 3,
} as const;

/** `cudnnRNNMode_t`, without `CUDNN_`. */
export const RnnMode = { RNN_RELU: 0, RNN_TANH: 1, LSTM: 2, GRU: 3 } as const;

/** `cudnnRNNBiasMode_t`, without `CUDNN_RNN_`. */
export const RnnBias = {
  NO_BIAS: 0,
  SINGLE_INP_BIAS: 1,
  DOUBLE_BIAS: 2,
  SINGLE_REC_BIAS: 3,
} as const;

/** `cudnnDirectionMode_t`, without `CUDNN_`. */
export const RnnDirection = { UNIDIRECTIONAL: 0, BIDIRECTIONAL: 1 } as const;

/** `cudnnRNNInputMode_t`, without `CUDNN_`. */
export const RnnInput = { LINEAR_INPUT: 0, SKIP_INPUT: 1 } as const;

/** `cudnnRNNDataLayout_t`, without `CUDNN_RNN_DATA_LAYOUT_`. */
export const RnnLayout = {
  SEQ_MAJOR_UNPACKED: 0,
  SEQ_MAJOR_PACKED: 1,
  BATCH_MAJOR_UNPACKED: 2,
} as const;

/** `cudnnMathType_t`, without `CUDNN_`. */
export const MathType = {
  DEFAULT_MATH: 0,
  TENSOR_OP_MATH: 1,
  TENSOR_OP_MATH_ALLOW_CONVERSION: 2,
  FMA_MATH: 3,
} as const;

/** `cudnnForwardMode_t`, without `CUDNN_FWD_MODE_`. */
export const ForwardMode = { INFERENCE: 0, TRAINING: 1 } as const;

/** `cudnnWgradMode_t`, without `CUDNN_WGRAD_MODE_`. */
export const WeightGradMode = { ADD: 0, SET: 1 } as const;

/** Flags, without `CUDNN_RNN_`. */
export const RnnFlags = {
  PADDED_IO_DISABLED: 0,
  PADDED_IO_ENABLED: 1,
} as const;

/** The functions of an opened library. */
export type CudnnRnn = Deno.DynamicLibrary<typeof symbols>["symbols"];

const opened = new Map<string, CudnnRnn | undefined>();

/** The functions for recurrent networks of cuDNN; undefined where its file has none. */
export function cudnnRnn({ path }: Cudnn): CudnnRnn | undefined {
  if (!opened.has(path)) {
    let found: CudnnRnn | undefined;
    try {
      found = Deno.dlopen(path, symbols).symbols;
    } catch {
      // A file without the part of recurrent networks: the composed definition computes.
    }
    opened.set(path, found);
  }
  return opened.get(path);
}

/**
 * Throws when a call failed.
 *
 * @throws {CudaError} when the status is not 0.
 */
export function checkRnn(
  cudnn: Cudnn,
  name: keyof typeof symbols,
  status: number,
  args?: string,
): void {
  if (status === 0) return;
  fail({
    library: "cudnn",
    function: name,
    status,
    statusName: statusName(cudnn, status),
    text: lastMessage(cudnn),
    arguments: args,
  });
}
