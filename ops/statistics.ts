/**
 * Variance, standard deviation, norms and the logarithm of a sum of
 * exponentials, each stable: differences from the mean or the maximum are taken
 * before they are squared or exponentiated.
 *
 * @module
 */

import { isFloat } from "../core/dtype.ts";
import { operator, type Sample } from "../core/op.ts";
import { normalizeAxes, type Shape } from "../core/shape.ts";
import type { Tensor } from "../core/tensor.ts";
import * as k from "../kernel/expr.ts";
import type { Expr } from "../kernel/expr.ts";
import type { Stage } from "../kernel/program.ts";
import { mul, sub } from "./arithmetic.ts";
import { Elementwise } from "./engine.ts";
import { type Axes, cast, sum, withKeptAxes } from "./foundation.ts";
import { mean } from "./reduction.ts";
import {
  alongside,
  bindReduction,
  type ReduceAttrs,
  type ReduceOptions,
  reduceRows,
  type Reduction,
  requireElements,
  requireFloat,
  rowSize,
} from "./reduce_rows.ts";
import { t } from "./samples.ts";

// ---- variance ----

/** Options of {@linkcode variance} and {@linkcode std}. */
export interface VarianceOptions extends ReduceOptions {
  /** What is subtracted from the number of elements in the divisor: 1 (default) for a sample, 0 for a population. */
  correction?: number;
}

/** A measure of spread along axes. */
export type Spread = (
  x: Tensor,
  axes?: Axes,
  options?: VarianceOptions,
) => Tensor;

interface SpreadAttrs extends ReduceAttrs {
  readonly correction: number;
}

const spreadAttrs: SpreadAttrs = {
  axes: undefined,
  keepDim: false,
  correction: 1,
};

const spreadCalls: Sample[] = [
  [t([2, 3, 4])],
  [t([2, 3, 4]), 1],
  [t([2, 3, 4]), [0, -1], { keepDim: true }],
  [t([2, 3]), 1, { correction: 0 }],
  [t([5], { dtype: "f64" }), 0, { correction: 2 }],
  [t([4, 3], { dtype: "f16" }), 0],
  [t([3], { data: [1e4 + 1, 1e4 + 2, 1e4 + 3], dtype: "f32" })],
];

const centred = "take the variance of";

/** The divisor of a variance; never negative, as in PyTorch. */
function degrees(
  shape: Shape,
  axes: readonly number[],
  correction: number,
): number {
  return Math.max(0, rowSize(shape, axes) - correction);
}

/** Mean and variance: two walks over the row. Scalars: elements, divisor. */
function varianceStages(
  x: Expr,
  [n, divisor]: readonly Expr[],
): { stages: Stage[]; variance: Expr } {
  const d = k.sub(x, k.div(k.stage(0, x.type), n));
  return {
    stages: [{ op: "sum", value: x }, { op: "sum", value: k.mul(d, d) }],
    variance: k.div(k.stage(1, x.type), divisor),
  };
}

function spread(
  x: Tensor,
  { axes, keepDim, correction }: SpreadAttrs,
  name: string,
  finish: (variance: Expr) => Expr,
): Tensor {
  requireFloat(centred, x);
  const which = normalizeAxes(axes, x.rank, "take the variance");
  const [value] = reduceRows(x, which, {
    name,
    passes: 2,
    scalars: [
      rowSize(x.shape, which),
      degrees(x.shape, which, correction),
    ],
    build: (element, scalars) => {
      const { stages, variance } = varianceStages(element, scalars);
      return { stages, results: [{ dtype: x.dtype, value: finish(variance) }] };
    },
  });
  return withKeptAxes(value, x.shape, which, keepDim);
}

/**
 * Variance over axes, all of them when `axes` is left out.
 *
 * @throws {DTypeError} for integers.
 */
