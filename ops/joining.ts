/**
 * Joining along axes, and cutting into pieces.
 *
 * @module
 */

import { countOrList } from "../core/attributes.ts";
import { promote } from "../core/dtype.ts";
import { ShapeError, shapeText } from "../core/errors.ts";
import { operator } from "../core/op.ts";
import {
  channelsLastStrides,
  normalizeAxis,
  type Shape,
} from "../core/shape.ts";
import { Tensor } from "../core/tensor.ts";
import { Value } from "../core/value.ts";
import { cast, fill } from "./foundation.ts";
import { t } from "./samples.ts";
import { unsqueeze } from "./shape.ts";
import { narrow } from "./slicing.ts";
import {
  axisOf,
  copyInto,
  extentsAlong,
  requireTensors,
  sideBySide,
  stretch,
  viewOf,
  windowOn,
} from "./views.ts";

// ---- concat, stack ----

/**
 * Tensors one after the other along an axis; dtypes are promoted.
 *
 * @throws {ShapeError} when extents off that axis differ.
 */
export const concat: (xs: readonly Tensor[], axis?: number) => Tensor =
  operator<(xs: readonly Tensor[], axis?: number) => Tensor, { axis: number }>({
    name: "concat",
    family: "shape",
    inputs: ["...xs"],
    attrs: { axis: 0 },
    bind: (xs, axis) => ({ inputs: xs, attrs: { axis } }),
    formula:
      "y[…, i, …] = x₀[…, i, …] where i < n₀, x₁[…, i − n₀, …] where n₀ ≤ i < n₀ + n₁, …",
    torch: "torch.cat(xs, axis)",
    onnx: "Concat",
    caffe2: "Concat",
    saves: [],
    run: (xs, { axis }) => {
      requireTensors(xs, "concatenate");
      const [first] = xs;
      const at = axisOf(first, axis, "concatenate");
      const extents = extentsAlong(xs, at);
      const together = sideBySide(xs.map((x) => x.value), at);
      if (together !== undefined) return new Tensor(together);
      const total = extents.reduce((a, b) => a + b, 0);
      const dtype = xs.map((x) => x.dtype).reduce(promote);
      const shape = first.shape.map((n, d) => d === at ? total : n);
      // Images whose channels lie last are joined to such images.
      const order = xs.every(({ value }) => value.channelsLast)
        ? channelsLastStrides(shape)
        : undefined;
      const whole = new Tensor(
        Value.empty(first.device, dtype, shape, order),
      );
      let start = 0;
      xs.forEach((x, i) => {
        const view = windowOn(whole.value, stretch(at, start, extents[i]));
        copyInto(view, x.value);
        view.release();
        start += extents[i];
      });
      return whole;
    },
    // ∂concat: each operand's stretch of the gradient
    gradient: ({ shapes, dtypes, grad, attrs: { axis }, needs }) => {
      const at = normalizeAxis(axis, grad.rank, "concatenate");
      let start = 0;
      return shapes.map((shape, i) => {
        const from = start;
        start += shape[at];
        if (!needs(i)) return undefined;
        const part = narrow(grad, at, from, shape[at]);
        return part.dtype === dtypes[i] ? part : cast(part, dtypes[i]);
      });
    },
    samples: [
      [[t([2, 3]), t([1, 3])]],
      [[t([2, 1]), t([2, 3]), t([2, 2])], 1],
      [[t([2, 2, 1]), t([2, 2, 2])], -1],
      [[t([3])]],
      [[t([0, 2]), t([1, 2])]],
      [[t([2], { dtype: "i32" }), t([1], { dtype: "f64" })]],
      [[t([2], { dtype: "bool", low: 0, high: 2 }), t([2], { dtype: "u8" })]],
      [[t([2], { dtype: "f16" }), t([1], { dtype: "bf16" })]],
    ],
  });

/**
 * Tensors of one shape side by side along a new axis.
 *
 * @throws {ShapeError} when shapes differ.
 */
export const stack: (xs: readonly Tensor[], axis?: number) => Tensor = operator<
  (xs: readonly Tensor[], axis?: number) => Tensor,
  { axis: number }
>({
  name: "stack",
  family: "shape",
  inputs: ["...xs"],
  attrs: { axis: 0 },
  bind: (xs, axis) => ({ inputs: xs, attrs: { axis } }),
  formula: "y[…, i, …] = xᵢ[…]",
  torch: "torch.stack(xs, axis)",
  run: (xs, { axis }) => {
    requireTensors(xs, "stack");
    const at = normalizeAxis(axis, xs[0].rank + 1, "stack");
    if (xs.some((x) => `${x.shape}` !== `${xs[0].shape}`)) {
      throw new ShapeError(
        `Cannot stack tensors of shapes ${
          xs.map((x) => shapeText(x.shape)).join(", ")
        }: all shapes must be equal`,
      );
    }
    return concat(xs.map((x) => unsqueeze(x, at)), at);
  },
  samples: [
    [[t([2, 3]), t([2, 3], { low: 0 })]],
    [[t([2]), t([2], { low: 0 }), t([2], { low: 1 })], -1],
    [[t([]), t([], { low: 0 })]],
  ],
});

// ---- split, chunk, unbind ----

