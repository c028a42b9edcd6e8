/** The differences from PyTorch in the signs of zeros that are meant, see table.ts. */

import type { Rule } from "./rules.ts";

/** The rules that only `--zeros` needs. */
export const zeros: readonly Rule[] = [
  {
    name: "order of zeros",
    decaf: "0 is larger than −0",
    pytorch: "the other zero",
    why:
      "Which zero is the larger depends on the device in PyTorch; only told with --zeros",
    cases: [
      [
        "result",
        "-0",
        "+0",
        "minimum fmin min minWithIndex",
        "f32 f64 f16 bf16",
      ],
      [
        "result",
        "+0",
        "-0",
        "maximum fmax clamp kthValue",
        "f32 f64 f16 bf16",
      ],
      ["result", "+0", "-0", "topK", "f16"],
    ],
  },
  {
    name: "signs of zeros",
    decaf: "the zero of the formula's last product or sum",
    pytorch: "the zero of its own steps",
    why:
      "Sums of zeros, and 0 that a mask puts, are 0 or −0 by the order of the steps; only told with --zeros",
    cases: [
      ["result", "-0", "+0", "softShrink", "f64"],
      [
        "result",
        "+0",
        "-0",
        "nllLoss crossEntropy logCumSumExp",
        "f32 f64 f16 bf16",
      ],
      [
        "result",
        "-0",
        "+0",
        "batchNorm layerNorm groupNorm instanceNorm xlogy gridSample logCumSumExp",
        "f32 f64 f16 bf16",
      ],
      ["result", "-0", "+0", "convInputGrad", "bf16"],
      ["result", "+0", "-0", "logaddexp2", "f16"],
    ],
  },
  {
    name: "signs of zero slopes",
    decaf: "the zero of the derivative's last product or sum",
    pytorch: "the zero of its own steps",
    why:
      "A gradient of 0 is 0 or −0 by the order of products with negative numbers, and by whether a branch that is not taken gives the number 0 or 0 times the gradient; only told with --gradients --zeros",
    cases: [
      ["gradient", "+0", "-0", "binaryCrossEntropyWithLogits", "f16"],
      ["gradient", "+0", "-0", "atan2 convInputGrad sparseLengthsSum", "f32"],
      [
        "gradient",
        "+0",
        "-0",
        "feedForward linear linearActivation multiMarginLoss",
        "f32 f64",
      ],
      [
        "gradient",
        "+0",
        "-0",
        "abs cosineEmbeddingLoss glu gridSample groupNorm huberLoss instanceNorm l1Loss marginRankingLoss matmul mseLoss nanToNum norm pow prod silu smoothL1Loss swiglu tripletMarginLoss",
        "f32 f64 f16 bf16",
      ],
      ["gradient", "-0", "+0", "bilinear", "bf16"],
      ["gradient", "-0", "+0", "softsign", "f16"],
      ["gradient", "-0", "+0", "atan2", "f32"],
      ["gradient", "-0", "+0", "silu", "f32 f16 bf16"],
      ["gradient", "-0", "+0", "cosineSimilarity", "f32 f64 bf16"],
      [
        "gradient",
        "-0",
        "+0",
        "cosineEmbeddingLoss crossEntropy cumProd groupNorm hingeEmbeddingLoss huberLoss instanceNorm klDiv marginRankingLoss mseLoss nllLoss poissonNllLoss pow prod sinc smoothL1Loss tanhShrink tripletMarginLoss xlogy",
        "f32 f64 f16 bf16",
      ],
    ],
  },
];
