/**
 * Convolutions over one, two or three spatial axes. The convolution and its
 * two gradients are one closed family: each one's gradients are the others.
 *
 * @module
 */

import {
  type AttributeRule,
  countOrList,
  counts,
  either,
  oneOf,
} from "../core/attributes.ts";
import { type DType, isFloat, notOneFloat } from "../core/dtype.ts";
import type { WindowSpec } from "../core/device.ts";
import { ShapeError, shapeText } from "../core/errors.ts";
import { operator } from "../core/op.ts";
import { type Shape, sizeOf } from "../core/shape.ts";
import { Tensor } from "../core/tensor.ts";
import { add } from "./arithmetic.ts";
import { cast, reshape, sum } from "./foundation.ts";
import { batchMatmul } from "./matmul.ts";
import { t } from "./samples.ts";
import { overWindows } from "./window_kernels.ts";
import {
  columnsValue,
  type Geometry,
  geometry,
  overlapAddValue,
  type Padding,
  type PerAxis,
} from "./windows.ts";

/** Options of convolutions. */
export interface ConvOptions {
  /** Step of the filters; 1 by default. */
  stride?: PerAxis;
  /** Zeros around the input: per axis, or before and after each axis; `same` or `valid`. */
  padding?: Padding;
  /** Distance of filter taps; 1 by default. */
  dilation?: PerAxis;
  /** Groups that channels are split into; 1 by default. */
  groups?: number;
}

interface Attrs {
  stride: PerAxis;
  padding: Padding;
  dilation: PerAxis;
  groups: number;
}

const defaults: Attrs = { stride: 1, padding: 0, dilation: 1, groups: 1 };
/** What the padding of a convolution may be. */
export const padding: AttributeRule = either(
  countOrList,
  oneOf("same", "valid"),
);

function check(what: string, x: Shape, w: Shape, groups: number): void {
  const bad = (why: string) =>
    new ShapeError(
      `Cannot ${what} an input of shape ${shapeText(x)} with filters of shape ${
        shapeText(w)
      } in ${groups} groups: ${why}`,
    );
  if (x.length < 3 || x.length > 5 || w.length !== x.length) {
    throw bad("both must be [N, C, spatial…] with one to three spatial axes");
  }
  if (
    !Number.isInteger(groups) || groups < 1 || x[1] % groups !== 0 ||
    w[0] % groups !== 0
  ) {
    throw bad("the groups must divide the input channels and the filters");
  }
  if (w[1] * groups !== x[1]) {
    throw bad(
      `each filter must have ${x[1] / groups} channels, and has ${w[1]}`,
    );
  }
}

function sameFloat(what: string, ...tensors: (Tensor | undefined)[]): void {
  const first = tensors[0]!.dtype;
  if (
    isFloat(first) &&
    tensors.every((x) => x === undefined || x.dtype === first)
  ) return;
  throw notOneFloat(what, tensors.flatMap((x) => x?.dtype ?? []));
}

/** Whether a dtype has 16 bits: where a device has no kernels for it, f32 computes, and the result is rounded once. */
function isHalf(dtype: DType): boolean {
  return dtype === "f16" || dtype === "bf16";
}

const wide = (x: Tensor) => cast(x, "f32");

const product = (shape: Shape) => shape.reduce((a, b) => a * b, 1);

/** A convolution whose operands were checked. */
export interface Convolution {
  /** Windows over the spatial axes. */
  readonly g: Geometry;
  /** The same as a device sees them. */
  readonly windows: Omit<WindowSpec, "dtype" | "channelsLast">;
  /** Shape of the result. */
  readonly result: Shape;
}

/**
 * The convolution of x with filters w, plus a bias.
 *
 * @throws {ShapeError} when the operands do not fit.
 */
export function convolutionOf(
  [x, w, b]: readonly (Tensor | undefined)[],
  { groups, ...options }: Required<ConvOptions>,
): Convolution {
  check("convolve", x!.shape, w!.shape, groups);
  sameFloat("convolve", x, w, b);
  const [n, c, ...spatial] = x!.shape;
  const [m, , ...kernel] = w!.shape;
  const g = geometry("convolve", spatial, kernel, options);
  if (b !== undefined && (b.rank !== 1 || b.size !== m)) {
    throw new ShapeError(
      `Cannot convolve with ${m} filters and a bias of shape ${
        shapeText(b.shape)
      }: the bias must be [${m}]`,
    );
  }
  return {
    g,
    windows: { batch: n, inChannels: c, outChannels: m, groups, ...g },
    result: [n, m, ...g.output],
  };
}

