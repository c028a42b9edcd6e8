/**
 * Affine and bilinear maps.
 *
 * @module
 */

import { gradEnabled } from "../core/autograd.ts";
import type { DeviceKernels } from "../core/device.ts";
import { isFloat, notOneFloat } from "../core/dtype.ts";
import { ShapeError, shapeText } from "../core/errors.ts";
import { materialize } from "../core/fuse.ts";
import { operator } from "../core/op.ts";
import { sameShape } from "../core/shape.ts";
import { Tensor } from "../core/tensor.ts";
import { Value } from "../core/value.ts";
import { add, mul } from "./arithmetic.ts";
import { cast, reshape, sum } from "./foundation.ts";
import { batchMatmul } from "./matmul.ts";
import {
  asRows,
  fromRows,
  isProductType,
  matrixOf,
  multiply,
} from "./products.ts";
import { t } from "./samples.ts";
import { transpose } from "./shape.ts";

/** Refuses operands of an affine map x·wᵀ + b that do not fit. */
export function checkLinear(
  x: Tensor,
  w: Tensor,
  b: Tensor | undefined,
): void {
  if (x.rank === 0 || w.rank !== 2 || w.shape[1] !== x.shape[x.rank - 1]) {
    throw new ShapeError(
      `Cannot apply a linear map with weights of shape ${
        shapeText(w.shape)
      } to a tensor of shape ${
        shapeText(x.shape)
      }: weights are [out, in], and the last axis of the tensor must be in`,
    );
  }
  if (b !== undefined && (b.rank !== 1 || b.shape[0] !== w.shape[0])) {
    throw new ShapeError(
      `Cannot apply a linear map with weights of shape ${
        shapeText(w.shape)
      } and bias of shape ${shapeText(b.shape)}: the bias must be [${
        w.shape[0]
      }]`,
    );
  }
  if (
    !isFloat(x.dtype) || x.dtype !== w.dtype ||
    (b !== undefined && b.dtype !== x.dtype)
  ) {
    const all = b === undefined ? [x, w] : [x, w, b];
    throw notOneFloat("apply a linear map to", all.map((y) => y.dtype));
  }
}

/** Which gradients of an affine map are wanted. */
export interface WeightsWanted {
  /** That of the weights. */
  readonly weight: boolean;
  /** That of the bias. */
  readonly bias: boolean;
}

/** Gradients of the weights and the bias of y = x·wᵀ + b, from that of y [rows, out] and x [rows, in]. */
export function weightGradients(
  g: Tensor,
  x: Tensor,
  { weight, bias }: WeightsWanted,
): [dw: Tensor | undefined, db: Tensor | undefined] {
  const kernel = g.device.kernels.productWithSums;
  if (kernel !== undefined && weight && bias && !gradEnabled()) {
    const both = withSums(kernel, g, x);
    if (both !== undefined) return both;
  }
  return [
    weight ? batchMatmul(g, x, { transposeA: true }) : undefined,
    bias ? sum(g, 0) : undefined,
  ];
}

/** gᵀ·x and the sums of g's columns in one pass, if the device takes it. */
function withSums(
  kernel: NonNullable<DeviceKernels["productWithSums"]>,
  g: Tensor,
  x: Tensor,
): [Tensor, Tensor] | undefined {
  const { device, dtype } = g;
  const [rows, out] = g.shape;
  const depth = x.shape[1];
  if (
    rows * out * depth === 0 || x.dtype !== dtype || !isProductType(dtype)
  ) return undefined;
  materialize(g.value);
  materialize(x.value);
  const dw = new Tensor(Value.empty(device, dtype, [out, depth]));
  const db = new Tensor(Value.empty(device, dtype, [out]));
  const taken = kernel({
    dtype,
    m: out,
    n: depth,
    k: rows,
    batchShape: [],
    a: matrixOf(g.value, true, []),
    b: matrixOf(x.value, false, []),
    c: matrixOf(dw.value, false, []),
    sums: db.value,
  });
  if (taken) return [dw, db];
  dw.dispose();
  db.dispose();
  return undefined;
}

/**
 * Affine map y = x·wᵀ + b of the last axis.
 *
 * @param x Tensor [..., in].
 * @param w Weights [out, in].
 * @param b Bias [out], or undefined for none.
 * @returns Tensor [..., out].
 * @throws {ShapeError} when the extents do not fit.
 */
export const linear: (x: Tensor, w: Tensor, b?: Tensor) => Tensor = operator<
  (x: Tensor, w: Tensor, b?: Tensor) => Tensor
