/**
 * Methods that divide by the root of summed or averaged squares of gradients:
 * Adagrad, its form with decay, Adadelta and RMSProp.
 *
 * @module
 */

import * as k from "../kernel/expr.ts";
import { finite, fraction, nonNegative, share } from "./hyper.ts";
import type { CommonOptions, GroupOptions, Method } from "./method.ts";
import { Optimizer } from "./optimizer.ts";
import type { Parameters } from "./parameters.ts";

const { add, div, mul, sqrt, sub } = k;

/** Hyper-parameters of {@linkcode adagrad}. */
export interface AdagradHyper {
  /** ε, added to the root. */
  eps?: number;
  /** Factor on the old sum at each step; 1 forgets nothing (Caffe2). */
  decay?: number;
  /** The learning rate is divided by 1 + lrDecay·(t − 1) (PyTorch). */
  lrDecay?: number;
  /** First value of the sum. */
  initialAccumulator?: number;
}

/** Adagrad as a method. */
export const adagradMethod: Method<AdagradHyper> = {
  name: "adagrad",
  lr: 0.01,
  hyper: {
    eps: { default: 1e-10, range: nonNegative, what: "ε" },
    decay: { default: 1, range: share, what: "decay of the sum" },
    lrDecay: { default: 0, range: nonNegative, what: "decay of the rate" },
    initialAccumulator: { default: 0, range: nonNegative, what: "first sum" },
  },
  update(place) {
    const { eps, decay, lrDecay, initialAccumulator } = place.options;
    place.apply({
      name: "adagrad",
      state: { sum: initialAccumulator },
      scalars: { lr: place.lr / (1 + lrDecay * (place.t - 1)), decay, eps },
      // h ← δ·h + g²;  w ← w − η·g / (√h + ε)
      formula({ w, g, sum: h, lr, decay, eps }) {
        const next = add(mul(decay, h), mul(g, g));
        const step = div(mul(lr, g), add(sqrt(next), eps));
        return { w: sub(w, step), sum: next };
      },
    });
  },
};

/**
 * Adagrad (Duchi et al., 2011): h ← δ·h + g², w ← w − η·g / (√h + ε). The
 * defaults are PyTorch's; Caffe2's ε is 10⁻⁴.
 *
 * @throws {RangeError} for a hyper-parameter out of its range.
 * @throws {TypeError} for an unknown option or parameters that cannot be optimised.
 */
export function adagrad(
  parameters: Parameters<GroupOptions & AdagradHyper>,
  options: CommonOptions & AdagradHyper = {},
): Optimizer<AdagradHyper> {
  return new Optimizer(adagradMethod, parameters, options);
}

/** Hyper-parameters of {@linkcode decayAdagrad}. */
export interface DecayAdagradHyper {
  /** β₁: how much of the average gradient stays. */
  beta1?: number;
  /** ε, added to the root. */
  eps?: number;
  /** Whether the average gradient is corrected for having started at 0. */
  biasCorrection?: boolean;
}

/** Adagrad with averaged gradients and decaying weights as a method. */
export const decayAdagradMethod: Method<DecayAdagradHyper> = {
  name: "decayAdagrad",
  lr: 0.01,
  hyper: {
    beta1: { default: 0, range: fraction, what: "decay of the average" },
    eps: { default: 0.1, range: nonNegative, what: "ε" },
    biasCorrection: { default: true, what: "correct the average" },
  },
  decoupled: true,
  update(place) {
    const { lr, t, weightDecay, options } = place;
    const { beta1, eps, biasCorrection } = options;
    place.apply({
      name: "decayAdagrad",
      state: { mean: 0, sum: 0 },
      scalars: {
        lr,
        beta1,
        rest1: 1 - beta1,
        scale: biasCorrection ? 1 / (1 - beta1 ** (t + 1)) : 1,
        eps,
        decay: weightDecay,
      },
      // m ← β₁·m + (1 − β₁)·g;  h ← h + g²
      // w ← w − η·(m/(1−β₁ᵗ⁺¹) / (√h + ε) + λ·w)
      formula(x) {
        const mean = add(mul(x.beta1, x.mean), mul(x.rest1, x.g));
        const sum = add(x.sum, mul(x.g, x.g));
        const step = div(mul(x.scale, mean), add(sqrt(sum), x.eps));
        const whole = add(step, mul(x.decay, x.w));
        return { w: sub(x.w, mul(x.lr, whole)), mean, sum };
      },
    });
  },
};

/**
 * Adagrad with an averaged gradient and decoupled weight decay, as Caffe2's
 * DecayAdagrad: m ← β₁·m + (1 − β₁)·g, h ← h + g²,
 * w ← w − η·(m / (1 − β₁ᵗ⁺¹) / (√h + ε) + λ·w). Caffe2 counts t + 1 there, as
 * in its Adam.
 *
 * @throws {RangeError} for a hyper-parameter out of its range.
 * @throws {TypeError} for an unknown option or parameters that cannot be optimised.
 */
export function decayAdagrad(
  parameters: Parameters<GroupOptions & DecayAdagradHyper>,
  options: CommonOptions & DecayAdagradHyper = {},
): Optimizer<DecayAdagradHyper> {
  return new Optimizer(decayAdagradMethod, parameters, options);
}