/** Columns of x as [N, groups, channels per group · taps, windows]. */
function groupedColumns(x: Tensor, g: Geometry, groups: number): Tensor {
  const columns = new Tensor(columnsValue(x.value, g));
  const [n, c] = x.shape;
  return reshape(columns, [
    n,
    groups,
    (c / groups) * product(g.kernel),
    product(g.output),
  ]);
}

/**
 * Convolution (cross-correlation) over one to three spatial axes.
 *
 * @param x Tensor [N, C, spatial…].
 * @param w Filters [M, C/groups, kernel…].
 * @param b Bias [M], or undefined for none.
 * @returns Tensor [N, M, output…] with output = ⌊(in + pads − dilation·(k−1) − 1)/stride⌋ + 1.
 * @throws {ShapeError} when channels, groups or windows do not fit.
 */
export const conv: (
  x: Tensor,
  w: Tensor,
  b?: Tensor,
  options?: ConvOptions,
) => Tensor = operator<
  (x: Tensor, w: Tensor, b?: Tensor, options?: ConvOptions) => Tensor,
  Attrs
>({
  name: "conv",
  family: "convolution",
  inputs: ["x", "w", "b"],
  attrs: defaults,
  rules: { padding },
  formula:
    "y[n, m, p] = b[m] + Σ x[n, c, p · stride + k · dilation − padding] · w[m, c, k]",
  torch:
    "[F.conv1d, F.conv2d, F.conv3d][x.dim() - 3](x, w, b, stride=stride, padding=padding, dilation=dilation, groups=groups)",
  onnx: "Conv",
  caffe2: "Conv",
  saves: [0, 1],
  run: ([x, w, b], attrs) => {
    const { groups, ...options } = attrs;
    const { g, windows, result: y } = convolutionOf([x, w, b], attrs);
    const m = w.shape[0];
    const along = (b: Tensor) => reshape(b, [m, ...g.output.map(() => 1)]);
    const { kernels } = x.device;
    if (kernels.conv !== undefined && sizeOf(y) > 0) {
      const ask = (...vectors: Tensor[]) =>
        overWindows(
          { images: [x, w], vectors, result: y },
          windows,
          (spec, [xs, ws, bs], ys) => kernels.conv!(spec, xs, ws, bs, ys),
        );
      const done = b === undefined ? ask() : ask(b);
      if (done !== undefined) return done;
      const bare = b === undefined ? undefined : ask();
      if (bare !== undefined) return add(bare, along(b!));
    }
    if (isHalf(x.dtype)) {
      const bias = b === undefined ? undefined : wide(b);
      const single = conv(wide(x), wide(w), bias, { groups, ...options });
      return cast(single, x.dtype);
    }
    const columns = groupedColumns(x, g, groups);
    const filters = reshape(w, [
      1,
      groups,
      m / groups,
      product(w.shape.slice(1)),
    ]);
    const result = reshape(batchMatmul(filters, columns), y);
    return b === undefined ? result : add(result, along(b));
  },
  // ∂conv: dx and dw are the two other members of the family, db = Σ g
  gradient: ({ inputs: [x, w], shapes, grad, attrs, needs }) => [
    needs(0) ? convInputGrad(grad, w, shapes[0].slice(2), attrs) : undefined,
    needs(1) ? convWeightGrad(x, grad, shapes[1].slice(2), attrs) : undefined,
    needs(2)
      ? sum(grad, grad.shape.map((_, d) => d).filter((d) => d !== 1))
      : undefined,
  ],
  samples: [
    [t([2, 2, 5, 5]), t([3, 2, 3, 3]), t([3])],
    [t([1, 2, 4, 5]), t([2, 2, 2, 3]), undefined, {
      stride: [2, 1],
      padding: [1, 2],
    }],
    [t([1, 4, 5, 5]), t([4, 2, 2, 2]), t([4]), { groups: 2, dilation: 2 }],
    [t([1, 3, 4, 4]), t([3, 1, 3, 3]), t([3]), { groups: 3, padding: 1 }],
    [t([2, 3, 4, 4]), t([5, 3, 1, 1])],
    [t([2, 2, 7]), t([3, 2, 3]), t([3]), { stride: 2, padding: 1 }],
    [t([1, 2, 3, 4, 3]), t([2, 2, 2, 2, 2]), t([2]), { padding: 1, stride: 2 }],
    [t([1, 2, 5, 5]), t([2, 2, 3, 3]), undefined, { padding: "same" }],
    [t([0, 2, 5, 5]), t([2, 2, 3, 3])],
    [t([1, 1, 3, 3], { dtype: "bf16" }), t([1, 1, 2, 2], { dtype: "bf16" })],
  ],
});

