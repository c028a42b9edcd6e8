/**
 * Losses of similarities and distances, and of margins between classes.
 *
 * @module
 */

import { integer } from "../core/attributes.ts";
import { promote } from "../core/dtype.ts";
import { ShapeError, shapeText } from "../core/errors.ts";
import { operator } from "../core/op.ts";
import { sameShape } from "../core/shape.ts";
import type { Tensor } from "../core/tensor.ts";
import * as k from "../kernel/expr.ts";
import type { Expr } from "../kernel/expr.ts";
import { div, mul } from "./arithmetic.ts";
import { axisPositions } from "./axis_positions.ts";
import { classAxis, classLabels, requireClassWeight } from "./class_labels.ts";
import { Elementwise } from "./engine.ts";
import { minimum } from "./extremes.ts";
import { cast, reshape, sum } from "./foundation.ts";
import {
  formula,
  type LossOptions,
  type LossReduction,
  positive,
  reduceLoss,
  requireSameShape,
} from "./loss_reduction.ts";
import type { MarginOptions } from "./loss_binary.ts";
import { requireFloat } from "./reduce_rows.ts";
import { t } from "./samples.ts";
import { step } from "./slopes.ts";
import { norm } from "./statistics.ts";

// ---- cosines ----

/** s / (max(√p, ε)·max(√q, ε)) from the inner product s and the squared lengths p, q. */
const cosine = formula("cosine similarity", 3, ([s, p, q, eps]) => {
  const atLeast = (x: Expr) => k.select(k.lt(x, eps), eps, x);
  const length = (squares: Expr) => atLeast(k.sqrt(squares));
  return k.div(s, k.mul(length(p), length(q)));
}, 1);

/** Options of {@linkcode cosineSimilarity}. */
export interface SimilarityOptions {
  /** Smallest length that is divided by; 1e-8 when omitted. */
  eps?: number;
}

/**
 * Cosine of the angle between two tensors along an axis (1 when omitted):
 * a·b / (max(‖a‖, ε)·max(‖b‖, ε)). The tensors are broadcast.
 */
export const cosineSimilarity: (
  a: Tensor,
  b: Tensor,
  axis?: number,
  options?: SimilarityOptions,
) => Tensor = operator<
  (
    a: Tensor,
    b: Tensor,
    axis?: number,
    options?: SimilarityOptions,
  ) => Tensor,
  { axis: number; eps: number }
>({
  name: "cosineSimilarity",
  family: "loss",
  inputs: ["a", "b"],
  attrs: { axis: 1, eps: 1e-8 },
  bind: (a, b, axis, options) => ({
    inputs: [a, b],
    attrs: { axis, ...options },
  }),
  formula: "a·b / (‖a‖·‖b‖)",
  torch: "F.cosine_similarity(a, b, dim=axis, eps=eps)",
  caffe2: "CosineSimilarity",
  run: ([a, b], { axis, eps }) => {
    requireFloat("take the cosine similarity of", a, b);
    // An axis is counted in the broadcast shape: from the end it is the same in both.
    const from = axis < 0 ? axis : axis - Math.max(a.rank, b.rank);
    // Squares of halves leave their range where the vectors are of moderate length.
    const wide = (x: Tensor) =>
      x.dtype === "f16" || x.dtype === "bf16" ? cast(x, "f32") : x;
    const [p, q] = [wide(a), wide(b)];
    const parts = [[p, q], [p, p], [q, q]].map((pair) =>
      sum(mul(pair[0], pair[1]), from)
    );
    const similarity = cosine.apply([...parts, eps]);
    const dtype = promote(a.dtype, b.dtype);
    return similarity.dtype === dtype ? similarity : cast(similarity, dtype);
  },
  samples: [
    [t([2, 3]), t([2, 3], { low: -1 })],
    [t([2, 3, 2]), t([2, 3, 2], { low: -1 }), -1],
    [t([3]), t([3], { low: -1 }), 0],
    [t([2, 3]), t([1, 3], { low: -1 })],
    [t([2, 2], { dtype: "f64" }), t([2, 2], { dtype: "f64", low: -1 }), 0],
    [
      t([2, 2], { dtype: "f16", data: [300, 100, -400, 500] }),
      t([2, 2], { dtype: "f16", data: [300, 100, 600, 700] }),
    ],
    [
      t([2, 2], { data: [0, 0, 3, 4], grad: false }),
      t([2, 2], { data: [1, 2, 4, 3], grad: false }),
    ],
  ],
});