function sizesOf(
  sizes: number | readonly number[],
  extent: number,
  shape: Shape,
): readonly number[] {
  if (typeof sizes !== "number") {
    const total = sizes.reduce((a, b) => a + b, 0);
    if (total !== extent || sizes.some((n) => !Number.isInteger(n) || n < 0)) {
      throw new ShapeError(
        `Cannot split an axis of extent ${extent} of a tensor of shape ${
          shapeText(shape)
        } into pieces of ${
          sizes.join(", ")
        }: they must be integers from 0 on that add up to ${extent}, and add up to ${total}`,
      );
    }
    return sizes;
  }
  if (!Number.isInteger(sizes) || sizes < 1) {
    throw new ShapeError(
      `Cannot split into pieces of ${sizes}: give an integer from 1 on, or a list of extents`,
    );
  }
  const count = Math.max(1, Math.ceil(extent / sizes));
  return Array.from(
    { length: count },
    (_, i) => Math.min(sizes, extent - i * sizes),
  );
}

/**
 * Pieces of an axis, without a copy: all of one size (the last may be
 * smaller), or of the sizes listed.
 *
 * @throws {ShapeError} when the sizes do not add up to the extent.
 */
export const split: (
  x: Tensor,
  sizes: number | readonly number[],
  axis?: number,
) => Tensor[] = operator<
  (x: Tensor, sizes: number | readonly number[], axis?: number) => Tensor[],
  { sizes: number | readonly number[]; axis: number }
>({
  name: "split",
  family: "shape",
  inputs: ["x"],
  attrs: { sizes: 1, axis: 0 },
  rules: { sizes: countOrList },
  bind: (x, sizes, axis) => ({ inputs: [x], attrs: { sizes, axis } }),
  formula: "yₖ[…, i, …] = x[…, sₖ + i, …], i < sizesₖ, sₖ = Σ_{j < k} sizesⱼ",
  torch: "torch.split(x, sizes, axis)",
  onnx: "Split",
  caffe2: "Split",
  saves: [],
  run: ([x], { sizes, axis }) => {
    const at = axisOf(x, axis, "split");
    let start = 0;
    return sizesOf(sizes, x.shape[at], x.shape).map((length) => {
      const piece = viewOf(x, stretch(at, start, length));
      start += length;
      return piece;
    });
  },
  // ∂split: the pieces' gradients one after the other
  gradient: ({ shapes: [shape], dtypes, grad, grads, attrs }) => {
    const at = normalizeAxis(attrs.axis, shape.length, "split");
    const pieces = sizesOf(attrs.sizes, shape[at], shape).map((length, i) =>
      grads[i] ?? fill(
        shape.map((n, d) => d === at ? length : n),
        0,
        dtypes[0],
        grad.device,
      )
    );
    return [concat(pieces, at)];
  },
  samples: [
    [t([5, 2]), 2],
    [t([2, 5]), [1, 0, 4], 1],
    [t([2, 4]), 4, -1],
    [t([0, 2]), 2],
  ],
});

/** As many pieces of an axis as asked for, or fewer when the axis is short; without a copy. */
export const chunk: (x: Tensor, count: number, axis?: number) => Tensor[] =
  operator<(x: Tensor, count: number, axis?: number) => Tensor[], {
    count: number;
    axis: number;
  }>({
    name: "chunk",
    family: "shape",
    inputs: ["x"],
    attrs: { count: 1, axis: 0 },
    bind: (x, count, axis) => ({ inputs: [x], attrs: { count, axis } }),
    formula: "yₖ[…, i, …] = x[…, k · m + i, …], i < m = ⌈n / count⌉",
    torch: "torch.chunk(x, count, axis)",
    onnx: "Split",
    run: ([x], { count, axis }) => {
      if (!Number.isInteger(count) || count < 1) {
        throw new ShapeError(
          `Cannot cut into ${count} chunks: give an integer from 1 on`,
        );
      }
      const at = axisOf(x, axis, "chunk");
      const size = Math.ceil(x.shape[at] / count);
      const sizes = size === 0 ? new Array<number>(count).fill(0) : size;
      return split(x, sizes, at);
    },
    samples: [
      [t([6, 2]), 3],
      [t([2, 5]), 3, 1],
      [t([2]), 4],
      [t([0, 2]), 3],
    ],
  });

/** The slices along an axis, which is dropped; without a copy. */
export const unbind: (x: Tensor, axis?: number) => Tensor[] = operator<
  (x: Tensor, axis?: number) => Tensor[],
  { axis: number }
>({
  name: "unbind",
  family: "shape",
  inputs: ["x"],
  attrs: { axis: 0 },
  bind: (x, axis) => ({ inputs: [x], attrs: { axis } }),
  formula: "yₖ[…] = x[…, k, …]",
  torch: "torch.unbind(x, axis)",
  saves: [],
  run: ([x], { axis }) => {
    const at = axisOf(x, axis, "unbind");
    return Array.from(
      { length: x.shape[at] },
      (_, i) =>
        viewOf(x, ({ shape, strides, offset }) => ({
          shape: shape.filter((_, d) => d !== at),
          strides: strides.filter((_, d) => d !== at),
          offset: offset + i * strides[at],
        })),
    );
  },
  // ∂unbind: the slices' gradients side by side
  gradient: ({ shapes: [shape], dtypes, grad, grads, attrs: { axis } }) => {
    const at = normalizeAxis(axis, shape.length, "unbind");
    const rest = shape.filter((_, d) => d !== at);
    const slices = Array.from(
      { length: shape[at] },
      (_, i) => grads[i] ?? fill(rest, 0, dtypes[0], grad.device),
    );
    return [stack(slices, at)];
  },
  samples: [[t([2, 3])], [t([2, 3, 2]), -1], [t([2])]],
});
