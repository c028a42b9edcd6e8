/**
 * The operators that differentiation itself stands on: sums, casts,
 * broadcasting and reshaping. Everything else builds on these.
 *
 * @module
 */

import { getDevice } from "../core/device.ts";
import {
  type DType,
  dtypes,
  isFloat,
  requireDTypeName,
} from "../core/dtype.ts";
import { ShapeError, shapeText } from "../core/errors.ts";
import { materialize } from "../core/fuse.ts";
import { contiguous, runRows } from "../core/row_kernels.ts";
import { operator } from "../core/op.ts";
import { applyTemplate, template } from "../core/pending.ts";
import {
  broadcastStrides,
  contiguousStrides,
  inferShape,
  normalizeAxes,
  reshapeStrides,
  sameShape,
  type Shape,
} from "../core/shape.ts";
import { Tensor } from "../core/tensor.ts";
import { transferred } from "../core/transfer.ts";
import type { Template, Value } from "../core/value.ts";
import * as k from "../kernel/expr.ts";
import { t } from "./samples.ts";

/** Axes of a reduction: one, several, or all when left out. */
export type Axes = number | readonly number[];

// ---- reshape ----

/** The same elements under another shape of as many: a view where strides allow, else a copy; the caller releases it. */
export function reshapedValue(value: Value, shape: Shape): Value {
  materialize(value);
  const strides = reshapeStrides(value.shape, value.strides, shape);
  if (strides !== undefined) return value.view(shape, strides, value.offset);
  const dense = contiguous(value);
  const result = dense.view(shape, contiguousStrides(shape), dense.offset);
  dense.release();
  return result;
}

/** The same elements under another shape of as many; not recorded. */
export function reshaped(x: Tensor, shape: Shape): Tensor {
  return new Tensor(reshapedValue(x.value, shape));
}

/**
 * The same elements under another shape; one extent may be −1 and is then
 * inferred. No copy is made where strides allow.
 *
 * @throws {ShapeError} when the numbers of elements differ.
 */
export const reshape: (x: Tensor, shape: Shape) => Tensor = operator<
  (x: Tensor, shape: Shape) => Tensor,
  { shape: Shape }
>({
  name: "reshape",
  family: "shape",
  inputs: ["x"],
  attrs: { shape: [] },
  bind: (x, shape) => ({ inputs: [x], attrs: { shape } }),
  formula: "y[i] = x[i], i the row-major position",
  torch: "x.reshape(shape)",
  onnx: "Reshape",
  caffe2: "Reshape",
  saves: [],
  run: ([x], { shape }) => reshaped(x, inferShape(shape, x.size, x.shape)),
  // ∂reshape: the gradient in the shape of x
  gradient: ({ shapes, grad }) => [reshape(grad, shapes[0])],
  samples: [[t([2, 3]), [3, 2]], [t([2, 3, 4]), [2, -1]], [t([1]), []], [
    t([0, 3]),
    [3, 0],
  ]],
});

// ---- broadcast ----

/**
 * Repeats axes of extent 1 to the extents of `shape`, without a copy; −1 keeps an extent.
 *
 * @throws {ShapeError} when an extent other than 1 differs.
 */
export const expand: (x: Tensor, shape: Shape) => Tensor = operator<
  (x: Tensor, shape: Shape) => Tensor,
  { shape: Shape }
