/**
 * Losses of classification among many classes, with labels or probabilities as
 * targets.
 *
 * @module
 */

import { ShapeError, shapeText } from "../core/errors.ts";
import { operator, type Sample } from "../core/op.ts";
import { sameShape } from "../core/shape.ts";
import type { Tensor } from "../core/tensor.ts";
import * as k from "../kernel/expr.ts";
import { div } from "./arithmetic.ts";
import {
  classAxis,
  holdsLabels,
  requireClasses,
  requireClassWeight,
  withoutClasses,
} from "./class_labels.ts";
import { Elementwise } from "./engine.ts";
import { reshape, sum } from "./foundation.ts";
import { type ClassAttrs, labelledLoss } from "./loss_labels.ts";
import {
  checkReduction,
  type LossOptions,
  type LossReduction,
  reduceLoss,
} from "./loss_reduction.ts";
import { requireFloat } from "./reduce_rows.ts";
import { t } from "./samples.ts";
import { logSoftmax } from "./softmax.ts";

/** Options of {@linkcode nllLoss}. */
export interface NllOptions extends LossOptions {
  /** Factor of each class's loss, one per class; `mean` divides by the sum of those that count. */
  weight?: Tensor;
  /** Label of rows that do not count; −100 when omitted. */
  ignoreIndex?: number;
}

/** Options of {@linkcode crossEntropy}. */
export interface CrossEntropyOptions extends NllOptions {
  /** Share of each target that is spread over all classes; 0 when omitted. */
  labelSmoothing?: number;
}

/** A loss of scores of classes, [classes] or [batch, classes, …], with targets. */
export type ClassLoss<Options> = (
  x: Tensor,
  target: Tensor,
  options?: Options,
) => Tensor;

function bindClasses<Options extends { weight?: Tensor }>(
  x: Tensor,
  target: Tensor,
  options?: Options,
) {
  if (options === undefined || options === null) {
    return { inputs: [x, target, undefined] };
  }
  const { weight, ...attrs } = options;
  return { inputs: [x, target, weight], attrs };
}

function labels(shape: readonly number[], data: readonly number[]) {
  return t(shape, { dtype: "i64", data });
}

const weights = (n: number) => t([n], { low: 0.5, grad: false });

const labelCalls: Sample[] = [
  [t([3, 4]), labels([3], [0, 3, 1])],
  [t([3, 4]), labels([3], [0, 3, 1]), { reduction: "none" }],
  [t([3, 4]), labels([3], [0, 3, 1]), { reduction: "sum" }],
  [t([4]), labels([], [2])],
  [t([2, 3, 2]), labels([2, 2], [0, 2, 1, 1])],
  [t([2, 3, 2, 2]), labels([2, 2, 2], [0, 2, 1, 1, 0, 0, 2, 1]), {
    reduction: "none",
    ignoreIndex: 2,
  }],
  [t([3, 4]), labels([3], [0, -100, 1])],
  [t([3, 4]), labels([3], [0, 3, 1]), { weight: weights(4) }],
  [t([3, 4]), labels([3], [0, -1, 1]), {
    weight: weights(4),
    ignoreIndex: -1,
    reduction: "sum",
  }],
  [t([2, 3], { dtype: "f64" }), labels([2], [0, 2])],
  [t([2, 3], { dtype: "bf16" }), labels([2], [0, 2])],
  [t([0, 3]), labels([0], []), { reduction: "sum" }],
];

/**
 * Negative log-likelihood of labels, given log-probabilities of classes:
 * −w_y·x_y. Scores are [classes] or [batch, classes, …].
 *
 * @throws {ShapeError} when the shapes do not fit.
 * @throws {IndexError} when a label is no class.
 */
export const nllLoss: ClassLoss<NllOptions> = operator<
  ClassLoss<NllOptions>,
  ClassAttrs
>({
  name: "nllLoss",
  family: "loss",
  inputs: ["x", "target", "weight"],
  attrs: { reduction: "mean", ignoreIndex: -100 },
  bind: bindClasses,
  formula: "−w_y·x_y",
  torch: "F.nll_loss(x, target, weight, ignore_index=ignoreIndex," +
    " reduction=reduction)",
  onnx: "NegativeLogLikelihoodLoss",
  run: (operands, attrs) =>
    labelledLoss({ name: "nllLoss", smoothing: 0, ...attrs }, operands),
  samples: labelCalls,
});

/** −w·((1 − ε)·t + ε/classes)·log p */
const probabilityLoss = new Elementwise(
  "cross entropy of probabilities",
  5,
  ([logP, target, weight, epsilon, share]) => {
    const mixed = k.add(k.mul(k.sub(1, epsilon), target), share);
    return k.neg(k.mul(k.mul(weight, mixed), logP));
  },
  "promote",
  false,
  2,
);

