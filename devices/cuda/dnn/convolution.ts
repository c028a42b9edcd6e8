/**
 * Convolutions and their gradients as graphs of cuDNN.
 *
 * @module
 */

import type { Block, WindowSpec } from "../../../core/device.ts";
import { PointwiseMode } from "../../../ffi/cudnn_enums.ts";
import { addressOf, type CudaContext } from "../context.ts";
import { alignmentOf, dnnOf, noAddress } from "./dnn.ts";
import { computeTypeOf, Graph, type GraphType, graphType } from "./graph.ts";
import {
  channelVector,
  images,
  isEmpty,
  windowKey,
  windowsOf,
} from "./images.ts";

/** Which of the three members of the family. */
export const ConvolutionKind = { forward: 0, data: 1, filter: 2 } as const;

/** One of {@linkcode ConvolutionKind}. */
export type ConvolutionKind =
  typeof ConvolutionKind[keyof typeof ConvolutionKind];

/** What the results of a convolution may go through at once. */
export type Activation = "relu" | "gelu" | "geluTanh";

const activations = {
  relu: PointwiseMode.RELU_FWD,
  gelu: PointwiseMode.GELU_FWD,
  geluTanh: PointwiseMode.GELU_APPROX_TANH_FWD,
} as const satisfies Record<Activation, number>;

/** What a graph is made for, beside the windows. */
export interface ConvolutionOptions {
  /** Which member of the family. */
  readonly kind: ConvolutionKind;
  /** Whether a vector is added per channel (forward only). */
  readonly bias: boolean;
  /** What the results go through (forward only). */
  readonly activation?: Activation;
  /** What the addresses of all operands are multiples of, in bytes. */
  readonly alignment: number;
}

/**
 * The graph of a convolution: forward it binds x, w, (bias,) y; for the
 * gradient of the data dy, w, dx; for that of the filters x, dy, dw.
 * Undefined where cuDNN has no such element type.
 */
export function convolutionGraph(
  spec: WindowSpec,
  { kind, bias, activation, alignment }: ConvolutionOptions,
): Graph | undefined {
  const dtype = graphType(spec.dtype);
  if (dtype === undefined) return undefined;
  const { batch, inChannels, outChannels, groups } = spec;
  const { input, output, kernel } = spec;
  const graph = new Graph();
  const tensor = (n: number, c: number, spatial: readonly number[]) =>
    graph.tensor(images(spec, dtype, [n, c, ...spatial], alignment));
  const x = () => tensor(batch, inChannels, input);
  const w = () => tensor(outChannels, inChannels / groups, kernel);
  const y = () => tensor(batch, outChannels, output);
  const windows = windowsOf(spec);
  if (kind === ConvolutionKind.data) {
    graph.convolutionData(y(), w(), x(), windows);
  } else if (kind === ConvolutionKind.filter) {
    graph.convolutionFilter(x(), y(), w(), windows);
  } else if (bias || activation !== undefined) {
    withEnd(graph, spec, dtype, { bias, activation, alignment });
  } else {
    graph.convolution(x(), w(), y(), windows);
  }
  return graph;
}

/** y = f((x ⋆ w) + b), b per channel; what lies between has no memory */
function withEnd(
  graph: Graph,
  spec: WindowSpec,
  dtype: GraphType,
  { bias, activation, alignment }: Omit<ConvolutionOptions, "kind">,
): void {
  const { batch, inChannels, outChannels, groups } = spec;
  const compute = computeTypeOf(dtype);
  const declare = (shape: number[]) => images(spec, dtype, shape, alignment);
  const x = graph.tensor(declare([batch, inChannels, ...spec.input]));
  const filters = [outChannels, inChannels / groups, ...spec.kernel];
  const w = graph.tensor(declare(filters));
  const b = bias
    ? graph.tensor(channelVector(spec, dtype, outChannels, alignment))
    : undefined;
  const result = declare([batch, outChannels, ...spec.output]);
  const between = () => graph.virtual({ ...result, dtype: compute });
  const product = between();
  graph.convolution(x, w, product, windowsOf(spec));
  if (activation === undefined) {
    const y = graph.tensor(result);
    graph.pointwise(PointwiseMode.ADD, product, y, { b, compute });
    return;
  }
  const sum = b === undefined ? product : between();
  if (b !== undefined) {
    graph.pointwise(PointwiseMode.ADD, product, sum, { b, compute });
  }
  const y = graph.tensor(result);
  graph.pointwise(activations[activation], sum, y, { compute });
}

const key: number[] = [];
const addresses: bigint[] = [];

/** Runs a graph over the blocks, in the order in which it binds them; false where there is no plan for it. */
function run(
  context: CudaContext,
  spec: WindowSpec,
  kind: ConvolutionKind,
  blocks: readonly (Block | undefined)[],
  activation?: Activation,
): boolean {
  if (isEmpty(spec)) return false;
  const dnn = dnnOf(context);
  if (dnn === undefined) return false;
  addresses.length = 0;
  let all = noAddress;
  for (const block of blocks) {
    if (block === undefined) continue;
    const address = addressOf(block, spec.dtype);
    addresses.push(address);
    all |= address;
  }
  const alignment = alignmentOf(all);
  const bias = blocks.length > 3 && blocks[2] !== undefined;
  key.length = 0;
  const end = activation === undefined ? -1 : activations[activation];
  key.push(kind, bias ? 1 : 0, end, alignment);
  windowKey(spec, key);
  const plan = dnn.plan(
    key,
    spec.dtype,
    () => convolutionGraph(spec, { kind, bias, activation, alignment }),
  );
  if (plan === undefined) return false;
  dnn.run(plan, addresses, names[kind]);
  return true;
}

const names = [
  "cudnnBackendExecute (convolution)",
  "cudnnBackendExecute (gradient of convolved data)",
  "cudnnBackendExecute (gradient of filters)",
] as const;

/** y = x ⋆ w (+ bias per channel) */
export function conv(
  context: CudaContext,
  spec: WindowSpec,
  x: Block,
  w: Block,
  bias: Block | undefined,
  y: Block,
): boolean {
  return run(context, spec, ConvolutionKind.forward, [x, w, bias, y]);
}

/**
 * y = f(x ⋆ w (+ bias per channel)). The library brings kernels for a bias and
 * a rectifier; others it compiles for each shape, in a second, and only for
 * channels that lie last: they are left to it when the user asked for a search.
 */
export function convActivated(
  context: CudaContext,
  spec: WindowSpec,
  activation: Activation,
  x: Block,
  w: Block,
  bias: Block | undefined,
  y: Block,
): boolean {
  const ready = activation === "relu" && bias !== undefined;
  const compiled = spec.channelsLast && spec.dtype !== "f64" &&
    context.options.benchmark;
  if (!ready && !compiled) return false;
  const { forward } = ConvolutionKind;
  return run(context, spec, forward, [x, w, bias, y], activation);
}

/** dx = the gradient with respect to x */
export function convInputGrad(
  context: CudaContext,
  spec: WindowSpec,
  dy: Block,
  w: Block,
  dx: Block,
): boolean {
  return run(context, spec, ConvolutionKind.data, [dy, w, dx]);
}

/** dw = the gradient with respect to the filters */
export function convWeightGrad(
  context: CudaContext,
  spec: WindowSpec,
  x: Block,
  dy: Block,
  dw: Block,
): boolean {
  return run(context, spec, ConvolutionKind.filter, [x, dy, dw]);
}