>({
  name: "expand",
  family: "shape",
  inputs: ["x"],
  attrs: { shape: [] },
  bind: (x, shape) => ({ inputs: [x], attrs: { shape } }),
  formula: "y[…, i, …] = x[…, i′, …], i′ = 0 where x has extent 1, else i",
  torch: "x.expand(shape)",
  onnx: "Expand",
  caffe2: "Expand",
  saves: [],
  run: ([x], { shape }) => {
    const lead = shape.length - x.rank;
    const target = shape.map((n, i) =>
      n === -1 && i >= lead ? x.shape[i - lead] : n
    );
    const fits = lead >= 0 && x.shape.every((n, i) =>
      n === 1 || n === target[i + lead]
    ) &&
      target.every((n) => n >= 0);
    if (!fits) {
      throw new ShapeError(
        `Cannot expand a tensor of shape ${shapeText(x.shape)} to ${
          shapeText(shape)
        }: only axes of extent 1 can be repeated, and new axes come in front`,
      );
    }
    materialize(x.value);
    const { value } = x;
    return new Tensor(
      value.view(
        target,
        broadcastStrides(value.shape, value.strides, target),
        value.offset,
      ),
    );
  },
  // ∂expand: the sum over the repeated axes
  gradient: ({ shapes, grad }) => [sumTo(grad, shapes[0])],
  samples: [[t([1, 3]), [2, 3]], [t([3]), [2, -1]], [t([]), [2, 2]]],
});

// ---- sum ----

function sumDType(dtype: DType): DType {
  return isFloat(dtype) ? dtype : "i64";
}

/** Shape after a reduction: without the axes, or with extent 1 there. */
export function reducedShape(
  shape: Shape,
  axes: readonly number[],
  keepDim: boolean,
): number[] {
  return keepDim
    ? shape.map((n, d) => axes.includes(d) ? 1 : n)
    : shape.filter((_, d) => !axes.includes(d));
}

/** Views a result without its axes as one with extent 1 there; takes over the reference. */
export function withKeptAxes(
  value: Value,
  shape: Shape,
  axes: readonly number[],
  keepDim: boolean,
): Tensor {
  if (!keepDim || axes.length === 0) return new Tensor(value);
  const kept = reducedShape(shape, axes, true);
  const view = value.view(kept, contiguousStrides(kept), value.offset);
  value.release();
  return new Tensor(view);
}

/**
 * Sum over axes, all of them when `axes` is left out. Integers are summed as i64.
 *
 * @throws {IndexError} when an axis is out of range or named twice.
 */
export const sum: (
  x: Tensor,
  axes?: Axes,
  options?: { keepDim?: boolean },
) => Tensor = operator<
  (x: Tensor, axes?: Axes, options?: { keepDim?: boolean }) => Tensor,
  { axes: Axes | undefined; keepDim: boolean }
>({
  name: "sum",
  family: "reduction",
  inputs: ["x"],
  attrs: { axes: undefined, keepDim: false },
  bind: (x, axes, options) => ({ inputs: [x], attrs: { axes, ...options } }),
  formula: "Σ x",
  torch: "x.sum(dim=axes, keepdim=keepDim)",
  onnx: "ReduceSum",
  caffe2: "ReduceSum",
  saves: [],
  run: ([x], { axes, keepDim }) => {
    const which = normalizeAxes(axes, x.rank, "sum");
    const dtype = sumDType(x.dtype);
    const [value] = runRows(x.device, {
      name: "sum",
      space: x.shape,
      axes: which,
      streams: [x.value],
      passes: 1,
      build: ({ streams }) => {
        const element = k.cast(streams[0], k.computeType(dtype));
        return {
          stages: [{ op: "sum", value: element }],
          outputs: [{
            dtype,
            per: "row",
            value: k.roundTo(k.stage(0, element.type), dtype),
          }],
        };
      },
    });
    return withKeptAxes(value, x.shape, which, keepDim);
  },
  // ∂sum: the gradient, repeated along the axes
  gradient: ({ shapes: [shape], dtypes: [dtype], grad, attrs: { axes } }) => {
    const which = normalizeAxes(axes, shape.length, "sum");
    const kept = reshape(grad, reducedShape(shape, which, true));
    return [expand(cast(kept, dtype), shape)];
  },
  samples: [
    [t([2, 3, 4])],
    [t([2, 3, 4]), 1],
    [t([2, 3, 4]), [0, -1], { keepDim: true }],
    [t([5], { dtype: "i32" })],
    [t([3, 0]), 1],
    [t([])],
  ],
});

