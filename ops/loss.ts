/**
 * Losses of each element by itself, all one elementwise expression and its
 * reduction: regression, binary classification, distributions.
 *
 * @module
 */

import { ShapeError, shapeText } from "../core/errors.ts";
import { operator, type Sample } from "../core/op.ts";
import { sameShape } from "../core/shape.ts";
import type { Tensor } from "../core/tensor.ts";
import * as k from "../kernel/expr.ts";
import type { Expr } from "../kernel/expr.ts";
import { add, div, mul } from "./arithmetic.ts";
import { Elementwise } from "./engine.ts";
import { reshape, sum } from "./foundation.ts";
import { fused } from "./fused.ts";
import {
  checkReduction,
  type LossOptions,
  type LossReduction,
  positive,
  reduceLoss,
  requireSameShape,
  softplus,
} from "./loss_reduction.ts";
import { requireFloat } from "./reduce_rows.ts";
import { t } from "./samples.ts";

export type { LossOptions, LossReduction } from "./loss_reduction.ts";

const half = (e: Expr): Expr => k.mul(0.5, e);

/** A floating-point function of `count` tensors, then of `attributes` numbers. */
function formula(
  name: string,
  count: number,
  define: (operands: readonly Expr[]) => Expr,
  attributes = 0,
): Elementwise {
  return new Elementwise(
    name,
    count + attributes,
    define,
    "float",
    false,
    attributes,
  );
}

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

/** A loss of predictions and targets of one shape. */
export type PairLoss = (
  x: Tensor,
  target: Tensor,
  options?: LossOptions,
) => Tensor;

interface PairAttrs {
  readonly reduction: LossReduction;
}

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
    k.lt(z, beta),
    k.div(half(k.mul(d, d)), beta),
    k.sub(z, half(beta)),
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
    k.le(z, delta),
    half(k.mul(d, d)),
    k.mul(delta, k.sub(z, half(delta))),
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

// ---- binary classification ----

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

// (x − y) / max((1 − x)·x, 10⁻¹²), as PyTorch has it
const binaryEntropySlope = formula(
  "binary cross entropy gradient",
  3,
  ([x, y, g]) => {
    const spread = k.mul(k.sub(1, x), x);
    const bounded = k.select(
      k.lt(spread, 1e-12),
      k.constant(1e-12, x.type),
      spread,
    );
    return k.mul(g, k.div(k.sub(x, y), bounded));
  },
);

const binaryEntropyTargetSlope = formula(
  "binary cross entropy target gradient",
  2,
  ([x, g]) => k.mul(g, k.sub(boundedLog(k.sub(1, x)), boundedLog(x))),
);

