/**
 * The differences from PyTorch that are meant: what Decaf gives and what PyTorch gives, by operator, place and dtype.
 * docs/pytorch_differences.md lists them; `deno task edges` refuses every other.
 */

import { infinities } from "./infinities.ts";
import { integers } from "./integers.ts";
import type { Rule } from "./rules.ts";
import { zeros } from "./zeros.ts";

/** The rules, each with its cases: place, Decaf's kind, PyTorch's kind, operators with dtypes. */
export const rules: readonly Rule[] = [
  {
    name: "vectors",
    decaf: "as PyTorch without vector instructions and oneDNN",
    pytorch: "another answer",
    why:
      "PyTorch's vectorised loops and oneDNN do not keep NaN, ±∞ and quotients beyond 2^53 as its plain loops do",
    cases: [
      ["gradient", "plain", "NaN", "conv", "bf16"],
      ["gradient", "plain", "NaN", "convActivation", "f16 bf16"],
      [
        "gradient",
        "plain",
        "finite",
        "convActivation convTranspose",
        "f16 bf16",
      ],
      ["gradient", "plain", "finite", "convInputGrad", "f32 f16 bf16"],
      ["gradient", "plain", "finite", "lstm", "bf16"],
      ["gradient", "plain", "∞", "convActivation", "bf16"],
      ["gradient", "plain", "∞", "convInputGrad", "f32 f16 bf16"],
      ["gradient", "plain", "∞", "convTranspose", "f16 bf16"],
      ["result", "plain", "0", "conv", "f16 bf16"],
      ["result", "plain", "0", "convActivation", "f32 f16 bf16"],
      ["result", "plain", "0", "scaledDotProductAttention", "f64"],
      [
        "result",
        "plain",
        "NaN",
        "conv convInputGrad convTranspose convWeightGrad",
        "bf16",
      ],
      [
        "result",
        "plain",
        "NaN",
        "convActivation feedForward gelu linearActivation",
        "f32 f16 bf16",
      ],
      ["result", "plain", "NaN", "convTranspose", "f32 f16"],
      ["result", "plain", "NaN", "fmod remainder", "f32 bf16"],
      ["result", "plain", "finite", "conv convActivation", "f32 f16 bf16"],
      ["result", "plain", "finite", "convWeightGrad", "f32 f16"],
      ["result", "plain", "finite", "lstm", "bf16"],
      [
        "result",
        "plain",
        "∞",
        "conv convActivation convWeightGrad",
        "f32 f16 bf16",
      ],
      ["result", "plain", "∞", "convTranspose", "f16"],
    ],
  },
  {
    name: "nearer",
    decaf: "as PyTorch in f64, or nearer to it",
    pytorch: "a rounded, overflown or cancelled number, or NaN",
    why:
      "PyTorch rounds, overflows or cancels between the steps of its formula",
    cases: [
      [
        "gradient",
        "double",
        "0",
        "acosh asinh cosineSimilarity groupNorm sinc std",
        "f16",
      ],
      ["gradient", "double", "0", "atan2", "f32 f16"],
      ["gradient", "double", "0", "gru rnn", "f16 bf16"],
      ["gradient", "double", "0", "hypot", "f32 f16 bf16"],
      ["gradient", "double", "0", "lstm", "bf16"],
      ["gradient", "double", "NaN", "addcdiv", "f32 f16"],
      ["gradient", "double", "NaN", "layerNorm", "f32 f16 bf16"],
      ["gradient", "double", "NaN", "bilinear", "f32 bf16"],
      [
        "gradient",
        "double",
        "NaN",
        "binaryCrossEntropy cosineEmbeddingLoss cosineSimilarity cumProd gaussianNllLoss lpPool norm normalize poissonNllLoss pow prod sinc",
        "f16",
      ],
      ["gradient", "double", "NaN", "gridSample", "f16 bf16"],
      ["gradient", "double", "finite", "atan2", "f32 f64 bf16"],
      [
        "gradient",
        "double",
        "finite",
        "batchNorm cosineSimilarity gridSample groupNorm gru instanceNorm layerNorm localResponseNorm logSoftmax logSumExp lstm rnn scaledDotProductAttention sinc softmax softmin tanh tripletMarginLoss",
        "f16 bf16",
      ],
      [
        "gradient",
        "double",
        "finite",
        "cosineEmbeddingLoss div fmod logaddexp poissonNllLoss",
        "bf16",
      ],
      ["gradient", "double", "finite", "cumProd", "f32 bf16"],
      ["gradient", "double", "finite", "hypot logCumSumExp", "f32 f16 bf16"],

      ["gradient", "double", "finite", "normalize std", "f16"],
      ["gradient", "double", "finite", "pow", "f32 f64 f16 bf16"],
      ["gradient", "double", "∞", "prod", "f32"],
      ["result", "double", "0", "cosineSimilarity lstm rnn", "f16"],
      ["result", "double", "0", "gru hingeEmbeddingLoss", "bf16"],
      [
        "result",
        "double",
        "NaN",
        "cosineEmbeddingLoss cosineSimilarity klDiv normalize poissonNllLoss prod",
        "f16",
      ],
      ["result", "double", "NaN", "rmsNorm", "f32"],
      ["result", "double", "NaN", "scaledDotProductAttention", "bf16"],
      ["result", "double", "finite", "batchNorm", "f16"],
      [
        "result",
        "double",
        "finite",
        "gridSample gru interpolate lstm",
        "f16 bf16",
      ],
      ["result", "double", "finite", "scaledDotProductAttention", "bf16"],
    ],
  },
  {
    name: "reals",
    decaf: "as PyTorch with the integers in f64",
    pytorch: "a wrapped integer",
    why:
      "Integers are converted before they are squared, subtracted or divided, so nothing wraps",
    cases: [
      ["gradient", "reals", "0", "pow", "f32 f64 f16 bf16"],
      ["gradient", "reals", "NaN", "pow", "f32 f64 f16 bf16"],
      ["gradient", "reals", "finite", "atan2", "f32 bf16"],
      ["gradient", "reals", "finite", "pow", "f32 f64 bf16"],
      ["result", "reals", "0", "marginRankingLoss squaredL2Distance", "f32"],
      ["result", "reals", "0", "pow", "i32"],
      ["result", "reals", "0", "sumSquares", "i64"],
      [
        "result",
        "reals",
        "finite",
        "gaussianNllLoss marginRankingLoss poissonNllLoss softsign squaredL2Distance",
        "f32",
      ],
      ["result", "reals", "finite", "pow", "i32"],
      ["result", "reals", "finite", "sumSquares", "i64"],
    ],
  },
  {
    name: "rounding",
    decaf: "within 4 tolerances of PyTorch",
    pytorch: "a half, rounded elsewhere",
    why: "Halves are rounded at other steps",
    cases: [
      ["gradient", "close", "0", "gridSample", "bf16"],
      ["gradient", "close", "0", "scaledDotProductAttention", "f16 bf16"],

      [
        "gradient",
        "close",
        "finite",
        "adaptiveAvgPool gridSample gru lstm pow rnn scaledDotProductAttention",
        "f16 bf16",
      ],

      ["gradient", "close", "finite", "prod softmax softmin", "bf16"],
      [
        "result",
        "close",
        "finite",
        "gru lstm rnn scaledDotProductAttention",
        "f16 bf16",
      ],
    ],
  },
  {
    name: "casts",
    decaf: "0 for NaN, else the nearest integer",
    pytorch: "−2³¹",
    why:
      "NaN and what is out of range has no integer; as CUDA does, not as x86",
    when: ["noInteger"],
    cases: [
      ["result", "0", "finite", "cast", "i32"],
      ["result", "finite", "finite", "cast", "i32"],
    ],
  },
  {
    name: "ties",
    decaf: "the first of them",
    pytorch: "any of them",
    why: "Which of equal elements is meant is not stated",
    when: ["ties"],
    cases: [
      ["gradient", "0", "finite", "kthValue", "f32 f64 f16 bf16"],
      ["gradient", "0", "finite", "topK", "f16"],
      ["gradient", "finite", "0", "kthValue", "f32 f64 f16 bf16"],
      ["gradient", "finite", "0", "topK", "f16"],
      ["gradient", "finite", "finite", "topK", "f32 f64 f16 bf16"],
      ["result", "0", "finite", "kthValue topK", "i64"],
      ["result", "finite", "0", "kthValue topK", "i64"],
      ["result", "finite", "finite", "kthValue topK", "i64"],
    ],
  },
  {
    name: "slope at NaN",
    decaf: "the arriving gradient",
    pytorch: "0",
    why:
      "PyTorch's CPU gives 0 in whole vectors and passes the gradient on in the elements after them; Decaf passes it on everywhere",
    when: ["nanHere"],
    cases: [
      [
        "gradient",
        "finite",
        "0",
        "hardShrink hardTanh relu6 softShrink",
        "f64",
      ],
    ],
  },
  {
    name: "after NaN",
    decaf: "the gradient of what is not NaN",
    pytorch: "NaN",
    why:
      "Results of a scan before a NaN do not depend on it; PyTorch's gradient sums over all of them",
    when: ["undefinedSums"],
    cases: [
      ["gradient", "0", "NaN", "logCumSumExp", "f32 f64 f16 bf16"],
      ["gradient", "finite", "NaN", "logCumSumExp", "f32 f64 f16 bf16"],
    ],
  },
  {
    name: "short vectors",
    decaf: "0",
    pytorch: "NaN",
    why:
      "The squares of a vector shorter than 1e-38 (1e-160 in f64) are 0, by which PyTorch divides 0",
    cases: [
      ["gradient", "0", "NaN", "cosineSimilarity", "f32 f64 f16 bf16"],
    ],
  },
  {
    name: "smallest numbers",
    decaf: "NaN",
    pytorch: "±∞",
    why:
      "A product of numbers near 1e-45 is rounded to 0 before it meets ∞, in PyTorch after",
    when: ["infinite"],
    cases: [
      ["gradient", "NaN", "∞", "bilinear", "f32"],
    ],
  },
  {
    name: "sums",
    decaf: "a sum",
    pytorch: "a sum",
    why:
      "Sums and products of huge numbers that cancel, by the order of the steps",
    when: ["huge"],
    cases: [
      ["gradient", "∞", "finite", "swiglu", "f32"],
      ["gradient", "∞", "finite", "xlogy", "f32"],
      ["result", "finite", "finite", "mean", "f32"],
    ],
  },
  {
    name: "squares of halves",
    decaf: "0",
    pytorch: "NaN",
    why: "The square of more than 255 is ∞ in f16, and the slope ∞ / ∞",
    when: ["beyond255"],
    cases: [
      ["gradient", "0", "NaN", "lpPool", "f16"],
    ],
  },
  {
    name: "products",
    decaf:
      "the product of the row divided by the element; 0 beside zeros of the row",
    pytorch: "that, or the product of the other elements, NaN among them",
    why:
      "PyTorch multiplies the others instead of dividing as soon as some row of the tensor has a zero, and cumprod's gradient sums over results after NaN; Decaf's rows do not depend on each other",
    when: ["infinite"],
    cases: [
      ["gradient", "0", "NaN", "prod", "f32 f64 f16 bf16"],
      ["gradient", "NaN", "0", "cumProd prod", "f32 f64 f16 bf16"],
      ["gradient", "NaN", "finite", "prod", "f32 f64 f16 bf16"],
      ["gradient", "NaN", "∞", "prod", "f32 f64 f16 bf16"],
      ["gradient", "finite", "NaN", "cumProd", "f32 f64 f16 bf16"],
      ["gradient", "∞", "NaN", "cumProd", "f32 f64 f16 bf16"],
      ["gradient", "∞", "finite", "prod", "f16"],
    ],
  },
  {
    name: "normalising",
    decaf: "∞, or NaN where its steps have ∞ − ∞",
    pytorch: "NaN, or ∞",
    why:
      "With infinite weights or elements: PyTorch multiplies weight and mean first, and takes moments by Welford's steps; Decaf subtracts the mean, then multiplies",
    when: ["infinite"],
    cases: [
      ["gradient", "NaN", "∞", "instanceNorm", "f32 f64 f16 bf16"],
      ["gradient", "NaN", "∞", "rmsNorm", "f32"],
      ["gradient", "∞", "NaN", "layerNorm", "f32 f64 f16 bf16"],
      [
        "result",
        "∞",
        "NaN",
        "groupNorm instanceNorm moments",
        "f32 f64 f16 bf16",
      ],
    ],
  },
  {
    name: "hidden scores",
    decaf: "as if what the mask hides were not there",
    pytorch: "NaN",
    why:
      "PyTorch adds −∞ to scores that a mask hides, so that those that are NaN or ∞ make the row NaN; Decaf leaves them out",
    when: ["masked", "infinite"],
    cases: [
      ["gradient", "0", "NaN", "scaledDotProductAttention", "f32 f64 f16 bf16"],
      [
        "gradient",
        "finite",
        "NaN",
        "scaledDotProductAttention",
        "f32 f64 bf16",
      ],
      ["result", "0", "NaN", "scaledDotProductAttention", "f32 f64 f16 bf16"],
      [
        "result",
        "finite",
        "NaN",
        "scaledDotProductAttention",
        "f32 f64 f16 bf16",
      ],
      ["result", "NaN", "finite", "scaledDotProductAttention", "f16"],
    ],
  },
  {
    name: "attention in blocks",
    decaf: "NaN where a score of the row is NaN, or 0 meets ∞ in the product",
    pytorch: "0, or what its blocks leave",
    why:
      "With four axes PyTorch's CPU walks the scores block by block, and writes 0 for a row whose scores are NaN",
    when: ["fourAxes", "infinite"],
    cases: [
      ["gradient", "NaN", "0", "scaledDotProductAttention", "f32 f64 f16 bf16"],
      ["gradient", "NaN", "finite", "scaledDotProductAttention", "f64"],
      ["result", "NaN", "0", "scaledDotProductAttention", "f32 f64 f16 bf16"],
      ["result", "NaN", "finite", "scaledDotProductAttention", "f16"],
      ["result", "NaN", "∞", "scaledDotProductAttention", "f16"],
    ],
  },
  {
    name: "steps",
    decaf: "NaN",
    pytorch: "0",
    why:
      "The gradient of a step beyond a sequence's length is 0 times the weights, of which some are NaN or infinite; PyTorch leaves the step out",
    when: ["infinite"],
    cases: [
      ["gradient", "NaN", "0", "gru lstm rnn", "f32 f64 f16 bf16"],
    ],
  },
  {
    name: "sampling",
    decaf: "the place in f32, rounded once; the nearest cell for NaN",
    pytorch: "the place in halves, rounded at each step; any memory for NaN",
    why:
      "Places far outside the image and NaN: halves lose them, and PyTorch's CPU reads and writes beside the image, until its process dies",
    when: ["far"],
    cases: [
      ["gradient", "0", "NaN", "gridSample", "f32 f64 f16 bf16"],
      ["gradient", "0", "finite", "gridSample", "f16 bf16"],
      ["gradient", "NaN", "0", "gridSample", "f16 bf16"],
      ["gradient", "NaN", "finite", "gridSample", "f16 bf16"],
      ["gradient", "NaN", "∞", "gridSample", "f32 f64 f16 bf16"],
      ["gradient", "finite", "0", "gridSample", "f16 bf16"],
      ["gradient", "finite", "NaN", "gridSample", "f16 bf16"],
      ["gradient", "finite", "finite", "gridSample", "f16 bf16"],
      ["gradient", "∞", "NaN", "gridSample", "f16 bf16"],
      ["gradient", "∞", "finite", "gridSample", "f16"],
      ["result", "NaN", "0", "gridSample", "f16 bf16"],
      ["result", "NaN", "finite", "gridSample", "f16 bf16"],
      ["result", "NaN", "∞", "gridSample", "f16 bf16"],
      ["result", "finite", "0", "gridSample", "bf16"],
      ["result", "finite", "finite", "gridSample", "f16 bf16"],
    ],
  },
  {
    name: "polygamma",
    decaf: "the exact value, ∞ at poles",
    pytorch: "an approximation",
    why:
      "PyTorch's trigamma has errors of 1e-9; at poles it gives a huge number for ∞",
    cases: [
      ["gradient", "finite", "finite", "digamma", "f64"],
      ["gradient", "∞", "NaN", "digamma", "f32"],
      ["gradient", "∞", "finite", "digamma", "f32 f64 bf16"],
    ],
  },
  ...integers,
  ...infinities,
  ...zeros,
];
