/**
 * Normalisations: over batches, layers, groups, instances, root mean squares,
 * neighbouring channels, and by a norm.
 *
 * @module
 */

import { ShapeError, shapeText } from "../core/errors.ts";
import { operator } from "../core/op.ts";
import { sameShape, type Shape, sizeOf } from "../core/shape.ts";
import type { Tensor } from "../core/tensor.ts";
import { update } from "../core/update.ts";
import * as k from "../kernel/expr.ts";
import { Elementwise } from "./engine.ts";
import { reshape } from "./foundation.ts";
import { normalizeRows, type Statistics } from "./normalization_kernels.ts";
import { requireFloat, rowSize } from "./reduce_rows.ts";
import { t } from "./samples.ts";
import { norm } from "./statistics.ts";

/** Refuses parameters of another shape than `shape`. */
function requireShape(
  what: string,
  x: Tensor,
  shape: Shape,
  parameters: Readonly<Record<string, Tensor | undefined>>,
): void {
  for (const [name, parameter] of Object.entries(parameters)) {
    if (parameter === undefined || sameShape(parameter.shape, shape)) continue;
    throw new ShapeError(
      `Cannot take the ${what} of a tensor of shape ${
        shapeText(x.shape)
      } with a ${name} of shape ${shapeText(parameter.shape)}: it must be ${
        shapeText(shape)
      }`,
    );
  }
}

/** Refuses tensors without an axis of channels. */
function requireChannels(what: string, x: Tensor, least = 2): number {
  if (x.rank < least) {
    throw new ShapeError(
      `Cannot take the ${what} of a tensor of shape ${
        shapeText(x.shape)
      }: it needs at least ${least} axes, [batch, channels${
        least > 2 ? ", position" : ""
      }, …]`,
    );
  }
  return x.shape[1];
}

/** A vector of one number per channel, to broadcast against x. */
function perChannel(x: Tensor, vector: Tensor): Tensor {
  return reshape(vector, x.shape.map((n, d) => d === 1 ? n : 1));
}

function optional(
  tensor: Tensor | undefined,
  f: (tensor: Tensor) => Tensor,
): Tensor | undefined {
  return tensor === undefined ? undefined : f(tensor);
}

/** Options of normalisations. */
export interface NormalizationOptions {
  /** Added to the variance before its root is taken. */
  eps?: number;
}

// ---- batch ----

/** Options of {@linkcode batchNorm}. */
export interface BatchNormOptions extends NormalizationOptions {
  /** Whether to normalise with the statistics of this batch (and to update the running ones); false when omitted. */
  training?: boolean;
  /** Share of the new batch in the running statistics; 0.1 when omitted. */
  momentum?: number;
}

interface BatchNormAttrs {
  readonly training: boolean;
  readonly momentum: number;
  readonly eps: number;
}

/** (x − m)·w/√(v + ε) + b */
const withStatistics = new Elementwise(
  "batchNorm",
  6,
  ([x, m, v, w, b, eps]) => {
    const scale = k.mul(w, k.div(1, k.sqrt(k.add(v, eps))));
    return k.add(k.mul(k.sub(x, m), scale), b);
  },
  "promote",
  false,
  1,
);

/** Moves running statistics towards those of the batch: r ← (1 − momentum)·r + momentum·factor·batch. */
function updateRunning(
  running: Tensor | undefined,
  batch: Tensor,
  momentum: number,
  factor: number,
): void {
  if (running === undefined) return;
  update({
    name: "running statistics",
    targets: [running],
    operands: [reshape(batch, running.shape)],
    scalars: [1 - momentum, momentum * factor],
    define: ([running], [batch], [stay, move]) => [
      k.add(k.mul(running, stay), k.mul(batch, move)),
    ],
  });
}

type BatchNormInputs = (
  x: Tensor,
  runningMean?: Tensor,
  runningVar?: Tensor,
  weight?: Tensor,
  bias?: Tensor,
  options?: BatchNormOptions,
) => Tensor;

const channels = (n: number, low = -1, options = {}) =>
  t([n], { low, high: low + 1.5, ...options });
const running = (n: number) => [
  channels(n, -1, { grad: false }),
  channels(n, 0.5, { grad: false }),
];

/**
 * Batch normalisation of [batch, channels, …]: each channel is brought to mean
 * 0 and variance 1, with the statistics of the batch in training and the
 * running ones otherwise, then multiplied by its weight, plus its bias.
 * Training updates the running statistics in place, with the unbiased
 * variance: r ← (1 − momentum)·r + momentum·batch.
 *
 * @throws {ShapeError} when the shapes do not fit, or a batch in training has one value per channel.
 */
export const batchNorm: BatchNormInputs = operator<
  BatchNormInputs,
  BatchNormAttrs
