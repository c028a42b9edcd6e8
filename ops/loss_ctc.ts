/**
 * Connectionist temporal classification: the likelihood of a label sequence
 * under all its alignments with a longer sequence of predictions.
 *
 * @module
 */

import { GradientError, shapeText } from "../core/errors.ts";
import { contiguous } from "../core/row_kernels.ts";
import { operator } from "../core/op.ts";
import { fromHost, Tensor } from "../core/tensor.ts";
import * as k from "../kernel/expr.ts";
import { div } from "./arithmetic.ts";
import {
  alphas,
  classGradient,
  latticeOf,
  likelihoods,
  numbers,
  posteriors,
  refuse,
  upload,
} from "./ctc_kernels.ts";
import { Elementwise } from "./engine.ts";
import { reshape } from "./foundation.ts";
import { fused } from "./fused.ts";
import {
  checkReduction,
  type LossReduction,
  reduceLoss,
} from "./loss_reduction.ts";
import { requireFloat } from "./reduce_rows.ts";
import { t } from "./samples.ts";

/** x, and 0 where it is infinite. */
const finite = new Elementwise(
  "finite",
  1,
  ([x]) => k.select(k.eq(x, Infinity), k.constant(0, x.type), x),
  "promote",
  false,
);

/** Options of {@linkcode ctcLoss}. */
export interface CtcOptions {
  /** Class of the blank; 0 when omitted. */
  blank?: number;
  /** What is returned: the loss of each example, their mean after division by the target lengths (default), or their sum. */
  reduction?: LossReduction;
  /** Whether infinite losses (targets longer than the predictions allow) count as 0. */
  zeroInfinity?: boolean;
}

/** Numbers in an array or a tensor of integers. */
export type Lengths = Tensor | readonly number[];

/** A loss of label sequences under sequences of predictions. */
export type SequenceLoss = (
  logProbs: Tensor,
  targets: Tensor,
  inputLengths: Lengths,
  targetLengths: Lengths,
  options?: CtcOptions,
) => Tensor;

/**
 * Connectionist temporal classification: −log of the likelihood of the target
 * labels, summed over all alignments.
 *
 * @param logProbs Log-probabilities [time, batch, classes] (or [time, classes]), as logSoftmax gives.
 * @param targets Labels [batch, longest], or those of all examples one after the other.
 * @param inputLengths Time steps of each example.
 * @param targetLengths Labels of each example.
 * @throws {ShapeError} when shapes and lengths do not fit.
 * @throws {IndexError} when a label is no class.
 * @throws {GradientError} when a second derivative is asked for.
 */
export const ctcLoss: SequenceLoss = operator<
  SequenceLoss,
  {
    inputLengths: readonly number[];
    targetLengths: readonly number[];
    blank: number;
    reduction: LossReduction;
    zeroInfinity: boolean;
  }
>({
  name: "ctcLoss",
  family: "loss",
  caffe2: "CTC",
  inputs: ["logProbs", "targets"],
  attrs: {
    inputLengths: [],
    targetLengths: [],
    blank: 0,
    reduction: "mean",
    zeroInfinity: false,
  },
  bind: (logProbs, targets, inputLengths, targetLengths, options) => ({
    inputs: [logProbs, targets],
    attrs: {
      inputLengths: numbers(inputLengths),
      targetLengths: numbers(targetLengths),
      ...options,
    },
  }),
  formula:
    "−log Σ Πₜ p[t, π(t)] over the paths π that leave the target when repeats, then blanks are dropped",
  torch: "F.ctc_loss(logProbs, targets, torch.tensor(inputLengths).squeeze(" +
    "0 if logProbs.dim() == 2 else ()), torch.tensor(targetLengths).squeeze(" +
    "0 if logProbs.dim() == 2 else ()), blank=blank, reduction=reduction," +
    " zero_infinity=zeroInfinity)",
  run: ([logProbs, targets], attrs) => {
    const { blank, reduction, zeroInfinity } = attrs;
    requireFloat("take the CTC loss of", logProbs);
    checkReduction(reduction);
    if (logProbs.rank !== 2 && logProbs.rank !== 3) {
      refuse(
        `predictions of shape ${
          shapeText(logProbs.shape)
        } are neither [time, batch, classes] nor [time, classes]`,
      );
    }
    const single = logProbs.rank === 2;
    const x = single
      ? reshape(logProbs, [logProbs.shape[0], 1, logProbs.shape[1]])
      : logProbs;
    const l = latticeOf(
      x,
      targets,
      attrs.inputLengths,
      attrs.targetLengths,
      blank,
    );
    const [each] = fused({
      name: "ctcLoss",
      inputs: [x],
      compute: () => {
        const dense = new Tensor(contiguous(x.value)).value;
        const device = upload(l, dense);
        const alpha = new Tensor(alphas(device));
        const losses = new Tensor(likelihoods(device, alpha.value));
        return {
          outputs: [reshape(losses, [l.batch])],
          extras: [alpha, losses],
        };
      },
      gradient: ({ inputs: [x], extras: [alpha, losses], ...context }) => {
        if (context.differentiable) {
          throw new GradientError(
            "Cannot differentiate ctcLoss twice: its gradient is computed by kernels, not by operators",
          );
        }
        const dense = new Tensor(contiguous(x.value)).value;
        const device = upload(l, dense);
        const shares = new Tensor(
          posteriors(device, alpha.value, losses.value),
        ).value;
        const grad = context.grad.materialize().value;
        const result = classGradient(device, shares, grad, x.dtype);
        return [new Tensor(result)];
      },
    });
    const loss = zeroInfinity ? finite.apply([each]) : each;
    if (reduction !== "mean") {
      return reduceLoss(single ? reshape(loss, []) : loss, reduction);
    }
    const counts = Float32Array.from(l.counts, (n) => Math.max(1, n));
    const divisors = fromHost(counts, "f32", [l.batch], {
      device: x.device.name,
    });
    const result = reduceLoss(div(loss, divisors), "mean");
    divisors.dispose();
    return result;
  },
  samples: [
    [
      logs([5, 2, 3]),
      t([2, 2], { dtype: "i64", data: [1, 2, 2, 2] }),
      [5, 4],
      [2, 2],
    ],
    [
      logs([4, 3, 4]),
      t([3, 2], { dtype: "i64", data: [1, 2, 3, 3, 2, 0] }),
      [4, 4, 3],
      [2, 2, 1],
      { reduction: "none" },
    ],
    [
      logs([4, 2, 3]),
      t([3], { dtype: "i64", data: [0, 1, 1] }),
      [4, 3],
      [1, 2],
      { blank: 2, reduction: "sum" },
    ],
    [
      logs([3, 2, 3]),
      t([2, 3], { dtype: "i64", data: [1, 1, 1, 2, 1, 0] }),
      [3, 3],
      [3, 2],
      { zeroInfinity: true },
    ],
    [
      logs([4, 3]),
      t([2], { dtype: "i64", data: [2, 1] }),
      [4],
      [2],
      { reduction: "none" },
    ],
    [
      logs([3, 1, 2], "f64"),
      t([1, 1], { dtype: "i64", data: [1] }),
      [2],
      [0],
      { reduction: "none" },
    ],
  ],
});

/** Log-probabilities; PyTorch's gradient of them is that of the logits, so it is compared in a test of its own. */
function logs(shape: readonly number[], dtype: "f32" | "f64" = "f32") {
  return t(shape, { low: -3, high: -0.2, dtype, grad: false });
}