/** Added to squared lengths: PyTorch's constant, which has single precision. */
const cosineEpsilon = Math.fround(1e-12);

/** 1 − cos for target 1, max(0, cos − margin) for −1. */
const cosineLoss = formula(
  "cosine embedding",
  4,
  ([s, p, q, target, margin]) => {
    const [pp, qq] = [k.add(p, cosineEpsilon), k.add(q, cosineEpsilon)];
    const cos = k.div(s, k.sqrt(k.mul(pp, qq)));
    const zero = k.constant(0, s.type);
    return k.add(
      k.select(k.eq(target, 1), k.sub(1, cos), zero),
      k.select(k.eq(target, -1), positive(k.sub(cos, margin)), zero),
    );
  },
  1,
  // ∂: those of the cosine, times −1 or 1 or 0
  ([s, p, q, target, margin]) => {
    const [pp, qq] = [k.add(p, cosineEpsilon), k.add(q, cosineEpsilon)];
    const length = k.sqrt(k.mul(pp, qq));
    const cos = k.div(s, length);
    const is = (value: number) => k.cast(k.eq(target, value), s.type);
    const on = k.sub(k.mul(is(-1), step(k.sub(cos, margin))), is(1));
    const square = k.div(
      k.neg(k.mul(on, k.div(cos, length))),
      k.mul(2, length),
    );
    return [k.div(on, length), k.mul(square, qq), k.mul(square, pp)];
  },
);

/** A loss of two tensors whose relation the target tells by 1 or −1. */
export type ComparedLoss = (
  a: Tensor,
  b: Tensor,
  target: Tensor,
  options?: MarginOptions,
) => Tensor;

interface MarginAttrs {
  readonly reduction: LossReduction;
  readonly margin: number;
}

const signs = (data: readonly number[]) =>
  t([data.length], { data, grad: false });

/**
 * Loss of pairs of vectors, [batch, features] or [features], that should be
 * alike (target 1: 1 − cos) or not (target −1: max(0, cos − margin)); the
 * margin is 0 when omitted.
 *
 * @throws {ShapeError} when the shapes do not fit.
 */
export const cosineEmbeddingLoss: ComparedLoss = operator<
  ComparedLoss,
  MarginAttrs
>({
  name: "cosineEmbeddingLoss",
  family: "loss",
  caffe2: "CosineEmbeddingCriterion",
  inputs: ["a", "b", "target"],
  attrs: { reduction: "mean", margin: 0 },
  formula: "1 − cos where t = 1, max(0, cos − margin) where t = −1",
  torch: "F.cosine_embedding_loss(a, b, target, margin=margin," +
    " reduction=reduction)",
  run: ([a, b, target], { reduction, margin }) => {
    requireFloat("take the cosine embedding loss of", a, b);
    requireSameShape("cosine embedding loss", a, b);
    const rows = a.shape.slice(0, -1);
    if (
      a.rank < 1 || a.rank > 2 || !sameShape(target.shape, rows)
    ) {
      throw new ShapeError(
        `Cannot take the cosine embedding loss of tensors of shapes ${
          shapeText(a.shape)
        } with targets of shape ${
          shapeText(target.shape)
        }: it takes [batch, features] with targets [batch], or [features] with one target []`,
      );
    }
    const parts = [[a, b], [a, a], [b, b]].map((pair) =>
      sum(mul(pair[0], pair[1]), -1)
    );
    return reduceLoss(cosineLoss.apply([...parts, target, margin]), reduction);
  },
  samples: [
    [t([3, 4]), t([3, 4], { low: -1 }), signs([1, -1, 1])],
    [t([3, 4]), t([3, 4], { low: -1 }), signs([-1, -1, 1]), {
      margin: -0.9,
      reduction: "none",
    }],
    [t([3, 2]), t([3, 2], { low: -1 }), signs([-1, -1, 1]), {
      reduction: "sum",
    }],
    [t([4]), t([4], { low: -1 }), t([], { data: [1], grad: false })],
  ],
});

// ---- margins ----

const ranking = formula(
  "margin ranking",
  3,
  ([a, b, target, margin]) =>
    positive(k.add(k.mul(k.neg(target), k.sub(a, b)), margin)),
  1,
  // ∂: −t, t and b − a where the loss is above 0, else 0 of them
  ([a, b, target, margin]) => {
    const apart = k.sub(a, b);
    const on = step(k.add(k.mul(k.neg(target), apart), margin));
    const slope = k.mul(on, k.neg(target));
    return [slope, k.neg(slope), k.neg(k.mul(on, apart))];
  },
);

