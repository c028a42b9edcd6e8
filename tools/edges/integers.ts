/** The differences from PyTorch of integer types, exponents and orders that are meant, see table.ts. */

import type { Rule } from "./rules.ts";

/** The rules where an integer operand is at work. */
export const integers: readonly Rule[] = [
  {
    name: "i16",
    decaf: "as i32",
    pytorch: "as i16",
    why: "i8 with u8 is i16 in PyTorch, for which Decaf takes i32",
    when: ["bytes"],
    cases: [
      ["result", "finite", "finite", "pow", "i32"],
    ],
  },
  {
    name: "float exponents",
    decaf: "b · aᵇ⁻¹ in f32 or halves",
    pytorch: "of a wrapped exponent",
    why:
      "Integer exponents are floats in the gradient; PyTorch subtracts 1 from the integer, which wraps",
    when: ["largeExponent"],
    cases: [
      ["gradient", "NaN", "∞", "pow", "f16"],
    ],
  },
];
