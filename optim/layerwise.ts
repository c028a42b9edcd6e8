/**
 * Methods whose step depends on norms of a whole parameter: LARS, LAMB and
 * WNGrad. The norms stay on the device.
 *
 * @module
 */

import * as k from "../kernel/expr.ts";
import { update } from "../core/update.ts";
import { formula, squaredNorm } from "./formula.ts";
import { fraction, nonNegative, positive } from "./hyper.ts";
import type { CommonOptions, GroupOptions, Method } from "./method.ts";
import { Optimizer } from "./optimizer.ts";
import type { Parameters } from "./parameters.ts";

const { add, and, div, gt, mul, select, sqrt, sub } = k;

/** Hyper-parameters of {@linkcode lars}. */
export interface LarsHyper {
  /** μ: how much of the velocity stays. */
  momentum?: number;
  /** Factor on the ratio of the norms (the paper: 0.001, Caffe2: 1). */
  trust?: number;
  /** Added to the ratio of the norms (Caffe2: 0.5). */
  offset?: number;
}

// trust / (‖g‖/‖w‖ + λ + offset); 1 where w is 0
const larsFactor = formula(
  "lars factor",
  5,
  ([w2, g2, trust, decay, offset]) => {
    const ratio = div(sqrt(g2), sqrt(w2));
    return select(gt(w2, 0), div(trust, add(add(ratio, decay), offset)), 1);
  },
);

/** LARS as a method. */
export const larsMethod: Method<LarsHyper> = {
  name: "lars",
  computes: true,
  lr: 0.1,
  hyper: {
    momentum: { default: 0.9, range: fraction, what: "momentum" },
    trust: { default: 1, range: positive, what: "trust coefficient" },
    offset: { default: 0.5, range: nonNegative, what: "offset" },
  },
  decoupled: true,
  update(place) {
    const { weight, lr, weightDecay, options } = place;
    const { momentum, trust, offset } = options;
    const factor = larsFactor(
      squaredNorm(weight),
      squaredNorm(place.gradient()),
      trust,
      weightDecay,
      offset,
    );
    place.apply({
      name: "lars",
      state: { momentum: 0 },
      scalars: { lr, mu: momentum, decay: weightDecay },
      tensors: { factor },
      // v ← μ·v + η·trust/(‖g‖/‖w‖ + λ + offset)·(g + λ·w);  w ← w − v
      formula({ w, g, momentum: v, lr, mu, decay, factor }) {
        const step = mul(mul(lr, factor), add(g, mul(decay, w)));
        const next = add(mul(mu, v), step);
        return { w: sub(w, next), momentum: next };
      },
    });
  },
};

/**
 * Layer-wise adaptive rate scaling (You et al., 2017): momentum SGD whose
 * rate is multiplied, per parameter, by trust / (‖g‖/‖w‖ + λ + offset).
 * The defaults are those of Caffe2's operator.
 *
 * @throws {RangeError} for a hyper-parameter out of its range.
 * @throws {TypeError} for an unknown option or parameters that cannot be optimised.
 */
export function lars(
  parameters: Parameters<GroupOptions & LarsHyper>,
  options: CommonOptions & LarsHyper = {},
): Optimizer<LarsHyper> {
  return new Optimizer(larsMethod, parameters, options);
}

/** Hyper-parameters of {@linkcode lamb}. */
export interface LambHyper {
  /** β₁: how much of the average gradient stays. */
  beta1?: number;
  /** β₂: how much of the average square stays. */
  beta2?: number;
  /** ε, added to the root. */
  eps?: number;
}

// r = m/(1−β₁ᵗ) / (√v/√(1−β₂ᵗ) + ε) + λ·w
const lambDirection = (
  [w, m, v, rate, root, eps, decay]: readonly k.Expr[],
) => add(div(mul(rate, m), add(mul(sqrt(v), root), eps)), mul(decay, w));

const direction = formula("lamb direction", 7, lambDirection);

// ‖w‖ / ‖r‖; 1 where one of them is 0
const lambTrust = formula("lamb trust", 2, ([w2, r2]) => {
  const both = and(gt(w2, 0), gt(r2, 0));
  return select(both, div(sqrt(w2), sqrt(r2)), 1);
});

