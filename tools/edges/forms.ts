/** The dtypes and shapes that differ from PyTorch's and are meant. */

import type { FormRule } from "./rules.ts";

/** The rules, by what Decaf's result is. */
export const forms: readonly FormRule[] = [
  {
    name: "truth values",
    decaf: "dtype bool",
    pytorch: /^dtype u8$/,
    why: "`any` and `all` of u8 are truth values, as of every other dtype",
    operators: "any all",
  },
  {
    name: "float losses",
    decaf: "dtype f32",
    pytorch: /^dtype (i64|i32|i8|u8)$/,
    why: "A loss of integers is f32",
    operators: "l1Loss hingeEmbeddingLoss",
  },
  {
    name: "any window",
    decaf: "dtype bool",
    pytorch: /^dtype i64$/,
    why:
      "Truth values that overlap are joined by or; PyTorch has no such operator, and Python's sum() starts with the integer 0",
    operators: "overlapAdd",
  },
  ...["shape [7]", "shape [2,6]", "shape [6,3]"].map((decaf) => ({
    name: "no frames",
    decaf,
    pytorch: /^shape \[\]$/,
    why: "No frames overlap to zeros of the length that was asked for",
    operators: "overlapAdd",
  })),
];
