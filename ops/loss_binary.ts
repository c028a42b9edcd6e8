/**
 * Losses of classification between two classes.
 *
 * @module
 */

import { operator } from "../core/op.ts";
import type { Tensor } from "../core/tensor.ts";
import * as k from "../kernel/expr.ts";
import type { Expr } from "../kernel/expr.ts";
import { mul } from "./arithmetic.ts";
import { fused } from "./fused.ts";
import {
  formula,
  type LossOptions,
  type PairAttrs,
  type PairLoss,
  positive,
  reduceLoss,
  requireSameShape,
  softplus,
} from "./loss_reduction.ts";
import { requireFloat } from "./reduce_rows.ts";
import { t } from "./samples.ts";

/** Options of {@linkcode binaryCrossEntropy}. */
export interface BinaryCrossEntropyOptions extends LossOptions {
  /** Factor of each element's loss, broadcast to it. */
  weight?: Tensor;
}

/** log x, at least −100. */
function boundedLog(x: Expr): Expr {
  const log = k.log(x);
  return k.select(k.lt(log, -100), k.constant(-100, x.type), log);
}

const binaryEntropy = formula(
  "binary cross entropy",
  2,
  ([x, y]) =>
    k.neg(
      k.add(
        k.mul(y, boundedLog(x)),
        k.mul(k.sub(1, y), boundedLog(k.sub(1, x))),
      ),
    ),
);

/** PyTorch's constant, which has single precision. */
const smallest = Math.fround(1e-12);

// (x − y) / max((1 − x)·x, 10⁻¹²), as PyTorch has it
const binaryEntropySlope = formula(
  "binary cross entropy gradient",
  3,
  ([x, y, g]) => {
    const spread = k.mul(k.sub(1, x), x);
    const bounded = k.select(
      k.lt(spread, smallest),
      k.constant(smallest, x.type),
      spread,
    );
    return k.mul(g, k.div(k.sub(x, y), bounded));
  },
);

const binaryEntropyTargetSlope = formula(
  "binary cross entropy target gradient",
  2,
  ([x, g]) => k.mul(g, k.sub(k.log(k.sub(1, x)), k.log(x))),
);

/** A loss of probabilities with targets from 0 to 1. */
export type BinaryLoss = (
  x: Tensor,
  target: Tensor,
  options?: BinaryCrossEntropyOptions,
) => Tensor;

const probabilities = { low: 0.05, high: 0.95 };

/**
 * Cross entropy of probabilities with targets from 0 to 1:
 * −(t·log x + (1 − t)·log(1 − x)), logarithms bounded by −100.
 *
 * @throws {ShapeError} when the shapes differ.
 */
export const binaryCrossEntropy: BinaryLoss = operator<
  BinaryLoss,
  PairAttrs
>({
  name: "binaryCrossEntropy",
  family: "loss",
  inputs: ["x", "target", "weight"],
  attrs: { reduction: "mean" },
  bind: (x, target, options) => {
    const { weight, ...attrs } = options ?? {};
    return { inputs: [x, target, weight], attrs };
  },
  formula: "−(t·log x + (1 − t)·log(1 − x))",
  torch: "F.binary_cross_entropy(x, target, weight, reduction=reduction)",
  run: ([x, target, weight], { reduction }) => {
    requireSameShape("binary cross entropy", x, target);
    requireFloat("take the binary cross entropy of", x, target);
    const [loss] = fused({
      name: "binaryCrossEntropy",
      inputs: [x, target],
      compute: () => ({
        outputs: [binaryEntropy.apply([x, target])],
        extras: [],
      }),
      // ∂: g·(x − t) / (x·(1 − x)) and g·(log(1 − x) − log x)
      gradient: ({ inputs: [x, target], grad, needs }) => [
        needs(0) ? binaryEntropySlope.apply([x, target, grad]) : undefined,
        needs(1) ? binaryEntropyTargetSlope.apply([x, grad]) : undefined,
      ],
    });
    const weighted = weight === undefined ? loss : mul(loss, weight);
    return reduceLoss(weighted, reduction);
  },
  samples: [
    [t([2, 3], probabilities), t([2, 3], probabilities)],
    [t([2, 3], probabilities), t([2, 3], probabilities), { reduction: "none" }],
    [t([2, 3], probabilities), t([2, 3], probabilities), {
      reduction: "sum",
      weight: t([3], { low: 0.5, grad: false }),
    }],
    [
      t([4], { data: [0, 1, 0, 1], grad: false }),
      t([4], { data: [0, 1, 1, 0], grad: false }),
      { reduction: "none" },
    ],
    [
      t([2], { ...probabilities, dtype: "f64" }),
      t([2], { ...probabilities, dtype: "f64" }),
    ],
    [t([], probabilities), t([], probabilities)],
  ],
});

const logitEntropy = formula(
  "binary cross entropy with logits",
  2,
  ([x, y]) => k.add(k.mul(k.sub(1, y), x), softplus(k.neg(x))),
);

const weightedLogitEntropy = formula(
  "binary cross entropy with logits, weighted",
  3,
  ([x, y, positiveWeight]) =>
    k.add(
      k.mul(k.sub(1, y), x),
      k.mul(
        k.add(k.mul(k.sub(positiveWeight, 1), y), 1),
        softplus(k.neg(x)),
      ),
    ),
);

/** Options of {@linkcode binaryCrossEntropyWithLogits}. */
export interface LogitsOptions extends BinaryCrossEntropyOptions {
  /** Factor of the loss of positive targets, broadcast to the logits. */
  posWeight?: Tensor;
}

