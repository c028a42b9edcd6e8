/**
 * Exponentials, logarithms and special functions, element by element.
 *
 * @module
 */

import type { Sample } from "../core/op.ts";
import type { Tensor } from "../core/tensor.ts";
import * as k from "../kernel/expr.ts";
import { between } from "./bounds.ts";
import {
  allFloatSamples,
  floatSamples,
  integerSamples,
  pairSamples,
} from "./elementwise_samples.ts";
import { type Binary, elementwise, type Unary } from "./engine.ts";
import { xlogySlopes } from "./slopes.ts";
import { t } from "./samples.ts";

export * from "./rounding.ts";
export * from "./trigonometry.ts";

const large = t([4], { data: [88, -88, 100, -104], grad: false });
const tiny = t([4], { data: [1e-7, -1e-7, 1e-20, -1e-20] });

/** Exponential eˣ. */
export const exp: Unary = elementwise<Unary>({
  name: "exp",
  family: "math",
  result: "float",
  define: ([x]) => k.exp(x),
  formula: "eˣ",
  torch: "x.exp()",
  onnx: "Exp",
  caffe2: "Exp",
  samples: [...allFloatSamples(), ...integerSamples(), [large]],
});

/** Power of two, 2ˣ. */
export const exp2: Unary = elementwise<Unary>({
  name: "exp2",
  family: "math",
  result: "float",
  define: ([x]) => k.call("exp2", x),
  formula: "2ˣ",
  torch: "x.exp2()",
  samples: [...allFloatSamples(), ...integerSamples(), [large]],
});

/** Exponential less one, eˣ − 1, exact for small x. */
export const expm1: Unary = elementwise<Unary>({
  name: "expm1",
  family: "math",
  result: "float",
  define: ([x]) => k.expm1(x),
  formula: "eˣ − 1",
  torch: "x.expm1()",
  samples: [...allFloatSamples(), ...integerSamples(), [large], [tiny]],
});

/** Natural logarithm; −∞ at 0, NaN below. */
export const log: Unary = elementwise<Unary>({
  name: "log",
  family: "math",
  result: "float",
  define: ([x]) => k.log(x),
  formula: "ln x",
  torch: "x.log()",
  onnx: "Log",
  caffe2: "Log",
  samples: [...allFloatSamples({ low: 0.25 }), ...integerSamples()],
});

/** Logarithm to base 2. */
export const log2: Unary = elementwise<Unary>({
  name: "log2",
  family: "math",
  result: "float",
  define: ([x]) => k.call("log2", x),
  formula: "log₂ x",
  torch: "x.log2()",
  samples: [...allFloatSamples({ low: 0.25 }), ...integerSamples()],
});

/** Logarithm to base 10. */
export const log10: Unary = elementwise<Unary>({
  name: "log10",
  family: "math",
  result: "float",
  define: ([x]) => k.call("log10", x),
  formula: "log₁₀ x",
  torch: "x.log10()",
  samples: [...allFloatSamples({ low: 0.25 }), ...integerSamples()],
});

/** Logarithm of one plus x, exact for small x. */
export const log1p: Unary = elementwise<Unary>({
  name: "log1p",
  family: "math",
  result: "float",
  define: ([x]) => k.log1p(x),
  formula: "ln(1 + x)",
  torch: "x.log1p()",
  caffe2: "Log1p",
  samples: [...allFloatSamples({ low: -0.75 }), ...integerSamples(), [tiny]],
});

/** Logarithm of the sum of two exponentials, ln(eᵃ + eᵇ), without overflow. */
export const logaddexp: Binary = elementwise<Binary>({
  name: "logaddexp",
  family: "math",
  inputs: ["a", "b"],
  result: "float",
  define: ([a, b]) => logOfSum(a, b, "exp", 1),
  slopes: ([a, b]) => shares(a, b, "exp"),
  formula: "ln(eᵃ + eᵇ)",
  torch: "torch.logaddexp(a, b)",
  samples: logaddSamples(),
});