type BinaryInputs = (
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
export const binaryCrossEntropy: BinaryInputs = operator<
  BinaryInputs,
  PairAttrs
>({
  name: "binaryCrossEntropy",
  family: "loss",
  inputs: ["x", "target", "weight"],
  attrs: { reduction: "mean" },
  bind: (x, target, { weight, ...attrs } = {}) => ({
    inputs: [x, target, weight],
    attrs,
  }),
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

type LogitsInputs = (
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
export const binaryCrossEntropyWithLogits: LogitsInputs = operator<
  LogitsInputs,
  PairAttrs
>({
  name: "binaryCrossEntropyWithLogits",
  family: "loss",
  inputs: ["x", "target", "weight", "posWeight"],
  attrs: { reduction: "mean" },
  bind: (x, target, { weight, posWeight, ...attrs } = {}) => ({
    inputs: [x, target, weight, posWeight],
    attrs,
  }),
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

// ---- distributions ----

const divergence = formula("divergence", 2, ([x, y]) => {
  const entropy = k.select(
    k.eq(y, 0),
    k.constant(0, y.type),
    k.mul(y, k.log(y)),
  );
  return k.sub(entropy, k.mul(y, x));
});

const logDivergence = formula(
  "divergence of logarithms",
  2,
  ([x, y]) => k.mul(k.exp(y), k.sub(y, x)),
);

/** Options of {@linkcode klDiv}. */
export interface KlDivOptions {
  /** What is returned: as for other losses, or the sum divided by the extent of the first axis. */
  reduction?: LossReduction | "batchmean";
  /** Whether the target holds logarithms of probabilities. */
  logTarget?: boolean;
}

/**
 * Kullback–Leibler divergence of log-probabilities x from target
 * probabilities: t·(log t − x).
 *
 * @throws {ShapeError} when the shapes differ.
 */
export const klDiv: (
  x: Tensor,
  target: Tensor,
  options?: KlDivOptions,
) => Tensor = operator<
  (x: Tensor, target: Tensor, options?: KlDivOptions) => Tensor,
  { reduction: LossReduction | "batchmean"; logTarget: boolean }
>({
  name: "klDiv",
  family: "loss",
  inputs: ["x", "target"],
  attrs: { reduction: "mean", logTarget: false },
  formula: "t·(log t − x)",
  torch: "F.kl_div(x, target, reduction=reduction, log_target=logTarget)",
  run: ([x, target], { reduction, logTarget }) => {
    requireSameShape("Kullback–Leibler divergence", x, target);
    checkReduction(reduction, ["none", "mean", "sum", "batchmean"]);
    const loss = (logTarget ? logDivergence : divergence).apply([x, target]);
    if (reduction !== "batchmean") return reduceLoss(loss, reduction);
    return div(sum(loss), x.rank === 0 ? 1 : x.shape[0]);
  },
  samples: [
    [t([2, 3]), t([2, 3], probabilities)],
    [t([2, 3]), t([2, 3], probabilities), { reduction: "batchmean" }],
    [t([2, 3]), t([2, 3], { low: -3, high: 0 }), { logTarget: true }],
    [t([3]), t([3], { data: [0, 0.25, 0.75], grad: false }), {
      reduction: "none",
    }],
    [t([2, 2]), t([2, 2], probabilities), { reduction: "sum" }],
  ],
});

const stirling = (y: Expr): Expr =>
  k.select(
    k.le(y, 1),
    k.constant(0, y.type),
    k.add(
      k.sub(k.mul(y, k.log(y)), y),
      half(k.log(k.mul(2 * Math.PI, y))),
    ),
  );

function poisson(logInput: boolean, full: boolean): Elementwise {
  return formula("Poisson", 2, ([x, y, epsilon]) => {
    const loss = logInput
      ? k.sub(k.exp(x), k.mul(y, x))
      : k.sub(x, k.mul(y, k.log(k.add(x, epsilon))));
    return full ? k.add(loss, stirling(y)) : loss;
  }, 1);
}

const poissons = {
  log: { plain: poisson(true, false), full: poisson(true, true) },
  rate: { plain: poisson(false, false), full: poisson(false, true) },
};

/** Options of {@linkcode poissonNllLoss}. */
export interface PoissonOptions extends LossOptions {
  /** Whether x is the logarithm of the rate; true when omitted. */
  logInput?: boolean;
  /** Whether to add Stirling's approximation of log t! where t > 1. */
  full?: boolean;
  /** Added to rates before the logarithm; 1e-8 when omitted. */
  eps?: number;
}

/**
 * Negative log-likelihood of counts under Poisson distributions: eˣ − t·x, or
 * x − t·log(x + eps) for rates.
 *
 * @throws {ShapeError} when the shapes differ.
 */
export const poissonNllLoss: (
  x: Tensor,
  target: Tensor,
  options?: PoissonOptions,
) => Tensor = operator<
  (x: Tensor, target: Tensor, options?: PoissonOptions) => Tensor,
  PairAttrs & { logInput: boolean; full: boolean; eps: number }
>({
  name: "poissonNllLoss",
  family: "loss",
  inputs: ["x", "target"],
  attrs: { reduction: "mean", logInput: true, full: false, eps: 1e-8 },
  formula: "eˣ − t·x",
  torch: "F.poisson_nll_loss(x, target, log_input=logInput, full=full," +
    " eps=eps, reduction=reduction)",
  run: ([x, target], { reduction, logInput, full, eps }) => {
    requireSameShape("Poisson loss", x, target);
    const kind = poissons[logInput ? "log" : "rate"][full ? "full" : "plain"];
    return reduceLoss(kind.apply([x, target, eps]), reduction);
  },
  samples: [
    [t([2, 3]), t([2, 3], { low: 0, high: 5 })],
    [t([4]), t([4], { low: 0, high: 5 }), { full: true, reduction: "none" }],
    [t([4], { low: 0.5 }), t([4], { low: 0, high: 5 }), {
      logInput: false,
      reduction: "sum",
    }],
    [t([4], { low: 0.5 }), t([4], { low: 0, high: 5 }), {
      logInput: false,
      full: true,
      eps: 0.5,
    }],
  ],
});

const gaussian = formula("Gaussian", 3, ([x, y, variance, epsilon]) => {
  const d = k.sub(x, y);
  const v = k.select(k.lt(variance, epsilon), epsilon, variance);
  return half(k.add(k.log(v), k.div(k.mul(d, d), v)));
}, 1);

/** Options of {@linkcode gaussianNllLoss}. */
export interface GaussianOptions extends LossOptions {
  /** Whether to add ½·log 2π. */
  full?: boolean;
  /** Smallest variance; 1e-6 when omitted. */
  eps?: number;
}

type GaussianInputs = (
  x: Tensor,
  target: Tensor,
  variance: Tensor,
  options?: GaussianOptions,
) => Tensor;

/** The variance with an axis of extent 1 where it has one value per row. */
function variancePerElement(x: Tensor, variance: Tensor): Tensor {
  const rows = x.shape.slice(0, -1);
  if (sameShape(variance.shape, x.shape)) return variance;
  if (x.rank > 0 && sameShape(variance.shape, rows)) {
    return reshape(variance, [...rows, 1]);
  }
  if (x.rank > 0 && sameShape(variance.shape, [...rows, 1])) return variance;
  throw new ShapeError(
    `Cannot take the Gaussian loss of a tensor of shape ${
      shapeText(x.shape)
    } with variances of shape ${
      shapeText(variance.shape)
    }: there must be one per element, or one per row (shape ${
      shapeText(rows)
    })`,
  );
}

/**
 * Negative log-likelihood under normal distributions:
 * ½·(log v + (x − t)²/v), the variance v at least `eps` (below it, its
 * gradient is 0).
 *
 * @throws {ShapeError} when the shapes do not fit.
 */
export const gaussianNllLoss: GaussianInputs = operator<
  GaussianInputs,
  PairAttrs & { full: boolean; eps: number }
>({
  name: "gaussianNllLoss",
  family: "loss",
  inputs: ["x", "target", "variance"],
  attrs: { reduction: "mean", full: false, eps: 1e-6 },
  formula: "½·(log v + (x − t)²/v)",
  torch: "F.gaussian_nll_loss(x, target, variance, full=full, eps=eps," +
    " reduction=reduction)",
  run: ([x, target, variance], { reduction, full, eps }) => {
    requireSameShape("Gaussian loss", x, target);
    const v = variancePerElement(x, variance);
    const loss = gaussian.apply([x, target, v, eps]);
    return reduceLoss(
      full ? add(loss, 0.5 * Math.log(2 * Math.PI)) : loss,
      reduction,
    );
  },
  samples: [
    [t([2, 3]), t([2, 3], { low: 0 }), t([2, 3], { low: 0.5 })],
    [t([2, 3]), t([2, 3], { low: 0 }), t([2], { low: 0.5 }), {
      full: true,
      reduction: "none",
    }],
    [t([2, 3]), t([2, 3], { low: 0 }), t([2, 1], { low: 0.5, grad: false }), {
      reduction: "sum",
      eps: 1,
    }],
  ],
});