/** A loss of logits with targets from 0 to 1. */
export type LogitsLoss = (
  x: Tensor,
  target: Tensor,
  options?: LogitsOptions,
) => Tensor;

/**
 * Cross entropy of the logistic function of x with targets from 0 to 1, in a
 * form that does not overflow.
 *
 * @throws {ShapeError} when the shapes differ.
 */
export const binaryCrossEntropyWithLogits: LogitsLoss = operator<
  LogitsLoss,
  PairAttrs
>({
  name: "binaryCrossEntropyWithLogits",
  family: "loss",
  inputs: ["x", "target", "weight", "posWeight"],
  attrs: { reduction: "mean" },
  bind: (x, target, options) => {
    const { weight, posWeight, ...attrs } = options ?? {};
    return { inputs: [x, target, weight, posWeight], attrs };
  },
  formula: "(1 − t)·x + (1 + (p − 1)·t)·log(1 + e⁻ˣ)",
  torch: "F.binary_cross_entropy_with_logits(x, target, weight," +
    " reduction=reduction, pos_weight=posWeight)",
  caffe2: "SigmoidCrossEntropyWithLogits",
  run: ([x, target, weight, posWeight], { reduction }) => {
    requireSameShape("binary cross entropy", x, target);
    requireFloat("take the binary cross entropy of", x, target);
    const loss = posWeight === undefined
      ? logitEntropy.apply([x, target])
      : weightedLogitEntropy.apply([x, target, posWeight]);
    const weighted = weight === undefined ? loss : mul(loss, weight);
    return reduceLoss(weighted, reduction);
  },
  samples: [
    [t([2, 3]), t([2, 3], probabilities)],
    [t([2, 3]), t([2, 3], probabilities), { reduction: "none" }],
    [t([2, 3]), t([2, 3], probabilities), {
      reduction: "sum",
      posWeight: t([3], { low: 0.5, grad: false }),
    }],
    [t([2, 3]), t([2, 3], probabilities), {
      weight: t([2, 1], { low: 0.5, grad: false }),
      posWeight: t([3], { low: 0.5, grad: false }),
    }],
    [
      t([4], { data: [100, -100, 1000, -1000] }),
      t([4], {
        data: [0, 1, 1, 0],
      }),
      { reduction: "none" },
    ],
    [t([3], { dtype: "f64" }), t([3], { ...probabilities, dtype: "f64" })],
    [t([], { low: 0.5 }), t([], probabilities)],
  ],
});

/** log(1 + e^(−target·x)). */
const softMargin = formula(
  "soft margin",
  2,
  ([x, y]) => softplus(k.neg(k.mul(x, y))),
);

const signs = (shape: readonly number[]) =>
  t(shape, {
    data: Array.from(
      { length: shape.reduce((a, b) => a * b, 1) },
      (_, i) => i % 3 === 1 ? -1 : 1,
    ),
    grad: false,
  });

/**
 * Loss of a two-class classification with targets −1 and 1: log(1 + e^(−t·x)).
 *
 * @throws {ShapeError} when the shapes differ.
 */
export const softMarginLoss: PairLoss = operator<PairLoss, PairAttrs>({
  name: "softMarginLoss",
  family: "loss",
  inputs: ["x", "target"],
  attrs: { reduction: "mean" },
  formula: "log(1 + e^(−t·x))",
  torch: "F.soft_margin_loss(x, target, reduction=reduction)",
  run: ([x, target], { reduction }) => {
    requireSameShape("soft margin loss", x, target);
    return reduceLoss(softMargin.apply([x, target]), reduction);
  },
  samples: [
    [t([2, 3]), signs([2, 3])],
    [t([4]), signs([4]), { reduction: "none" }],
    [t([4]), signs([4]), { reduction: "sum" }],
  ],
});

const hinge = formula("hinge embedding", 2, ([x, y, margin]) =>
  k.add(
    k.select(k.eq(y, -1), k.constant(0, x.type), x),
    k.select(k.eq(y, 1), k.constant(0, x.type), positive(k.sub(margin, x))),
  ), 1);

/** Options of losses with a margin. */
export interface MarginOptions extends LossOptions {
  /** The margin. */
  margin?: number;
}

/** A loss of predictions and targets with a margin. */
export type MarginLoss = (
  x: Tensor,
  target: Tensor,
  options?: MarginOptions,
) => Tensor;

/**
 * Loss of distances with targets 1 (similar: x) and −1 (different:
 * max(0, margin − x)); the margin is 1 when omitted.
 *
 * @throws {ShapeError} when the shapes differ.
 */
export const hingeEmbeddingLoss: MarginLoss = operator<
  MarginLoss,
  PairAttrs & { margin: number }
>({
  name: "hingeEmbeddingLoss",
  family: "loss",
  inputs: ["x", "target"],
  attrs: { reduction: "mean", margin: 1 },
  formula: "x where t = 1, max(0, margin − x) where t = −1",
  torch:
    "F.hinge_embedding_loss(x, target, margin=margin, reduction=reduction)",
  run: ([x, target], { reduction, margin }) => {
    requireSameShape("hinge embedding loss", x, target);
    return reduceLoss(hinge.apply([x, target, margin]), reduction);
  },
  samples: [
    [t([2, 3]), signs([2, 3])],
    [t([2, 3]), signs([2, 3]), { margin: 0.5, reduction: "none" }],
    [t([4]), signs([4]), { reduction: "sum" }],
  ],
});
