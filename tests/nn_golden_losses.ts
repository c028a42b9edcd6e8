/** Losses that are compared with PyTorch's. */

import type { Tensor } from "../mod.ts";
import * as nn from "../nn/mod.ts";
import { type Case, floats, ints, wave, x } from "./nn_golden.ts";

/** By the names that the golden file has. */
export const losses: Record<string, Case> = {
  "crossEntropyLoss": {
    module: () =>
      nn.crossEntropyLoss({
        weight: floats([3], [0.5, 1, 2]),
        ignoreIndex: 1,
        labelSmoothing: 0.1,
      }),
    inputs: () => [x([4, 3]), ints([4], 0, 2, 1, 2)],
  },
  "nllLoss": {
    module: () => nn.nllLoss({ reduction: "sum" }),
    inputs: () => [x([4, 3]), ints([4], 0, 2, 1, 2)],
  },
  "mseLoss": {
    module: () => nn.mseLoss(),
    inputs: () => [x([2, 3]), x([2, 3], 3)],
  },
  "bceWithLogitsLoss": {
    module: () => nn.bceWithLogitsLoss({ posWeight: floats([3], [1, 2, 3]) }),
    inputs: () => [x([2, 3]), floats([2, 3], wave([2, 3], 3, 0, 1), true)],
  },
  "l1Loss": {
    module: () => nn.l1Loss({ reduction: "sum" }),
    inputs: () => [x([2, 3]), x([2, 3], 3)],
  },
  "smoothL1Loss": {
    module: () => nn.smoothL1Loss({ beta: 0.7 }),
    inputs: () => [x([2, 3]), x([2, 3], 3)],
  },
  "huberLoss": {
    module: () => nn.huberLoss({ delta: 0.7 }),
    inputs: () => [x([2, 3]), x([2, 3], 3)],
  },
  "bceLoss": {
    module: () => nn.bceLoss(),
    inputs: () => [
      floats([2, 3], wave([2, 3], 1, 0, 1), true),
      floats([2, 3], wave([2, 3], 3, 0, 1), true),
    ],
  },
  "klDivLoss": {
    module: () => nn.klDivLoss({ reduction: "batchmean" }),
    inputs: () => [x([2, 3]), floats([2, 3], wave([2, 3], 3, 0, 1), true)],
  },
  "hingeEmbeddingLoss": {
    module: () => nn.hingeEmbeddingLoss({ margin: 0.5 }),
    inputs: () => [x([4]), ints([4], 1, -1, 1, -1)],
  },
  "softMarginLoss": {
    module: () => nn.softMarginLoss(),
    inputs: () => [x([4]), ints([4], 1, -1, 1, -1)],
  },
  "multiMarginLoss": {
    module: () => nn.multiMarginLoss({ p: 2, margin: 0.7 }),
    inputs: () => [x([2, 3]), ints([2], 0, 2)],
  },
  "poissonNllLoss": {
    module: () => nn.poissonNllLoss({ full: true }),
    inputs: () => [x([4]), floats([4], wave([4], 3, 0, 5), true)],
  },
  "gaussianNllLoss": {
    module: () => nn.gaussianNllLoss(),
    inputs: () => [
      x([4]),
      x([4], 3),
      floats([4], wave([4], 3, 0.5, 2), true),
    ],
  },
  "marginRankingLoss": {
    module: () => nn.marginRankingLoss({ margin: 0.3 }),
    inputs: () => [x([4]), x([4], 3), ints([4], 1, -1, 1, -1)],
  },
  "ctcLoss": {
    module: () => {
      const loss = nn.ctcLoss({ blank: 2 });
      return new class extends nn.Module<nn.CtcInputs> {
        forward(...[scores, ...rest]: nn.CtcInputs): Tensor {
          return loss.forward(scores.logSoftmax(-1), ...rest);
        }
      }();
    },
    inputs: () => [x([5, 2, 3]), ints([2, 2], 0, 1, 1, 0), [5, 4], [2, 1]],
  },
  "tripletMarginLoss": {
    module: () => nn.tripletMarginLoss({ margin: 2 }),
    inputs: () => [x([2, 3]), x([2, 3], 3), x([2, 3], 5)],
  },
  "cosineEmbeddingLoss": {
    module: () => nn.cosineEmbeddingLoss({ margin: 0.2 }),
    inputs: () => [x([2, 3]), x([2, 3], 3), ints([2], 1, -1)],
  },
};
