/**
 * Products of matrices and vectors.
 *
 * @module
 */

import { type DType, promote } from "../core/dtype.ts";
import { ShapeError, shapeText } from "../core/errors.ts";
import { operator } from "../core/op.ts";
import type { Tensor } from "../core/tensor.ts";
import { mul } from "./arithmetic.ts";
import { cast, reshape, sum, sumTo } from "./foundation.ts";
import { asRows, multiply, type Transposition } from "./products.ts";
import { t } from "./samples.ts";

export type { Transposition } from "./products.ts";

/** Signature of {@linkcode batchMatmul}. */
export type BatchMatmul = (
  a: Tensor,
  b: Tensor,
  options?: Partial<Transposition>,
) => Tensor;

/** Products of the last two axes; the common ground of all the functions here. */
export const batchMatmul: BatchMatmul = operator<BatchMatmul, Transposition>({
  name: "batchMatmul",
  family: "matmul",
  inputs: ["a", "b"],
  attrs: { transposeA: false, transposeB: false },
  formula: "a · b, transposed as asked",
  torch:
    "torch.matmul(a.transpose(-1, -2) if transposeA else a, b.transpose(-1, -2) if transposeB else b)",
  onnx: "MatMul",
  caffe2: "BatchMatMul",
  run: ([a, b], flags) => multiply(a.value, b.value, flags),
  // ∂(A·B): dA = g·Bᵀ, dB = Aᵀ·g (each transposed when its operand is)
  gradient: (
    { inputs: [a, b], shapes, grad, attrs: { transposeA, transposeB }, needs },
  ) => [
    needs(0)
      ? sumTo(
        transposeA
          ? batchMatmul(b, grad, { transposeA: transposeB, transposeB: true })
          : batchMatmul(grad, b, { transposeB: !transposeB }),
        shapes[0],
      )
      : undefined,
    needs(1)
      ? sumTo(
        transposeB
          ? batchMatmul(grad, a, { transposeA: true, transposeB: transposeA })
          : batchMatmul(a, grad, { transposeA: !transposeA }),
        shapes[1],
      )
      : undefined,
  ],
  samples: [
    [t([2, 3]), t([3, 4])],
    [t([3, 2]), t([4, 3]), { transposeA: true, transposeB: true }],
    [t([2, 1, 2, 3]), t([3, 4, 3]), { transposeB: true }],
    [t([2, 3, 2]), t([1, 3, 4]), { transposeA: true }],
    [t([0, 3]), t([3, 2])],
    [t([2, 3], { dtype: "i32" }), t([3, 2], { dtype: "i32" })],
    [t([7, 9], { dtype: "bf16" }), t([9, 5], { dtype: "bf16" })],
    [t([2, 0]), t([0, 3])],
  ],
});

/**
 * Matrix product of `a` and `b`, following NumPy: vectors are rows on the
 * left and columns on the right, leading axes are batches and broadcast.
 * Transposed views are read in place.
 *
 * @param a Tensor [..., m, k] or [k].
 * @param b Tensor [..., k, n] or [k].
 * @returns Tensor [..., m, n]; a vector operand's axis is dropped.
 * @throws {ShapeError} when the inner extents differ or an operand is zero-dimensional.
 */
export const matmul: (a: Tensor, b: Tensor) => Tensor = operator<
  (a: Tensor, b: Tensor) => Tensor