>({
  name: "batchNorm",
  family: "normalization",
  inputs: ["x", "runningMean", "runningVar", "weight", "bias"],
  attrs: { training: false, momentum: 0.1, eps: 1e-5 },
  formula: "(x − mean) / √(variance + ε)·w + b",
  torch: "F.batch_norm(x, runningMean, runningVar, weight, bias, training," +
    " momentum, eps)",
  onnx: "BatchNormalization",
  caffe2: "SpatialBN",
  run: ([x, runningMean, runningVar, weight, bias], attrs) => {
    const { training, momentum, eps } = attrs;
    const what = "batch normalisation";
    requireFloat(`take the ${what} of`, x);
    const count = requireChannels(what, x);
    requireShape(what, x, [count], {
      "running mean": runningMean,
      "running variance": runningVar,
      weight,
      bias,
    });
    const [w, b] = [weight, bias].map((p) =>
      optional(p, (p) => perChannel(x, p))
    );
    if (!training) {
      if (runningMean === undefined || runningVar === undefined) {
        throw new TypeError(
          "Cannot take the batch normalisation without running statistics outside of training: give runningMean and runningVar, or { training: true }",
        );
      }
      return withStatistics.apply([
        x,
        perChannel(x, runningMean),
        perChannel(x, runningVar),
        w ?? 1,
        b ?? 0,
        eps,
      ]);
    }
    const axes = x.shape.map((_, d) => d).filter((d) => d !== 1);
    const n = rowSize(x.shape, axes);
    if (n === 1) {
      throw new ShapeError(
        `Cannot take the batch normalisation of a tensor of shape ${
          shapeText(x.shape)
        } in training: there is one value per channel, which has no variance; use a larger batch`,
      );
    }
    const see = ({ mean, variance }: Statistics) => {
      updateRunning(runningMean, mean, momentum, 1);
      updateRunning(runningVar, variance, momentum, n / (n - 1));
    };
    const setting = { name: "batchNorm", axes, eps, centred: true };
    return normalizeRows(setting, x, w, b, see);
  },
  samples: [
    [
      t([4, 3]),
      undefined,
      undefined,
      channels(3, 0.5),
      channels(3),
      { training: true },
    ],
    [
      t([2, 3, 2, 2]),
      ...running(3),
      channels(3, 0.5),
      channels(3),
      { training: true, momentum: 0.3 },
    ],
    [t([2, 3, 5]), ...running(3), undefined, undefined, {
      training: true,
      eps: 0.1,
    }],
    [t([2, 3, 5]), undefined, undefined, channels(3, 0.5), undefined, {
      training: true,
    }],
    [t([3, 1, 4]), undefined, undefined, undefined, channels(1), {
      training: true,
    }],
    [t([2, 3, 2]), ...running(3), channels(3, 0.5), channels(3)],
    [t([2, 3]), ...running(3)],
    [t([2, 3, 2]), ...running(3), undefined, channels(3), { eps: 0.1 }],
    [
      t([3, 2, 2], { dtype: "f64" }),
      undefined,
      undefined,
      channels(2, 0.5, { dtype: "f64" }),
      channels(2, -1, { dtype: "f64" }),
      { training: true },
    ],
  ],
});

// ---- layer ----

function asShape(shape: number | Shape): Shape {
  return typeof shape === "number" ? [shape] : shape;
}

/** The last axes of x, which must have the extents of `shape`. */
function lastAxes(what: string, x: Tensor, shape: Shape): number[] {
  const first = x.rank - shape.length;
  const fits = shape.length > 0 && first >= 0 &&
    shape.every((n, d) => n === x.shape[first + d]);
  if (!fits) {
    throw new ShapeError(
      `Cannot take the ${what} of a tensor of shape ${
        shapeText(x.shape)
      } over ${shapeText(shape)}: that must be its last extents`,
    );
  }
  return shape.map((_, d) => first + d);
}

type LayerNormInputs = (
  x: Tensor,
  normalizedShape: number | Shape,
  weight?: Tensor,
  bias?: Tensor,
  options?: NormalizationOptions,
) => Tensor;

/**
 * Layer normalisation: each row (the last axes, of extents `normalizedShape`)
 * is brought to mean 0 and variance 1, then multiplied by the weight, plus the
 * bias, both of that shape.
 *
 * @throws {ShapeError} when the shapes do not fit.
 */
export const layerNorm: LayerNormInputs = operator<
  LayerNormInputs,
  { normalizedShape: number | Shape; eps: number }
