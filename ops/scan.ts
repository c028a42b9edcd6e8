/**
 * Running sums, products and extrema along an axis.
 *
 * @module
 */

import { count } from "../core/attributes.ts";
import { accumulated, type DType, isFloat } from "../core/dtype.ts";
import type { ScanSpec } from "../core/device.ts";
import { DTypeError, ShapeError, shapeText } from "../core/errors.ts";
import { contiguous } from "../core/row_kernels.ts";
import { operator } from "../core/op.ts";
import { normalizeAxis } from "../core/shape.ts";
import { Tensor } from "../core/tensor.ts";
import { Value } from "../core/value.ts";
import * as k from "../kernel/expr.ts";
import { add, mul, sub } from "./arithmetic.ts";
import { ne } from "./comparison.ts";
import { Elementwise } from "./engine.ts";
import { cast, fill, reshape } from "./foundation.ts";
import { scatterAdd } from "./indexing.ts";
import { concat } from "./joining.ts";
import { flip } from "./repeating.ts";
import { t } from "./samples.ts";
import { narrow } from "./slicing.ts";
import { axisOf, exchanged } from "./views.ts";

/** Scans along an axis in `dtype`; with positions for extrema. */
function scanAlong(
  x: Tensor,
  axis: number,
  op: ScanSpec["op"],
  dtype: DType,
  positions: boolean,
): Tensor[] {
  const { device } = x;
  const at = normalizeAxis(axis, x.rank, "scan");
  const last = Math.max(0, x.rank - 1);
  const wide = accumulated(dtype);
  const rows = exchanged(x, at, last);
  const same = rows.dtype === wide ? rows : cast(rows, wide);
  const input = new Tensor(contiguous(same.value));
  const output = new Tensor(Value.empty(device, wide, rows.shape));
  const indices = positions
    ? new Tensor(Value.empty(device, "i64", rows.shape))
    : undefined;
  const length = x.rank === 0 ? 1 : x.shape[at];
  device.scan({
    dtype: wide,
    op,
    rows: length === 0 ? 0 : x.size / length,
    length,
    input: input.value,
    output: output.value,
    indices: indices?.value,
  });
  const narrowed = wide === dtype ? output : cast(output, dtype);
  const results = indices === undefined ? [narrowed] : [narrowed, indices];
  return results.map((r) => exchanged(r, at, last));
}

function totalDType(dtype: DType): DType {
  return isFloat(dtype) ? dtype : "i64";
}

const samples = [
  [t([5]), 0],
  [t([2, 3]), -1],
  [t([2, 3, 2]), 1],
  [t([4], { dtype: "f64" }), 0],
  [t([4], { dtype: "i32", low: -5, high: 5 }), 0],
  [t([4], { dtype: "u8", low: 0, high: 5 }), 0],
  [t([4], { dtype: "bool", data: [1, 0, 1, 1] }), 0],
  [t([4], { dtype: "bf16" }), 0],
  [t([4], { data: [1, Infinity, NaN, 2], grad: false }), 0],
  [t([]), 0],
  [t([0, 2]), 0],
  [t([3, 1]), 1],
];

/** A scan from the other end. */
function reversed(
  x: Tensor,
  axis: number,
  scan: (x: Tensor, axis: number) => Tensor,
): Tensor {
  return x.rank === 0 ? scan(x, axis) : flip(scan(flip(x, axis), axis), axis);
}

/** Running sum along an axis. Integers are summed as i64; f32 is carried in f64. */
export const cumSum: (x: Tensor, axis: number) => Tensor = operator<
  (x: Tensor, axis: number) => Tensor,
  { axis: number }
>({
  name: "cumSum",
  family: "scan",
  inputs: ["x"],
  attrs: { axis: 0 },
  bind: (x, axis) => ({ inputs: [x], attrs: { axis } }),
  formula: "yᵢ = Σ_{j ≤ i} xⱼ",
  torch: "torch.cumsum(x, axis)",
  onnx: "CumSum",
  saves: [],
  run: ([x], { axis }) =>
    scanAlong(x, axis, "sum", totalDType(x.dtype), false)[0],
  // ∂cumSum: the running sum of the gradient from the other end
  gradient: ({ dtypes, grad, attrs: { axis } }) => [
    cast(reversed(grad, axis, cumSum), dtypes[0]),
  ],
  samples,
});

