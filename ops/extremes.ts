/**
 * The smaller and the larger of values, and bounds.
 *
 * @module
 */

import { type DType, isFloat } from "../core/dtype.ts";
import { operator } from "../core/op.ts";
import type { Tensor } from "../core/tensor.ts";
import * as k from "../kernel/expr.ts";
import { between } from "./bounds.ts";
import {
  floatSamples,
  integerPairSamples,
  integerSamples,
  pairSamples,
} from "./elementwise_samples.ts";
import {
  type Binary,
  Elementwise,
  elementwise,
  type Operand,
} from "./engine.ts";
import { t } from "./samples.ts";

const notANumber = [
  t([5], { data: [1, NaN, 1, NaN, -0] }),
  t([5], { data: [1, 1, NaN, NaN, 0] }),
];
const truths = [
  t([4], { dtype: "bool", data: [0, 0, 1, 1] }),
  t([4], { dtype: "bool", data: [0, 1, 0, 1] }),
];

/** The smaller of a and b; NaN if either is. Equal operands share the gradient. */
export const minimum: Binary = elementwise<Binary>({
  name: "minimum",
  family: "arithmetic",
  inputs: ["a", "b"],
  define: ([a, b]) => a.type === "bool" ? k.and(a, b) : k.min(a, b),
  formula: "min(a, b)",
  torch: "torch.minimum(torch.as_tensor(a), torch.as_tensor(b))",
  onnx: "Min",
  caffe2: "Min",
  samples: [
    ...pairSamples({}, { low: -1 }),
    ...integerPairSamples(),
    notANumber,
    truths,
  ],
});

/** The larger of a and b; NaN if either is. Equal operands share the gradient. */
export const maximum: Binary = elementwise<Binary>({
  name: "maximum",
  family: "arithmetic",
  inputs: ["a", "b"],
  define: ([a, b]) => a.type === "bool" ? k.or(a, b) : k.max(a, b),
  formula: "max(a, b)",
  torch: "torch.maximum(torch.as_tensor(a), torch.as_tensor(b))",
  onnx: "Max",
  caffe2: "Max",
  samples: [
    ...pairSamples({}, { low: -1 }),
    ...integerPairSamples(),
    notANumber,
    truths,
  ],
});

/** `both` of the operands where both are numbers, the other one where one is NaN. */
function numberOf(a: k.Expr, b: k.Expr, both: k.Expr): k.Expr {
  return k.select(k.ne(b, b), a, k.select(k.ne(a, a), b, both));
}

/** The smaller of a and b, or the one that is not NaN. */
export const fmin: Binary = elementwise<Binary>({
  name: "fmin",
  family: "arithmetic",
  inputs: ["a", "b"],
  define: ([a, b]) =>
    a.type === "bool" ? k.and(a, b) : numberOf(a, b, k.min(a, b)),
  formula: "min(a, b), of those that are numbers",
  torch: "torch.fmin(a, b)",
  samples: [
    ...pairSamples({}, { low: -1 }),
    ...integerPairSamples().slice(0, 4),
    notANumber,
    truths,
  ],
});

/** The larger of a and b, or the one that is not NaN. */
export const fmax: Binary = elementwise<Binary>({
  name: "fmax",
  family: "arithmetic",
  inputs: ["a", "b"],
  define: ([a, b]) =>
    a.type === "bool" ? k.or(a, b) : numberOf(a, b, k.max(a, b)),
  formula: "max(a, b), of those that are numbers",
  torch: "torch.fmax(a, b)",
  samples: [
    ...pairSamples({}, { low: -1 }),
    ...integerPairSamples().slice(0, 4),
    notANumber,
    truths,
  ],
});

/** A tensor and its bounds; either bound may be left out. */
export type Clamp = (x: Tensor, min?: Operand, max?: Operand) => Tensor;

function clamped(
  [x, min, max]: readonly k.Expr[],
  { bounds, numbers }: Readonly<Record<string, unknown>>,
): k.Expr {
  const low = bounds !== "max", high = bounds !== "min";
  if (!numbers || (x.type !== "f32" && x.type !== "f64")) {
    const above = low ? k.max(x, min) : x;
    return high ? k.min(above, max) : above;
  }
  if (low && high) return between(x, min, max);
  // One bound: no gradient at it nor beyond, nor for NaN.
  const bounded = low ? k.max(x, min) : k.min(x, max);
  const inside = low ? k.lt(min, x) : k.lt(x, max);
  return k.select(inside, x, k.detach(bounded));
}