>({
  name: "layerNorm",
  family: "normalization",
  inputs: ["x", "weight", "bias"],
  attrs: { normalizedShape: [], eps: 1e-5 },
  bind: (x, normalizedShape, weight, bias, options) => ({
    inputs: [x, weight, bias],
    attrs: { normalizedShape, ...options },
  }),
  formula: "(x − mean) / √(variance + ε)·w + b",
  torch: "F.layer_norm(x, [normalizedShape] if isinstance(normalizedShape," +
    " int) else normalizedShape, weight, bias, eps)",
  onnx: "LayerNormalization",
  caffe2: "LayerNorm",
  run: ([x, weight, bias], { normalizedShape, eps }) => {
    const what = "layer normalisation";
    const shape = asShape(normalizedShape);
    requireFloat(`take the ${what} of`, x);
    requireShape(what, x, shape, { weight, bias });
    const axes = lastAxes(what, x, shape);
    const setting = { name: "layerNorm", axes, eps, centred: true };
    return normalizeRows(setting, x, weight, bias);
  },
  samples: [
    [t([2, 5]), 5, t([5], { low: 0.5 }), t([5])],
    [t([2, 2, 3]), [2, 3], t([2, 3], { low: 0.5 }), t([2, 3])],
    [t([2, 2, 3]), [3]],
    [t([3, 4]), 4, t([4], { low: 0.5 }), undefined, { eps: 0.1 }],
    [t([3, 4]), 4, undefined, t([4])],
    [t([4]), 4],
    [t([0, 3]), 3, t([3]), t([3])],
    [
      t([2, 3], { dtype: "f64" }),
      3,
      t([3], { dtype: "f64" }),
      t([3], { dtype: "f64" }),
    ],
  ],
});

type RmsNormInputs = (
  x: Tensor,
  normalizedShape: number | Shape,
  weight?: Tensor,
  options?: NormalizationOptions,
) => Tensor;

/**
 * Division of each row (the last axes, of extents `normalizedShape`) by its
 * root mean square, then multiplication by the weight. ε is the machine
 * epsilon of the computation when omitted.
 *
 * @throws {ShapeError} when the shapes do not fit.
 */
export const rmsNorm: RmsNormInputs = operator<
  RmsNormInputs,
  { normalizedShape: number | Shape; eps: number | undefined }
>({
  name: "rmsNorm",
  family: "normalization",
  inputs: ["x", "weight"],
  attrs: { normalizedShape: [], eps: undefined },
  bind: (x, normalizedShape, weight, options) => ({
    inputs: [x, weight],
    attrs: { normalizedShape, ...options },
  }),
  formula: "x / √(mean x² + ε)·w",
  torch: "F.rms_norm(x, [normalizedShape] if isinstance(normalizedShape," +
    " int) else normalizedShape, weight, eps)",
  onnx: "RMSNormalization",
  run: ([x, weight], { normalizedShape, eps }) => {
    const what = "RMS normalisation";
    const shape = asShape(normalizedShape);
    requireFloat(`take the ${what} of`, x);
    requireShape(what, x, shape, { weight });
    const setting = {
      name: "rmsNorm",
      axes: lastAxes(what, x, shape),
      eps: eps ?? (x.dtype === "f64" ? 2 ** -52 : 2 ** -23),
      centred: false,
    };
    return normalizeRows(setting, x, weight, undefined);
  },
  samples: [
    [t([2, 5]), 5, t([5], { low: 0.5 })],
    [t([2, 2, 3]), [2, 3], t([2, 3], { low: 0.5 }), { eps: 1e-5 }],
    [t([2, 2, 3]), [3]],
    [t([2, 3], { dtype: "f64" }), 3, t([3], { dtype: "f64" })],
  ],
});

// ---- groups and instances ----

type GroupNormInputs = (
  x: Tensor,
  groups: number,
  weight?: Tensor,
  bias?: Tensor,
  options?: NormalizationOptions,
) => Tensor;

/** Normalises groups of channels of each example. */
function normalizeGroups(
  name: string,
  x: Tensor,
  groups: number,
  [weight, bias]: readonly (Tensor | undefined)[],
  eps: number,
): Tensor {
  const [batch, count, ...positions] = x.shape;
  const split = [batch, groups, count / groups, sizeOf(positions)];
  const along = (p: Tensor) => reshape(p, [1, groups, count / groups, 1]);
  const y = normalizeRows(
    { name, axes: [2, 3], eps, centred: true },
    reshape(x, split),
    optional(weight, along),
    optional(bias, along),
  );
  return reshape(y, x.shape);
}

/**
 * Group normalisation of [batch, channels, …]: the channels of an example are
 * split into groups; each is brought to mean 0 and variance 1, then each
 * channel is multiplied by its weight, plus its bias.
 *
 * @throws {ShapeError} when the shapes do not fit, or the groups do not divide the channels.
 */
export const groupNorm: GroupNormInputs = operator<
  GroupNormInputs,
  { groups: number; eps: number }