/** Cross entropy with probabilities as targets. */
function softCrossEntropy(
  [x, target, weight]: readonly Tensor[],
  reduction: LossReduction,
  epsilon: number,
): Tensor {
  requireFloat("take the crossEntropy of", x, target);
  requireClasses("crossEntropy", x);
  requireClassWeight("crossEntropy", x, weight);
  checkReduction(reduction);
  if (!sameShape(x.shape, target.shape)) {
    throw new ShapeError(
      `Cannot take the crossEntropy of a tensor of shape ${
        shapeText(x.shape)
      } with targets of shape ${
        shapeText(target.shape)
      } and dtype ${target.dtype}: probabilities need the shape of the scores, and labels (integers) shape ${
        shapeText(withoutClasses(x.shape))
      }`,
    );
  }
  const axis = classAxis(x.shape);
  const classes = x.shape[axis];
  const along = weight === undefined
    ? 1
    : reshape(weight, x.shape.map((n, d) => d === axis ? n : 1));
  const parts = probabilityLoss.apply([
    logSoftmax(x, axis),
    target,
    along,
    epsilon,
    epsilon / classes,
  ]);
  if (reduction === "none") return sum(parts, axis);
  const total = reduceLoss(parts, "sum");
  return reduction === "sum" ? total : div(total, x.size / classes);
}

const shares = (shape: readonly number[]) => t(shape, { low: 0.1, high: 0.9 });

/**
 * Cross entropy of scores (logits) of classes with labels, or with
 * probabilities of the shape of the scores: −w_y·log softmax(x)_y. Scores are
 * [classes] or [batch, classes, …]. No softmax is stored.
 *
 * @throws {ShapeError} when the shapes do not fit.
 * @throws {IndexError} when a label is no class.
 * @throws {RangeError} when the label smoothing is not from 0 to 1.
 *
 * @example
 * ```ts
 * import { tensor } from "@decaf/decaf";
 *
 * const logits = tensor([[2, 1, 0], [0, 0, 9]], { dtype: "f32" });
 * const loss = logits.crossEntropy(tensor([0, 2], { dtype: "i64" }));
 * if (Math.abs(loss.item() - 0.2039) > 1e-4) throw new Error(`${loss.item()}`);
 * ```
 */
export const crossEntropy: ClassLoss<CrossEntropyOptions> = operator<
  ClassLoss<CrossEntropyOptions>,
  ClassAttrs & { labelSmoothing: number }
>({
  name: "crossEntropy",
  family: "loss",
  inputs: ["x", "target", "weight"],
  attrs: { reduction: "mean", ignoreIndex: -100, labelSmoothing: 0 },
  bind: bindClasses,
  formula: "−w_y·log softmax(x)_y",
  torch: "F.cross_entropy(x, target, weight, ignore_index=ignoreIndex," +
    " reduction=reduction, label_smoothing=labelSmoothing)",
  onnx: "SoftmaxCrossEntropyLoss",
  caffe2: "SoftmaxWithLoss",
  run: (operands, { labelSmoothing, reduction, ignoreIndex }) => {
    if (!(labelSmoothing >= 0 && labelSmoothing <= 1)) {
      throw new RangeError(
        `Cannot take the crossEntropy with label smoothing ${labelSmoothing}: it must be from 0 to 1`,
      );
    }
    if (!holdsLabels(operands[1])) {
      return softCrossEntropy(operands, reduction, labelSmoothing);
    }
    const name = "crossEntropy";
    const smoothing = labelSmoothing;
    return labelledLoss({ name, smoothing, reduction, ignoreIndex }, operands);
  },
  samples: [
    ...labelCalls,
    [t([3, 4]), labels([3], [0, 3, 1]), { labelSmoothing: 0.1 }],
    [t([3, 4]), labels([3], [0, -100, 1]), { labelSmoothing: 0.1 }],
    [t([2, 3, 2]), labels([2, 2], [0, 2, 1, -1]), {
      labelSmoothing: 0.2,
      weight: weights(3),
      ignoreIndex: -1,
    }],
    [t([3, 4]), labels([3], [0, 3, 1]), {
      labelSmoothing: 0.1,
      weight: weights(4),
      reduction: "none",
    }],
    [
      t([2, 3], { data: [1000, 0, -1000, 1e4, 1e4, -1e4] }),
      labels([2], [1, 0]),
    ],
    [
      t([2, 3], { data: [-Infinity, 0, 1, 2, 3, 4], grad: false }),
      labels([2], [
        1,
        0,
      ]),
    ],
    [t([2, 3]), shares([2, 3])],
    [t([3]), shares([3]), { labelSmoothing: 0.3 }],
    [t([2, 3, 2]), shares([2, 3, 2]), {
      weight: weights(3),
      labelSmoothing: 0.1,
      reduction: "none",
    }],
    [t([2, 3]), shares([2, 3]), { reduction: "sum" }],
  ],
});
