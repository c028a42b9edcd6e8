/**
 * Losses of regression: each element by itself, one elementwise expression and its
 * reduction.
 *
 * @module
 */

import { ShapeError } from "../core/errors.ts";
import { operator, type Sample } from "../core/op.ts";
import type { Tensor } from "../core/tensor.ts";
import * as k from "../kernel/expr.ts";
import type { Expr } from "../kernel/expr.ts";
import { mul } from "./arithmetic.ts";
import { sum } from "./foundation.ts";
import {
  formula,
  type LossOptions,
  type PairAttrs,
  type PairLoss,
  reduceLoss,
  requireSameShape,
} from "./loss_reduction.ts";
import { t } from "./samples.ts";

export type { LossOptions, LossReduction, PairLoss } from "./loss_reduction.ts";

/** Predictions against targets, under each reduction. */
function pairCalls(...options: readonly object[]): Sample[] {
  const calls: Sample[] = [
    [t([2, 3]), t([2, 3], { low: -1.7, high: 1.3 })],
    [t([4]), t([4], { low: -1.7, high: 1.3 }), { reduction: "none" }],
    [t([2, 3]), t([2, 3], { low: -1.7, high: 1.3 }), { reduction: "sum" }],
    [t([3], { dtype: "f64" }), t([3], { dtype: "f64", low: -1.7, high: 1.3 })],
    [
      t([3], { dtype: "bf16" }),
      t([3], { dtype: "bf16", low: -1.7, high: 1.3 }),
    ],
    [t([]), t([], { low: -1.7, high: 1.3 })],
    [t([0]), t([0])],
  ];
  for (const o of options) {
    calls.push([t([2, 3]), t([2, 3], { low: -1.7, high: 1.3 }), o]);
  }
  return calls;
}

const half = (e: Expr): Expr => k.mul(0.5, e);

// ---- regression ----

const squaredError = formula("squared error", 2, ([x, y]) => {
  const d = k.sub(x, y);
  return k.mul(d, d);
});

/**
 * Mean squared error (x − target)².
 *
 * @throws {ShapeError} when the shapes differ.
 */
export const mseLoss: PairLoss = operator<PairLoss, PairAttrs>({
  name: "mseLoss",
  family: "loss",
  inputs: ["x", "target"],
  attrs: { reduction: "mean" },
  formula: "(x − target)²",
  torch: "F.mse_loss(x, target, reduction=reduction)",
  run: ([x, target], { reduction }) => {
    requireSameShape("mean squared error", x, target);
    return reduceLoss(squaredError.apply([x, target]), reduction);
  },
  samples: pairCalls(),
});

const absoluteError = formula(
  "absolute error",
  2,
  ([x, y]) => k.abs(k.sub(x, y)),
);

/**
 * Mean absolute error |x − target|.
 *
 * @throws {ShapeError} when the shapes differ.
 */
export const l1Loss: PairLoss = operator<PairLoss, PairAttrs>({
  name: "l1Loss",
  family: "loss",
  inputs: ["x", "target"],
  attrs: { reduction: "mean" },
  formula: "|x − target|",
  torch: "F.l1_loss(x, target, reduction=reduction)",
  caffe2: "L1Distance",
  run: ([x, target], { reduction }) => {
    requireSameShape("mean absolute error", x, target);
    return reduceLoss(absoluteError.apply([x, target]), reduction);
  },
  samples: pairCalls(),
});

const smoothL1 = formula("smooth L1", 2, ([x, y, beta]) => {
  const d = k.sub(x, y), z = k.abs(d);
  return k.select(
    k.ge(z, beta),
    k.sub(z, half(beta)),
    k.div(half(k.mul(d, d)), beta),
  );
}, 1);

/** Options of {@linkcode smoothL1Loss}. */
export interface SmoothL1Options extends LossOptions {
  /** Distance at which the square becomes a line; 1 when omitted. */
  beta?: number;
}

/**
 * Squared below a distance of beta, linear above: ½d²/β or |d| − ½β.
 *
 * @throws {ShapeError} when the shapes differ.
 * @throws {RangeError} when beta is negative.
 */