/**
 * Loss of scores that should be ordered: max(0, −t·(a − b) + margin) with
 * t = 1 where a should be larger and −1 where b should; the margin is 0 when
 * omitted.
 *
 * @throws {ShapeError} when the shapes differ.
 */
export const marginRankingLoss: ComparedLoss = operator<
  ComparedLoss,
  MarginAttrs
>({
  name: "marginRankingLoss",
  family: "loss",
  inputs: ["a", "b", "target"],
  attrs: { reduction: "mean", margin: 0 },
  formula: "max(0, −t·(a − b) + margin)",
  torch: "F.margin_ranking_loss(a, b, target, margin=margin," +
    " reduction=reduction)",
  caffe2: "MarginRankingCriterion",
  run: ([a, b, target], { reduction, margin }) => {
    requireSameShape("margin ranking loss", a, b);
    requireSameShape("margin ranking loss", a, target);
    return reduceLoss(ranking.apply([a, b, target, margin]), reduction);
  },
  samples: [
    // The NaN keeps finite differences away.
    [
      t([3], { data: [NaN, Infinity, 1] }),
      t([3], { data: [0, 1, 1] }),
      t([3], { data: [1, 1, -1] }),
      { reduction: "none" },
    ],
    [t([4]), t([4], { low: -1 }), signs([1, -1, 1, -1])],
    [t([4]), t([4], { low: -1 }), signs([1, -1, 1, -1]), {
      margin: 0.7,
      reduction: "none",
    }],
    [t([4]), t([4], { low: -1 }), signs([1, 1, 1, -1]), { reduction: "sum" }],
  ],
});

const shifted = formula(
  "distance",
  2,
  ([a, b, eps]) => k.add(k.sub(a, b), eps),
  1,
);

/** The p-norm of a − b + ε along the last axis. */
function distance(a: Tensor, b: Tensor, p: number, eps: number): Tensor {
  return norm(shifted.apply([a, b, eps]), -1, { p });
}

const triplet = formula(
  "triplet margin",
  2,
  ([near, far, margin]) => positive(k.add(k.sub(near, far), margin)),
  1,
);

/** Options of {@linkcode tripletMarginLoss}. */
export interface TripletOptions extends MarginOptions {
  /** Order of the norm; 2 when omitted. */
  p?: number;
  /** Added to differences; 1e-6 when omitted. */
  eps?: number;
  /** Whether the distance of positive and negative counts where it is the smaller one. */
  swap?: boolean;
}

/** A loss of vectors, others that should be near them, and others that should be far. */
export type TripletLoss = (
  anchor: Tensor,
  positive: Tensor,
  negative: Tensor,
  options?: TripletOptions,
) => Tensor;

/**
 * Loss of triplets of vectors: max(0, ‖a − p‖ − ‖a − n‖ + margin); the margin
 * is 1 when omitted.
 *
 * @throws {ShapeError} when the shapes differ.
 */
export const tripletMarginLoss: TripletLoss = operator<
  TripletLoss,
  MarginAttrs & { p: number; eps: number; swap: boolean }
>({
  name: "tripletMarginLoss",
  family: "loss",
  inputs: ["anchor", "positive", "negative"],
  attrs: { reduction: "mean", margin: 1, p: 2, eps: 1e-6, swap: false },
  formula: "max(0, ‖a − p‖ − ‖a − n‖ + margin)",
  torch: "F.triplet_margin_loss(anchor, positive, negative, margin=margin," +
    " p=p, eps=eps, swap=swap, reduction=reduction)",
  run: ([anchor, near, far], { reduction, margin, p, eps, swap }) => {
    const what = "triplet margin loss";
    requireFloat(`take the ${what} of`, anchor, near, far);
    requireSameShape(what, anchor, near);
    requireSameShape(what, anchor, far);
    const close = distance(anchor, near, p, eps);
    let apart = distance(anchor, far, p, eps);
    if (swap) apart = minimum(apart, distance(near, far, p, eps));
    return reduceLoss(triplet.apply([close, apart, margin]), reduction);
  },
  samples: [
    [t([3, 4]), t([3, 4], { low: -1 }), t([3, 4], { low: -0.5 })],
    [t([3, 4]), t([3, 4], { low: -1 }), t([3, 4], { low: -0.5 }), {
      margin: 0.25,
      p: 1,
      reduction: "none",
    }],
    [t([3, 4]), t([3, 4], { low: -1 }), t([3, 4], { low: 0.5 }), {
      margin: 3,
      swap: true,
      reduction: "sum",
    }],
    [t([4]), t([4], { low: -1 }), t([4], { low: -0.5 })],
  ],
});