export const variance: Spread = operator<Spread, SpreadAttrs>({
  name: "variance",
  family: "reduction",
  inputs: ["x"],
  attrs: spreadAttrs,
  bind: bindReduction,
  formula: "Σ (x − mean x)² / (n − correction)",
  torch: "torch.var(x, dim=axes, correction=correction, keepdim=keepDim)",
  run: ([x], attrs) => spread(x, attrs, "variance", (v) => v),
  // ∂variance: 2·g·(x − mean x) / (n − correction), be that below 0
  gradient: ({ inputs: [x], grad, attrs: { axes, correction } }) => {
    const which = normalizeAxes(axes, x.rank, "take the variance");
    const scale = 2 / (rowSize(x.shape, which) - correction);
    const d = sub(x, mean(x, which, { keepDim: true }));
    return [mul(mul(alongside(grad, x.shape, which), scale), d)];
  },
  samples: spreadCalls,
});

/** g·d·scale / std, and 0 where the deviation is 0. */
const deviationGradient = new Elementwise(
  "std gradient",
  4,
  ([g, d, std, scale]) =>
    k.select(
      k.eq(std, 0),
      k.constant(0, g.type),
      k.div(k.mul(k.mul(g, scale), d), std),
    ),
  "promote",
  false,
  1,
);

/**
 * Standard deviation over axes, all of them when `axes` is left out.
 *
 * @throws {DTypeError} for integers.
 */
export const std: Spread = operator<Spread, SpreadAttrs>({
  name: "std",
  family: "reduction",
  inputs: ["x"],
  attrs: spreadAttrs,
  bind: bindReduction,
  formula: "√variance x",
  torch: "torch.std(x, dim=axes, correction=correction, keepdim=keepDim)",
  savesOutputs: true,
  run: ([x], attrs) => spread(x, attrs, "std", k.sqrt),
  // ∂std: g·(x − mean x) / ((n − correction)·std)
  gradient: ({ inputs: [x], outputs: [y], grad, attrs }) => {
    const which = normalizeAxes(attrs.axes, x.rank, "take the variance");
    const scale = 1 / degrees(x.shape, which, attrs.correction);
    const d = sub(x, mean(x, which, { keepDim: true }));
    const [g, deviation] = [grad, y].map((r) => alongside(r, x.shape, which));
    return [deviationGradient.apply([g, d, deviation, scale])];
  },
  samples: spreadCalls,
});

/** Options of {@linkcode moments}. */
export type MomentsFunction = (
  x: Tensor,
  axes?: Axes,
  options?: VarianceOptions,
) => [Tensor, Tensor];

/**
 * Mean and variance over axes, all of them when `axes` is left out:
 * `[mean, variance]`.
 *
 * @throws {DTypeError} for integers.
 */
export const moments: MomentsFunction = operator<MomentsFunction, SpreadAttrs>({
  name: "moments",
  family: "reduction",
  inputs: ["x"],
  attrs: spreadAttrs,
  bind: bindReduction,
  formula: "mean x, variance x",
  torch: "torch.var_mean(x, dim=axes, correction=correction, keepdim=keepDim)" +
    "[::-1]",
  caffe2: "Moments",
  run: ([x], { axes, keepDim, correction }) => [
    mean(x, axes, { keepDim }),
    variance(x, axes, { keepDim, correction }),
  ],
  samples: spreadCalls,
});

// ---- norms ----

/** Options of {@linkcode norm}. */
export interface NormOptions extends ReduceOptions {
  /** Order: 2 (default) for the Euclidean norm, 1 for the sum of magnitudes, ±Infinity for the extreme magnitude, 0 for the number of elements that are not 0. */
  p?: number;
}

/** A norm over axes. */
export type Norm = (x: Tensor, axes?: Axes, options?: NormOptions) => Tensor;

/** The orders that have formulas of their own. */
type NormKind = "zero" | "one" | "two" | "max" | "min" | "general";

function kindOfNorm(p: number): NormKind {
  if (Number.isNaN(p)) {
    throw new RangeError("Cannot take the norm of order NaN: give a number");
  }
  switch (p) {
    case 0:
      return "zero";
    case 1:
      return "one";
    case 2:
      return "two";
    case Infinity:
      return "max";
    case -Infinity:
      return "min";
    default:
      return "general";
  }
}

