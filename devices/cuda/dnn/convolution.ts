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

/** What a graph is made for, beside the windows. */
export interface ConvolutionOptions {
  /** Which member of the family. */
  readonly kind: ConvolutionKind;
  /** Whether a vector is added per channel (forward only). */
  readonly bias: boolean;
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
  { kind, bias, alignment }: ConvolutionOptions,
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
  } else if (bias) {
    addBias(graph, spec, dtype, alignment);
  } else {
    graph.convolution(x(), w(), y(), windows);
  }
  return graph;
}

/** y = (x ⋆ w) + b, b per channel */
function addBias(
  graph: Graph,
  spec: WindowSpec,
  dtype: GraphType,
  alignment: number,
): void {
  const { batch, inChannels, outChannels, groups } = spec;
  const compute = computeTypeOf(dtype);
  const declare = (shape: number[]) => images(spec, dtype, shape, alignment);
  const x = graph.tensor(declare([batch, inChannels, ...spec.input]));
  const filters = [outChannels, inChannels / groups, ...spec.kernel];
  const w = graph.tensor(declare(filters));
  const b = graph.tensor(channelVector(spec, dtype, outChannels, alignment));
  const result = declare([batch, outChannels, ...spec.output]);
  const product = graph.virtual({ ...result, dtype: compute });
  const y = graph.tensor(result);
  graph.convolution(x, w, product, windowsOf(spec));
  graph.pointwise(PointwiseMode.ADD, product, y, { b, compute });
}

const key: number[] = [];
const addresses: bigint[] = [];

/** Runs a graph over the blocks, in the order in which it binds them; false where there is no plan for it. */
function run(
  context: CudaContext,
  spec: WindowSpec,
  kind: ConvolutionKind,
  blocks: readonly (Block | undefined)[],
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
  key.push(kind, bias ? 1 : 0, alignment);
  windowKey(spec, key);
  const plan = dnn.plan(
    key,
    spec.dtype,
    () => convolutionGraph(spec, { kind, bias, alignment }),
  );
  if (plan === undefined) return false;
  dnn.run(plan, addresses, names[kind]);
  return true;
}

const names = [
  "cudnn convolution",
  "cudnn gradient of convolved data",
  "cudnn gradient of filters",
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