/** Multiplies pairs and adds, without which a linear recurrence cannot be doubled. */
function affine(slope: Tensor, inner: Tensor, offset: Tensor): Tensor {
  return add(mul(slope, inner), offset);
}

/**
 * Solves Sₖ = bₖ + aₖ·Sₖ₊₁ from the end of the axis, in log₂ n rounds: in
 * each, maps of twice as many steps are put together from two.
 */
function solveBackward(a: Tensor, b: Tensor, axis: number): Tensor {
  const extent = b.shape[axis];
  for (let reach = 1; reach < extent; reach *= 2) {
    const near = (x: Tensor) => narrow(x, axis, 0, extent - reach);
    const far = (x: Tensor) => narrow(x, axis, reach, extent - reach);
    const tail = (x: Tensor) => narrow(x, axis, extent - reach, reach);
    const joined = affine(near(a), far(b), near(b));
    const next = concat([joined, tail(b)], axis);
    a = concat([mul(near(a), far(a)), tail(a)], axis);
    b = next;
  }
  return b;
}

/** Running product along an axis. Integers are multiplied as i64; f32 is carried in f64. */
export const cumProd: (x: Tensor, axis: number) => Tensor = operator<
  (x: Tensor, axis: number) => Tensor,
  { axis: number }
>({
  name: "cumProd",
  family: "scan",
  inputs: ["x"],
  attrs: { axis: 0 },
  bind: (x, axis) => ({ inputs: [x], attrs: { axis } }),
  formula: "yᵢ = Π_{j ≤ i} xⱼ",
  torch: "torch.cumprod(x, axis)",
  onnx: "CumProd",
  run: ([x], { axis }) =>
    scanAlong(x, axis, "prod", totalDType(x.dtype), false)[0],
  // ∂cumProd: (Π_{j<k} xⱼ)·Sₖ with Sₖ = gₖ + xₖ₊₁·Sₖ₊₁: no division, so zeros are no exception
  gradient: ({ inputs: [x], grad, attrs: { axis } }) => {
    if (x.rank === 0 || x.size === 0) return [grad];
    const at = normalizeAxis(axis, x.rank, "scan");
    const extent = x.shape[at];
    const edge = (number: number) =>
      fill(x.shape.map((n, d) => d === at ? 1 : n), number, x.dtype, x.device);
    const before = concat([
      edge(1),
      narrow(cumProd(x, at), at, 0, extent - 1),
    ], at);
    const after = concat([narrow(x, at, 1, extent - 1), edge(0)], at);
    return [mul(before, solveBackward(after, grad, at))];
  },
  samples: [
    ...samples,
    [t([5], { data: [2, 0, 3, 0, 4] }), 0],
    [t([2, 3], { data: [0, 1, 2, 3, 0, 5] }), 1],
  ],
});

function extremum(
  name: "cumMax" | "cumMin",
): (x: Tensor, axis: number) => [Tensor, Tensor] {
  return operator<(x: Tensor, axis: number) => [Tensor, Tensor], {
    axis: number;
  }>({
    name,
    family: "scan",
    inputs: ["x"],
    attrs: { axis: 0 },
    bind: (x, axis) => ({ inputs: [x], attrs: { axis } }),
    formula: `yᵢ = ${name === "cumMax" ? "max" : "min"}_{j ≤ i} xⱼ`,
    torch: `torch.${name.toLowerCase()}(x, axis)`,
    saves: [],
    savesOutputs: true,
    run: ([x], { axis }) =>
      scanAlong(x, axis, name === "cumMax" ? "max" : "min", x.dtype, true),
    // ∂cumMax: each gradient added where its value stood
    gradient: ({ outputs: [, at], shapes, grads: [grad], attrs }) => {
      if (grad === undefined || grad.rank === 0) return [grad];
      const zeros = fill(shapes[0], 0, grad.dtype, grad.device);
      return [scatterAdd(zeros, attrs.axis, at, grad)];
    },
    samples: [
      ...samples,
      [t([6], { data: [1, 3, 3, 2, 3, 4], grad: false }), 0],
      [t([5], { data: [2, 1, 1, 0, NaN], grad: false }), 0],
      [t([5], { dtype: "i64", data: [2, 1, 5, 5, 9] }), 0],
    ],
  });
}

/** Running maximum along an axis and where it stood (i64): the last of equals; NaN stays. */
export const cumMax: (x: Tensor, axis: number) => [Tensor, Tensor] = extremum(
  "cumMax",
);

