/**
 * Normalisations: over layers, root mean squares, groups, instances, and by a
 * norm; batches and neighbouring channels have modules of their own.
 *
 * @module
 */

import { ShapeError, shapeText } from "../core/errors.ts";
import { operator } from "../core/op.ts";
import { type Shape, sizeOf } from "../core/shape.ts";
import type { Tensor } from "../core/tensor.ts";
import * as k from "../kernel/expr.ts";
import { Elementwise } from "./engine.ts";
import { reshape } from "./foundation.ts";
import {
  type NormalizationOptions,
  requireChannels,
  requireShape,
} from "./normalization_checks.ts";
import { normalizeRows } from "./normalization_kernels.ts";
import { requireFloat } from "./reduce_rows.ts";
import { t } from "./samples.ts";
import { norm } from "./statistics.ts";

export type { NormalizationOptions } from "./normalization_checks.ts";
export * from "./batch_norm.ts";
export * from "./response_norm.ts";

const channels = (n: number, low = -1, options = {}) =>
  t([n], { low, high: low + 1.5, ...options });
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

/** A normalisation over the last axes. */
export type LayerNormalization = (
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
export const layerNorm: LayerNormalization = operator<
  LayerNormalization,
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
  tidy: true,
  run: ([x, weight, bias], { normalizedShape, eps }) => {
    const what = "layer normalisation";
    const shape = asShape(normalizedShape);
    requireFloat(`take the ${what} of`, x);
    requireShape(what, x, shape, { weight, bias });
    const axes = lastAxes(what, x, shape);
    const kind = "layer" as const;
    const setting = { name: "layerNorm", axes, eps, centred: true, kind };
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

/** A division by the root mean square over the last axes. */
export type RmsNormalization = (
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
export const rmsNorm: RmsNormalization = operator<
  RmsNormalization,
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
  caffe2: "RMSNorm",
  tidy: true,
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
      kind: "rms" as const,
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

/** A normalisation over groups of channels. */
export type GroupNormalization = (
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
  const each = groups === 0 ? 1 : count / groups;
  const split = [batch, groups, each, sizeOf(positions)];
  const y = normalizeRows(
    {
      name,
      axes: [2, 3],
      eps,
      centred: true,
      kind: groups === count ? "instance" : undefined,
      affineShape: [1, groups, each, 1],
    },
    reshape(x, split),
    weight,
    bias,
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
export const groupNorm: GroupNormalization = operator<
  GroupNormalization,
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

/** A normalisation over the positions of each channel. */
export type InstanceNormalization = (
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
export const instanceNorm: InstanceNormalization = operator<
  InstanceNormalization,
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
