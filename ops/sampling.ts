/**
 * Random choices that tensors decide about: Bernoulli trials, draws from
 * categories, dropout.
 *
 * @module
 */

import { probability } from "../core/attributes.ts";
import { isFloat } from "../core/dtype.ts";
import {
  DTypeError,
  IndexError,
  ShapeError,
  shapeText,
} from "../core/errors.ts";
import { runRows } from "../core/row_kernels.ts";
import { operator } from "../core/op.ts";
import {
  defaultGenerator,
  Generator,
  type RandomState,
} from "../core/random.ts";
import { sizeOf } from "../core/shape.ts";
import { Tensor } from "../core/tensor.ts";
import * as k from "../kernel/expr.ts";
import { div, minimum, mul, neg } from "./arithmetic.ts";
import { gt, where } from "./comparison.ts";
import { searchSorted } from "./counting.ts";
import { Elementwise } from "./engine.ts";
import { cast, reshape } from "./foundation.ts";
import { log1p } from "./math.ts";
import { draw, requireFloat, unit, units } from "./random_bits.ts";
import { t } from "./samples.ts";
import { cumSum } from "./scan.ts";
import { narrow } from "./slicing.ts";
import { topK } from "./sorting.ts";

/** Options of random choices. */
export interface ChoiceOptions {
  /** Where the numbers come from; the default generator when omitted. */
  generator?: Generator;
}

/** A generator that stands where the state says. */
function at(state: RandomState): Generator {
  const generator = new Generator(state.seed);
  generator.restore(state);
  return generator;
}

const succeeds = new Elementwise(
  "bernoulli",
  2,
  ([p, u]) => k.cast(k.lt(u, p), p.type),
  "promote",
  true,
);

/**
 * Trials that succeed with the probabilities p: 1 or 0 for each, in the dtype of p.
 *
 * @throws {DTypeError} when p holds no fractions.
 */
export const bernoulli: (p: Tensor, options?: ChoiceOptions) => Tensor =
  operator<
    (p: Tensor, options?: ChoiceOptions) => Tensor,
    { generator: Generator | undefined }
  >({
    name: "bernoulli",
    family: "random",
    inputs: ["p"],
    attrs: { generator: undefined },
    formula: "u < p",
    constant: true,
    onnx: "Bernoulli",
    run: ([p], { generator }) => {
      requireFloat(p.dtype, "trials with probabilities");
      // 24 bits, whatever p has: one draw for p in f16 and in f32.
      const u = draw(p.shape, "f32", { device: p.device.name, generator }, {
        name: "rand",
        perBlock: 4,
        build: (words) => units(words, "f32"),
      });
      return cast(succeeds.apply([p, u]), p.dtype);
    },
    samples: [[t([2, 3], { low: 0, high: 1 })], [t([0])]],
  });

/** Options of {@linkcode dropout}. */
export interface DropoutOptions extends ChoiceOptions {
  /** Whether to drop anything; true when omitted. */
  training?: boolean;
  /** Random numbers to use again; new ones when omitted. */
  state?: RandomState;
}

/** Uses up the random words that one number for each element takes. */
function take(
  shape: readonly number[] | undefined,
  generator: Generator | undefined,
): RandomState {
  const blocks = Math.ceil(sizeOf(shape ?? []) / 4);
  return (generator ?? defaultGenerator()).take(blocks);
}

const kept = new Elementwise(
  "dropout",
  3,
  ([x, keep, scale]) => k.select(k.ne(keep, 0), k.mul(x, scale), 0),
  "promote",
  false,
  1,
);

/**
 * Sets each element to 0 with probability p, and divides the others by 1 − p.
 * The gradient draws the same choices again; none are kept for it.
 *
 * @throws {RangeError} when p is no probability.
 * @throws {DTypeError} when x holds no fractions.
 */
export const dropout: (
  x: Tensor,
  p?: number,
  options?: DropoutOptions,
) => Tensor = operator<
  (x: Tensor, p?: number, options?: DropoutOptions) => Tensor,
  { p: number; training: boolean; state: RandomState | undefined }
>({
  name: "dropout",
  family: "random",
  inputs: ["x"],
  attrs: { p: 0.5, training: true, state: undefined },
  rules: { p: probability },
  bind: (x: Tensor, p?: number, options?: DropoutOptions) => {
    const { training, generator, state } = options ?? {};
    return {
      inputs: [x],
      attrs: {
        p,
        training,
        state: (training ?? true) &&
            (p === undefined || (typeof p === "number" && p > 0))
          ? state ?? take(x?.shape, generator)
          : undefined,
      },
    };
  },
  formula: "u < p ? 0 : x / (1 − p)",
  onnx: "Dropout",
  caffe2: "Dropout",
  saves: [],
  run: ([x], { p, state }) => {
    if (!(p >= 0 && p <= 1)) {
      throw new RangeError(
        `Cannot drop elements with probability ${p}: it must be from 0 to 1`,
      );
    }
    requireFloat(x.dtype, "a dropout");
    if (state === undefined) return new Tensor(x.value.retain());
    const options = { device: x.device.name, generator: at(state) };
    const keep = draw(x.shape, "bool", options, {
      name: "keep",
      perBlock: 4,
      scalars: [p],
      scalarTypes: ["f32"],
      build: (words, [p]) => words.map((word) => k.ge(unit(word), p)),
    });
    return kept.apply([x, keep, p < 1 ? 1 / (1 - p) : 0]);
  },
  // ∂dropout: the gradient, dropped and scaled alike
  gradient: ({ grad, attrs: { p, training, state } }) => [
    dropout(grad, p, { training, state }),
  ],
  samples: [
    [t([3, 4]), 0.5, { state: { seed: 1, offset: 2 } }],
    [t([7], { dtype: "f64" }), 0.2, { state: { seed: 3, offset: 0 } }],
    [t([2, 3]), 0.5, { training: false }],
    [t([2, 3]), 0],
    [t([2, 3]), 1],
    [t([0])],
  ],
});