>({
  name: "matmul",
  family: "matmul",
  inputs: ["a", "b"],
  formula: "a · b",
  torch: "torch.matmul(a, b)",
  onnx: "MatMul",
  caffe2: "MatMul",
  run: ([a, b]) => {
    if (a.rank === 0 || b.rank === 0) {
      throw new ShapeError(
        `Cannot multiply matrices of shapes ${shapeText(a.shape)} and ${
          shapeText(b.shape)
        }: both need at least one axis; use mul for numbers`,
      );
    }
    const depth = a.shape[a.rank - 1];
    const rows = b.shape[Math.max(0, b.rank - 2)];
    if (depth !== rows) {
      throw new ShapeError(
        `Cannot multiply matrices of shapes ${shapeText(a.shape)} and ${
          shapeText(b.shape)
        }: the inner dimensions must match, and are ${depth} and ${rows}`,
      );
    }
    const [x, y] = sameType(a, b);
    const left = x.rank === 1 ? reshape(x, [1, x.size]) : x;
    const right = y.rank === 1 ? reshape(y, [y.size, 1]) : y;
    let result: Tensor;
    if (left.rank > 2 && right.rank === 2) {
      // One large product instead of a batch of small ones.
      const flat = asRows(left);
      result = reshape(batchMatmul(flat, right), [
        ...left.shape.slice(0, -1),
        right.shape[1],
      ]);
    } else result = batchMatmul(left, right);
    const shape = [...result.shape];
    if (b.rank === 1) shape.pop();
    if (a.rank === 1) shape.splice(shape.length - (b.rank === 1 ? 1 : 2), 1);
    return shape.length === result.rank ? result : reshape(result, shape);
  },
  samples: [
    [t([2, 3]), t([3, 4])],
    [t([3]), t([3])],
    [t([3]), t([3, 2])],
    [t([2, 3]), t([3])],
    [t([2, 4, 3]), t([3, 5])],
    [t([2, 1, 4, 3]), t([5, 3, 2])],
    [t([2, 4, 3]), t([3])],
    [t([3], { dtype: "f64" }), t([3, 2])],
  ].filter((s) => s[0].dtype === s[1].dtype),
});

function sameType(a: Tensor, b: Tensor): [Tensor, Tensor] {
  if (a.dtype === b.dtype) return [a, b];
  const dtype: DType = promote(a.dtype, b.dtype);
  return [
    a.dtype === dtype ? a : cast(a, dtype),
    b.dtype === dtype ? b : cast(b, dtype),
  ];
}

/**
 * Inner product of two vectors.
 *
 * @throws {ShapeError} unless both are vectors of one length.
 */
export const dot: (a: Tensor, b: Tensor) => Tensor = operator<
  (a: Tensor, b: Tensor) => Tensor
>({
  name: "dot",
  family: "matmul",
  inputs: ["a", "b"],
  formula: "Σ aᵢ·bᵢ",
  torch: "torch.dot(a, b)",
  onnx: "MatMul",
  caffe2: "DotProduct",
  run: ([a, b]) => {
    if (a.rank !== 1 || b.rank !== 1 || a.size !== b.size) {
      throw new ShapeError(
        `Cannot take the inner product of tensors of shapes ${
          shapeText(a.shape)
        } and ${shapeText(b.shape)}: both must be vectors of one length`,
      );
    }
    const total = sum(mul(a, b));
    const dtype = promote(a.dtype, b.dtype);
    return total.dtype === dtype ? total : cast(total, dtype);
  },
  samples: [[t([5]), t([5])], [t([0]), t([0])], [
    t([3], { dtype: "i32", data: [65536, -1, 3] }),
    t([3], { dtype: "i32", data: [65537, 2, 4] }),
  ], [
    t([3], { dtype: "f64" }),
    t([3], { dtype: "f64" }),
  ]],
});

/** Outer product of two vectors [m] and [n]: the matrix [m, n] of all products. */
export const outer: (a: Tensor, b: Tensor) => Tensor = operator<
  (a: Tensor, b: Tensor) => Tensor
>({
  name: "outer",
  family: "matmul",
  inputs: ["a", "b"],
  formula: "aᵢ·bⱼ",
  torch: "torch.outer(a, b)",
  run: ([a, b]) => {
    if (a.rank !== 1 || b.rank !== 1) {
      throw new ShapeError(
        `Cannot take the outer product of tensors of shapes ${
          shapeText(a.shape)
        } and ${shapeText(b.shape)}: both must be vectors`,
      );
    }
    return mul(reshape(a, [a.size, 1]), reshape(b, [1, b.size]));
  },
  samples: [[t([2]), t([3])], [t([0]), t([2])], [
    t([2], { dtype: "i64" }),
    t([2], { dtype: "i64" }),
  ]],
});
