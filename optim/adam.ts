/**
 * Adam and its relatives: AdamW, Adamax, NAdam and RAdam.
 *
 * @module
 */

import * as k from "../kernel/expr.ts";
import { fraction, nonNegative, type Schema } from "./hyper.ts";
import type { CommonOptions, GroupOptions, Method, Place } from "./method.ts";
import { Optimizer } from "./optimizer.ts";
import type { Parameters } from "./parameters.ts";

const { abs, add, div, max, mul, sqrt, sub } = k;

/** Hyper-parameters that Adam and its relatives share. */
export interface MomentsHyper {
  /** β₁: how much of the average gradient stays. */
  beta1?: number;
  /** β₂: how much of the average square stays. */
  beta2?: number;
  /** ε, added to the root. */
  eps?: number;
}

const moments: Schema<MomentsHyper> = {
  beta1: { default: 0.9, range: fraction, what: "decay of the average" },
  beta2: { default: 0.999, range: fraction, what: "decay of the square" },
  eps: { default: 1e-8, range: nonNegative, what: "ε" },
};

type Exprs = Readonly<Record<string, k.Expr>>;

// m ← β₁·m + (1 − β₁)·g;  v ← β₂·v + (1 − β₂)·g²
function nextMoments(x: Exprs): { mean: k.Expr; square: k.Expr } {
  const mean = add(mul(x.beta1, x.mean), mul(x.rest1, x.g));
  const square = add(mul(x.beta2, x.square), mul(x.rest2, mul(x.g, x.g)));
  return { mean, square };
}

function momentScalars({ options }: Place<MomentsHyper>) {
  const { beta1, beta2, eps } = options;
  return { beta1, rest1: 1 - beta1, beta2, rest2: 1 - beta2, eps };
}

/** 1 − βᵗ for both averages: what an average that started at 0 lacks. */
function corrections({ t, options }: Place<MomentsHyper>): [number, number] {
  return [1 - options.beta1 ** t, 1 - options.beta2 ** t];
}

/** Hyper-parameters of {@linkcode adam}. */
export interface AdamHyper extends MomentsHyper {
  /** Whether to divide by the largest average square so far. */
  amsgrad?: boolean;
  /** Where ε stands: outside of both corrections (torch), or inside them (caffe2, whose count starts at 2). */
  form?: "torch" | "caffe2";
}

function adamUpdate(place: Place<AdamHyper>, decoupled: boolean): void {
  const { lr, options: { amsgrad, form, beta1, beta2 } } = place;
  const t = form === "caffe2" ? place.t + 1 : place.t;
  const rate = lr / (1 - beta1 ** t);
  const root = Math.sqrt(1 - beta2 ** t);
  const keep = 1 - lr * place.weightDecay;
  const torch = form === "torch";
  place.apply({
    name: `adam ${form} ${amsgrad} ${decoupled}`,
    state: { mean: 0, square: 0, ...(amsgrad && { largest: 0 }) },
    scalars: {
      ...momentScalars(place),
      rate: torch ? rate : rate * root,
      root: torch ? 1 / root : 1,
      keep,
    },
    // torch: w ← w − η/(1−β₁ᵗ) · m / (√v/√(1−β₂ᵗ) + ε);  decoupled: w·(1 − η·λ) for w
    // caffe2: w ← w − η·√(1−β₂ᵗ)/(1−β₁ᵗ) · m / (√v + ε)
    formula(x) {
      const { mean, square } = nextMoments(x);
      const largest = amsgrad ? max(x.largest, square) : square;
      const w = decoupled ? mul(x.w, x.keep) : x.w;
      const scale = add(mul(sqrt(largest), x.root), x.eps);
      return {
        w: sub(w, div(mul(x.rate, mean), scale)),
        mean,
        square,
        largest,
      };
    },
  });
}

const adamHyper: Schema<AdamHyper> = {
  ...moments,
  amsgrad: { default: false, what: "divide by the largest square so far" },
  form: {
    default: "torch",
    choices: ["torch", "caffe2"],
    what: "where ε stands",
  },
};

/** Adam as a method. */
export const adamMethod: Method<AdamHyper> = {
  name: "adam",
  lr: 1e-3,
  hyper: adamHyper,
  update: (place) => adamUpdate(place, false),
};

/**
 * Adam (Kingma and Ba, 2015), as in `torch.optim.Adam`; `form: "caffe2"`
 * applies ε before the bias correction, as Caffe2 does.
 *
 * @throws {RangeError} for a hyper-parameter out of its range.
 * @throws {TypeError} for an unknown option or parameters that cannot be optimised.
 */
export function adam(
  parameters: Parameters<GroupOptions & AdamHyper>,
  options: CommonOptions & AdamHyper = {},
): Optimizer<AdamHyper> {
  return new Optimizer(adamMethod, parameters, options);
}

/** AdamW as a method. */
export const adamWMethod: Method<AdamHyper> = {
  name: "adamW",
  lr: 1e-3,
  weightDecay: 0.01,
  hyper: adamHyper,
  decoupled: true,
  update: (place) => adamUpdate(place, true),
};

/**
 * Adam with decoupled weight decay (Loshchilov and Hutter, 2019):
 * w ← (1 − η·λ)·w, then Adam's step. λ is 0.01 when left out, as in PyTorch.
 *
 * @throws {RangeError} for a hyper-parameter out of its range.
 * @throws {TypeError} for an unknown option or parameters that cannot be optimised.
 */
export function adamW(
  parameters: Parameters<GroupOptions & AdamHyper>,
  options: CommonOptions & AdamHyper = {},
): Optimizer<AdamHyper> {
  return new Optimizer(adamWMethod, parameters, options);
}

