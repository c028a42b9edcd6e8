/**
 * What the operators that multiply matrices have in common: operands as the
 * device takes them, and the product itself.
 *
 * @module
 */

import type { Block, MatmulSpec, MatrixOperand } from "../core/device.ts";
import { type DType, promote } from "../core/dtype.ts";
import { DTypeError, ShapeError, shapeText } from "../core/errors.ts";
import { materialize } from "../core/fuse.ts";
import { contiguous, runRows } from "../core/row_kernels.ts";
import {
  broadcastShapes,
  broadcastStrides,
  type Shape,
  sizeOf,
} from "../core/shape.ts";
import { Tensor } from "../core/tensor.ts";
import { Value } from "../core/value.ts";
import * as k from "../kernel/expr.ts";
import { reshape } from "./foundation.ts";

/** Options of {@linkcode batchMatmul}. */
export interface Transposition {
  /** Whether the last two axes of `a` are swapped. */
  transposeA: boolean;
  /** Whether the last two axes of `b` are swapped. */
  transposeB: boolean;
}

/** Whether devices multiply matrices of the type. */
export function isProductType(dtype: DType): dtype is MatmulSpec["dtype"] {
  return dtype === "f32" || dtype === "f64" || dtype === "f16" ||
    dtype === "bf16";
}

/** A value as a matrix operand of a batch, its last two axes swapped or not. */
export function matrixOf(
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
export function multiply(
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
  if (a.dtype === "bool") {
    throw new DTypeError(
      `Cannot multiply matrices of dtype bool: products are summed, and truth values have no sum; convert them with cast(x, "i64")`,
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
  if (!isProductType(dtype)) {
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

/** The tensor as a matrix whose columns are its last axis. */
export function asRows(x: Tensor): Tensor {
  if (x.rank === 2) return x;
  return reshape(x, [sizeOf(x.shape.slice(0, -1)), x.shape[x.rank - 1]]);
}

/** A matrix with a row for each row of a tensor of shape `like`, in that tensor's axes. */
export function fromRows(rows: Tensor, like: Shape): Tensor {
  if (like.length === 2) return rows;
  return reshape(rows, [...like.slice(0, -1), rows.shape[1]]);
}