// ---- margins among classes ----

/** max(0, margin − picked + x)ᵖ·w for the other classes. */
function excess(square: boolean): Elementwise {
  return formula("multi margin", 4, ([x, picked, w, other, margin]) => {
    const over = k.add(k.sub(margin, picked), x);
    const loss = square ? k.mul(over, over) : over;
    // What is NaN is not above 0, and adds nothing.
    return k.select(
      k.and(k.ne(other, 0), k.gt(over, 0)),
      k.mul(w, loss),
      k.constant(0, x.type),
    );
  }, 1);
}

const excesses = { 1: excess(false), 2: excess(true) };

const differs = new Elementwise(
  "differs",
  2,
  ([a, b]) => k.ne(a, b),
  "bool",
  true,
);

const where = formula(
  "where",
  2,
  ([omit, x]) => k.select(k.ne(omit, 0), k.constant(0, x.type), x),
);

/** Options of {@linkcode multiMarginLoss}. */
export interface MultiMarginOptions extends LossOptions {
  /** The margin; 1 when omitted. */
  margin?: number;
  /** Exponent, 1 (when omitted) or 2. */
  p?: 1 | 2;
  /** Factor of the loss of each label's class, one per class. */
  weight?: Tensor;
}

/** A loss of scores of classes with labels and a margin. */
export type MultiMarginLoss = (
  x: Tensor,
  target: Tensor,
  options?: MultiMarginOptions,
) => Tensor;

/**
 * Hinge loss of scores of classes, [batch, classes] or [classes], with labels:
 * Σ over the others max(0, margin − x_y + x_c)ᵖ / classes.
 *
 * @throws {ShapeError} when the shapes do not fit.
 * @throws {IndexError} when a label is no class.
 */
export const multiMarginLoss: MultiMarginLoss = operator<
  MultiMarginLoss,
  MarginAttrs & { p: 1 | 2 }
>({
  name: "multiMarginLoss",
  family: "loss",
  inputs: ["x", "target", "weight"],
  attrs: { reduction: "mean", margin: 1, p: 1 },
  rules: { p: integer },
  bind: (x, target, options) => {
    const { weight, ...attrs } = options ?? {};
    return { inputs: [x, target, weight], attrs };
  },
  formula: "Σ_{c ≠ y} w_y·max(0, margin − x_y + x_c)ᵖ / classes",
  torch: "F.multi_margin_loss(x, target, p=p, margin=margin, weight=weight," +
    " reduction=reduction)",
  run: ([x, target, weight], { reduction, margin, p }) => {
    const what = "multi margin loss";
    requireFloat(`take the ${what} of`, x);
    if (x.rank < 1 || x.rank > 2) {
      throw new ShapeError(
        `Cannot take the ${what} of a tensor of shape ${
          shapeText(x.shape)
        }: it takes [batch, classes] or [classes]`,
      );
    }
    if (p !== 1 && p !== 2) {
      throw new RangeError(
        `Cannot take the ${what} with exponent ${p}: it must be 1 or 2`,
      );
    }
    requireClassWeight(what, x, weight);
    const axis = classAxis(x.shape);
    const classes = x.shape[axis];
    const labels = classLabels(what, x, target);
    const here = axisPositions(x.shape, axis, x.device);
    const others = differs.apply([here, labels]);
    const kept = { keepDim: true };
    const pick = (from: Tensor) => sum(where.apply([others, from]), axis, kept);
    const w = weight === undefined
      ? 1
      : pick(reshape(weight, x.shape.map((n, d) => d === axis ? n : 1)));
    const parts = excesses[p].apply([x, pick(x), w, others, margin]);
    return reduceLoss(div(sum(parts, axis), classes), reduction);
  },
  samples: [
    [t([3, 4]), t([3], { dtype: "i64", data: [0, 3, 1] })],
    [t([3, 4]), t([3], { dtype: "i64", data: [0, 3, 1] }), {
      p: 2,
      margin: 0.6,
      reduction: "none",
    }],
    [t([3, 4]), t([3], { dtype: "i64", data: [2, 3, 1] }), {
      weight: t([4], { low: 0.5, grad: false }),
      reduction: "sum",
    }],
    [t([4]), t([], { dtype: "i64", data: [2] })],
  ],
});