/** Running minimum along an axis and where it stood (i64): the last of equals; NaN stays. */
export const cumMin: (x: Tensor, axis: number) => [Tensor, Tensor] = extremum(
  "cumMin",
);

/** log(eᵃ + eᵇ) without overflow; equal infinities give themselves. */
const logAddExp = new Elementwise(
  "logAddExp",
  2,
  ([a, b]) => {
    const high = k.max(a, b);
    const apart = k.add(high, k.log1p(k.exp(k.neg(k.abs(k.sub(a, b))))));
    const together = k.add(k.mul(k.add(a, b), 0.5), Math.LN2);
    return k.select(k.eq(a, b), together, apart);
  },
  "float",
  false,
);

/** Logarithm of the running sum of exponentials along an axis, in log₂ n rounds without overflow. */
export const logCumSumExp: (x: Tensor, axis: number) => Tensor = operator<
  (x: Tensor, axis: number) => Tensor,
  { axis: number }
>({
  name: "logCumSumExp",
  family: "scan",
  inputs: ["x"],
  attrs: { axis: 0 },
  bind: (x, axis) => ({ inputs: [x], attrs: { axis } }),
  formula: "yᵢ = log Σ_{j ≤ i} exp xⱼ",
  torch: "torch.logcumsumexp(x, axis)",
  run: ([x], { axis }) => {
    const at = normalizeAxis(axis, x.rank, "scan");
    if (!isFloat(x.dtype)) {
      throw new DTypeError(
        `Cannot take logCumSumExp of a tensor of dtype ${x.dtype}: convert it with .cast("f32")`,
      );
    }
    if (x.rank === 0) return add(x, 0);
    const extent = x.shape[at];
    let y = x;
    for (let reach = 1; reach < extent; reach *= 2) {
      const rest = extent - reach;
      y = concat([
        narrow(y, at, 0, reach),
        logAddExp.apply([narrow(y, at, reach, rest), narrow(y, at, 0, rest)]),
      ], at);
    }
    return extent > 1 ? y : add(x, 0);
  },
  samples: [
    [t([5]), 0],
    [t([2, 3]), -1],
    [t([3, 2]), 0],
    [t([1]), 0],
    [t([0, 2]), 0],
    [t([]), 0],
    [t([4], { data: [-1000, 1000, 1000, -5], grad: false }), 0],
    [t([4], { data: [-Infinity, -Infinity, 0, 1], grad: false }), 0],
    [t([3], { data: [0, Infinity, 1], grad: false }), 0],
  ],
});

/** Options of {@linkcode diff}. */
export interface DiffOptions {
  /** How often differences are taken. */
  order?: number;
  /** Axis; the last by default. */
  axis?: number;
}

/**
 * Differences of neighbours along an axis; of truth values, whether they differ.
 *
 * @throws {ShapeError} when the order is no integer from 0 on.
 */
export const diff: (x: Tensor, options?: DiffOptions) => Tensor = operator<
  (x: Tensor, options?: DiffOptions) => Tensor,
  Required<DiffOptions>
>({
  name: "diff",
  family: "scan",
  inputs: ["x"],
  attrs: { order: 1, axis: -1 },
  rules: { order: count },
  formula: "yᵢ = xᵢ₊₁ − xᵢ",
  torch: "torch.diff(x, order, axis)",
  run: ([x], { order, axis }) => {
    const at = axisOf(x, axis, "take differences of");
    if (!Number.isInteger(order) || order < 0) {
      throw new ShapeError(
        `Cannot take differences of order ${order} of a tensor of shape ${
          shapeText(x.shape)
        }: give an integer from 0 on`,
      );
    }
    let y = reshape(x, x.shape);
    for (let i = 0; i < order && y.shape[at] > 0; i++) {
      const rest = y.shape[at] - 1;
      const pair = [narrow(y, at, 1, rest), narrow(y, at, 0, rest)] as const;
      y = x.dtype === "bool" ? ne(...pair) : sub(...pair);
    }
    return y;
  },
  samples: [
    [t([5])],
    [t([3, 4]), { order: 2 }],
    [t([3, 2]), { axis: 0 }],
    [t([1])],
    [t([2]), { order: 3 }],
    [t([3], { dtype: "i64" })],
    [t([4], { dtype: "bool", data: [1, 0, 0, 1] })],
  ],
});
