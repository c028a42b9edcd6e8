/** The differences from PyTorch where it gives ±∞ that are meant, see table.ts. */

import type { Rule } from "./rules.ts";

/** The rules of calls that PyTorch answers with ±∞. */
export const infinities: readonly Rule[] = [
  {
    name: "f16 gradients",
    decaf: "as PyTorch in f64, rounded once",
    pytorch: "±∞",
    why:
      "PyTorch squares or multiplies in f16 on the way to a number that f16 holds",
    cases: [
      [
        "gradient",
        "double",
        "∞",
        "remainder fmod square addcmul mseLoss squaredL2Distance poissonNllLoss gaussianNllLoss pow",
        "f16",
      ],
      ["gradient", "∞", "∞", "binaryCrossEntropy", "f16"],
      [
        "result",
        "double",
        "∞",
        "nllLoss gaussianNllLoss adaptiveAvgPool",
        "f16",
      ],
      ["gradient", "double", "∞", "gridSample", "f16 bf16"],
    ],
  },
  {
    name: "huge arguments",
    decaf: "the number, as PyTorch in f64 or without vectors",
    pytorch: "∞",
    why: "PyTorch multiplies x by itself or by 6 before it divides",
    when: ["huge"],
    cases: [
      ["result", "double", "∞", "hardSwish", "f32"],
      ["result", "plain", "∞", "gelu", "f32"],
    ],
  },
  {
    name: "integer magnitudes",
    decaf: "a number below 1",
    pytorch: "∞",
    why: "|−2³¹| and |−128| wrap in PyTorch, and 1 + |x| is then 0 or negative",
    when: ["least"],
    cases: [
      ["result", "finite", "∞", "softsign", "f32"],
    ],
  },
  {
    name: "powers of zero and infinity",
    decaf: "as PyTorch with the exponent in f64, or the limit of b · aᵇ⁻¹",
    pytorch: "±∞ of the other sign, 0 or NaN",
    why:
      "PyTorch subtracts 1 from an integer exponent in its own type, which wraps; a fraction is rounded first",
    when: ["largeExponent"],
    cases: [
      ["gradient", "double", "∞", "pow", "f32 f64 bf16"],
      ["gradient", "reals", "∞", "pow", "f32 f64 f16 bf16"],
      ["gradient", "∞", "0", "pow", "f32 bf16"],
      ["gradient", "∞", "NaN", "pow", "f16"],
    ],
  },
  {
    name: "slopes at the ends",
    decaf: "0",
    pytorch: "±∞",
    why: "PyTorch divides by x · (1 − x), whose zero has a sign of its own",
    cases: [
      ["gradient", "0", "∞", "gridSample", "f16 bf16"],
    ],
  },
];
