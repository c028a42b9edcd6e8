/**
 * Products of matrices and vectors.
 *
 * @module
 */

import type { Block, MatrixOperand } from "../core/device.ts";
import { type DType, isFloat, promote } from "../core/dtype.ts";
import { DTypeError, ShapeError, shapeText } from "../core/errors.ts";
import { contiguous, materialize, runRows } from "../core/fuse.ts";
import { operator } from "../core/op.ts";
import {
  broadcastShapes,
  broadcastStrides,
  sameShape,
  type Shape,
  sizeOf,
} from "../core/shape.ts";
import { Tensor } from "../core/tensor.ts";
import { Value } from "../core/value.ts";
import * as k from "../kernel/expr.ts";
import { mul } from "./arithmetic.ts";
import { cast, reshape, sum, sumTo } from "./foundation.ts";
import { t } from "./samples.ts";

/** Options of {@linkcode batchMatmul}. */
export interface Transposition {
  /** Whether the last two axes of `a` are swapped. */
  transposeA: boolean;
  /** Whether the last two axes of `b` are swapped. */
  transposeB: boolean;
}

function matrixOf(
  value: Value,
  transpose: boolean,
  batch: Shape,
): MatrixOperand {
  const { shape, strides, offset, storage } = value;
  const lead = shape.length - 2;
  const [row, column] = transpose ? [lead + 1, lead] : [lead, lead + 1];
  return {
    storage,
    offset,
    rowStride: strides[row],
    columnStride: strides[column],
    batchStrides: broadcastStrides(
      shape.slice(0, lead),
      strides.slice(0, lead),
      batch,
    ),
  };
}

/** Computes op(a)·op(b) (+ bias) of values with at least two axes. */
function multiply(
  a: Value,
  b: Value,
  { transposeA, transposeB }: Transposition,
  bias?: Value,
): Tensor {
  if (a.dtype !== b.dtype) {
    throw new DTypeError(
      `Cannot multiply matrices of dtypes ${a.dtype} and ${b.dtype}: both must have one dtype; convert one with cast(x, "${
        promote(a.dtype, b.dtype)
      }")`,
    );
  }
  if (a.shape.length < 2 || b.shape.length < 2) {
    throw new ShapeError(
      `Cannot multiply matrices of shapes ${shapeText(a.shape)} and ${
        shapeText(b.shape)
      }: both need at least two axes; matmul also takes vectors`,
    );
  }
  materialize(a);
  materialize(b);
  const rows = (v: Value, swap: boolean) =>
    v.shape[v.shape.length - (swap ? 1 : 2)];
  const columns = (v: Value, swap: boolean) =>
    v.shape[v.shape.length - (swap ? 2 : 1)];
  const m = rows(a, transposeA), depth = columns(a, transposeA);
  const n = columns(b, transposeB);
  if (rows(b, transposeB) !== depth) {
    throw new ShapeError(
      `Cannot multiply matrices of shapes ${shapeText(a.shape)}${
        transposeA ? "ᵀ" : ""
      } and ${shapeText(b.shape)}${
        transposeB ? "ᵀ" : ""
      }: the inner dimensions must match, and are ${depth} and ${
        rows(b, transposeB)
      }`,
    );
  }
  const batch = broadcastShapes(
    [a.shape.slice(0, -2), b.shape.slice(0, -2)],
    "multiply batches of",
  );
  const { dtype } = a;
  if (
    dtype !== "f32" && dtype !== "f64" && dtype !== "f16" && dtype !== "bf16"
  ) {
    return integerProduct(a, b, { transposeA, transposeB }, [
      ...batch,
      m,
      n,
      depth,
    ]);
  }
  const c = new Tensor(Value.empty(a.device, dtype, [...batch, m, n]));
  const block: Block | undefined = bias &&
    new Tensor(contiguous(bias)).value;
  if (c.size > 0) {
    a.device.matmul({
      dtype,
      m,
      n,
      k: depth,
      batchShape: batch,
      a: matrixOf(a, transposeA, batch),
      b: matrixOf(b, transposeB, batch),
      c: matrixOf(c.value, false, batch),
      bias: block,
    });
  }
  return c;
}

