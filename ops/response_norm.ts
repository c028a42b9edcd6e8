/**
 * Local response normalisation across channels, as AlexNet has it.
 *
 * @module
 */

import { positiveInteger } from "../core/attributes.ts";
import { runRows } from "../core/row_kernels.ts";
import { ShapeError, shapeText } from "../core/errors.ts";
import { operator } from "../core/op.ts";
import { sizeOf } from "../core/shape.ts";
import { Tensor } from "../core/tensor.ts";
import * as k from "../kernel/expr.ts";
import { Elementwise } from "./engine.ts";
import { fill, reshape } from "./foundation.ts";
import { fused } from "./fused.ts";
import { requireFloat } from "./reduce_rows.ts";
import { t } from "./samples.ts";

/** Sums [batch, channels, positions] over the channels from c − before to c + after. */
function windowSum(x: Tensor, before: number, after: number): Tensor {
  return fused({
    name: "localResponseNorm",
    inputs: [x],
    compute: () => ({ outputs: [slideChannels(x, before, after)], extras: [] }),
    // ∂windowSum: the sum over the mirrored window
    gradient: ({ grad }) => [windowSum(grad, after, before)],
  })[0];
}

function slideChannels(x: Tensor, before: number, after: number): Tensor {
  const [batch, channels, positions] = x.shape;
  const width = before + after + 1;
  const { device, dtype } = x;
  // Zeros before the first and after the last channel; then windows overlap as strided views.
  const tall = channels + width - 1;
  const padded = fill([batch, tall, positions], 0, dtype, device)
    .materialize().value;
  const inside = new Tensor(
    padded.view(x.shape, padded.strides, before * positions),
  );
  runRows(device, {
    name: "copy channels",
    space: x.shape,
    axes: [],
    streams: [x.value],
    into: [inside.value],
    passes: 1,
    build: ({ streams: [value] }) => ({
      stages: [],
      outputs: [{ dtype, per: "element", value }],
    }),
  });
  const windows = new Tensor(padded.view(
    [batch, channels, width, positions],
    [tall * positions, positions, positions, 1],
    0,
  ));
  const [sums] = runRows(device, {
    name: "sum of channels",
    space: windows.shape,
    axes: [2],
    streams: [windows.value],
    passes: 1,
    build: ({ streams: [value] }) => ({
      stages: [{ op: "sum", value }],
      outputs: [{
        dtype,
        per: "row",
        value: k.roundTo(k.stage(0, value.type), dtype),
      }],
    }),
  });
  return new Tensor(sums);
}

const square = new Elementwise(
  "localResponseNorm",
  1,
  ([x]) => k.mul(x, x),
  "promote",
  false,
);

/** x·(k + α·s)^−β */
const damped = new Elementwise(
  "localResponseNorm",
  5,
  ([x, s, alpha, beta, bias]) =>
    k.mul(x, k.pow(k.add(bias, k.mul(alpha, s)), k.neg(beta))),
  "promote",
  false,
  3,
);

/** Options of {@linkcode localResponseNorm}. */
export interface ResponseOptions {
  /** Factor of the mean square; 1e-4 when omitted. */
  alpha?: number;
  /** Exponent; 0.75 when omitted. */
  beta?: number;
  /** Summand; 1 when omitted. */
  k?: number;
}

/**
 * Division of [batch, channels, …] by (k + α/size·Σ x²)^β, the sum running
 * over `size` neighbouring channels.
 *
 * @throws {ShapeError} when there are fewer than two axes.
 * @throws {RangeError} when the size is no positive integer.
 */
export const localResponseNorm: (
  x: Tensor,
  size: number,
  options?: ResponseOptions,
) => Tensor = operator<
  (x: Tensor, size: number, options?: ResponseOptions) => Tensor,
  { size: number; alpha: number; beta: number; k: number }
>({
  name: "localResponseNorm",
  family: "normalization",
  inputs: ["x"],
  attrs: { size: 5, alpha: 1e-4, beta: 0.75, k: 1 },
  rules: { size: positiveInteger },
  bind: (x, size, options) => ({ inputs: [x], attrs: { size, ...options } }),
  formula: "x / (k + α/size·Σ x²)^β",
  torch: "F.local_response_norm(x, size, alpha=alpha, beta=beta, k=k)",
  onnx: "LRN",
  caffe2: "LRN",
  run: ([x], { size, alpha, beta, k }) => {
    requireFloat("take the local response normalisation of", x);
    if (x.rank < 2) {
      throw new ShapeError(
        `Cannot take the local response normalisation of a tensor of shape ${
          shapeText(x.shape)
        }: it needs at least two axes, [batch, channels, …]`,
      );
    }
    if (!Number.isInteger(size) || size < 1) {
      throw new RangeError(
        `Cannot take the local response normalisation over ${size} channels: the size must be a positive integer`,
      );
    }
    const [batch, channels, ...rest] = x.shape;
    const before = Math.floor(size / 2), after = size - 1 - before;
    const squares = reshape(square.apply([x]), [batch, channels, sizeOf(rest)]);
    const sums = reshape(windowSum(squares, before, after), x.shape);
    return damped.apply([x, sums, alpha / size, beta, k]);
  },
  samples: [
    [t([2, 5, 3]), 3, { alpha: 0.5 }],
    [t([1, 4, 2, 2]), 4, { alpha: 0.9, beta: 0.5, k: 2 }],
    [t([2, 3, 2]), 5, { alpha: 1, beta: 1 }],
    [t([2, 3, 2]), 1, { alpha: 1 }],
    [t([2, 3, 4]), 5],
    [t([1, 3, 2], { dtype: "f64" }), 2, { alpha: 0.3 }],
  ],
});