type Adjoint = (
  a: Tensor,
  b: Tensor,
  spatial: Shape,
  options?: ConvOptions,
) => Tensor;

/**
 * Gradient of a convolution with respect to its input.
 *
 * @param g Gradient of the result [N, M, output…].
 * @param w Filters [M, C/groups, kernel…].
 * @param spatial Spatial extents of the input.
 * @returns Tensor [N, C, spatial…].
 */
export const convInputGrad: (
  g: Tensor,
  w: Tensor,
  spatial: Shape,
  options?: ConvOptions,
) => Tensor = operator<
  Adjoint,
  Attrs & { spatial: Shape }
>({
  name: "convInputGrad",
  family: "convolution",
  inputs: ["g", "w"],
  attrs: { ...defaults, spatial: [] },
  rules: { padding },
  bind: (g, w, spatial, options) => ({
    inputs: [g, w],
    attrs: { spatial, ...options },
  }),
  formula:
    "y[n, c, q] = Σ g[n, m, p] · w[m, c, k] over p · stride + k · dilation − padding = q",
  torch: "conv_input_grad(g, w, spatial, stride, padding, dilation, groups)",
  run: ([g, w], { spatial, groups, ...options }) => {
    const c = w.shape[1] * groups;
    const [n, m] = g.shape;
    sameFloat("differentiate a convolution of", g, w);
    checkGroups(groups, g.shape[1]);
    const geo = geometry("convolve", spatial, w.shape.slice(2), options);
    checkGradient(g.shape, [n, w.shape[0], ...geo.output]);
    const x = [n, c, ...spatial];
    const { kernels } = g.device;
    if (kernels.convInputGrad !== undefined && sizeOf(x) > 0 && g.size > 0) {
      const done = overWindows(
        { images: [g, w], result: x },
        { batch: n, inChannels: c, outChannels: m, groups, ...geo },
        (spec, [gs, ws], dx) => kernels.convInputGrad!(spec, gs, ws, dx),
      );
      if (done !== undefined) return done;
    }
    if (isHalf(g.dtype)) {
      const attrs = { groups, ...options };
      return cast(convInputGrad(wide(g), wide(w), spatial, attrs), g.dtype);
    }
    const taps = product(geo.kernel), windows = product(geo.output);
    const filters = reshape(w, [1, groups, m / groups, (c / groups) * taps]);
    const grads = reshape(g, [n, groups, m / groups, windows]);
    const columns = batchMatmul(filters, grads, { transposeA: true });
    const shaped = reshape(columns, [n, c, ...geo.kernel, ...geo.output]);
    return new Tensor(overlapAddValue(shaped.value, geo));
  },
  // ∂(g, w ↦ dx): with the gradient h of dx: dg = conv(h, w), dw = convWeightGrad(h, g)
  gradient: (
    { inputs: [g, w], shapes, grad, attrs: { spatial: _, ...attrs }, needs },
  ) => [
    needs(0) ? conv(grad, w, undefined, attrs) : undefined,
    needs(1) ? convWeightGrad(grad, g, shapes[1].slice(2), attrs) : undefined,
  ],
  samples: [
    [t([2, 3, 3, 3]), t([3, 2, 3, 3]), [5, 5]],
    [t([1, 2, 3, 2]), t([2, 2, 2, 3]), [5, 4], {
      stride: [2, 2],
      padding: [1, 1],
    }],
    [t([1, 4, 3, 3]), t([4, 2, 2, 2]), [5, 5], { groups: 2, dilation: 2 }],
    [t([2, 3, 4]), t([3, 2, 3]), [7], { stride: 2, padding: 1 }],
    [t([1, 2, 2, 3, 2]), t([2, 2, 2, 2, 2]), [3, 4, 3], {
      stride: 2,
      padding: 1,
    }],
  ],
});

