/**
 * Methods with one sum or average of squares per row (first axis) instead of
 * one per element, as Caffe2 trains embeddings: row-wise Adagrad and Adam.
 *
 * @module
 */

import type { Tensor } from "../core/tensor.ts";
import { update } from "../core/update.ts";
import * as k from "../kernel/expr.ts";
import { mul as times } from "../ops/arithmetic.ts";
import { reshape, sum } from "../ops/foundation.ts";
import { fraction, nonNegative } from "./hyper.ts";
import type { CommonOptions, GroupOptions, Method } from "./method.ts";
import { Optimizer } from "./optimizer.ts";
import type { Parameters } from "./parameters.ts";

const { add, div, mul, sqrt, sub } = k;

/** Σ g² over each row. */
function rowSquares(g: Tensor): Tensor {
  const axes = g.shape.map((_, d) => d).slice(1);
  const squares = times(g, g);
  return axes.length === 0 ? squares : sum(squares, axes);
}

/** How many elements a row has; at least 1. */
function rowLength({ shape, size }: Tensor): number {
  return Math.max(size, 1) / Math.max(shape[0] ?? 1, 1);
}

/** One number per row, in a shape that broadcasts to the weight's. */
function perRow(x: Tensor, weight: Tensor): Tensor {
  return reshape(x, weight.shape.map((n, d) => d === 0 ? n : 1));
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
    const h = place.state("sum", initialAccumulator);
    // h ← h + mean of g² over the row
    update({
      name: "rowWiseAdagrad sum",
      targets: [h],
      operands: [rowSquares(place.gradient())],
      scalars: [1 / rowLength(weight)],
      define: ([h], [squares], [share]) => [add(h, mul(squares, share))],
    });
    place.apply({
      name: "rowWiseAdagrad",
      scalars: { lr, eps },
      tensors: { h: perRow(h, weight) },
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

/** Hyper-parameters of {@linkcode rowWiseAdam}. */
export interface RowWiseAdamHyper {
  /** β₁: how much of the average gradient stays. */
  beta1?: number;
  /** β₂: how much of the average square of a row stays. */
  beta2?: number;
  /** ε, added to the root. */
  eps?: number;
}

/** Row-wise Adam as a method. */
export const rowWiseAdamMethod: Method<RowWiseAdamHyper> = {
  name: "rowWiseAdam",
  computes: true,
  lr: 1e-3,
  hyper: {
    beta1: { default: 0.9, range: fraction, what: "decay of the average" },
    beta2: { default: 0.999, range: fraction, what: "decay of the square" },
    eps: { default: 1e-8, range: nonNegative, what: "ε" },
  },
  shapes: (weight) => ({ square: weight.slice(0, 1) }),
  update(place) {
    const { weight, lr, options: { beta1, beta2, eps } } = place;
    const v = place.state("square");
    // v ← β₂·v + (1 − β₂)·mean of g² over the row
    update({
      name: "rowWiseAdam square",
      targets: [v],
      operands: [rowSquares(place.gradient())],
      scalars: [beta2, (1 - beta2) / rowLength(weight)],
      define: ([v], [squares], [beta2, share]) => [
        add(mul(beta2, v), mul(squares, share)),
      ],
    });
    const t = place.t + 1;
    const rate = lr * Math.sqrt(1 - beta2 ** t) / (1 - beta1 ** t);
    place.apply({
      name: "rowWiseAdam",
      state: { mean: 0 },
      scalars: { rate, beta1, rest1: 1 - beta1, eps },
      tensors: { v: perRow(v, weight) },
      // m ← β₁·m + (1 − β₁)·g;  w ← w − η·√(1−β₂ᵗ)/(1−β₁ᵗ) · m / (√v + ε), t from 2
      formula({ w, g, mean: m, v, rate, beta1, rest1, eps }) {
        const mean = add(mul(beta1, m), mul(rest1, g));
        return { w: sub(w, div(mul(rate, mean), add(sqrt(v), eps))), mean };
      },
    });
  },
};

/**
 * Adam with one average square per row (first axis) instead of one per
 * element, as Caffe2 trains embeddings: v ← β₂·v + (1 − β₂)·mean(g²) over the
 * row; the rest is Adam in Caffe2's form, whose count starts at 2.
 *
 * @throws {RangeError} for a hyper-parameter out of its range.
 * @throws {TypeError} for an unknown option or parameters that cannot be optimised.
 */
export function rowWiseAdam(
  parameters: Parameters<GroupOptions & RowWiseAdamHyper>,
  options: CommonOptions & RowWiseAdamHyper = {},
): Optimizer<RowWiseAdamHyper> {
  return new Optimizer(rowWiseAdamMethod, parameters, options);
}
