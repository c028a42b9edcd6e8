/**
 * Follow the regularised leader, by element or by group, and Lion.
 *
 * @module
 */

import { update } from "../core/update.ts";
import * as k from "../kernel/expr.ts";
import { mul as times } from "../ops/arithmetic.ts";
import { sum } from "../ops/foundation.ts";
import { fraction, nonNegative } from "./hyper.ts";
import type { CommonOptions, GroupOptions, Method } from "./method.ts";
import { Optimizer } from "./optimizer.ts";
import type { Parameters } from "./parameters.ts";

const { abs, add, div, gt, lt, mul, neg, select, sqrt, sub } = k;

function sign(x: k.Expr): k.Expr {
  return select(gt(x, 0), 1, select(lt(x, 0), k.constant(-1, x.type), x));
}

/** Hyper-parameters of {@linkcode ftrl} and {@linkcode gFtrl}. */
export interface FtrlHyper {
  /** β, added to the root of the sum of squares. */
  beta?: number;
  /** λ₁: weights whose evidence stays within it are exactly 0. */
  l1?: number;
  /** λ₂: shrinks the weights. */
  l2?: number;
}

/** FTRL as a method. */
export const ftrlMethod: Method<FtrlHyper> = {
  name: "ftrl",
  lr: 0.01,
  hyper: {
    beta: { default: 1e-4, range: nonNegative, what: "β" },
    l1: { default: 0, range: nonNegative, what: "L1 penalty" },
    l2: { default: 0, range: nonNegative, what: "L2 penalty" },
  },
  update(place) {
    const { lr, options: { beta, l1, l2 } } = place;
    if (lr === 0) return; // the limit of the formula: nothing moves
    place.apply({
      name: "ftrl",
      state: { square: 0, evidence: 0 },
      scalars: { rate: 1 / lr, beta, l1, l2 },
      // n' = n + g²;  z ← z + g − (√n' − √n)/η·w
      // w ← 0 if |z| ≤ λ₁, else (λ₁·sgn z − z) / ((β + √n')/η + λ₂)
      formula({ w, g, square: n, evidence: z, rate, beta, l1, l2 }) {
        const square = add(n, mul(g, g));
        const sigma = mul(sub(sqrt(square), sqrt(n)), rate);
        const evidence = sub(add(z, g), mul(sigma, w));
        const scale = add(mul(add(beta, sqrt(square)), rate), l2);
        const pulled = div(sub(mul(l1, sign(evidence)), evidence), scale);
        return {
          w: select(gt(abs(evidence), l1), pulled, 0),
          square,
          evidence,
        };
      },
    });
  },
};

/**
 * FTRL-proximal (McMahan et al., 2013), as in Caffe2: for sparse linear
 * models; λ₁ makes weights exactly 0. Weights follow from the gradients alone,
 * so the first step forgets what they began with: a net of several layers, whose
 * units must begin apart, hardly learns. `lr` is the paper's α, above 0.
 *
 * @throws {RangeError} for a hyper-parameter out of its range.
 * @throws {TypeError} for an unknown option or parameters that cannot be optimised.
 */
export function ftrl(
  parameters: Parameters<GroupOptions & FtrlHyper>,
  options: CommonOptions & FtrlHyper = {},
): Optimizer<FtrlHyper> {
  return new Optimizer(ftrlMethod, parameters, options);
}

