/**
 * Losses as modules: their options are given once, their weights are buffers.
 *
 * @module
 */

import type { Tensor } from "../core/tensor.ts";
import * as ops from "../ops/loss.ts";
import {
  crossEntropy,
  type CrossEntropyOptions,
  nllLoss as nll,
  type NllOptions,
} from "../ops/loss_classes.ts";
import {
  ctcLoss as ctc,
  type CtcOptions,
  type Lengths,
} from "../ops/loss_ctc.ts";
import * as pairs from "../ops/loss_pairs.ts";
import type { LossOptions } from "../ops/loss_reduction.ts";
import { checkCall, show } from "./extents.ts";
import { Module } from "./module.ts";
import { buffer } from "./roles.ts";

/** Predictions and targets. */
export type Pair = [x: Tensor, target: Tensor];

/** Two inputs and a target. */
export type Triple = [a: Tensor, b: Tensor, target: Tensor];

/** Weights that a loss may have; buffers of its state dict. */
interface Weights {
  readonly weight?: Tensor;
  readonly posWeight?: Tensor;
}

/** A loss with its options; `weight` and `pos_weight` are in its state dict where they are given. */
export class Loss<Inputs extends unknown[] = Pair> extends Module<Inputs> {
  /** Factor of each class or element, if it was given. */
  readonly weight: Tensor | undefined;
  /** Factor of positive targets, if it was given. */
  readonly posWeight: Tensor | undefined;
  readonly #name: string;
  readonly #function: (inputs: Inputs, weights: Weights) => Tensor;
  readonly #details: string;

  /**
   * Wraps a loss.
   *
   * @param name Name to show.
   * @param f The loss of the inputs and the present weights.
   * @param options Options to show; the weights among them become buffers.
   */
  constructor(
    name: string,
    f: (inputs: Inputs, weights: Weights) => Tensor,
    options: Weights & object = {},
  ) {
    super();
    const { weight, posWeight, ...rest } = options;
    this.weight = weight && buffer(weight);
    this.posWeight = posWeight && buffer(posWeight);
    this.#name = name;
    this.#function = f;
    this.#details = show({ ...rest });
  }

  /** The loss. */
  override forward(...inputs: Inputs): Tensor {
    const { weight, posWeight } = this;
    return this.#function(inputs, { weight, posWeight });
  }

  /** Name and options. */
  override toString(): string {
    return `${this.#name}(${this.#details})`;
  }
}

function paired<O extends LossOptions>(
  name: string,
  f: (x: Tensor, target: Tensor, options?: O) => Tensor,
  options: O | undefined,
): Loss {
  checkCall(name, { operator: f, operands: 2, options });
  return new Loss<Pair>(
    name,
    ([x, target], weights) =>
      f(x, target, { ...options, ...present(weights) } as O),
    options,
  );
}

function present(weights: Weights): Weights {
  const { weight, posWeight } = weights;
  return { ...(weight && { weight }), ...(posWeight && { posWeight }) };
}

/** Cross entropy of logits [batch, classes, …] and labels or probabilities. */
export function crossEntropyLoss(options?: CrossEntropyOptions): Loss {
  return paired("CrossEntropyLoss", crossEntropy, options);
}

/** Negative log-likelihood of log-probabilities [batch, classes, …] and labels. */
export function nllLoss(options?: NllOptions): Loss {
  return paired("NLLLoss", nll, options);
}

/** (x − target)². */
export function mseLoss(options?: LossOptions): Loss {
  return paired("MSELoss", ops.mseLoss, options);
}

/** |x − target|. */
export function l1Loss(options?: LossOptions): Loss {
  return paired("L1Loss", ops.l1Loss, options);
}

/** Squared below a distance of β, linear above. */
export function smoothL1Loss(options?: ops.SmoothL1Options): Loss {
  return paired("SmoothL1Loss", ops.smoothL1Loss, options);
}

/** Huber's loss: squared up to a distance of δ, linear above. */
export function huberLoss(options?: ops.HuberOptions): Loss {
  return paired("HuberLoss", ops.huberLoss, options);
}

/** Cross entropy of probabilities and targets from 0 to 1. */
export function bceLoss(options?: ops.BinaryCrossEntropyOptions): Loss {
  return paired("BCELoss", ops.binaryCrossEntropy, options);
}

