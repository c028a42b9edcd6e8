/** The differences from PyTorch in the signs of zeros that are meant, see table.ts. */

import type { Rule } from "./rules.ts";

/** The rules that only `--zeros` needs. */
export const zeros: readonly Rule[] = [
  {
    name: "order of zeros",
    decaf: "0 is larger than −0, and relu(−0) is 0",
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
        "maximum fmax clamp relu kthValue",
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
];