/** Sum of products along the last axis of [batch…, m, n, k]. */
function integerProduct(
  a: Value,
  b: Value,
  flags: Transposition,
  space: Shape,
): Tensor {
  const view = (v: Value, swap: boolean, missing: number) => {
    const lead = v.shape.length - 2;
    const order = swap ? [lead + 1, lead] : [lead, lead + 1];
    const shape = [...v.shape.slice(0, lead), ...order.map((d) => v.shape[d])];
    const strides = [
      ...v.strides.slice(0, lead),
      ...order.map((d) => v.strides[d]),
    ];
    shape.splice(lead + missing, 0, 1);
    strides.splice(lead + missing, 0, 0);
    return new Tensor(v.view(shape, strides, v.offset)).value;
  };
  const left = view(a, flags.transposeA, 1);
  const right = view(b, !flags.transposeB, 0);
  const [c] = runRows(a.device, {
    name: "integer product",
    space,
    axes: [space.length - 1],
    streams: [left, right],
    passes: 1,
    build: ({ streams: [x, y] }) => ({
      stages: [{ op: "sum", value: k.mul(x, y) }],
      outputs: [{
        dtype: a.dtype,
        per: "row",
        value: k.roundTo(k.stage(0, x.type), a.dtype),
      }],
    }),
  });
  return new Tensor(c);
}

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
  formula: "op(a) · op(b)",
  torch:
    "torch.matmul(a.transpose(-1, -2) if transposeA else a, b.transpose(-1, -2) if transposeB else b)",
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

/** The tensor as a matrix whose columns are its last axis. */
function asRows(x: Tensor): Tensor {
  return reshape(x, [sizeOf(x.shape.slice(0, -1)), x.shape[x.rank - 1]]);
}

function sameType(a: Tensor, b: Tensor): [Tensor, Tensor] {
  if (a.dtype === b.dtype) return [a, b];
  const dtype: DType = promote(a.dtype, b.dtype);
  return [
    a.dtype === dtype ? a : cast(a, dtype),
    b.dtype === dtype ? b : cast(b, dtype),
  ];
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
    const depth = x.shape[x.rank - 1];
    if (x.rank === 0 || w.rank !== 2 || w.shape[1] !== depth) {
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
    const flat = asRows(x);
    if (
      !isFloat(x.dtype) || x.dtype !== w.dtype ||
      (b !== undefined && b.dtype !== x.dtype)
    ) {
      throw new TypeError(
        `Cannot apply a linear map to dtypes ${x.dtype}, ${w.dtype}${
          b === undefined ? "" : ` and ${b.dtype}`
        }: they must be one floating-point type`,
      );
    }
    const y = multiply(flat.value, w.value, {
      transposeA: false,
      transposeB: true,
    }, b?.value);
    return reshape(y, [...x.shape.slice(0, -1), w.shape[0]]);
  },
  // ∂linear: dx = g·w, dw = gᵀ·x, db = Σ g
  gradient: ({ inputs: [x, w], shapes, grad, needs }) => {
    const g = asRows(grad);
    return [
      needs(0) ? reshape(batchMatmul(g, w), shapes[0]) : undefined,
      needs(1) ? batchMatmul(g, asRows(x), { transposeA: true }) : undefined,
      needs(2) ? sum(g, 0) : undefined,
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
  caffe2: "DotProduct",
  run: ([a, b]) => {
    if (a.rank !== 1 || b.rank !== 1 || a.size !== b.size) {
      throw new ShapeError(
        `Cannot take the inner product of tensors of shapes ${
          shapeText(a.shape)
        } and ${shapeText(b.shape)}: both must be vectors of one length`,
      );
    }
    return sum(mul(a, b));
  },
  samples: [[t([5]), t([5])], [t([0]), t([0])], [
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
    const [out, in1, in2] = w.shape;
    const lead = a.shape.slice(0, -1);
    const x = asRows(a), y = asRows(b), rows = x.shape[0];
    // Every product aᵢ·bⱼ, then one linear map of those.
    const pairs = mul(
      reshape(x, [rows, in1, 1]),
      reshape(y, [rows, 1, in2]),
    );
    const result = linear(
      reshape(pairs, [rows, in1 * in2]),
      reshape(w, [out, in1 * in2]),
      bias,
    );
    return reshape(result, [...lead, out]);
  },
  samples: [
    [t([3, 2]), t([3, 4]), t([2, 2, 4]), t([2])],
    [t([2, 2, 3]), t([2, 2, 2]), t([3, 3, 2])],
  ],
});