/** Cross entropy of the logistic function of x and targets from 0 to 1. */
export function bceWithLogitsLoss(options?: ops.LogitsOptions): Loss {
  return paired("BCEWithLogitsLoss", ops.binaryCrossEntropyWithLogits, options);
}

/** Kullback–Leibler divergence of log-probabilities from target probabilities. */
export function klDivLoss(options?: ops.KlDivOptions): Loss {
  checkCall("KLDivLoss", {
    operator: ops.klDiv,
    operands: 2,
    options,
  });
  return new Loss<Pair>(
    "KLDivLoss",
    ([x, target]) => ops.klDiv(x, target, options),
    options,
  );
}

/** x where the target is 1, max(0, margin − x) where it is −1. */
export function hingeEmbeddingLoss(options?: ops.MarginOptions): Loss {
  return paired("HingeEmbeddingLoss", ops.hingeEmbeddingLoss, options);
}

/** log(1 + e^(−t·x)) for targets of ± 1. */
export function softMarginLoss(options?: LossOptions): Loss {
  return paired("SoftMarginLoss", ops.softMarginLoss, options);
}

/** Hinge loss of scores [batch, classes] and labels. */
export function multiMarginLoss(options?: pairs.MultiMarginOptions): Loss {
  return paired("MultiMarginLoss", pairs.multiMarginLoss, options);
}

/** Negative log-likelihood of counts under Poisson distributions. */
export function poissonNllLoss(options?: ops.PoissonOptions): Loss {
  return paired("PoissonNLLLoss", ops.poissonNllLoss, options);
}

/** Negative log-likelihood under normal distributions: (x, target, variance). */
export function gaussianNllLoss(
  options?: ops.GaussianOptions,
): Loss<[x: Tensor, target: Tensor, variance: Tensor]> {
  checkCall("GaussianNLLLoss", {
    operator: ops.gaussianNllLoss,
    operands: 3,
    options,
  });
  return new Loss<[x: Tensor, target: Tensor, variance: Tensor]>(
    "GaussianNLLLoss",
    ([x, target, variance]) =>
      ops.gaussianNllLoss(x, target, variance, options),
    options,
  );
}

/** 1 − cos of the angle where the target is 1, max(0, cos − margin) where it is −1: (a, b, target). */
export function cosineEmbeddingLoss(
  options?: ops.MarginOptions,
): Loss<Triple> {
  checkCall("CosineEmbeddingLoss", {
    operator: pairs.cosineEmbeddingLoss,
    operands: 3,
    options,
  });
  return new Loss<Triple>(
    "CosineEmbeddingLoss",
    ([a, b, target]) => pairs.cosineEmbeddingLoss(a, b, target, options),
    options,
  );
}

/** max(0, −t·(a − b) + margin): (a, b, target). */
export function marginRankingLoss(options?: ops.MarginOptions): Loss<Triple> {
  checkCall("MarginRankingLoss", {
    operator: pairs.marginRankingLoss,
    operands: 3,
    options,
  });
  return new Loss<Triple>(
    "MarginRankingLoss",
    ([a, b, target]) => pairs.marginRankingLoss(a, b, target, options),
    options,
  );
}

/** max(0, ‖anchor − positive‖ − ‖anchor − negative‖ + margin). */
export function tripletMarginLoss(
  options?: pairs.TripletOptions,
): Loss<[anchor: Tensor, positive: Tensor, negative: Tensor]> {
  checkCall("TripletMarginLoss", {
    operator: pairs.tripletMarginLoss,
    operands: 3,
    options,
  });
  return new Loss<[anchor: Tensor, positive: Tensor, negative: Tensor]>(
    "TripletMarginLoss",
    ([anchor, positive, negative]) =>
      pairs.tripletMarginLoss(anchor, positive, negative, options),
    options,
  );
}

/** Log-probabilities [time, batch, classes], labels, and the lengths of both. */
export type CtcInputs = [
  logProbs: Tensor,
  targets: Tensor,
  inputLengths: Lengths,
  targetLengths: Lengths,
];

/** −log of the likelihood of labels, summed over all alignments. */
export function ctcLoss(options?: CtcOptions): Loss<CtcInputs> {
  checkCall("CTCLoss", {
    operator: ctc,
    operands: 2,
    args: { inputLengths: [], targetLengths: [] },
    options,
  });
  return new Loss<CtcInputs>(
    "CTCLoss",
    (inputs) => ctc(...inputs, options),
    { ...options } as object,
  );
}
