/**
 * Tensors from host data, constants and sequences.
 *
 * @module
 */

import { either, flag, value } from "../core/attributes.ts";
import type { DType } from "../core/dtype.ts";
import { runRows } from "../core/row_kernels.ts";
import { operator } from "../core/op.ts";
import type { Shape } from "../core/shape.ts";
import { Tensor, type TensorOptions } from "../core/tensor.ts";
import { Value } from "../core/value.ts";
import * as k from "../kernel/expr.ts";
import { checkedShape, deviceOf, inferredType, marked } from "./creating.ts";
import { fill } from "./foundation.ts";

export {
  type NestedData,
  scalar,
  tensor,
  type TensorDataOptions,
  type TypedArray,
} from "./host_data.ts";
export * from "./indices.ts";
export * from "./sequences.ts";

/** A tensor of a shape. */
export type Creation = (shape: Shape, options?: TensorOptions) => Tensor;

/** Attributes that all new tensors have. */
export interface CreationAttrs extends TensorOptions {
  /** Extents. */
  shape: Shape;
}

const plain: CreationAttrs = {
  shape: [],
  dtype: undefined,
  device: undefined,
  requiresGrad: undefined,
};

function filled(
  shape: Shape,
  number: number,
  dtype: DType,
  options: TensorOptions,
): Tensor {
  const extents = checkedShape(shape, "a tensor");
  return marked(fill(extents, number, dtype, deviceOf(options)), options);
}

/** Zeros; f32 unless the options say otherwise. */
export const zeros: Creation = operator<Creation, CreationAttrs>({
  name: "zeros",
  family: "creation",
  inputs: [],
  attrs: plain,
  bind: (shape, options) => ({ inputs: [], attrs: { shape, ...options } }),
  formula: "y[…] = 0",
  constant: true,
  torch: "torch.zeros(shape, dtype=dtypes.get(dtype))",
  onnx: "ConstantOfShape",
  caffe2: "ConstantFill",
  run: (_, { shape, dtype = "f32", ...options }) =>
    filled(shape, 0, dtype, options),
  samples: [[[2, 3]], [[]], [[0, 2]], ...everyType([2])],
});

/** Ones; f32 unless the options say otherwise. */
export const ones: Creation = operator<Creation, CreationAttrs>({
  name: "ones",
  family: "creation",
  inputs: [],
  attrs: plain,
  bind: (shape, options) => ({ inputs: [], attrs: { shape, ...options } }),
  formula: "y[…] = 1",
  constant: true,
  torch: "torch.ones(shape, dtype=dtypes.get(dtype))",
  onnx: "ConstantOfShape",
  caffe2: "ConstantFill",
  run: (_, { shape, dtype = "f32", ...options }) =>
    filled(shape, 1, dtype, options),
  samples: [[[2, 3]], [[]], [[0, 2]], ...everyType([2])],
});

function everyType(shape: Shape): unknown[][] {
  const all = ["f64", "f16", "bf16", "i64", "i32", "i8", "u8", "bool"] as const;
  return all.map((dtype) => [shape, { dtype }]);
}

/** A tensor whose elements are all one value. */
export type Full = (
  shape: Shape,
  value: number | boolean,
  options?: TensorOptions,
) => Tensor;

/**
 * One value everywhere. Its dtype follows the value when the options name
 * none: i64 for whole numbers, f32 for others (or if a gradient is asked for), bool.
 */
export const full: Full = operator<
  Full,
  CreationAttrs & { value: number | boolean }
>({
  name: "full",
  family: "creation",
  inputs: [],
  attrs: { ...plain, value: 0 },
  rules: { value: either(value, flag) },
  bind: (shape, value, options) => ({
    inputs: [],
    attrs: { shape, value, ...options },
  }),
  formula: "y[…] = value",
  constant: true,
  torch: "torch.full(shape, value, dtype=dtypes.get(dtype))",
  caffe2: "ConstantFill",
  onnx: "ConstantOfShape",
  run: (_, { shape, value, ...options }) =>
    filled(shape, Number(value), inferredType(value, options), options),
  samples: [
    [[2, 3], 7],
    [[2], 0.5],
    [[2], true],
    [[], -3],
    [[2], 2.5, { dtype: "f16" }],
    [[2], 7, { dtype: "u8" }],
    [[2], Infinity],
  ],
});

/** Uninitialised memory: its elements are whatever was there. */
export const empty: Creation = operator<Creation, CreationAttrs>({
  name: "empty",
  family: "creation",
  inputs: [],
  attrs: plain,
  bind: (shape, options) => ({ inputs: [], attrs: { shape, ...options } }),
  formula: "y[…], undefined",
  constant: true,
  run: (_, { shape, dtype = "f32", ...options }) => {
    const extents = checkedShape(shape, "a tensor");
    const value = Value.empty(deviceOf(options), dtype, extents);
    return marked(new Tensor(value), options);
  },
  samples: [[[2, 3]]],
});

/** A matrix with ones on its diagonal. */
export type Eye = (
  rows: number,
  columns?: number | TensorOptions,
  options?: TensorOptions,
) => Tensor;

/**
 * A matrix with ones on its diagonal and zeros elsewhere; square unless
 * `columns` is given.
 *
 * @throws {ShapeError} when an extent is no whole number from 0 on.
 */
export const eye: Eye = operator<
  Eye,
  TensorOptions & { rows: number; columns: number }
>({
  name: "eye",
  family: "creation",
  inputs: [],
  attrs: {
    rows: 0,
    columns: 0,
    dtype: undefined,
    device: undefined,
    requiresGrad: undefined,
  },
  bind: (
    rows: number,
    columns?: number | TensorOptions,
    options?: TensorOptions,
  ) => ({
    inputs: [],
    attrs: typeof columns === "object"
      ? { rows, columns: rows, ...columns }
      : { rows, columns: columns ?? rows, ...options },
  }),
  formula: "y[i, j] = (i = j ? 1 : 0)",
  constant: true,
  torch: "torch.eye(rows, columns, dtype=dtypes.get(dtype))",
  onnx: "EyeLike",
  caffe2: "DiagonalFill",
  run: (_, { rows, columns, dtype = "f32", ...options }) => {
    const shape = checkedShape([rows, columns], "a matrix");
    const [value] = runRows(deviceOf(options), {
      name: `eye ${dtype}`,
      space: shape,
      axes: [],
      streams: [],
      passes: 1,
      build: ({ coord }) => {
        const one = k.eq(coord(0), coord(1));
        const type = k.computeType(dtype);
        return {
          stages: [],
          outputs: [{ dtype, value: k.cast(one, type), per: "element" }],
        };
      },
    });
    return marked(new Tensor(value), options);
  },
  samples: [
    [3],
    [2, 4],
    [3, 2, { dtype: "i64" }],
    [0],
    [2, { dtype: "bool" }],
    [2, { dtype: "f16" }],
    [3, { dtype: "f64" }],
  ],
});