/** Logarithm to base 2 of the sum of two powers of 2, log₂(2ᵃ + 2ᵇ), without overflow. */
export const logaddexp2: Binary = elementwise<Binary>({
  name: "logaddexp2",
  family: "math",
  inputs: ["a", "b"],
  result: "float",
  define: ([a, b]) => logOfSum(a, b, "exp2", Math.LOG2E),
  slopes: ([a, b]) => shares(a, b, "exp2"),
  formula: "log₂(2ᵃ + 2ᵇ)",
  torch: "torch.logaddexp2(a, b)",
  samples: logaddSamples(),
});

function logOfSum(
  a: k.Expr,
  b: k.Expr,
  power: "exp" | "exp2",
  unit: number,
): k.Expr {
  const below = k.lt(a, b);
  const most = k.select(below, b, a);
  const ratio = k.call(
    power,
    k.select(below, k.sub(a, b), k.sub(b, a)),
  );
  const sum = k.add(most, k.mul(k.log1p(ratio), unit));
  // Equal infinities have no difference.
  const infinite = k.and(k.eq(a, b), k.eq(k.abs(a), Infinity));
  return k.select(infinite, a, sum);
}

/** 1 / (1 + eᵇ⁻ᵃ) and 1 / (1 + eᵃ⁻ᵇ); NaN for equal infinities. */
function shares(a: k.Expr, b: k.Expr, power: "exp" | "exp2"): k.Expr[] {
  const share = (difference: k.Expr) =>
    k.div(1, k.add(1, k.call(power, difference)));
  return [share(k.sub(b, a)), share(k.sub(a, b))];
}

function logaddSamples(): Sample[] {
  return [
    ...pairSamples({}, { low: -1 }),
    [
      t([4], { data: [1000, -1000, 3, NaN] }),
      t([4], {
        data: [-1000, -999, 3, 0],
      }),
    ],
    [
      t([3], { data: [NaN, Infinity, -Infinity] }),
      t([3], { data: [0, Infinity, -Infinity] }),
    ],
    [
      t([3], { data: [-Infinity, Infinity, 1], grad: false }),
      t([3], {
        data: [-Infinity, Infinity, -Infinity],
        grad: false,
      }),
    ],
  ];
}

/** x · ln y, and 0 where x is 0 and y is not NaN. */
export const xlogy: Binary = elementwise<Binary>({
  name: "xlogy",
  family: "math",
  inputs: ["x", "y"],
  result: "float",
  define: ([x, y]) => {
    const unbounded = k.or(k.le(y, 0), k.eq(y, Infinity));
    return k.select(k.and(k.eq(x, 0), unbounded), 0, k.mul(x, k.log(y)));
  },
  slopes: ([x, y]) => xlogySlopes(x, y),
  formula: "x = 0 ? 0 : x · ln y",
  torch: "torch.xlogy(x, y)",
  samples: [
    // The NaN keeps finite differences away.
    [
      t([6], { data: [NaN, 0, -0, 0, 2, 0] }),
      t([6], { data: [1, 0, 0.5, -1, 0, Infinity] }),
    ],
    ...pairSamples({}, { low: 0.25 }),
    [
      t([6], { data: [0, 0, 0, 0, 2, 0], grad: false }),
      t([6], {
        data: [0, NaN, -1, 3, 0, Infinity],
        grad: false,
      }),
    ],
    [t([2], { dtype: "i32", data: [0, 2] }), t([2])],
  ],
});

/** Error function. */
export const erf: Unary = elementwise<Unary>({
  name: "erf",
  family: "math",
  result: "float",
  define: ([x]) => k.erf(x),
  formula: "2/√π · ∫₀ˣ e^(−t²) dt",
  torch: "x.erf()",
  onnx: "Erf",
  caffe2: "Erf",
  samples: [...allFloatSamples(), ...integerSamples()],
});

