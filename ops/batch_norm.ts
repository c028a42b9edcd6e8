/**
 * Batch normalisation.
 *
 * @module
 */

import { ShapeError, shapeText } from "../core/errors.ts";
import { operator } from "../core/op.ts";
import { scope } from "../core/scope.ts";
import type { Tensor } from "../core/tensor.ts";
import * as k from "../kernel/expr.ts";
import { Elementwise } from "./engine.ts";
import {
  channelShape,
  type NormalizationOptions,
  perChannel,
  requireChannels,
  requireShape,
} from "./normalization_checks.ts";
import { normalizeRows } from "./normalization_kernels.ts";
import { inDType, requireFloat, rowSize } from "./reduce_rows.ts";
import { t } from "./samples.ts";

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

/** A normalisation over a batch. */
export type BatchNormalization = (
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
export const batchNorm: BatchNormalization = operator<
  BatchNormalization,
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
  tidy: true,
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
    const affineShape = channelShape(x);
    if (!training) {
      if (runningMean === undefined || runningVar === undefined) {
        throw new TypeError(
          "Cannot take the batch normalisation without running statistics outside of training: give runningMean and runningVar, or { training: true }",
        );
      }
      return scope(() => {
        const y = withStatistics.apply([
          x,
          perChannel(runningMean, affineShape),
          perChannel(runningVar, affineShape),
          weight === undefined ? 1 : perChannel(weight, affineShape),
          bias === undefined ? 0 : perChannel(bias, affineShape),
          eps,
        ]);
        // Statistics and parameters may be wider than x, as under autocast.
        return inDType(y, x.dtype);
      });
    }
    const axes = new Array<number>(x.rank - 1);
    for (let i = 0; i < axes.length; i++) axes[i] = i === 0 ? 0 : i + 1;
    const n = rowSize(x.shape, axes);
    if (n === 1) {
      throw new ShapeError(
        `Cannot take the batch normalisation of a tensor of shape ${
          shapeText(x.shape)
        } in training: there is one value per channel, which has no variance; use a larger batch`,
      );
    }
    const runs = runningMean !== undefined || runningVar !== undefined;
    const setting = {
      name: "batchNorm",
      axes,
      eps,
      centred: true,
      kind: "batch" as const,
      running: runs
        ? { mean: runningMean, variance: runningVar, momentum }
        : undefined,
      affineShape,
    };
    return normalizeRows(setting, x, weight, bias);
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