/** Options of {@linkcode multinomial}. */
export interface MultinomialOptions extends ChoiceOptions {
  /** Whether a category may be drawn more than once; false when omitted. */
  replacement?: boolean;
}

/** Refuses weights that are no distribution. Waits for three numbers of each row. */
function checkWeights(
  weights: Tensor,
  count: number,
  replacement: boolean,
): void {
  const [least, totals, positive] = runRows(weights.device, {
    name: "check weights",
    space: weights.shape,
    axes: [1],
    streams: [weights.value],
    passes: 1,
    build: ({ streams: [w] }) => ({
      stages: [
        { op: "min", value: w },
        { op: "sum", value: w },
        { op: "sum", value: k.cast(k.gt(w, 0), w.type) },
      ],
      outputs: [0, 1, 2].map((i) => ({
        dtype: "f64",
        value: k.stage(i, "f64"),
        per: "row",
      })),
    }),
  }).map((value) => {
    using tensor = new Tensor(value);
    return tensor.data();
  });
  least.forEach((low, row) => {
    const total = Number(totals[row]);
    if (!(low >= 0) || !(total > 0) || total === Infinity) {
      throw new RangeError(
        `Cannot draw from the weights of row ${row}: their least is ${low} and their sum is ${total}; none may be negative, and the sum must be positive and finite`,
      );
    }
    if (!replacement && positive[row] < count) {
      throw new RangeError(
        `Cannot draw ${count} different categories from row ${row}: only ${
          positive[row]
        } have a positive weight; pass { replacement: true } to draw some again`,
      );
    }
  });
}

/**
 * Draws `count` categories from each row of weights [n] or [rows, n], which
 * need not sum to 1: their numbers, i64 [count] or [rows, count]. Without
 * replacement in the order in which they would be drawn one by one. Waits for
 * the sums of the weights, to check them.
 *
 * @throws {ShapeError} when the weights have another number of axes.
 * @throws {RangeError} when weights are negative, or too few are positive.
 */
export const multinomial: (
  weights: Tensor,
  count: number,
  options?: MultinomialOptions,
) => Tensor = operator<
  (weights: Tensor, count: number, options?: MultinomialOptions) => Tensor,
  { count: number; replacement: boolean; generator: Generator | undefined }
>({
  name: "multinomial",
  family: "random",
  inputs: ["weights"],
  attrs: { count: 1, replacement: false, generator: undefined },
  bind: (weights, count, options) => ({
    inputs: [weights],
    attrs: { count, ...options },
  }),
  formula:
    "P(y[i] = k) = weights[k] / Σ weights, over the categories that are left",
  constant: true,
  onnx: "Multinomial",
  caffe2: "WeightedSample",
  run: ([weights], { count, replacement, generator }) => {
    const { shape } = weights;
    if (shape.length < 1 || shape.length > 2) {
      throw new ShapeError(
        `Cannot draw from weights of shape ${
          shapeText(shape)
        }: they must be [categories] or [rows, categories]`,
      );
    }
    if (!isFloat(weights.dtype)) {
      throw new DTypeError(
        `Cannot draw by weights of dtype ${weights.dtype}: it takes f32, f64, f16 or bf16`,
      );
    }
    const n = shape[shape.length - 1];
    if (!Number.isInteger(count) || count < 1 || (!replacement && count > n)) {
      throw new IndexError(
        `Cannot draw ${count} of ${n} categories: give a whole number from 1${
          replacement ? "" : ` to ${n}, or pass { replacement: true }`
        }`,
      );
    }
    const rows = shape.length === 1 ? 1 : shape[0];
    const dense = reshape(cast(weights, "f64"), [rows, n]);
    checkWeights(dense, count, replacement);
    const options = { device: weights.device.name, generator };
    const random = (extents: number[]) =>
      draw(extents, "f64", options, {
        name: "rand",
        perBlock: 2,
        build: (words) => units(words, "f64"),
      });
    const drawn = replacement
      ? byTotals(dense, random([rows, count]))
      : byRace(dense, random([rows, n]), count);
    return reshape(drawn, shape.length === 1 ? [count] : [rows, count]);
  },
  samples: [
    [t([4], { low: 0.5 }), 2],
    [t([2, 3], { low: 0.5 }), 5, { replacement: true }],
  ],
});

/** The first category whose running total exceeds u times the sum. */
function byTotals(weights: Tensor, u: Tensor): Tensor {
  const totals = cumSum(weights, 1);
  const sum = narrow(totals, 1, weights.shape[1] - 1, 1);
  // Strictly below the sum, also where the product was rounded.
  const target = minimum(mul(u, sum), mul(sum, 1 - 2 ** -52));
  return searchSorted(totals, target, { right: true });
}

/** The first arrivals when category i arrives after an exponential time of rate wᵢ. */
function byRace(weights: Tensor, u: Tensor, count: number): Tensor {
  const time = neg(log1p(neg(u)));
  const speed = where(gt(weights, 0), div(weights, time), -1);
  return topK(speed, count, { axis: 1 })[1];
}