export const smoothL1Loss: (
  x: Tensor,
  target: Tensor,
  options?: SmoothL1Options,
) => Tensor = operator<
  (x: Tensor, target: Tensor, options?: SmoothL1Options) => Tensor,
  PairAttrs & { beta: number }
>({
  name: "smoothL1Loss",
  family: "loss",
  inputs: ["x", "target"],
  attrs: { reduction: "mean", beta: 1 },
  formula: "½d²/β where |d| < β, else |d| − ½β",
  torch: "F.smooth_l1_loss(x, target, reduction=reduction, beta=beta)",
  caffe2: "SmoothL1Loss",
  run: ([x, target], { reduction, beta }) => {
    requireSameShape("smooth L1 loss", x, target);
    if (!(beta >= 0)) {
      throw new RangeError(
        `Cannot take the smooth L1 loss with beta ${beta}: it must be at least 0`,
      );
    }
    return reduceLoss(smoothL1.apply([x, target, beta]), reduction);
  },
  samples: pairCalls({ beta: 0.5 }, { beta: 3, reduction: "none" }, {
    beta: 0,
  }),
});

const huber = formula("Huber", 2, ([x, y, delta]) => {
  const d = k.sub(x, y), z = k.abs(d);
  return k.select(
    k.gt(z, delta),
    k.mul(delta, k.sub(z, half(delta))),
    half(k.mul(d, d)),
  );
}, 1);

/** Options of {@linkcode huberLoss}. */
export interface HuberOptions extends LossOptions {
  /** Distance at which the square becomes a line; 1 when omitted. */
  delta?: number;
}

/**
 * Huber's loss: ½d² up to a distance of delta, δ(|d| − ½δ) above.
 *
 * @throws {ShapeError} when the shapes differ.
 * @throws {RangeError} when delta is not positive.
 */
export const huberLoss: (
  x: Tensor,
  target: Tensor,
  options?: HuberOptions,
) => Tensor = operator<
  (x: Tensor, target: Tensor, options?: HuberOptions) => Tensor,
  PairAttrs & { delta: number }
>({
  name: "huberLoss",
  family: "loss",
  inputs: ["x", "target"],
  attrs: { reduction: "mean", delta: 1 },
  formula: "½d² where |d| ≤ δ, else δ(|d| − ½δ)",
  torch: "F.huber_loss(x, target, reduction=reduction, delta=delta)",
  run: ([x, target], { reduction, delta }) => {
    requireSameShape("Huber loss", x, target);
    if (!(delta > 0)) {
      throw new RangeError(
        `Cannot take the Huber loss with delta ${delta}: it must be positive`,
      );
    }
    return reduceLoss(huber.apply([x, target, delta]), reduction);
  },
  samples: pairCalls({ delta: 0.5 }, { delta: 3, reduction: "none" }),
});

/** A distance of each row of one tensor to the same row of another. */
export type RowDistance = (a: Tensor, b: Tensor) => Tensor;

/**
 * Half the squared distance of each row (all axes but the first) of two
 * tensors: ½‖a − b‖².
 *
 * @throws {ShapeError} when the shapes differ or there is no axis of rows.
 */
export const squaredL2Distance: RowDistance = operator<RowDistance>({
  name: "squaredL2Distance",
  family: "loss",
  inputs: ["a", "b"],
  formula: "½‖a − b‖²",
  torch: "0.5 * ((a - b) ** 2).reshape(len(a), -1).sum(1)",
  caffe2: "SquaredL2Distance",
  run: ([a, b]) => {
    requireSameShape("squared L2 distance", a, b);
    if (a.rank === 0) {
      throw new ShapeError(
        "Cannot take the squared L2 distance of rows of tensors of shape []: they need at least one axis",
      );
    }
    const rest = a.shape.slice(1).map((_, d) => d + 1);
    const squares = squaredError.apply([a, b]);
    return mul(rest.length === 0 ? squares : sum(squares, rest), 0.5);
  },
  samples: [[t([2, 3]), t([2, 3], { low: 0 })], [
    t([2, 3, 2], { dtype: "f64" }),
    t([2, 3, 2], { low: 0, dtype: "f64" }),
  ], [t([3]), t([3], { low: 0 })]],
});