function normProgram(
  kind: NormKind,
  x: Expr,
  [p]: readonly Expr[],
): { stage: Stage; value: Expr } {
  const total = k.stage(0, x.type);
  const one = k.constant(1, x.type), zero = k.constant(0, x.type);
  switch (kind) {
    case "zero": {
      const count = k.select(k.eq(x, 0), zero, one);
      return { stage: { op: "sum", value: count }, value: total };
    }
    case "one":
      return { stage: { op: "sum", value: k.abs(x) }, value: total };
    case "two":
      return { stage: { op: "sum", value: k.mul(x, x) }, value: k.sqrt(total) };
    case "max":
    case "min":
      return { stage: { op: kind, value: k.abs(x) }, value: total };
    case "general":
      return {
        stage: { op: "sum", value: k.pow(k.abs(x), p) },
        value: k.pow(total, k.div(1, p)),
      };
    default:
      return kind satisfies never;
  }
}

function signOf(x: Expr): Expr {
  const one = k.constant(1, x.type);
  const below = k.select(k.lt(x, 0), k.neg(one), k.constant(0, x.type));
  return k.select(k.gt(x, 0), one, below);
}

/** g·∂‖x‖/∂x in terms of x, the norm y, the number of ties n, g and p; 0 where y is 0. */
const normGradients = Object.fromEntries(
  (["zero", "one", "two", "max", "min", "general"] as const).map((kind) => [
    kind,
    new Elementwise(
      "norm gradient",
      5,
      ([x, y, n, g, p]) => normGradient(kind, x, y, n, g, p),
      "promote",
      false,
      1,
    ),
  ]),
) as Record<NormKind, Elementwise>;

function normGradient(
  kind: NormKind,
  x: Expr,
  y: Expr,
  n: Expr,
  g: Expr,
  p: Expr,
): Expr {
  const zero = k.constant(0, x.type);
  switch (kind) {
    case "zero":
      return k.mul(g, 0);
    case "one":
      return k.mul(g, signOf(x));
    case "two":
      return k.select(k.eq(y, 0), zero, k.div(k.mul(g, x), y));
    case "max":
    case "min":
      return k.select(
        k.eq(k.abs(x), y),
        k.div(k.mul(g, signOf(x)), n),
        zero,
      );
    case "general": {
      // x/|x| · (|x| / y)ᵖ⁻¹
      const ratio = k.pow(k.div(k.abs(x), y), k.sub(p, 1));
      return k.select(
        k.or(k.eq(x, 0), k.eq(y, 0)),
        k.select(k.ne(y, y), y, zero),
        k.mul(k.mul(g, signOf(x)), ratio),
      );
    }
    default:
      return kind satisfies never;
  }
}

/** 1 where |x| is y. */
const reachesNorm = new Elementwise(
  "reachesNorm",
  2,
  ([x, y]) =>
    k.select(k.eq(k.abs(x), y), k.constant(1, x.type), k.constant(0, x.type)),
  "promote",
  true,
);

/**
 * Norm of order p of the elements along axes, all of them when `axes` is left out.
 *
 * @throws {DTypeError} for integers.
 * @throws {ShapeError} for an infinite order and no elements.
 */
export const norm: Norm = operator<Norm, ReduceAttrs & { p: number }>({
  name: "norm",
  family: "reduction",
  inputs: ["x"],
  attrs: { axes: undefined, keepDim: false, p: 2 },
  bind: bindReduction,
  formula: "(Σ |x|ᵖ)^(1/p)",
  torch: "torch.linalg.vector_norm(x, ord=p, dim=axes, keepdim=keepDim)",
  onnx: "ReduceL2",
  caffe2: "ReduceL2",
  savesOutputs: true,
  run: ([x], { axes, keepDim, p }) => {
    requireFloat("take the norm of", x);
    const which = normalizeAxes(axes, x.rank, "take the norm");
    const kind = kindOfNorm(p);
    if (kind === "max" || kind === "min") {
      requireElements("norm of infinite order", x.shape, which);
    }
    const [value] = reduceRows(x, which, {
      name: `norm ${kind}`,
      scalars: kind === "general" ? [p] : [],
      build: (element, scalars) => {
        const { stage, value } = normProgram(kind, element, scalars);
        return { stages: [stage], results: [{ dtype: x.dtype, value }] };
      },
    });
    return withKeptAxes(value, x.shape, which, keepDim);
  },
  // ∂norm: g·sign x·(|x| / ‖x‖)ᵖ⁻¹; extremes share it
  gradient: ({ inputs: [x], outputs: [y], grad, attrs: { axes, p } }) => {
    const which = normalizeAxes(axes, x.rank, "take the norm");
    const kind = kindOfNorm(p);
    const [g, total] = [grad, y].map((r) => alongside(r, x.shape, which));
    const n = kind === "max" || kind === "min"
      ? sum(reachesNorm.apply([x, total]), which, { keepDim: true })
      : 1;
    const order = kind === "general" ? p : 1;
    return [normGradients[kind].apply([x, total, n, g, order])];
  },
  samples: [
    [t([2, 3, 4])],
    [t([2, 3]), 1],
    [t([2, 3, 2]), [0, 2], { keepDim: true }],
    [t([2, 3]), 1, { p: 1 }],
    [t([2, 3]), 1, { p: Infinity }],
    [t([2, 3]), 1, { p: -Infinity }],
    [t([2, 3]), 1, { p: 3 }],
    [t([2, 3]), undefined, { p: 1.5 }],
    [t([2, 3], { grad: false, data: [0, 1, 2, 0, 0, 3] }), 1, { p: 0 }],
    [t([3], { dtype: "f64" })],
    [t([3], { dtype: "f16" })],
    [t([2, 2], { data: [0, 0, 3, 4], grad: false }), 1],
    [t([0])],
    [t([])],
  ],
});