/**
 * Limits x to [min, max]; max where the bounds cross. Numbers as bounds pass
 * the gradient strictly between them; tensors as bounds share it where equal.
 *
 * @throws {TypeError} when both bounds are left out.
 */
export const clamp: Clamp = elementwise<Clamp>({
  name: "clamp",
  family: "arithmetic",
  inputs: ["x", "min", "max"],
  attrs: { bounds: "both", numbers: true },
  bind: (x: Tensor, min?: Operand, max?: Operand) => {
    if (min === undefined && max === undefined) {
      throw new TypeError(
        "Cannot clamp without a bound: pass min, max or both",
      );
    }
    return {
      // A bound that is left out is not read; 0 changes no dtype.
      inputs: [x, min ?? 0, max ?? 0],
      attrs: {
        bounds: min === undefined ? "max" : max === undefined ? "min" : "both",
        numbers: [min, max].every((b) => typeof (b ?? 0) === "number"),
      },
    };
  },
  define: (operands, _, choices) => clamped(operands, choices),
  formula: "min(max(x, min), max)",
  torch:
    "x.clamp(min if bounds != 'max' else None, max if bounds != 'min' else None)",
  onnx: "Clip",
  caffe2: "Clip",
  samples: [
    [t([2, 3]), -1, 1],
    [t([2, 3]), 0],
    [t([2, 3]), undefined, 0.5],
    [t([2, 3]), 1, -1],
    [t([7], { data: [NaN, Infinity, -Infinity, -1, 1, 2, 0] }), -1, 1],
    [t([]), -1, 1],
    [t([0, 2]), -1, 1],
    [t([4], { dtype: "f16" }), -0.5, 0.5],
    [
      t([4], { dtype: "f64" }),
      t([4], { dtype: "f64", high: 0 }),
      t([], {
        dtype: "f64",
        low: 0.5,
      }),
    ],
    [t([2, 3]), t([3], { high: 0 }), t([2, 1], { low: 0 })],
    [t([4]), undefined, t([4], { high: 1 })],
    [t([6], { dtype: "i64", low: -5, high: 6 }), -2, 3],
    [t([6], { dtype: "i32", low: -5, high: 6 }), -1.5, 2.5],
    [t([6], { dtype: "u8", low: 0, high: 9 }), 2, 5],
  ],
});

/** Options of {@linkcode nanToNum}. */
export interface NanToNumOptions {
  /** What NaN becomes; 0 when omitted. */
  nan?: number;
  /** What +∞ becomes; the largest finite number when omitted. */
  posInf?: number;
  /** What −∞ becomes; the smallest finite number when omitted. */
  negInf?: number;
}

const largest: Readonly<Partial<Record<DType, number>>> = {
  f32: 3.4028234663852886e38,
  f64: Number.MAX_VALUE,
  f16: 65504,
  bf16: 3.3895313892515355e38,
};

const replace = new Elementwise(
  "nanToNum",
  4,
  ([x, nan, posInf, negInf]) =>
    k.select(
      k.ne(x, x),
      nan,
      k.select(
        k.eq(x, Infinity),
        posInf,
        k.select(k.eq(x, -Infinity), negInf, x),
      ),
    ),
  "promote",
  false,
  3,
);

/** Replaces NaN and infinities by numbers. */
export const nanToNum: (x: Tensor, options?: NanToNumOptions) => Tensor =
  operator<
    (x: Tensor, options?: NanToNumOptions) => Tensor,
    { nan: number; posInf: number | undefined; negInf: number | undefined }
  >({
    name: "nanToNum",
    family: "arithmetic",
    inputs: ["x"],
    attrs: { nan: 0, posInf: undefined, negInf: undefined },
    formula: "x, or nan, posInf, negInf in place of NaN, ∞, −∞",
    torch: "x.nan_to_num(nan, posInf, negInf)",
    caffe2: "ReplaceNaN",
    run: ([x], { nan, posInf, negInf }) => {
      if (!isFloat(x.dtype)) return same.apply([x]);
      const most = largest[x.dtype]!;
      return replace.apply([x, nan, posInf ?? most, negInf ?? -most]);
    },
    samples: [
      ...floatSamples(),
      ...(["f32", "f64", "f16", "bf16"] as const).map((dtype) => [
        t([4], { dtype, data: [NaN, Infinity, -Infinity, 1], grad: false }),
      ]),
      [t([4], { data: [NaN, Infinity, -Infinity, 1], grad: false }), {
        nan: 1,
        posInf: 2,
        negInf: -3,
      }],
      ...integerSamples(),
    ],
  });

const same = new Elementwise("nanToNum", 1, ([x]) => x, "promote", true);
