/**
 * Normalisations as graphs of cuDNN.
 *
 * @module
 */

import {
  AttributeName as A,
  AttributeType as T,
  DataType,
  DescriptorType as D,
  NormMode,
  NormPhase,
} from "../../../ffi/cudnn_enums.ts";
import type { NormKind } from "../../../core/norm_kernels.ts";
import { channelsLastStrides, contiguousStrides } from "../../../core/shape.ts";
import {
  Graph,
  type GraphTensor,
  type GraphType,
  numbers,
  refer,
} from "./graph.ts";

/** A normalisation, as its graph sees it. */
export interface NormProblem {
  /** What forms a row. */
  readonly kind: NormKind;
  /** Element type of x and y. */
  readonly dtype: GraphType;
  /** Extents [N, C, height, width, …] (rows of a layer are [rows, length, 1, 1]). */
  readonly dims: readonly number[];
  /** Whether the channels lie last in memory. */
  readonly channelsLast: boolean;
  /** Whether running statistics are moved (batches only). */
  readonly running: boolean;
  /** What all addresses are multiples of, in bytes. */
  readonly alignment: number;
}

const modes = {
  batch: NormMode.BATCH_NORM,
  layer: NormMode.LAYER_NORM,
  rms: NormMode.RMS_NORM,
  instance: NormMode.INSTANCE_NORM,
} as const satisfies Record<NormKind, number>;

/** Declares the tensors of a problem. */
class Tensors {
  readonly graph = new Graph();
  readonly #problem: NormProblem;

  constructor(problem: NormProblem) {
    this.#problem = problem;
  }

  /** x, y and their gradients. */
  images(): GraphTensor {
    const { dtype, dims, channelsLast, alignment } = this.#problem;
    const strides = channelsLast
      ? channelsLastStrides(dims)
      : contiguousStrides(dims);
    return this.graph.tensor({ dtype, dims, strides, alignment });
  }

  /** Weight, bias, their gradients, running statistics. */
  channels(): GraphTensor {
    const dtype = DataType.FLOAT;
    const { dims, alignment } = this.#problem;
    const c = dims[1];
    const own = dims.map((_, d) => d === 1 ? c : 1);
    const strides = dims.map((_, d) => d === 1 ? 1 : c);
    return this.graph.tensor({ dtype, dims: own, strides, alignment });
  }

  /** Statistics of rows. */
  rows(): GraphTensor {
    const { kind, dims, alignment } = this.#problem;
    if (kind === "batch") return this.channels();
    const own = dims.map((n, d) =>
      d === 0 || (d === 1 && kind === "instance") ? n : 1
    );
    return this.graph.tensor({ dtype: DataType.FLOAT, dims: own, alignment });
  }
}

/**
 * The graph of a normalisation with statistics of its own. It binds x, weight,
 * bias, ε, y, means, reciprocal deviations and, of running statistics, the
 * share of the batch, means and variances before, means and variances after.
 * A root mean square has no bias and no means.
 */
export function normalizationGraph(problem: NormProblem): Graph {
  const { kind, dims } = problem;
  const tensors = new Tensors(problem);
  const { graph } = tensors;
  const scalar = () => graph.scalar(DataType.FLOAT, dims.length);
  const centred = kind !== "rms";
  const x = tensors.images();
  const scale = tensors.channels();
  const bias = centred ? tensors.channels() : undefined;
  const epsilon = scalar();
  const y = tensors.images();
  const mean = centred ? tensors.rows() : undefined;
  const inverse = tensors.rows();
  const attributes = [
    numbers(A.OPERATION_NORM_FWD_MODE, T.NORM_MODE, modes[kind]),
    numbers(A.OPERATION_NORM_FWD_PHASE, T.NORM_FWD_PHASE, NormPhase.TRAINING),
    refer(A.OPERATION_NORM_FWD_XDESC, x),
    refer(A.OPERATION_NORM_FWD_SCALE_DESC, scale),
    refer(A.OPERATION_NORM_FWD_BIAS_DESC, bias),
    refer(A.OPERATION_NORM_FWD_EPSILON_DESC, epsilon),
    refer(A.OPERATION_NORM_FWD_YDESC, y),
    refer(A.OPERATION_NORM_FWD_MEAN_DESC, mean),
    refer(A.OPERATION_NORM_FWD_INV_VARIANCE_DESC, inverse),
  ];
  if (problem.running) {
    attributes.push(refer(A.OPERATION_NORM_FWD_EXP_AVG_FACTOR_DESC, scalar()));
    for (
      const name of [
        A.OPERATION_NORM_FWD_INPUT_RUNNING_MEAN_DESC,
        A.OPERATION_NORM_FWD_INPUT_RUNNING_VAR_DESC,
        A.OPERATION_NORM_FWD_OUTPUT_RUNNING_MEAN_DESC,
        A.OPERATION_NORM_FWD_OUTPUT_RUNNING_VAR_DESC,
      ]
    ) attributes.push(refer(name, tensors.channels()));
  }
  graph.operation(D.OPERATION_NORM_FORWARD_DESCRIPTOR, attributes);
  return graph;
}

/**
 * The graph of the gradients of a normalisation. It binds x, dy, weight,
 * means, reciprocal deviations, dx, the gradients of weight and bias; a root
 * mean square has no means and no bias.
 */
export function normalizationGradientGraph(problem: NormProblem): Graph {
  const tensors = new Tensors(problem);
  const { graph } = tensors;
  const x = tensors.images();
  const dy = tensors.images();
  const scale = tensors.channels();
  const centred = problem.kind !== "rms";
  const mean = centred ? tensors.rows() : undefined;
  const inverse = tensors.rows();
  const dx = tensors.images();
  const dscale = tensors.channels();
  const dbias = centred ? tensors.channels() : undefined;
  graph.operation(D.OPERATION_NORM_BACKWARD_DESCRIPTOR, [
    numbers(A.OPERATION_NORM_BWD_MODE, T.NORM_MODE, modes[problem.kind]),
    refer(A.OPERATION_NORM_BWD_XDESC, x),
    refer(A.OPERATION_NORM_BWD_DYDESC, dy),
    refer(A.OPERATION_NORM_BWD_SCALE_DESC, scale),
    refer(A.OPERATION_NORM_BWD_MEAN_DESC, mean),
    refer(A.OPERATION_NORM_BWD_INV_VARIANCE_DESC, inverse),
    refer(A.OPERATION_NORM_BWD_DXDESC, dx),
    refer(A.OPERATION_NORM_BWD_DSCALE_DESC, dscale),
    refer(A.OPERATION_NORM_BWD_DBIAS_DESC, dbias),
  ]);
  return graph;
}