/** Complement of the error function, 1 − erf x, without cancellation. */
export const erfc: Unary = elementwise<Unary>({
  name: "erfc",
  family: "math",
  result: "float",
  define: ([x]) => k.call("erfc", x),
  formula: "1 − erf x",
  torch: "x.erfc()",
  samples: [...allFloatSamples(), ...integerSamples(), [
    t([4], { data: [4, 8, -4, 0.75] }),
  ]],
});

/** Inverse of the error function; ±∞ at ±1, NaN beyond. */
export const erfinv: Unary = elementwise<Unary>({
  name: "erfinv",
  family: "math",
  result: "float",
  define: ([x]) => k.call("erfinv", x),
  formula: "erf⁻¹ x",
  torch: "x.erfinv()",
  samples: [...floatSamples({ low: -0.9, high: 0.9 }), [
    t([6], { data: [NaN, 1, -1, 0, 2, -0.999] }),
  ]],
});

/** Logarithm of the absolute value of the gamma function. */
export const lgamma: Unary = elementwise<Unary>({
  name: "lgamma",
  family: "math",
  result: "float",
  define: ([x]) => k.call("lgamma", x),
  formula: "ln |Γ(x)|",
  torch: "x.lgamma()",
  samples: [
    ...floatSamples({ low: 0.25, high: 6 }),
    [t([4], { low: -3.9, high: -3.1 })],
    [t([4], { data: [NaN, Infinity, 0, 30], grad: false })],
    ...integerSamples({ low: 1 }),
  ],
});

/** Derivative of the logarithm of the gamma function. */
export const digamma: Unary = elementwise<Unary>({
  name: "digamma",
  family: "math",
  result: "float",
  define: ([x]) => k.call("digamma", x),
  formula: "Γ′(x) / Γ(x)",
  torch: "x.digamma()",
  samples: [
    ...floatSamples({ low: 0.25, high: 6 }),
    [t([4], { low: -3.9, high: -3.1 })],
    [t([5], { data: [NaN, Infinity, 0, 30, -2], grad: false })],
    ...integerSamples({ low: 1 }),
  ],
});

/** Options of {@linkcode logit}. */
export interface LogitOptions {
  /** Values are limited to [eps, 1 − eps] first; not limited when omitted. */
  eps?: number;
}

/** Log-odds ln(x / (1 − x)), the inverse of `sigmoid`; NaN outside [0, 1]. */
export const logit: (x: Tensor, options?: LogitOptions) => Tensor = elementwise<
  (x: Tensor, options?: LogitOptions) => Tensor
>({
  name: "logit",
  family: "math",
  attrs: { eps: -1 },
  result: "float",
  define: ([x], { eps }) => {
    const low = k.max(eps, 0);
    const y = k.select(
      k.lt(eps, 0),
      x,
      between(x, low, k.sub(1, low)),
    );
    // The slope at −0 is that at 0, as −0 + 0 is.
    const odds = k.sub(k.log(k.add(y, 0)), k.log1p(k.neg(y)));
    // Outside [0, 1] neither the value nor its derivative is a number.
    const outside = k.or(k.lt(y, 0), k.lt(1, y));
    return k.select(outside, k.mul(y, NaN), odds);
  },
  formula: "ln(x / (1 − x))",
  torch: "torch.logit(x, None if eps < 0 else eps)",
  caffe2: "Logit",
  samples: [
    // The NaN keeps finite differences away.
    [t([4], { data: [NaN, -0, 0, 1] })],
    ...floatSamples({ low: 0.05, high: 0.95 }),
    [t([5], { data: [0, 1, NaN, 2, -1], grad: false })],
    [t([3], { data: [0.5, 2, -1] })],
    [t([5], { data: [0, 1, 0.5, 2, -1] }), { eps: 0.1 }],
  ],
});