>({
  name: "groupNorm",
  family: "normalization",
  inputs: ["x", "weight", "bias"],
  attrs: { groups: 1, eps: 1e-5 },
  bind: (x, groups, weight, bias, options) => ({
    inputs: [x, weight, bias],
    attrs: { groups, ...options },
  }),
  formula: "(x − mean) / √(variance + ε)·w + b",
  torch: "F.group_norm(x, groups, weight, bias, eps)",
  onnx: "GroupNormalization",
  caffe2: "GroupNorm",
  run: ([x, weight, bias], { groups, eps }) => {
    const what = "group normalisation";
    requireFloat(`take the ${what} of`, x);
    const count = requireChannels(what, x);
    requireShape(what, x, [count], { weight, bias });
    if (!Number.isInteger(groups) || groups < 1 || count % groups !== 0) {
      throw new ShapeError(
        `Cannot take the ${what} of ${count} channels in ${groups} groups: the number of groups must divide that of the channels`,
      );
    }
    return normalizeGroups("groupNorm", x, groups, [weight, bias], eps);
  },
  samples: [
    [t([2, 4, 3]), 2, channels(4, 0.5), channels(4)],
    [t([2, 4, 2, 2]), 4, channels(4, 0.5), channels(4), { eps: 0.1 }],
    [t([2, 4, 3]), 1],
    [t([2, 4]), 2, undefined, channels(4)],
    [t([2, 2, 3], { dtype: "f64" }), 1],
  ],
});

type InstanceNormInputs = (
  x: Tensor,
  weight?: Tensor,
  bias?: Tensor,
  options?: NormalizationOptions,
) => Tensor;

/**
 * Instance normalisation of [batch, channels, position, …]: each channel of
 * each example is brought to mean 0 and variance 1, then multiplied by its
 * weight, plus its bias.
 *
 * @throws {ShapeError} when the shapes do not fit.
 */
export const instanceNorm: InstanceNormInputs = operator<
  InstanceNormInputs,
  { eps: number }
>({
  name: "instanceNorm",
  family: "normalization",
  inputs: ["x", "weight", "bias"],
  attrs: { eps: 1e-5 },
  formula: "(x − mean) / √(variance + ε)·w + b",
  torch: "F.instance_norm(x, weight=weight, bias=bias, eps=eps)",
  onnx: "InstanceNormalization",
  caffe2: "InstanceNorm",
  run: ([x, weight, bias], { eps }) => {
    const what = "instance normalisation";
    requireFloat(`take the ${what} of`, x);
    const count = requireChannels(what, x, 3);
    requireShape(what, x, [count], { weight, bias });
    return normalizeGroups("instanceNorm", x, count, [weight, bias], eps);
  },
  samples: [
    [t([2, 3, 4]), channels(3, 0.5), channels(3)],
    [t([2, 3, 2, 2]), undefined, undefined, { eps: 0.1 }],
    [t([1, 2, 3], { dtype: "f64" })],
  ],
});

// ---- by a norm ----

/** x / max(y, ε) */
const dividedBy = new Elementwise(
  "normalize",
  3,
  ([x, y, eps]) => k.div(x, k.select(k.lt(y, eps), eps, y)),
  "promote",
  false,
  1,
);

/** Options of {@linkcode normalize}. */
export interface NormalizeOptions extends NormalizationOptions {
  /** Order of the norm; 2 when omitted. */
  p?: number;
}

/**
 * Division by the norm along an axis (1 when omitted), or by `eps` (1e-12)
 * where that is larger.
 */
export const normalize: (
  x: Tensor,
  axis?: number,
  options?: NormalizeOptions,
) => Tensor = operator<
  (x: Tensor, axis?: number, options?: NormalizeOptions) => Tensor,
  { axis: number; p: number; eps: number }
>({
  name: "normalize",
  family: "normalization",
  inputs: ["x"],
  attrs: { axis: 1, p: 2, eps: 1e-12 },
  bind: (x, axis, options) => ({ inputs: [x], attrs: { axis, ...options } }),
  formula: "x / max(‖x‖, ε)",
  torch: "F.normalize(x, p=p, dim=axis, eps=eps)",
  onnx: "LpNormalization",
  caffe2: "Normalize",
  run: ([x], { axis, p, eps }) => {
    requireFloat("normalise", x);
    return dividedBy.apply([x, norm(x, axis, { p, keepDim: true }), eps]);
  },
  samples: [
    [t([2, 3])],
    [t([2, 3, 2]), -1, { p: 1 }],
    [t([3]), 0, { p: 3 }],
    [t([2, 2], { data: [0, 0, 3, 4], grad: false })],
    [t([2, 2], { dtype: "f64" }), 0, { eps: 5 }],
  ],
});
