/**
 * Methods that divide by the root of summed or averaged squares of gradients:
 * Adagrad, its row-wise form, Adadelta and RMSProp.
 *
 * @module
 */

import * as k from "../kernel/expr.ts";
import { mul as times } from "../ops/arithmetic.ts";
import { reshape, sum } from "../ops/foundation.ts";
import { update } from "../core/update.ts";
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

/** Hyper-parameters of {@linkcode rowWiseAdagrad}. */
export interface RowWiseAdagradHyper {
  /** ε, added to the root. */
  eps?: number;
  /** First value of the sums. */
  initialAccumulator?: number;
}

/** Row-wise Adagrad as a method. */
export const rowWiseAdagradMethod: Method<RowWiseAdagradHyper> = {
  name: "rowWiseAdagrad",
  computes: true,
  lr: 0.01,
  hyper: {
    eps: { default: 1e-4, range: nonNegative, what: "ε" },
    initialAccumulator: { default: 0, range: nonNegative, what: "first sum" },
  },
  shapes: (weight) => ({ sum: weight.slice(0, 1) }),
  update(place) {
    const { weight, lr, options: { eps, initialAccumulator } } = place;
    const { shape, size } = weight;
    const g = place.gradient();
    const axes = shape.map((_, d) => d).slice(1);
    const h = place.state("sum", initialAccumulator);
    // h ← h + mean of g² over the row
    update({
      name: "rowWiseAdagrad sum",
      targets: [h],
      operands: [axes.length === 0 ? times(g, g) : sum(times(g, g), axes)],
      scalars: [(shape[0] ?? 1) / Math.max(size, 1)],
      define: ([h], [squares], [share]) => [add(h, mul(squares, share))],
    });
    const perRow = [...h.shape, ...axes.map(() => 1)];
    place.apply({
      name: "rowWiseAdagrad",
      scalars: { lr, eps },
      tensors: { h: reshape(h, perRow) },
      // w ← w − η·g / (√h + ε)
      formula: ({ w, g, h, lr, eps }) => ({
        w: sub(w, div(mul(lr, g), add(sqrt(h), eps))),
      }),
    });
  },
};

/**
 * Adagrad with one sum per row (first axis) instead of one per element, as
 * Caffe2 trains embeddings: h ← h + mean(g²) over the row, w ← w − η·g / (√h + ε).
 *
 * @throws {RangeError} for a hyper-parameter out of its range.
 * @throws {TypeError} for an unknown option or parameters that cannot be optimised.
 */
export function rowWiseAdagrad(
  parameters: Parameters<GroupOptions & RowWiseAdagradHyper>,
  options: CommonOptions & RowWiseAdagradHyper = {},
): Optimizer<RowWiseAdagradHyper> {
  return new Optimizer(rowWiseAdagradMethod, parameters, options);
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