>({
  name: "linear",
  family: "matmul",
  inputs: ["x", "w", "b"],
  bind: (x, w, b) => ({ inputs: [x, w, b] }),
  formula: "x · wᵀ + b",
  torch: "F.linear(x, w, b)",
  onnx: "Gemm",
  caffe2: "FC",
  saves: [0, 1],
  run: ([x, w, b]) => {
    checkLinear(x, w, b);
    const y = multiply(asRows(x).value, w.value, {
      transposeA: false,
      transposeB: true,
    }, b?.value);
    return fromRows(y, x.shape);
  },
  // ∂linear: dx = g·w, dw = gᵀ·x, db = Σ g
  gradient: ({ inputs: [x, w], shapes, grad, needs }) => {
    const g = asRows(grad);
    const [dw, db] = weightGradients(g, asRows(x), {
      weight: needs(1),
      bias: needs(2),
    });
    return [
      needs(0) ? fromRows(batchMatmul(g, w), shapes[0]) : undefined,
      dw,
      db,
    ];
  },
  samples: [
    [t([4, 3]), t([2, 3]), t([2])],
    [t([4, 3]), t([2, 3])],
    [t([2, 2, 3]), t([4, 3]), t([4])],
    [t([3]), t([2, 3]), t([2])],
    [t([0, 3]), t([2, 3]), t([2])],
    [t([2, 2, 0]), t([3, 0]), t([3])],
    [
      t([4, 3], { dtype: "f16" }),
      t([2, 3], { dtype: "f16" }),
      t([2], { dtype: "f16" }),
    ],
  ],
});

/**
 * Bilinear map yₒ = x₁·Wₒ·x₂ᵀ + bₒ.
 *
 * @param a Tensor [..., in1].
 * @param b Tensor [..., in2].
 * @param w Weights [out, in1, in2].
 * @param bias Bias [out], or undefined for none.
 * @returns Tensor [..., out].
 */
export const bilinear: (
  a: Tensor,
  b: Tensor,
  w: Tensor,
  bias?: Tensor,
) => Tensor = operator<
  (a: Tensor, b: Tensor, w: Tensor, bias?: Tensor) => Tensor
>({
  name: "bilinear",
  family: "matmul",
  inputs: ["a", "b", "w", "bias"],
  bind: (a, b, w, bias) => ({ inputs: [a, b, w, bias] }),
  formula: "a · wₒ · bᵀ + biasₒ",
  torch: "F.bilinear(a, b, w, bias)",
  run: ([a, b, w, bias]) => {
    if (
      w.rank !== 3 || w.shape[1] !== a.shape[a.rank - 1] ||
      w.shape[2] !== b.shape[b.rank - 1] ||
      !sameShape(a.shape.slice(0, -1), b.shape.slice(0, -1))
    ) {
      throw new ShapeError(
        `Cannot apply a bilinear map with weights of shape ${
          shapeText(w.shape)
        } to tensors of shapes ${shapeText(a.shape)} and ${
          shapeText(b.shape)
        }: weights are [out, in1, in2], and the tensors [..., in1] and [..., in2] with equal leading axes`,
      );
    }
    const all = bias === undefined ? [a, b, w] : [a, b, w, bias];
    const dtypes = all.map((x) => x.dtype);
    if (!isFloat(a.dtype) || dtypes.some((dtype) => dtype !== a.dtype)) {
      throw notOneFloat("apply a bilinear map to", dtypes);
    }
    const [out, in1, in2] = w.shape;
    if (bias !== undefined && !sameShape(bias.shape, [out])) {
      throw new ShapeError(
        `Cannot apply a bilinear map with weights of shape ${
          shapeText(w.shape)
        } and bias of shape ${
          shapeText(bias.shape)
        }: the bias must be [${out}]`,
      );
    }
    const lead = a.shape.slice(0, -1);
    const x = asRows(a), y = asRows(b), rows = x.shape[0];
    // As PyTorch does, first a·wₒ, of shape [out, rows, in2], then the products with b.
    const images = batchMatmul(reshape(x, [1, rows, in1]), w);
    // Products of halves may leave their range where the sums do not.
    const half = a.dtype === "f16" || a.dtype === "bf16";
    const wide = (x: Tensor) => half ? cast(x, "f32") : x;
    const pairs = mul(wide(images), wide(reshape(y, [1, rows, in2])));
    const result = transpose(cast(sum(pairs, -1), a.dtype), 0, 1);
    const shape = [...lead, out];
    return reshape(bias === undefined ? result : add(result, bias), shape);
  },
  samples: [
    [t([3, 2]), t([3, 4]), t([2, 2, 4]), t([2])],
    [t([2, 2, 3]), t([2, 2, 2]), t([3, 3, 2])],
  ],
});
