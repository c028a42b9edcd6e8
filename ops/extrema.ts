/**
 * Largest and smallest elements along axes, and where they stand.
 *
 * @module
 */

import { operator, type Sample } from "../core/op.ts";
import { normalizeAxes } from "../core/shape.ts";
import type { Tensor } from "../core/tensor.ts";
import * as k from "../kernel/expr.ts";
import type { Expr } from "../kernel/expr.ts";
import type { ReduceOp } from "../kernel/program.ts";
import { Elementwise } from "./engine.ts";
import { sum, withKeptAxes } from "./foundation.ts";
import { axisPositions } from "./axis_positions.ts";
import {
  alongside,
  bindReduction,
  type ReduceAttrs,
  type ReduceOptions,
  reduceRows,
  type Reduction,
  requireElements,
} from "./reduce_rows.ts";
import { t } from "./samples.ts";

const attrs: ReduceAttrs = { axes: undefined, keepDim: false };

// ---- values ----

/** 1 where x is the extremum y of its row. */
const isExtremum = new Elementwise(
  "isExtremum",
  2,
  ([x, y]) =>
    k.select(k.eq(x, y), k.constant(1, x.type), k.constant(0, x.type)),
  "promote",
  true,
);

/** g · [x = y] / count: the elements that reach the extremum share its gradient. */
const shareAmongTies = new Elementwise(
  "extremum gradient",
  3,
  ([ties, count, g]) => k.div(k.mul(g, ties), count),
  "promote",
  false,
);

/** Truth values compare as 0 and 1. */
function comparable(x: Expr): Expr {
  return x.type === "bool" ? k.cast(x, "i32") : x;
}

const extremumCalls: Sample[] = [
  [t([2, 3, 4])],
  [t([2, 3, 4]), 1],
  [t([2, 3, 4]), [0, -1], { keepDim: true }],
  [t([5], { dtype: "f64" }), 0],
  [t([2, 3], { dtype: "f16" }), 1],
  [t([2, 3], { dtype: "i64" }), 1],
  [t([2, 3], { dtype: "u8", low: 0, high: 9 }), 0],
  [t([3], { dtype: "bool", data: [0, 1, 0] })],
  [t([0, 3]), 1],
  [t([])],
  [t([2, 3], { data: [NaN, 1, 2, -Infinity, 5, Infinity], grad: false }), 1],
];

function extremum(op: "max" | "min", torch: string): Reduction {
  return operator<Reduction, ReduceAttrs>({
    name: op,
    family: "reduction",
    inputs: ["x"],
    attrs,
    bind: bindReduction,
    formula: `${op} x`,
    torch:
      `torch.${torch}(x, dim=() if axes is None else axes, keepdim=keepDim)`,
    onnx: op === "max" ? "ReduceMax" : "ReduceMin",
    caffe2: op === "max" ? "ReduceMax" : "ReduceMin",
    savesOutputs: true,
    run: ([x], { axes, keepDim }) => {
      const which = normalizeAxes(axes, x.rank, `take the ${op}`);
      requireElements(op, x.shape, which);
      const [value] = reduceRows(x, which, {
        name: op,
        build: (element) => {
          const e = comparable(element);
          return {
            stages: [{ op, value: e }],
            results: [{
              dtype: x.dtype,
              value: k.cast(k.stage(0, e.type), k.computeType(x.dtype)),
            }],
          };
        },
      });
      return withKeptAxes(value, x.shape, which, keepDim);
    },
    // ∂max: g · [x = max] / Σ [x = max]
    gradient: ({ inputs: [x], outputs: [y], grad, attrs: { axes } }) => {
      const which = normalizeAxes(axes, x.rank, `take the ${op}`);
      const ties = isExtremum.apply([x, alongside(y, x.shape, which)]);
      const count = sum(ties, which, { keepDim: true });
      return [
        shareAmongTies.apply([ties, count, alongside(grad, x.shape, which)]),
      ];
    },
    samples: extremumCalls,
  });
}

/**
 * Largest element along axes, all of them when `axes` is left out. NaN counts
 * as the largest; equal elements share the gradient, as in `torch.amax`.
 *
 * @throws {ShapeError} when there are no elements to choose from.
 */
export const max: Reduction = extremum("max", "amax");

/**
 * Smallest element along axes, all of them when `axes` is left out. NaN counts
 * as the smallest; equal elements share the gradient, as in `torch.amin`.
 *
 * @throws {ShapeError} when there are no elements to choose from.
 */
export const min: Reduction = extremum("min", "amin");

// ---- positions ----

/** The position of the first extremum along an axis, or among all elements. */
export type ArgReduction = (
  x: Tensor,
  axis?: number,
  options?: ReduceOptions,
) => Tensor;

interface ArgAttrs {
  readonly axis: number | undefined;
  readonly keepDim: boolean;
}

function bindAxis(x: Tensor, axis?: number, options?: ReduceOptions) {
  return { inputs: [x], attrs: { axis, ...options } };
}

const argCalls: Sample[] = [
  [t([2, 3, 4])],
  [t([2, 3, 4]), 1],
  [t([2, 3, 4]), -1, { keepDim: true }],
  [t([9], { data: [1, 3, 3, 0, 0, 3, 2, 0, 1] }), 0],
  [t([2, 3], { data: [NaN, 1, NaN, 5, NaN, 9] }), 1],
  [t([5], { dtype: "i32" }), 0],
  [t([2, 3], { dtype: "f64" })],
  [t([2, 3], { dtype: "f16" }), 0],
  [t([0, 3]), 1],
  [t([])],
];