/** Adamax as a method. */
export const adamaxMethod: Method<MomentsHyper> = {
  name: "adamax",
  lr: 2e-3,
  hyper: moments,
  update(place) {
    const [lack1] = corrections(place);
    place.apply({
      name: "adamax",
      state: { mean: 0, norm: 0 },
      scalars: { ...momentScalars(place), rate: place.lr / lack1 },
      // m as in Adam;  u ← max(β₂·u, |g| + ε);  w ← w − η/(1−β₁ᵗ) · m / u
      formula({ w, g, mean, norm, beta1, rest1, beta2, eps, rate }) {
        const m = add(mul(beta1, mean), mul(rest1, g));
        const u = max(mul(beta2, norm), add(abs(g), eps));
        return { w: sub(w, div(mul(rate, m), u)), mean: m, norm: u };
      },
    });
  },
};

/**
 * Adamax (Kingma and Ba, 2015): Adam with a decaying maximum in place of the
 * root mean square.
 *
 * @throws {RangeError} for a hyper-parameter out of its range.
 * @throws {TypeError} for an unknown option or parameters that cannot be optimised.
 */
export function adamax(
  parameters: Parameters<GroupOptions & MomentsHyper>,
  options: CommonOptions & MomentsHyper = {},
): Optimizer<MomentsHyper> {
  return new Optimizer(adamaxMethod, parameters, options);
}

/** Hyper-parameters of {@linkcode nAdam}. */
export interface NAdamHyper extends MomentsHyper {
  /** ψ: how fast the momentum grows to β₁. */
  momentumDecay?: number;
}

/** NAdam as a method. */
export const nAdamMethod: Method<NAdamHyper> = {
  name: "nAdam",
  lr: 2e-3,
  hyper: {
    ...moments,
    momentumDecay: { default: 4e-3, range: nonNegative, what: "ψ" },
  },
  update(place) {
    const { lr, t, numbers, options: { beta1, momentumDecay } } = place;
    const [, lack2] = corrections(place);
    const momentum = (t: number) =>
      beta1 * (1 - 0.5 * 0.96 ** (t * momentumDecay));
    const now = momentum(t), then = momentum(t + 1);
    const product = numbers.product = (numbers.product ?? 1) * now;
    place.apply({
      name: "nAdam",
      state: { mean: 0, square: 0 },
      scalars: {
        ...momentScalars(place),
        root: 1 / Math.sqrt(lack2),
        fresh: lr * (1 - now) / (1 - product),
        rate: lr * then / (1 - product * then),
      },
      // μₜ = β₁·(1 − ½·0.96^(t·ψ));  M = Π μ
      // w ← w − η·[(1−μₜ)/(1−Mₜ)·g + μₜ₊₁/(1−Mₜ₊₁)·m] / (√v/√(1−β₂ᵗ) + ε)
      formula(x) {
        const { mean, square } = nextMoments(x);
        const scale = add(mul(sqrt(square), x.root), x.eps);
        const step = add(mul(x.fresh, x.g), mul(x.rate, mean));
        return { w: sub(x.w, div(step, scale)), mean, square };
      },
    });
  },
};

/**
 * NAdam (Dozat, 2016): Adam with Nesterov's momentum, as in `torch.optim.NAdam`.
 *
 * @throws {RangeError} for a hyper-parameter out of its range.
 * @throws {TypeError} for an unknown option or parameters that cannot be optimised.
 */
export function nAdam(
  parameters: Parameters<GroupOptions & NAdamHyper>,
  options: CommonOptions & NAdamHyper = {},
): Optimizer<NAdamHyper> {
  return new Optimizer(nAdamMethod, parameters, options);
}

/** RAdam as a method. */
export const rAdamMethod: Method<MomentsHyper> = {
  name: "rAdam",
  lr: 1e-3,
  hyper: moments,
  update(place) {
    const { lr, t, options: { beta2 } } = place;
    const [lack1, lack2] = corrections(place);
    const limit = 2 / (1 - beta2) - 1;
    const length = limit - 2 * t * beta2 ** t / lack2;
    const adaptive = length > 5;
    const rectifier = adaptive
      ? Math.sqrt(
        (length - 4) * (length - 2) * limit /
          ((limit - 4) * (limit - 2) * length),
      )
      : 1;
    place.apply({
      name: `rAdam ${adaptive}`,
      state: { mean: 0, square: 0 },
      scalars: {
        ...momentScalars(place),
        rate: lr / lack1 * rectifier * (adaptive ? Math.sqrt(lack2) : 1),
      },
      // ρ∞ = 2/(1−β₂) − 1;  ρ = ρ∞ − 2t·β₂ᵗ/(1−β₂ᵗ)
      // ρ > 5: w ← w − η·r·√(1−β₂ᵗ)/(1−β₁ᵗ) · m / (√v + ε), r² = (ρ−4)(ρ−2)ρ∞ / ((ρ∞−4)(ρ∞−2)ρ)
      // else:  w ← w − η/(1−β₁ᵗ) · m
      formula(x) {
        const { mean, square } = nextMoments(x);
        const step = mul(x.rate, mean);
        return {
          w: sub(
            x.w,
            adaptive ? div(step, add(sqrt(square), x.eps)) : step,
          ),
          mean,
          square,
        };
      },
    });
  },
};

/**
 * RAdam (Liu et al., 2020): Adam whose adaptive part waits until the variance
 * of its estimate is known, as in `torch.optim.RAdam`.
 *
 * @throws {RangeError} for a hyper-parameter out of its range.
 * @throws {TypeError} for an unknown option or parameters that cannot be optimised.
 */
export function rAdam(
  parameters: Parameters<GroupOptions & MomentsHyper>,
  options: CommonOptions & MomentsHyper = {},
): Optimizer<MomentsHyper> {
  return new Optimizer(rAdamMethod, parameters, options);
}
