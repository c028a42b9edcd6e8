/**
 * Losses of distributions: divergence, and likelihoods of counts and of normal
 * variables.
 *
 * @module
 */

import { oneOf } from "../core/attributes.ts";
import { ShapeError, shapeText } from "../core/errors.ts";
import { operator } from "../core/op.ts";
import { sameShape } from "../core/shape.ts";
import type { Tensor } from "../core/tensor.ts";
import * as k from "../kernel/expr.ts";
import type { Expr } from "../kernel/expr.ts";
import { add, div } from "./arithmetic.ts";
import type { Elementwise } from "./engine.ts";
import { reshape, sum } from "./foundation.ts";
import {
  checkReduction,
  formula,
  type LossOptions,
  type LossReduction,
  type PairAttrs,
  reduceLoss,
  requireSameShape,
} from "./loss_reduction.ts";
import { t } from "./samples.ts";
import { step, xlogySlopes } from "./slopes.ts";

const half = (e: Expr): Expr => k.mul(0.5, e);

const probabilities = { low: 0.05, high: 0.95 };

const divergence = formula(
  "divergence",
  2,
  ([x, y]) => {
    const entropy = k.select(
      k.eq(y, 0),
      k.constant(0, y.type),
      k.mul(y, k.log(y)),
    );
    return k.sub(entropy, k.mul(y, x));
  },
  0,
  ([x, y]) => {
    // ∂(y·ln y − y·x): −y, and that of both factors of y·ln y, less x
    const [first, second] = xlogySlopes(y, y);
    return [k.neg(y), k.sub(k.add(first, second), x)];
  },
);

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
  rules: { reduction: oneOf("none", "mean", "sum", "batchmean") },
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
    // The NaN keeps finite differences away.
    [t([4], { data: [NaN, 1, 1, -1] }), t([4], { data: [0.5, 0, -1, 1] }), {
      reduction: "none",
    }],
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
  return formula(
    "Poisson",
    2,
    ([x, y, epsilon]) => {
      const loss = logInput
        ? k.sub(k.exp(x), k.mul(y, x))
        : k.sub(x, k.mul(y, k.log(k.add(x, epsilon))));
      return full ? k.add(loss, stirling(y)) : loss;
    },
    1,
    ([x, y, epsilon]) => {
      const rate = k.add(x, epsilon);
      // ∂(eˣ − y·x), or ∂(x − y·ln(x + ε)), and Stirling's terms for y > 1
      const [slope, other] = logInput
        ? [k.sub(k.exp(x), y), k.neg(x)]
        : [k.sub(1, k.div(y, rate)), k.neg(k.log(rate))];
      if (!full) return [slope, other];
      const terms = k.add(
        k.sub(k.add(k.log(y), k.div(y, y)), 1),
        k.div(0.5, y),
      );
      return [slope, k.add(other, k.mul(step(k.sub(y, 1)), terms))];
    },
  );
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

/** A loss of means and variances with targets. */
export type GaussianLoss = (
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
export const gaussianNllLoss: GaussianLoss = operator<
  GaussianLoss,
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