function argExtremum(
  name: "argMax" | "argMin",
  op: ReduceOp & ("argmax" | "argmin"),
): ArgReduction {
  return operator<ArgReduction, ArgAttrs>({
    name,
    family: "reduction",
    inputs: ["x"],
    attrs: { axis: undefined, keepDim: false },
    bind: bindAxis,
    formula: `${op} x`,
    torch: `torch.${op}(x, dim=axis, keepdim=keepDim)`,
    onnx: op === "argmax" ? "ArgMax" : "ArgMin",
    caffe2: op === "argmax" ? "ArgMax" : "ArgMin",
    constant: true,
    run: ([x], { axis, keepDim }) => {
      const which = normalizeAxes(axis, x.rank, `find the ${op}`);
      requireElements(op, x.shape, which);
      const [value] = reduceRows(x, which, {
        name: op,
        build: (element) => ({
          stages: [{ op, value: comparable(element) }],
          results: [{ dtype: "i64", value: k.stage(0, "i32") }],
        }),
      });
      return withKeptAxes(value, x.shape, which, keepDim);
    },
    samples: argCalls,
  });
}

/**
 * Position (i64) of the largest element along `axis`, or in the flattened
 * tensor when it is left out: the first of equals; NaN counts as the largest.
 *
 * @throws {ShapeError} when there are no elements to choose from.
 */
export const argMax: ArgReduction = argExtremum("argMax", "argmax");

/**
 * Position (i64) of the smallest element along `axis`, or in the flattened
 * tensor when it is left out: the first of equals; NaN counts as the smallest.
 *
 * @throws {ShapeError} when there are no elements to choose from.
 */
export const argMin: ArgReduction = argExtremum("argMin", "argmin");

// ---- values and positions ----

/** The first extremum along an axis and its position: `[values, indices]`. */
export type IndexedReduction = (
  x: Tensor,
  axis: number,
  options?: ReduceOptions,
) => [Tensor, Tensor];

/** Whether an element's position is the chosen one. */
const isChosen = new Elementwise(
  "isChosen",
  2,
  ([position, index]) => k.eq(position, index),
  "bool",
  true,
);

/** g where an element is chosen, else 0. */
const whereChosen = new Elementwise(
  "indexed extremum gradient",
  2,
  ([chosen, g]) => k.select(k.ne(chosen, 0), g, k.constant(0, g.type)),
  "promote",
  false,
);

const indexedCalls: Sample[] = [
  [t([2, 3, 4]), 1],
  [t([2, 3, 4]), -1, { keepDim: true }],
  [t([9], { data: [1, 3, 3, 0, 0, 3, 2, 0, 1], grad: false }), 0],
  [t([2, 3], { data: [NaN, 1, NaN, 5, NaN, 9], grad: false }), 1],
  [t([5], { dtype: "i32" }), 0],
  [t([2, 3], { dtype: "bf16" }), 0],
  [t([4], { dtype: "f64" }), 0],
  [t([0, 3]), 1],
  [t([]), 0],
];

function indexedExtremum(op: "max" | "min"): IndexedReduction {
  const arg = op === "max" ? "argmax" : "argmin";
  return operator<IndexedReduction, { axis: number; keepDim: boolean }>({
    name: `${op}WithIndex`,
    family: "reduction",
    inputs: ["x"],
    attrs: { axis: -1, keepDim: false },
    bind: bindAxis,
    formula: `${op} x, ${arg} x`,
    torch: `torch.${op}(x, dim=axis, keepdim=keepDim)`,
    saves: [],
    savesOutputs: true,
    run: ([x], { axis, keepDim }) => {
      const which = normalizeAxes(axis, x.rank, `take the ${op}`);
      requireElements(op, x.shape, which);
      const results = reduceRows(x, which, {
        name: `${op} with index`,
        build: (element) => {
          const e = comparable(element);
          return {
            stages: [{ op, value: e }, { op: arg, value: e }],
            results: [
              {
                dtype: x.dtype,
                value: k.cast(k.stage(0, e.type), k.computeType(x.dtype)),
              },
              { dtype: "i64", value: k.stage(1, "i32") },
            ],
          };
        },
      });
      return results.map((r) => withKeptAxes(r, x.shape, which, keepDim));
    },
    // ∂max: g at the chosen position, 0 elsewhere
    gradient: ({ shapes: [shape], outputs, grad, attrs: { axis } }) => {
      if (shape.length === 0) return [grad];
      const which = normalizeAxes(axis, shape.length, `take the ${op}`);
      const [g, index] = [grad, outputs[1]].map((r) =>
        alongside(r, shape, which)
      );
      const here = axisPositions(shape, which[0], grad.device);
      return [whereChosen.apply([isChosen.apply([here, index]), g])];
    },
    samples: indexedCalls,
  });
}

/**
 * Largest element along an axis and its position (i64): the first of equals,
 * which alone gets the gradient, as in `torch.max(x, dim)`.
 *
 * @throws {ShapeError} when there are no elements to choose from.
 */
export const maxWithIndex: IndexedReduction = indexedExtremum("max");

/**
 * Smallest element along an axis and its position (i64): the first of equals,
 * which alone gets the gradient, as in `torch.min(x, dim)`.
 *
 * @throws {ShapeError} when there are no elements to choose from.
 */
export const minWithIndex: IndexedReduction = indexedExtremum("min");