/**
 * Gradient of a convolution with respect to its filters.
 *
 * @param x Input [N, C, spatial…].
 * @param g Gradient of the result [N, M, output…].
 * @param kernel Extents of the filters.
 * @returns Tensor [M, C/groups, kernel…].
 */
export const convWeightGrad: (
  x: Tensor,
  g: Tensor,
  kernel: Shape,
  options?: ConvOptions,
) => Tensor = operator<
  Adjoint,
  Attrs & { kernel: Shape }
>({
  name: "convWeightGrad",
  family: "convolution",
  inputs: ["x", "g"],
  attrs: { ...defaults, kernel: [] },
  rules: { kernel: counts, padding },
  bind: (x, g, kernel, options) => ({
    inputs: [x, g],
    attrs: { kernel, ...options },
  }),
  formula:
    "y[m, c, k] = Σ g[n, m, p] · x[n, c, p · stride + k · dilation − padding]",
  torch: "conv_weight_grad(x, g, kernel, stride, padding, dilation, groups)",
  run: ([x, g], { kernel: extents, groups, ...options }) => {
    const [n, c] = x.shape;
    const m = g.shape[1];
    sameFloat("differentiate a convolution of", x, g);
    checkGroups(groups, m);
    const geo = geometry("convolve", x.shape.slice(2), extents, options);
    checkGradient(g.shape, [n, m, ...geo.output]);
    const w = [m, c / groups, ...extents];
    const { kernels } = x.device;
    if (kernels.convWeightGrad !== undefined && x.size > 0 && g.size > 0) {
      const done = overWindows(
        { images: [x, g], result: w },
        { batch: n, inChannels: c, outChannels: m, groups, ...geo },
        (spec, [xs, gs], dw) => kernels.convWeightGrad!(spec, xs, gs, dw),
      );
      if (done !== undefined) return done;
    }
    if (isHalf(x.dtype)) {
      const attrs = { groups, ...options };
      return cast(convWeightGrad(wide(x), wide(g), extents, attrs), x.dtype);
    }
    const grads = reshape(g, [n, groups, m / groups, product(geo.output)]);
    const columns = groupedColumns(x, geo, groups);
    const each = batchMatmul(grads, columns, { transposeB: true });
    return reshape(sum(each, 0), w);
  },
  // ∂(x, g ↦ dw): with the gradient h of dw: dx = convInputGrad(g, h), dg = conv(x, h)
  gradient: (
    { inputs: [x, g], shapes, grad, attrs: { kernel: _, ...attrs }, needs },
  ) => [
    needs(0) ? convInputGrad(g, grad, shapes[0].slice(2), attrs) : undefined,
    needs(1) ? conv(x, grad, undefined, attrs) : undefined,
  ],
  samples: [
    [t([2, 2, 5, 5]), t([2, 3, 3, 3]), [3, 3]],
    [t([1, 2, 5, 4]), t([1, 2, 3, 3]), [2, 2], { stride: 2, padding: 1 }],
    [t([1, 4, 5, 5]), t([1, 4, 3, 3]), [2, 2], { groups: 2, dilation: 2 }],
    [t([2, 2, 7]), t([2, 3, 4]), [3], { stride: 2, padding: 1 }],
  ],
});

function checkGroups(groups: number, filters: number): void {
  if (!Number.isInteger(groups) || groups < 1 || filters % groups !== 0) {
    throw new RangeError(
      `Cannot differentiate a convolution of ${filters} filters in ${groups} groups: give a positive integer that divides the filters`,
    );
  }
}

function checkGradient(actual: Shape, expected: Shape): void {
  if (
    actual.length !== expected.length ||
    actual.some((n, d) => n !== expected[d])
  ) {
    throw new ShapeError(
      `Cannot differentiate a convolution whose result has shape ${
        shapeText(expected)
      } with a gradient of shape ${
        shapeText(actual)
      }: the shapes must be equal`,
    );
  }
}