/** Hyper-parameters of {@linkcode adadelta}. */
export interface AdadeltaHyper {
  /** ρ: how much of the averages stays. */
  rho?: number;
  /** ε, under both roots. */
  eps?: number;
}

/** Adadelta as a method. */
export const adadeltaMethod: Method<AdadeltaHyper> = {
  name: "adadelta",
  lr: 1,
  hyper: {
    rho: { default: 0.9, range: fraction, what: "decay of the averages" },
    eps: { default: 1e-6, range: nonNegative, what: "ε" },
  },
  update(place) {
    const { lr, options: { rho, eps } } = place;
    place.apply({
      name: "adadelta",
      state: { square: 0, delta: 0 },
      scalars: { lr, rho, rest: 1 - rho, eps },
      // v ← ρ·v + (1 − ρ)·g²;  d = √(u + ε) / √(v + ε) · g
      // u ← ρ·u + (1 − ρ)·d²;  w ← w − η·d
      formula({ w, g, square: v, delta: u, lr, rho, rest, eps }) {
        const square = add(mul(rho, v), mul(rest, mul(g, g)));
        const ratio = div(sqrt(add(u, eps)), sqrt(add(square, eps)));
        const d = mul(ratio, g);
        const delta = add(mul(rho, u), mul(rest, mul(d, d)));
        return { w: sub(w, mul(lr, d)), square, delta };
      },
    });
  },
};

/**
 * Adadelta (Zeiler, 2012): steps as large as past steps were, per gradient.
 * The defaults are PyTorch's; Caffe2 has η 0.01, ρ 0.95, ε 10⁻⁴.
 *
 * @throws {RangeError} for a hyper-parameter out of its range.
 * @throws {TypeError} for an unknown option or parameters that cannot be optimised.
 */
export function adadelta(
  parameters: Parameters<GroupOptions & AdadeltaHyper>,
  options: CommonOptions & AdadeltaHyper = {},
): Optimizer<AdadeltaHyper> {
  return new Optimizer(adadeltaMethod, parameters, options);
}

/** Hyper-parameters of {@linkcode rmsProp}. */
export interface RmsPropHyper {
  /** α: how much of the average of squares stays (Caffe2's default is 0.9). */
  alpha?: number;
  /** ε, added to the root, or under it in Caffe2's form. */
  eps?: number;
  /** μ: how much of the velocity stays. */
  momentum?: number;
  /** Whether to subtract the squared average gradient: the variance instead of the square. */
  centered?: boolean;
  /** Where ε stands: √v + ε (torch) or √(v + ε) (caffe2). */
  form?: "torch" | "caffe2";
}

/** RMSProp as a method. */
export const rmsPropMethod: Method<RmsPropHyper> = {
  name: "rmsProp",
  lr: 0.01,
  hyper: {
    alpha: { default: 0.99, range: fraction, what: "decay of the average" },
    eps: { default: 1e-8, range: nonNegative, what: "ε" },
    momentum: { default: 0, range: finite, what: "momentum" },
    centered: { default: false, what: "divide by the standard deviation" },
    form: {
      default: "torch",
      choices: ["torch", "caffe2"],
      what: "where ε stands",
    },
  },
  update(place) {
    const { lr, options } = place;
    const { alpha, eps, momentum, centered, form } = options;
    place.apply({
      name: `rmsProp ${form} ${centered} ${momentum !== 0}`,
      state: {
        square: 0,
        ...(centered && { mean: 0 }),
        ...(momentum !== 0 && { momentum: 0 }),
      },
      scalars: { lr, alpha, rest: 1 - alpha, eps, mu: momentum },
      // v ← α·v + (1 − α)·g²;  centred: m ← α·m + (1 − α)·g, v − m² for v
      // d = g / (√v + ε), or g / √(v + ε);  b ← μ·b + d;  w ← w − η·b
      formula(x) {
        const { w, g, square: v, lr, alpha, rest, eps, mu } = x;
        const square = add(mul(alpha, v), mul(rest, mul(g, g)));
        const result: Record<string, k.Expr> = { square };
        let spread = square;
        if (centered) {
          const mean = add(mul(alpha, x.mean), mul(rest, g));
          spread = sub(square, mul(mean, mean));
          result.mean = mean;
        }
        const scale = form === "torch"
          ? add(sqrt(spread), eps)
          : sqrt(add(spread, eps));
        let step = div(g, scale);
        if (momentum !== 0) {
          result.momentum = step = add(mul(mu, x.momentum), step);
        }
        result.w = sub(w, mul(lr, step));
        return result;
      },
    });
  },
};

/**
 * RMSProp (Hinton, 2012): v ← α·v + (1 − α)·g², w ← w − η·g / (√v + ε), with
 * momentum and centring on demand. `form: "caffe2"` takes √(v + ε).
 *
 * @throws {RangeError} for a hyper-parameter out of its range.
 * @throws {TypeError} for an unknown option or parameters that cannot be optimised.
 */
export function rmsProp(
  parameters: Parameters<GroupOptions & RmsPropHyper>,
  options: CommonOptions & RmsPropHyper = {},
): Optimizer<RmsPropHyper> {
  return new Optimizer(rmsPropMethod, parameters, options);
}