// ---- logSumExp ----

/** g·e^(x − y). */
const exponentialShare = new Elementwise(
  "logSumExp gradient",
  3,
  ([x, y, g]) => k.mul(g, k.exp(k.sub(x, y))),
  "promote",
  false,
);

/** A maximum that can be subtracted: infinite ones are replaced by 0. */
export function finiteOrZero(max: Expr): Expr {
  return k.select(
    k.lt(k.abs(max), Infinity),
    max,
    k.select(k.ne(max, max), max, k.constant(0, max.type)),
  );
}

/**
 * Logarithm of the sum of exponentials over axes, all of them when `axes` is
 * left out; of integers and truth values as f32.
 */
export const logSumExp: Reduction = operator<Reduction, ReduceAttrs>({
  name: "logSumExp",
  family: "reduction",
  inputs: ["x"],
  attrs: { axes: undefined, keepDim: false },
  bind: bindReduction,
  formula: "log Σ eˣ",
  torch: "torch.logsumexp(x, dim=list(range(x.dim())) if axes is None" +
    " else axes, keepdim=keepDim)",
  onnx: "ReduceLogSumExp",
  savesOutputs: true,
  run: ([input], { axes, keepDim }) => {
    const x = isFloat(input.dtype) ? input : cast(input, "f32");
    const which = normalizeAxes(axes, x.rank, "sum exponentials");
    const [value] = reduceRows(x, which, {
      name: "logSumExp",
      passes: 2,
      build: (element) => {
        const top = finiteOrZero(k.stage(0, element.type));
        const total = k.stage(1, element.type);
        return {
          stages: [
            { op: "max", value: element },
            { op: "sum", value: k.exp(k.sub(element, top)) },
          ],
          results: [{ dtype: x.dtype, value: k.add(k.log(total), top) }],
        };
      },
    });
    return withKeptAxes(value, x.shape, which, keepDim);
  },
  // ∂logSumExp: g·e^(x − logSumExp x)
  gradient: ({ inputs: [x], outputs: [y], grad, attrs: { axes } }) => {
    const which = normalizeAxes(axes, x.rank, "sum exponentials");
    const [g, total] = [grad, y].map((r) => alongside(r, x.shape, which));
    return [exponentialShare.apply([x, total, g])];
  },
  samples: [
    [t([2, 3, 4])],
    [t([2, 3, 4]), 1],
    [t([2, 3, 4]), [0, -1], { keepDim: true }],
    [t([4], { dtype: "f64" }), 0],
    [t([2, 3], { dtype: "bf16" }), 1],
    [t([3], { data: [1000, 1001, 999] })],
    [
      t([4, 2], {
        data: [
          -Infinity,
          -Infinity,
          Infinity,
          1,
          -Infinity,
          2,
          NaN,
          0,
        ],
        grad: false,
      }),
      1,
    ],
    [t([2, 0]), 1],
    [t([])],
  ],
});