/** Group FTRL as a method. */
export const gFtrlMethod: Method<FtrlHyper> = {
  name: "gFtrl",
  computes: true,
  lr: 0.01,
  hyper: ftrlMethod.hyper,
  update(place) {
    const { weight, lr, options: { beta, l1, l2 } } = place;
    if (lr === 0) return; // the limit of the formula: nothing moves
    const n = place.state("square"), z = place.state("evidence");
    update({
      name: "gFtrl evidence",
      targets: [n, z],
      operands: [place.gradient(), weight],
      scalars: [1 / lr],
      // n' = n + g²;  z ← z + g − (√n' − √n)/η·w
      define([n, z], [g, w], [rate]) {
        const square = add(n, mul(g, g));
        const sigma = mul(sub(sqrt(square), sqrt(n)), rate);
        return [square, sub(add(z, g), mul(sigma, w))];
      },
    });
    const squares = times(z, z);
    const group = weight.rank === 0
      ? squares
      : sum(squares, 0, { keepDim: true });
    place.apply({
      name: "gFtrl",
      scalars: {
        rate: 1 / lr,
        beta,
        bound: l1 * Math.sqrt(weight.shape[0] ?? 1),
        l2,
      },
      tensors: { n, z, group: group.materialize() },
      // ‖z‖ over the first axis of d;  b = λ₁·√d
      // w ← 0 if ‖z‖ ≤ b, else z·(b/‖z‖ − 1) / ((β + √n)/η + λ₂)
      formula({ n, z, group, rate, beta, bound, l2 }) {
        const norm = sqrt(group);
        const scale = add(mul(add(beta, sqrt(n)), rate), l2);
        const pulled = div(mul(z, sub(div(bound, norm), 1)), scale);
        return { w: select(gt(norm, bound), pulled, 0) };
      },
    });
  },
};

/**
 * FTRL-proximal with a penalty on groups, as Caffe2's GFtrl: the weights of
 * one input (all rows of a column: the first axis) are 0 together, where the
 * norm of their evidence stays within λ₁·√d, with d the extent of the first
 * axis. The options are those of {@linkcode ftrl}.
 *
 * @throws {RangeError} for a hyper-parameter out of its range.
 * @throws {TypeError} for an unknown option or parameters that cannot be optimised.
 */
export function gFtrl(
  parameters: Parameters<GroupOptions & FtrlHyper>,
  options: CommonOptions & FtrlHyper = {},
): Optimizer<FtrlHyper> {
  return new Optimizer(gFtrlMethod, parameters, options);
}

/** Hyper-parameters of {@linkcode lion}. */
export interface LionHyper {
  /** β₁: weight of the average in the step. */
  beta1?: number;
  /** β₂: how much of the average stays. */
  beta2?: number;
}

/** Lion as a method. */
export const lionMethod: Method<LionHyper> = {
  name: "lion",
  lr: 1e-4,
  hyper: {
    beta1: { default: 0.9, range: fraction, what: "weight of the average" },
    beta2: { default: 0.99, range: fraction, what: "decay of the average" },
  },
  decoupled: true,
  update(place) {
    const { lr, weightDecay, options: { beta1, beta2 } } = place;
    place.apply({
      name: "lion",
      state: { mean: 0 },
      scalars: {
        lr: lr,
        keep: 1 - lr * weightDecay,
        beta1,
        rest1: 1 - beta1,
        beta2,
        rest2: 1 - beta2,
      },
      // w ← (1 − η·λ)·w − η·sgn(β₁·m + (1 − β₁)·g);  m ← β₂·m + (1 − β₂)·g
      formula({ w, g, mean: m, lr, keep, beta1, rest1, beta2, rest2 }) {
        const step = sign(add(mul(beta1, m), mul(rest1, g)));
        return {
          w: add(mul(w, keep), neg(mul(lr, step))),
          mean: add(mul(beta2, m), mul(rest2, g)),
        };
      },
    });
  },
};

/**
 * Lion (Chen et al., 2023): steps of equal size in the direction of the sign
 * of the averaged gradient, with decoupled weight decay.
 *
 * @throws {RangeError} for a hyper-parameter out of its range.
 * @throws {TypeError} for an unknown option or parameters that cannot be optimised.
 */
export function lion(
  parameters: Parameters<GroupOptions & LionHyper>,
  options: CommonOptions & LionHyper = {},
): Optimizer<LionHyper> {
  return new Optimizer(lionMethod, parameters, options);
}
