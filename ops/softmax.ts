/**
 * Softmax and its relatives, each one kernel forward and one backward.
 *
 * @module
 */

import { gradEnabled } from "../core/autograd.ts";
import { runRows } from "../core/row_kernels.ts";
import { operator, type Sample } from "../core/op.ts";
import { normalizeAxes } from "../core/shape.ts";
import { Tensor } from "../core/tensor.ts";
import * as k from "../kernel/expr.ts";
import { mul, neg, sub } from "./arithmetic.ts";
import { Elementwise } from "./engine.ts";
import { sum } from "./foundation.ts";
import { requireFloat } from "./reduce_rows.ts";
import { t } from "./samples.ts";

/** A function along one axis, the last when it is left out. */
export type AlongAxis = (x: Tensor, axis?: number) => Tensor;

interface AxisAttrs {
  readonly axis: number;
}

function bindAxis(x: Tensor, axis?: number) {
  return { inputs: [x], attrs: { axis } };
}

const calls: Sample[] = [
  [t([2, 3])],
  [t([2, 3, 4]), 1],
  [t([3, 5]), 0],
  [t([2, 3, 2]), -2],
  [t([4], { dtype: "f64" })],
  [t([2, 3], { dtype: "f16" })],
  [t([2, 3], { dtype: "bf16" }), 0],
  [t([3, 1]), 1],
  [t([0, 3])],
  [t([2, 0])],
  [t([]), 0],
  [t([3], { data: [1000, 1001, 999] })],
  [t([4, 2], {
    data: [-Infinity, 1, Infinity, 1, NaN, 0, -1e30, 1e30],
    grad: false,
  })],
];

/** Runs `build` over rows along an axis, with one result per element. */
function alongRows(
  name: string,
  operands: readonly Tensor[],
  axis: number,
  passes: number,
  build: (operands: readonly k.Expr[]) => {
    stages: { op: "sum" | "max"; value: k.Expr }[];
    value: k.Expr;
  },
): Tensor {
  const [{ device, shape, dtype }] = operands;
  const [value] = runRows(device, {
    name,
    space: shape,
    axes: normalizeAxes(axis, shape.length, `take the ${name}`),
    streams: operands.map((x) => x.value),
    keepsOrder: true,
    passes,
    build: ({ streams }) => {
      const { stages, value } = build(streams);
      return {
        stages,
        outputs: [{ dtype, per: "element", value: k.roundTo(value, dtype) }],
      };
    },
  });
  return new Tensor(value);
}

// ---- softmax ----

/**
 * Softmax along an axis, the last when it is left out: eˣ / Σ eˣ, computed
 * with the row's maximum subtracted.
 *
 * @throws {DTypeError} for integers.
 */
export const softmax: AlongAxis = operator<AlongAxis, AxisAttrs>({
  name: "softmax",
  family: "softmax",
  inputs: ["x"],
  attrs: { axis: -1 },
  bind: bindAxis,
  formula: "eˣ / Σ eˣ",
  torch: "F.softmax(x, dim=axis)",
  onnx: "Softmax",
  caffe2: "Softmax",
  saves: [],
  savesOutputs: true,
  run: ([x], { axis }) => {
    requireFloat("take the softmax of", x);
    return alongRows("softmax", [x], axis, 3, ([e]) => {
      const share = k.exp(k.sub(e, k.stage(0, e.type)));
      return {
        stages: [{ op: "max", value: e }, { op: "sum", value: share }],
        value: k.mul(share, k.div(1, k.stage(1, e.type))),
      };
    });
  },
  // ∂softmax: s·(g − Σ g·s)
  gradient: ({ outputs: [s], grad, attrs: { axis } }) => {
    if (gradEnabled()) {
      const mixed = sum(mul(grad, s), s.rank === 0 ? [] : axis, {
        keepDim: true,
      });
      return [mul(s, sub(grad, mixed))];
    }
    return [
      alongRows("softmax gradient", [s, grad], axis, 2, ([s, g]) => ({
        stages: [{ op: "sum", value: k.mul(g, s) }],
        value: k.mul(s, k.sub(g, k.stage(0, s.type))),
      })),
    ];
  },
  samples: calls,
});

/**
 * Softmax of −x along an axis, the last when it is left out.
 *
 * @throws {DTypeError} for integers.
 */
export const softmin: AlongAxis = operator<AlongAxis, AxisAttrs>({
  name: "softmin",
  family: "softmax",
  inputs: ["x"],
  attrs: { axis: -1 },
  bind: bindAxis,
  formula: "e⁻ˣ / Σ e⁻ˣ",
  torch: "F.softmin(x, dim=axis)",
  run: ([x], { axis }) => {
    requireFloat("take the softmin of", x);
    return softmax(neg(x), axis);
  },
  samples: calls,
});

// ---- logSoftmax ----

/** g − e^y·s, with s the sum of g over the row. */
const logGradient = new Elementwise(
  "logSoftmax gradient",
  3,
  ([y, g, s]) => k.sub(g, k.mul(k.exp(y), s)),
  "promote",
  false,
);

/**
 * Logarithm of the softmax along an axis, the last when it is left out:
 * x − log Σ eˣ, without the loss of digits that taking the logarithm of a
 * softmax has.
 *
 * @throws {DTypeError} for integers.
 */
export const logSoftmax: AlongAxis = operator<AlongAxis, AxisAttrs>({
  name: "logSoftmax",
  family: "softmax",
  inputs: ["x"],
  attrs: { axis: -1 },
  bind: bindAxis,
  formula: "x − log Σ eˣ",
  torch: "F.log_softmax(x, dim=axis)",
  onnx: "LogSoftmax",
  saves: [],
  savesOutputs: true,
  run: ([x], { axis }) => {
    requireFloat("take the logarithm of the softmax of", x);
    return alongRows("logSoftmax", [x], axis, 3, ([e]) => {
      const d = k.sub(e, k.stage(0, e.type));
      return {
        stages: [{ op: "max", value: e }, { op: "sum", value: k.exp(d) }],
        value: k.sub(d, k.log(k.stage(1, e.type))),
      };
    });
  },
  // ∂logSoftmax: g − softmax x·Σ g
  gradient: ({ outputs: [y], grad, attrs: { axis } }) => {
    if (gradEnabled()) {
      const total = sum(grad, y.rank === 0 ? [] : axis, { keepDim: true });
      return [logGradient.apply([y, grad, total])];
    }
    return [
      alongRows("logSoftmax gradient", [y, grad], axis, 2, ([y, g]) => ({
        stages: [{ op: "sum", value: g }],
        value: k.sub(g, k.mul(k.exp(y), k.stage(0, y.type))),
      })),
    ];
  },
  samples: calls,
});