/** LAMB as a method. */
export const lambMethod: Method<LambHyper> = {
  name: "lamb",
  computes: true,
  lr: 1e-3,
  hyper: {
    beta1: { default: 0.9, range: fraction, what: "decay of the average" },
    beta2: { default: 0.999, range: fraction, what: "decay of the square" },
    eps: { default: 1e-6, range: nonNegative, what: "ε" },
  },
  decoupled: true,
  update(place) {
    const { weight, lr, t, weightDecay, options } = place;
    const { beta1, beta2, eps } = options;
    const mean = place.state("mean"), square = place.state("square");
    update({
      name: "lamb moments",
      targets: [mean, square],
      operands: [place.gradient()],
      scalars: [beta1, 1 - beta1, beta2, 1 - beta2],
      // m ← β₁·m + (1 − β₁)·g;  v ← β₂·v + (1 − β₂)·g²
      define: ([mean, square], [g], [beta1, rest1, beta2, rest2]) => [
        add(mul(beta1, mean), mul(rest1, g)),
        add(mul(beta2, square), mul(rest2, mul(g, g))),
      ],
    });
    const rate = 1 / (1 - beta1 ** t);
    const root = 1 / Math.sqrt(1 - beta2 ** t);
    const r = direction(weight, mean, square, rate, root, eps, weightDecay);
    const trust = lambTrust(squaredNorm(weight), squaredNorm(r));
    place.apply({
      name: "lamb",
      scalars: { lr, rate, root, eps, decay: weightDecay },
      tensors: { m: mean, v: square, trust },
      // w ← w − η·‖w‖/‖r‖·r
      formula({ w, m, v, trust, lr, rate, root, eps, decay }) {
        const r = lambDirection([w, m, v, rate, root, eps, decay]);
        return { w: sub(w, mul(mul(lr, trust), r)) };
      },
    });
  },
};

/**
 * LAMB (You et al., 2020): Adam's direction with decoupled weight decay,
 * scaled per parameter to the length of the weights.
 *
 * @throws {RangeError} for a hyper-parameter out of its range.
 * @throws {TypeError} for an unknown option or parameters that cannot be optimised.
 */
export function lamb(
  parameters: Parameters<GroupOptions & LambHyper>,
  options: CommonOptions & LambHyper = {},
): Optimizer<LambHyper> {
  return new Optimizer(lambMethod, parameters, options);
}

/** Hyper-parameters of {@linkcode wnGrad}. */
export interface WnGradHyper {
  /** ε, added to the divisor. */
  eps?: number;
  /** First value of the divisor b. */
  initial?: number;
}

/** WNGrad as a method. */
export const wnGradMethod: Method<WnGradHyper> = {
  name: "wnGrad",
  computes: true,
  lr: 1,
  hyper: {
    eps: { default: 1e-9, range: nonNegative, what: "ε" },
    initial: { default: 100, range: positive, what: "first divisor" },
  },
  shapes: () => ({ divisor: [] }),
  update(place) {
    const { lr, options: { eps, initial } } = place;
    const b = place.state("divisor", initial);
    const g2 = squaredNorm(place.gradient()).materialize();
    place.apply({
      name: "wnGrad",
      scalars: { lr, eps },
      tensors: { b },
      // w ← w − η·g / (b + ε)
      formula: ({ w, g, b, lr, eps }) => ({
        w: sub(w, div(mul(lr, g), add(b, eps))),
      }),
    });
    update({
      name: "wnGrad divisor",
      targets: [b],
      operands: [g2],
      scalars: [eps],
      // b ← b + ‖g‖² / (b + ε)
      define: ([b], [g2], [eps]) => [add(b, div(g2, add(b, eps)))],
    });
  },
};

/**
 * WNGrad (Wu et al., 2018), as in Caffe2: w ← w − η·g / b, b ← b + ‖g‖² / b,
 * with one divisor per parameter.
 *
 * @throws {RangeError} for a hyper-parameter out of its range.
 * @throws {TypeError} for an unknown option or parameters that cannot be optimised.
 */
export function wnGrad(
  parameters: Parameters<GroupOptions & WnGradHyper>,
  options: CommonOptions & WnGradHyper = {},
): Optimizer<WnGradHyper> {
  return new Optimizer(wnGradMethod, parameters, options);
}
