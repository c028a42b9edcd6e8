/**
 * Division with whole quotients, and remainders. Integers divided by 0 give 0,
 * where PyTorch raises on the CPU; the number 0 as a divisor is refused.
 *
 * @module
 */

import { isFloat } from "../core/dtype.ts";
import * as k from "../kernel/expr.ts";
import { integerPairSamples, pairSamples } from "./elementwise_samples.ts";
import {
  type Binary,
  elementwise,
  type Operand,
  refuseTruths,
} from "./engine.ts";
import { t } from "./samples.ts";

function isInteger(e: k.Expr): boolean {
  return e.type === "i32" || e.type === "i64";
}

/** Refuses truth values by truth values, and whole numbers divided by the number 0, for which there is no quotient. */
function checkDivision(what: string): (operands: readonly Operand[]) => void {
  return ([a, b]) => {
    refuseTruths(what, [a, b]);
    if (b === 0 && typeof a !== "number" && !isFloat(a.dtype)) {
      throw new RangeError(
        `Cannot ${what} a tensor of dtype ${a.dtype} divided by 0: integers have no infinity and no NaN; convert it with cast(x, "f32")`,
      );
    }
  };
}

/** Whether a remainder and the divisor pull to different sides, so that floored differs from truncated. */
function opposed(remainder: k.Expr, divisor: k.Expr): k.Expr {
  return k.and(
    k.ne(remainder, 0),
    k.ne(k.lt(remainder, 0), k.lt(divisor, 0)),
  );
}

/** ⌊a / b⌋ */
function floored(a: k.Expr, b: k.Expr): k.Expr {
  if (isInteger(a)) {
    const quotient = k.div(a, b);
    const rest = k.sub(a, k.mul(quotient, b));
    const adjust = k.and(k.ne(b, 0), opposed(rest, b));
    return k.select(adjust, k.sub(quotient, 1), quotient);
  }
  // From the exact remainder, since a / b may round up to a whole number.
  const rest = k.rem(a, b);
  const near = k.div(k.sub(a, rest), b);
  const quotient = k.select(opposed(rest, b), k.sub(near, 1), near);
  const floor = k.call("floor", quotient);
  const short = k.gt(k.sub(quotient, floor), 0.5);
  const whole = k.select(short, k.add(floor, 1), floor);
  const ratio = k.div(a, b);
  // A zero has the sign of the ratio.
  const signed = k.select(k.eq(whole, 0), k.mul(ratio, 0), whole);
  return k.select(k.eq(b, 0), ratio, signed);
}

const signs = [
  t([9], { data: [5, -5, 5, -5, 5, -5, 1, 0, -6] }),
  t([9], { data: [3, 3, -3, -3, Infinity, Infinity, 0, 3, 3] }),
];
const withNumbers = [
  [t([4]), 0.75],
  [7.5, t([4], { low: 1, high: 3 })],
  [t([4], { dtype: "i64", low: -7, high: 8 }), -3],
];

/** Largest whole number not above a / b. Not differentiable. */
export const floorDivide: Binary = elementwise<Binary>({
  name: "floorDivide",
  family: "arithmetic",
  inputs: ["a", "b"],
  constant: true,
  check: checkDivision("take the quotient of"),
  define: ([a, b]) => floored(a, b),
  formula: "⌊a / b⌋",
  torch: "torch.as_tensor(a).detach() // torch.as_tensor(b).detach()",
  samples: [
    ...pairSamples({ low: -5, high: 5 }, { low: 0.25 }),
    ...integerPairSamples(),
    ...integerPairSamples({ low: -3, high: 0 }),
    signs,
    ...withNumbers,
    [t([3], { data: [0.3, 1, 6] }), t([3], { data: [0.1, 0.1, 0.1] })],
  ],
});

/** Quotient a / b without its fraction; whole as the operands are. */
export const truncDivide: Binary = elementwise<Binary>({
  name: "truncDivide",
  family: "arithmetic",
  inputs: ["a", "b"],
  check: checkDivision("take the quotient of"),
  define: ([a, b]) => isInteger(a) ? k.div(a, b) : k.call("trunc", k.div(a, b)),
  formula: "trunc(a / b)",
  torch: "torch.div(torch.as_tensor(a), b, rounding_mode='trunc')",
  samples: [
    ...pairSamples({ low: -5, high: 5 }, { low: 0.25 }),
    ...integerPairSamples(),
    ...integerPairSamples({ low: -3, high: 0 }),
    ...withNumbers,
  ],
});

/** Remainder of a / b with the sign of b: a − b · ⌊a / b⌋. */
export const remainder: Binary = elementwise<Binary>({
  name: "remainder",
  family: "arithmetic",
  inputs: ["a", "b"],
  check: checkDivision("take the remainder of"),
  define: ([a, b]) => {
    const rest = k.rem(a, b);
    return k.select(opposed(rest, b), k.add(rest, b), rest);
  },
  // ∂: 1 and −⌊a / b⌋
  slopes: ([a, b]) => [k.constant(1, a.type), k.neg(floored(a, b))],
  formula: "a − b · ⌊a / b⌋",
  torch: "torch.remainder(torch.as_tensor(a), b)",
  onnx: "Mod",
  caffe2: "Mod",
  samples: [
    // The NaN keeps finite differences away.
    [t([4], { data: [NaN, Infinity, 5, -5] }), t([4], { data: [1, 2, 3, 3] })],
    ...pairSamples({ low: -5, high: 5 }, { low: 0.75 }),
    ...integerPairSamples(),
    ...integerPairSamples({ low: -3, high: 0 }),
    signs,
    ...withNumbers,
  ],
});

/** Remainder of a / b with the sign of a: a − b · trunc(a / b). */
export const fmod: Binary = elementwise<Binary>({
  name: "fmod",
  family: "arithmetic",
  inputs: ["a", "b"],
  check: checkDivision("take the remainder of"),
  define: ([a, b]) => k.rem(a, b),
  formula: "a − b · trunc(a / b)",
  torch: "torch.fmod(torch.as_tensor(a), b)",
  onnx: "Mod",
  samples: [
    ...pairSamples({ low: -5, high: 5 }, { low: 0.75 }),
    ...integerPairSamples(),
    ...integerPairSamples({ low: -3, high: 0 }),
    signs,
    ...withNumbers,
  ],
});
