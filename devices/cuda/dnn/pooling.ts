/**
 * Pooling as graphs of cuDNN: resample operations. Of images whose channels lie
 * last the library compiles a kernel for each shape, in seconds: those are left
 * to it only when the user asked for a search.
 *
 * @module
 */

import type { Block, WindowSpec } from "../../../core/device.ts";
import {
  AttributeName as A,
  AttributeType as T,
  DataType,
  DescriptorType as D,
  NanPropagation,
  PaddingMode,
  ResampleMode,
} from "../../../ffi/cudnn_enums.ts";
import { addressOf, type CudaContext } from "../context.ts";
import { alignmentOf, dnnOf } from "./dnn.ts";
import {
  type Attribute,
  type Descriptor,
  descriptor,
  Graph,
  graphType,
  numbers,
  refer,
} from "./graph.ts";
import { images, isEmpty, windowKey, windowsOf } from "./images.ts";

/** What becomes of a window. */
export type Pooling =
  | "maximum"
  /** The mean; padding counts. */
  | "mean"
  /** The mean of what lies inside. */
  | "mean inside";

const poolings = {
  maximum: { mode: ResampleMode.MAXPOOL, padding: PaddingMode.NEG_INF_PAD },
  mean: {
    mode: ResampleMode.AVGPOOL_INCLUDE_PADDING,
    padding: PaddingMode.ZERO_PAD,
  },
  "mean inside": {
    mode: ResampleMode.AVGPOOL_EXCLUDE_PADDING,
    padding: PaddingMode.ZERO_PAD,
  },
} as const satisfies Record<Pooling, unknown>;

/** An attribute of whole numbers that the library wants as fractions. */
function fractions(name: number, values: readonly number[]): Attribute {
  return numbers(name, T.FRACTION, ...values.flatMap((n) => [n, 1]));
}

function resample(spec: WindowSpec, pooling: Pooling): Descriptor {
  const { mode, padding } = poolings[pooling];
  const { stride, before, after } = windowsOf(spec);
  const rank = stride.length;
  const window = [1, ...spec.kernel].slice(-rank);
  return descriptor(D.RESAMPLE_DESCRIPTOR, [
    numbers(A.RESAMPLE_MODE, T.RESAMPLE_MODE, mode),
    numbers(A.RESAMPLE_COMP_TYPE, T.DATA_TYPE, DataType.FLOAT),
    numbers(
      A.RESAMPLE_NAN_PROPAGATION,
      T.NAN_PROPOGATION,
      NanPropagation.PROPAGATE_NAN,
    ),
    numbers(A.RESAMPLE_PADDING_MODE, T.PADDING_MODE, padding),
    numbers(A.RESAMPLE_SPATIAL_DIMS, T.INT64, rank),
    fractions(A.RESAMPLE_WINDOW_DIMS, window),
    fractions(A.RESAMPLE_STRIDES, stride),
    fractions(A.RESAMPLE_PRE_PADDINGS, before),
    fractions(A.RESAMPLE_POST_PADDINGS, after),
  ]);
}

/** The graph of a pooling, which binds x and y. */
function poolingGraph(
  spec: WindowSpec,
  pooling: Pooling,
  alignment: number,
): Graph | undefined {
  const dtype = graphType(spec.dtype);
  if (dtype === undefined) return undefined;
  const { batch, inChannels: c, input, output } = spec;
  const graph = new Graph();
  const x = graph.tensor(images(spec, dtype, [batch, c, ...input], alignment));
  const y = graph.tensor(images(spec, dtype, [batch, c, ...output], alignment));
  graph.operation(D.OPERATION_RESAMPLE_FWD_DESCRIPTOR, [
    refer(A.OPERATION_RESAMPLE_FWD_DESC, resample(spec, pooling)),
    refer(A.OPERATION_RESAMPLE_FWD_XDESC, x),
    refer(A.OPERATION_RESAMPLE_FWD_YDESC, y),
  ]);
  return graph;
}

/** The graph of the gradient of a mean pooling, which binds dy and dx. */
function poolingGradientGraph(
  spec: WindowSpec,
  pooling: Exclude<Pooling, "maximum">,
  alignment: number,
): Graph | undefined {
  const dtype = graphType(spec.dtype);
  if (dtype === undefined) return undefined;
  const { batch, inChannels: c, input, output } = spec;
  const graph = new Graph();
  const declare = (spatial: readonly number[]) =>
    graph.tensor(images(spec, dtype, [batch, c, ...spatial], alignment));
  const dy = declare(output);
  const dx = declare(input);
  graph.operation(D.OPERATION_RESAMPLE_BWD_DESCRIPTOR, [
    refer(A.OPERATION_RESAMPLE_BWD_DESC, resample(spec, pooling)),
    refer(A.OPERATION_RESAMPLE_BWD_DYDESC, dy),
    refer(A.OPERATION_RESAMPLE_BWD_DXDESC, dx),
  ]);
  return graph;
}

/** First part of the keys of plans; see the other operations' for theirs. */
const keys = { forward: 300, gradient: 310 };
const codes: Readonly<Record<Pooling, number>> = {
  maximum: 0,
  mean: 1,
  "mean inside": 2,
};
const key: number[] = [];

function run(
  context: CudaContext,
  spec: WindowSpec,
  pooling: Pooling,
  blocks: readonly [Block, Block],
  gradient: boolean,
): boolean {
  if (isEmpty(spec) || spec.dilation.some((n) => n !== 1)) return false;
  if (spec.channelsLast && !context.options.benchmark) return false;
  const dnn = dnnOf(context);
  if (dnn === undefined) return false;
  const addresses = blocks.map((block) => addressOf(block, spec.dtype));
  const alignment = alignmentOf(addresses[0] | addresses[1]);
  key.length = 0;
  key.push((gradient ? keys.gradient : keys.forward) + codes[pooling]);
  key.push(alignment);
  windowKey(spec, key);
  const plan = dnn.plan(
    key,
    spec.dtype,
    () =>
      gradient && pooling !== "maximum"
        ? poolingGradientGraph(spec, pooling, alignment)
        : poolingGraph(spec, pooling, alignment),
  );
  if (plan === undefined) return false;
  dnn.run(
    plan,
    addresses,
    gradient
      ? "cudnnBackendExecute (gradient of pooling)"
      : "cudnnBackendExecute (pooling)",
  );
  return true;
}

/** Largest value of each window. */
export function maxima(
  context: CudaContext,
  spec: WindowSpec,
  x: Block,
  y: Block,
): boolean {
  return run(context, spec, "maximum", [x, y], false);
}

/** Mean of each window. */
export function meanPool(
  context: CudaContext,
  spec: WindowSpec,
  includePad: boolean,
  x: Block,
  y: Block,
): boolean {
  const pooling = includePad ? "mean" : "mean inside";
  return run(context, spec, pooling, [x, y], false);
}

/** Gradient of the mean of each window. */
export function meanPoolGrad(
  context: CudaContext,
  spec: WindowSpec,
  includePad: boolean,
  dy: Block,
  dx: Block,
): boolean {
  const pooling = includePad ? "mean" : "mean inside";
  return run(context, spec, pooling, [dy, dx], true);
}