/** Sums a gradient over the axes along which an operand of `shape` was broadcast. */
export function sumTo(x: Tensor, shape: Shape): Tensor {
  if (sameShape(x.shape, shape)) return x;
  const lead = x.rank - shape.length;
  const axes: number[] = [];
  for (let d = 0; d < x.rank; d++) {
    if (d < lead || (shape[d - lead] === 1 && x.shape[d] !== 1)) axes.push(d);
  }
  const summed = axes.length === 0 ? x : sum(x, axes, { keepDim: true });
  return lead === 0 ? summed : reshape(summed, shape);
}

// ---- cast ----

const casts = new Map<string, Template>();

/**
 * Converts the elements to another dtype. Floats truncate toward zero when
 * made integers; anything but 0 is `true`.
 */
export const cast: (x: Tensor, dtype: DType) => Tensor = operator<
  (x: Tensor, dtype: DType) => Tensor,
  { dtype: DType }
>({
  name: "cast",
  family: "shape",
  inputs: ["x"],
  attrs: { dtype: "f32" },
  bind: (x, dtype) => ({ inputs: [x], attrs: { dtype } }),
  formula: "y[…] = dtype(x[…])",
  torch: "x.to(dtypes[dtype])",
  onnx: "Cast",
  caffe2: "Cast",
  run: ([x], { dtype }) => {
    requireDTypeName(dtype, "convert to");
    const key = `${x.dtype}>${dtype}`;
    let found = casts.get(key);
    if (found === undefined) {
      const from = k.input(0, k.computeType(x.dtype));
      found = template("cast", k.cast(from, k.computeType(dtype)), dtype);
      casts.set(key, found);
    }
    return applyTemplate(found, [x.value], x.shape);
  },
  // ∂cast: the gradient in the dtype of x
  saves: [],
  gradient: (
    { dtypes: [dtype], grad },
  ) => [isFloat(dtype) ? cast(grad, dtype) : undefined],
  samples: [
    [t([3]), "f64"],
    [t([4], { low: -3, high: 3 }), "i32"],
    [t([3], { dtype: "i64" }), "f32"],
    [t([4]), "bf16"],
    [t([4]), "f16"],
    [t([4], { dtype: "i32", low: -1, high: 2 }), "bool"],
  ],
});

/** The same elements in another device's memory. */
export const transfer: (x: Tensor, device: string) => Tensor = operator<
  (x: Tensor, device: string) => Tensor,
  { device: string; from: string }
>({
  name: "transfer",
  family: "shape",
  inputs: ["x"],
  attrs: { device: "cpu", from: "cpu" },
  bind: (x, device) => ({
    inputs: [x],
    attrs: { device, from: x?.device?.name },
  }),
  formula: "y[…] = x[…]",
  torch: "x.clone()",
  caffe2: "Copy",
  saves: [],
  run: ([x], { device }) => new Tensor(transferred(x.value, getDevice(device))),
  // ∂transfer: the gradient, brought back
  gradient: ({ grad, attrs: { from } }) => [transfer(grad, from)],
  samples: [[t([2, 3]), "cpu"], [t([0]), "cpu"]],
});

/**
 * The tensor in another dtype or on another device; itself when it is that already.
 *
 * @param target A dtype such as `"f16"`, or a device such as `"cpu"`.
 * @throws {RangeError} when there is no dtype or device of that name.
 */
export function to(x: Tensor, target: DType | string): Tensor {
  if (target in dtypes) {
    return x.dtype === target ? x : cast(x, target as DType);
  }
  const { name } = getDevice(target);
  return x.device.name === name ? x : transfer(x, name);
}

const fills = new Map<DType, Template>();

/** A pending constant. */
export function fill(
  shape: Shape,
  number: number,
  dtype: DType,
  device?: Tensor["device"],
): Tensor {
  let found = fills.get(dtype);
  if (found === undefined) {
    requireDTypeName(dtype, "make a tensor of");
    found = template("fill", k.scalar(0, k.computeType(dtype)), dtype);
    fills.set(dtype, found);
  }
  return applyTemplate(found, [number], shape, device);
}
