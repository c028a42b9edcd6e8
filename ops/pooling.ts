/**
 * Pooling over one to three spatial axes, global and adaptive pooling.
 *
 * @module
 */

import type { ConvSpec, DeviceKernels } from "../core/device.ts";
import { ShapeError, shapeText } from "../core/errors.ts";
import { contiguous, runRows } from "../core/fuse.ts";
import { operator } from "../core/op.ts";
import { contiguousStrides, type Shape } from "../core/shape.ts";
import { fromHost, Tensor } from "../core/tensor.ts";
import { Value } from "../core/value.ts";
import * as k from "../kernel/expr.ts";
import type { Expr } from "../kernel/expr.ts";
import { abs } from "./arithmetic.ts";
import { pow } from "./powers.ts";
import { mul } from "./arithmetic.ts";
import { convSpec, withBlocks } from "./convolution.ts";
import { cast, reshape } from "./foundation.ts";
import { batchMatmul } from "./matmul.ts";
import { t } from "./samples.ts";
import {
  allOf,
  type Geometry,
  geometry,
  offsetOf,
  type PerAxis,
  perAxis,
  windowExprs,
  windowScalars,
} from "./windows.ts";

/** Options of pooling. */
export interface PoolOptions {
  /** Step from window to window; the kernel's extent by default. */
  stride?: PerAxis;
  /** Cells around the input that take no part in the maximum. */
  padding?: PerAxis;
  /** Distance of the cells of a window. */
  dilation?: PerAxis;
  /** Whether windows that reach over the end are kept. */
  ceilMode?: boolean;
}

/** Options of average pooling. */
export interface AveragePoolOptions {
  /** Step from window to window; the kernel's extent by default. */
  stride?: PerAxis;
  /** Zeros around the input. */
  padding?: PerAxis;
  /** Whether windows that reach over the end are kept. */
  ceilMode?: boolean;
  /** Whether padding counts in the number that the sum is divided by; true by default. */
  countIncludePad?: boolean;
}

interface Attrs {
  kernel: PerAxis;
  stride: PerAxis | undefined;
  padding: PerAxis;
  dilation: PerAxis;
  ceilMode: boolean;
}

const defaults: Attrs = {
  kernel: 1,
  stride: undefined,
  padding: 0,
  dilation: 1,
  ceilMode: false,
};

function poolGeometry(
  x: Shape,
  a: Omit<Attrs, "dilation"> & { dilation?: PerAxis },
): Geometry {
  const spatial = x.slice(2);
  if (spatial.length < 1 || spatial.length > 3) {
    throw new ShapeError(
      `Cannot pool a tensor of shape ${
        shapeText(x)
      }: it must be [N, C, spatial…] with one to three spatial axes`,
    );
  }
  const kernel = perAxis(a.kernel, spatial.length, "kernel");
  const padding = perAxis(a.padding, spatial.length, "padding");
  padding.forEach((n, d) => {
    if (2 * n > kernel[d]) {
      throw new RangeError(
        `Cannot pool with kernel ${shapeText(kernel)} and padding ${
          shapeText(padding)
        }: padding must be at most half of the kernel`,
      );
    }
  });
  return geometry("pool", spatial, kernel, {
    ...a,
    padding,
    stride: a.stride ?? a.kernel,
  });
}

/** Coordinates in the input of the tap at hand, and whether it lies inside. */
function tap(
  w: ReturnType<typeof windowExprs>,
  window: readonly Expr[],
  taps: readonly Expr[],
): { at: Expr[]; inside: Expr } {
  const at = taps.map((c, d) =>
    k.add(
      k.sub(k.mul(window[d], w.stride[d]), w.before[d]),
      k.mul(c, w.dilation[d]),
    )
  );
  return {
    at,
    inside: allOf(at.map((p, d) => k.and(k.ge(p, 0), k.lt(p, w.input[d])))),
  };
}

function lowest(type: k.ScalarType): Expr {
  return k.constant(
    type === "i32" ? -(2 ** 31) : type === "i64" ? -(2n ** 63n) : -Infinity,
    type,
  );
}

function maximum(x: Tensor, g: Geometry): [Tensor, Tensor] {
  const rank = g.input.length;
  const [n, c] = x.shape;
  const kernel: DeviceKernels["maxPool2d"] = x.dtype === "f32" && rank <= 2
    ? x.device.kernels.maxPool2d
    : undefined;
  const shape = [n, c, ...g.output];
  if (kernel !== undefined && x.size > 0) {
    return withBlocks([x.value], (xs) => {
      const y = Value.empty(x.device, x.dtype, shape);
      const indices = Value.empty(x.device, "i64", shape);
      kernel(convSpec(n, c, c, g, c), xs, y, indices);
      return [new Tensor(y), new Tensor(indices)];
    });
  }
  const table = contiguous(x.value);
  const { scalars, types } = windowScalars(g);
  const [y, indices] = runRows(x.device, {
    name: "maxPool",
    space: [n, c, ...g.output, ...g.kernel],
    axes: g.kernel.map((_, d) => 2 + rank + d),
    streams: [],
    tables: [table],
    scalars: [...scalars, c],
    scalarTypes: [...types, "i32"],
    passes: 2,
    build: ({ scalars: s, coord, load }) => {
      const w = windowExprs(s, rank);
      const window = w.input.map((_, d) => coord(2 + d));
      const plane = k.add(k.mul(coord(0), s[s.length - 1]), coord(1));
      const { at, inside } = tap(
        w,
        window,
        window.map((_, d) => coord(2 + rank + d)),
      );
      const element = load(0, offsetOf([plane, ...at], [plane, ...w.input]));
      const value = k.select(inside, element, lowest(element.type));
      // The winner's tap gives its place in the plane.
      let rest: Expr = k.stage(1, "i32");
      const taps: Expr[] = [];
      for (let d = rank - 1; d >= 0; d--) {
        taps[d] = k.rem(rest, w.kernel[d]);
        rest = k.div(rest, w.kernel[d]);
      }
      return {
        stages: [{ op: "max", value }, { op: "argmax", value }],
        outputs: [
          { dtype: x.dtype, per: "row", value: k.stage(0, element.type) },
          {
            dtype: "i64",
            per: "row",
            value: offsetOf(tap(w, window, taps).at, w.input),
          },
        ],
      };
    },
  });
  table.release();
  return [new Tensor(y), new Tensor(indices)];
}

/** Signature of {@linkcode maxPoolWithIndices}. */
export type PoolWithIndices = (
  x: Tensor,
  kernel: PerAxis,
  options?: PoolOptions,
) => [Tensor, Tensor];

/**
 * Largest value of each window, and its row-major position in the input plane (i64).
 * The first of equal values wins; NaN wins over numbers.
 *
 * @param x Tensor [N, C, spatial…].
 * @param kernel Extents of the windows.
 * @returns Two tensors [N, C, output…].
 * @throws {ShapeError} when a window does not fit.
 */
export const maxPoolWithIndices: PoolWithIndices = operator<
  PoolWithIndices,
  Attrs
>({
  name: "maxPoolWithIndices",
  family: "pooling",
  inputs: ["x"],
  attrs: defaults,
  bind: (x, kernel, options) => ({
    inputs: [x],
    attrs: { kernel, ...options },
  }),
  torch:
    "[F.max_pool1d, F.max_pool2d, F.max_pool3d][x.dim() - 3](x, kernel, stride, padding, dilation, ceilMode, return_indices=True)",
  onnx: "MaxPool",
  caffe2: "MaxPoolWithIndex",
  saves: [],
  savesOutputs: true,
  run: ([x], attrs) => maximum(x, poolGeometry(x.shape, attrs)),
  // ∂max: the gradient goes to the winner
  gradient: ({ outputs: [, indices], shapes: [shape], grads: [grad] }) => [
    grad === undefined ? undefined : placeAt(grad, indices, shape.slice(2)),
  ],
  samples: [
    [t([1, 2, 4, 6]), 2],
    [t([1, 1, 5, 5]), 3, { stride: 2, padding: 1 }],
    [t([1, 2, 7]), 3, { stride: 2, ceilMode: true }],
    [t([1, 1, 5, 6]), 2, { dilation: 2, stride: 1 }],
    [t([1, 1, 3, 4, 3]), 2, { stride: 1 }],
    [t([1, 1, 2, 4], { data: [1, NaN, 3, 3, 2, 5, 3, 3], grad: false }), 2],
    [t([2, 1, 4, 4], { dtype: "f16" }), 2],
  ],
});

/**
 * Largest value of each window.
 *
 * @param x Tensor [N, C, spatial…].
 * @param kernel Extents of the windows.
 * @returns Tensor [N, C, output…].
 * @throws {ShapeError} when a window does not fit.
 */
export const maxPool: (
  x: Tensor,
  kernel: PerAxis,
  options?: PoolOptions,
) => Tensor = operator<
  (x: Tensor, kernel: PerAxis, options?: PoolOptions) => Tensor,
  Attrs
>({
  name: "maxPool",
  family: "pooling",
  inputs: ["x"],
  attrs: defaults,
  bind: (x, kernel, options) => ({
    inputs: [x],
    attrs: { kernel, ...options },
  }),
  torch:
    "[F.max_pool1d, F.max_pool2d, F.max_pool3d][x.dim() - 3](x, kernel, stride, padding, dilation, ceilMode)",
  onnx: "MaxPool",
  caffe2: "MaxPool",
  run: ([x], { kernel, ...options }) =>
    maxPoolWithIndices(x, kernel, options)[0],
  samples: [[t([1, 2, 4, 6]), 2], [t([1, 1, 5, 5]), [2, 3], {
    stride: [1, 2],
  }]],
});

/**
 * Adds values to the given positions of zero planes: the adjoint of {@linkcode pickAt}.
 *
 * @param x Values [N, C, positions…].
 * @param indices Row-major positions in the plane, same shape (i64).
 * @param spatial Extents of the planes.
 * @returns Tensor [N, C, spatial…].
 */
export const placeAt: (x: Tensor, indices: Tensor, spatial: Shape) => Tensor =
  operator<
    (x: Tensor, indices: Tensor, spatial: Shape) => Tensor,
    { spatial: Shape }
  >({
    name: "placeAt",
    family: "pooling",
    inputs: ["x", "indices"],
    attrs: { spatial: [] },
    bind: (x, indices, spatial) => ({
      inputs: [x, indices],
      attrs: { spatial },
    }),
    torch:
      "torch.zeros(*x.shape[:2], math.prod(spatial), dtype=x.dtype).scatter_add(2, indices.flatten(2), x.flatten(2)).reshape(*x.shape[:2], *spatial)",
    saves: [1],
    run: ([x, indices], { spatial }) => {
      const [n, c] = x.shape;
      const plane = spatial.reduce((a, b) => a * b, 1);
      if (x.dtype === "f16" || x.dtype === "bf16") {
        // Halves are added in f32.
        return cast(placeAt(cast(x, "f32"), indices, spatial), x.dtype);
      }
      const shape = [n, c, ...spatial];
      const kernel: DeviceKernels["maxPool2dGrad"] = x.dtype === "f32"
        ? x.device.kernels.maxPool2dGrad
        : undefined;
      if (kernel !== undefined && x.size > 0) {
        return withBlocks([x.value, indices.value], (values, places) => {
          const result = Value.empty(x.device, x.dtype, shape);
          kernel(
            planesSpec(n, c, plane, x.size / (n * c)),
            values,
            places,
            result,
          );
          return new Tensor(result);
        });
      }
      const target = filled(x, [n * c, plane]);
      if (x.size > 0) {
        withBlocks([x.value, indices.value], (source, index) => {
          x.device.scatter({
            dtype: x.dtype,
            mode: "add",
            outer: n * c,
            targetSize: plane,
            sourceSize: x.size / (n * c),
            inner: 1,
            target,
            source,
            index,
            perElement: true,
          });
        });
      }
      const result = target.view(shape, contiguousStrides(shape), 0);
      target.release();
      return new Tensor(result);
    },
    // ∂placeAt: the gradient at the positions
    gradient: ({ inputs: [, indices], grad }) => [pickAt(grad, indices)],
    samples: [[
      t([1, 2, 3]),
      t([1, 2, 3], { dtype: "i64", data: [0, 3, 3, 1, 2, 5] }),
      [2, 3],
    ]],
  });

/** Planes of `size` cells and `count` positions in each, as a window geometry. */
function planesSpec(
  batch: number,
  channels: number,
  size: number,
  count: number,
): ConvSpec {
  return {
    batch,
    inChannels: channels,
    outChannels: channels,
    inHeight: 1,
    inWidth: size,
    outHeight: 1,
    outWidth: count,
    kernelHeight: 1,
    kernelWidth: 1,
    strideHeight: 1,
    strideWidth: 1,
    padTop: 0,
    padLeft: 0,
    dilationHeight: 1,
    dilationWidth: 1,
    groups: channels,
  };
}

function filled(like: Tensor, shape: Shape): Value {
  const [zeros] = runRows(like.device, {
    name: `zeros ${like.dtype}`,
    space: shape,
    axes: [],
    streams: [],
    passes: 1,
    build: () => ({
      stages: [],
      outputs: [{
        dtype: like.dtype,
        per: "element",
        value: k.constant(0, k.computeType(like.dtype)),
      }],
    }),
  });
  return zeros;
}

/**
 * The elements at the given positions of planes.
 *
 * @param x Tensor [N, C, spatial…].
 * @param indices Row-major positions in the plane [N, C, positions…] (i64).
 * @returns Tensor of the shape of `indices`.
 */
export const pickAt: (x: Tensor, indices: Tensor) => Tensor = operator<
  (x: Tensor, indices: Tensor) => Tensor
>({
  name: "pickAt",
  family: "pooling",
  inputs: ["x", "indices"],
  torch: "x.flatten(2).gather(2, indices.flatten(2)).reshape(indices.shape)",
  saves: [1],
  run: ([x, indices]) => {
    const table = contiguous(x.value);
    const plane = x.shape.slice(2).reduce((a, b) => a * b, 1);
    const [value] = runRows(x.device, {
      name: "pickAt",
      space: indices.shape,
      axes: [],
      streams: [indices.value],
      tables: [table],
      scalars: [plane, x.shape[1]],
      scalarTypes: ["i32", "i32"],
      passes: 1,
      build: ({ streams: [index], scalars: [size, channels], coord, load }) => {
        const start = k.mul(k.add(k.mul(coord(0), channels), coord(1)), size);
        return {
          stages: [],
          outputs: [{
            dtype: x.dtype,
            per: "element",
            value: load(0, k.add(start, k.cast(index, "i32"))),
          }],
        };
      },
    });
    table.release();
    return new Tensor(value);
  },
  // ∂pickAt: the gradient placed where the elements came from
  gradient: (
    { inputs: [, indices], shapes: [shape], grad },
  ) => [placeAt(grad, indices, shape.slice(2))],
  samples: [[
    t([1, 2, 2, 3]),
    t([1, 2, 4], { dtype: "i64", data: [0, 3, 3, 1, 2, 5, 0, 0] }),
  ]],
});

interface AverageAttrs {
  kernel: PerAxis;
  stride: PerAxis | undefined;
  padding: PerAxis;
  ceilMode: boolean;
  countIncludePad: boolean;
}

const averageDefaults: AverageAttrs = {
  kernel: 1,
  stride: undefined,
  padding: 0,
  ceilMode: false,
  countIncludePad: true,
};

/** What the sum of a window is divided by, as f32 or f64. */
function divisor(
  w: ReturnType<typeof windowExprs>,
  window: readonly Expr[],
  after: readonly Expr[],
  includePad: boolean,
  type: k.ScalarType,
): Expr {
  const counts = window.map((c, d) => {
    const start = k.sub(k.mul(c, w.stride[d]), w.before[d]);
    const end = k.add(start, w.kernel[d]);
    return includePad
      ? k.sub(k.min(end, k.add(w.input[d], after[d])), start)
      : k.sub(k.min(end, w.input[d]), k.max(start, 0));
  });
  return k.cast(counts.reduce((a, b) => k.mul(a, b)), type);
}

/** Signature of {@linkcode avgPool}. */
export type AveragePool = (
  x: Tensor,
  kernel: PerAxis,
  options?: AveragePoolOptions,
) => Tensor;

/**
 * Mean of each window.
 *
 * @param x Tensor [N, C, spatial…].
 * @param kernel Extents of the windows.
 * @returns Tensor [N, C, output…].
 * @throws {ShapeError} when a window does not fit.
 */
export const avgPool: AveragePool = operator<AveragePool, AverageAttrs>({
  name: "avgPool",
  family: "pooling",
  inputs: ["x"],
  attrs: averageDefaults,
  bind: (x, kernel, options) => ({
    inputs: [x],
    attrs: { kernel, ...options },
  }),
  torch:
    "[F.avg_pool1d, F.avg_pool2d, F.avg_pool3d][x.dim() - 3](x, kernel, stride, padding, ceilMode, countIncludePad)",
  onnx: "AveragePool",
  caffe2: "AveragePool",
  saves: [],
  run: ([x], attrs) => {
    const g = poolGeometry(x.shape, attrs);
    const rank = g.input.length;
    const [n, c] = x.shape;
    const table = contiguous(x.value);
    const { scalars, types } = windowScalars(g);
    const [y] = runRows(x.device, {
      name: `avgPool${attrs.countIncludePad}`,
      space: [n, c, ...g.output, ...g.kernel],
      axes: g.kernel.map((_, d) => 2 + rank + d),
      streams: [],
      tables: [table],
      scalars: [...scalars, c, ...g.after],
      scalarTypes: [...types, "i32", ...g.after.map(() => "i32" as const)],
      passes: 1,
      build: ({ scalars: s, coord, load }) => {
        const w = windowExprs(s, rank);
        const window = w.input.map((_, d) => coord(2 + d));
        const plane = k.add(k.mul(coord(0), s[6 * rank]), coord(1));
        const { at, inside } = tap(
          w,
          window,
          window.map((_, d) => coord(2 + rank + d)),
        );
        const element = load(0, offsetOf([plane, ...at], [plane, ...w.input]));
        const count = divisor(
          w,
          window,
          s.slice(6 * rank + 1),
          attrs.countIncludePad,
          element.type,
        );
        return {
          stages: [{
            op: "sum",
            value: k.select(inside, element, k.constant(0, element.type)),
          }],
          outputs: [{
            dtype: x.dtype,
            per: "row",
            value: k.roundTo(k.div(k.stage(0, element.type), count), x.dtype),
          }],
        };
      },
    });
    table.release();
    return new Tensor(y);
  },
  // ∂mean: each window's gradient, divided, to all its cells
  gradient: ({ shapes: [shape], grad, attrs: { kernel, ...options } }) => [
    avgPoolGrad(grad, shape.slice(2), kernel, options),
  ],
  samples: [
    [t([1, 2, 4, 6]), 2],
    [t([1, 1, 5, 5]), 3, { stride: 2, padding: 1 }],
    [t([1, 1, 5, 5]), 3, { stride: 2, padding: 1, countIncludePad: false }],
    [t([1, 2, 7]), 3, { stride: 2, ceilMode: true }],
    [t([1, 1, 3, 4, 3]), 2, { stride: 1 }],
    [t([1, 1, 4, 4], { dtype: "bf16" }), 2],
  ],
});

type AveragePoolGrad = (
  g: Tensor,
  spatial: Shape,
  kernel: PerAxis,
  options?: AveragePoolOptions,
) => Tensor;

/** Gradient of {@linkcode avgPool} with respect to an input of the given spatial extents. */
export const avgPoolGrad: AveragePoolGrad = operator<
  AveragePoolGrad,
  AverageAttrs & { spatial: Shape }
>({
  name: "avgPoolGrad",
  family: "pooling",
  inputs: ["g"],
  attrs: { ...averageDefaults, spatial: [] },
  bind: (g, spatial, kernel, options) => ({
    inputs: [g],
    attrs: { spatial, kernel, ...options },
  }),
  torch:
    "avg_pool_grad(g, spatial, kernel, stride, padding, ceilMode, countIncludePad)",
  saves: [],
  run: ([g], { spatial, ...attrs }) => {
    const [n, c] = g.shape;
    const geo = poolGeometry([n, c, ...spatial], attrs);
    const rank = spatial.length;
    const table = contiguous(g.value);
    const { scalars, types } = windowScalars(geo);
    const [x] = runRows(g.device, {
      name: `avgPoolGrad${attrs.countIncludePad}`,
      space: [n, c, ...spatial, ...geo.kernel],
      axes: geo.kernel.map((_, d) => 2 + rank + d),
      streams: [],
      tables: [table],
      scalars: [...scalars, c, ...geo.after],
      scalarTypes: [...types, "i32", ...geo.after.map(() => "i32" as const)],
      passes: 1,
      build: ({ scalars: s, coord, load }) => {
        const w = windowExprs(s, rank);
        const shifted = w.input.map((_, d) =>
          k.sub(k.add(coord(2 + d), w.before[d]), coord(2 + rank + d))
        );
        const window = shifted.map((p, d) => k.div(p, w.stride[d]));
        const hit = allOf(shifted.flatMap((p, d) => [
          k.ge(p, 0),
          k.eq(k.mul(window[d], w.stride[d]), p),
          k.lt(window[d], w.output[d]),
        ]));
        const plane = k.add(k.mul(coord(0), s[6 * rank]), coord(1));
        const element = load(
          0,
          offsetOf([plane, ...window], [plane, ...w.output]),
        );
        const count = divisor(
          w,
          window,
          s.slice(6 * rank + 1),
          attrs.countIncludePad,
          element.type,
        );
        return {
          stages: [{
            op: "sum",
            value: k.select(
              hit,
              k.div(element, count),
              k.constant(0, element.type),
            ),
          }],
          outputs: [{
            dtype: g.dtype,
            per: "row",
            value: k.roundTo(k.stage(0, element.type), g.dtype),
          }],
        };
      },
    });
    table.release();
    return new Tensor(x);
  },
  // linear in g, so its gradient is the pooling itself
  gradient: (
    { grad, attrs: { spatial: _, kernel, ...options } },
  ) => [avgPool(grad, kernel, options)],
  samples: [
    [t([1, 2, 2, 3]), [4, 6], 2],
    [t([1, 1, 3, 3]), [5, 5], 3, {
      stride: 2,
      padding: 1,
      countIncludePad: false,
    }],
  ],
});

/**
 * Power-average of each window: (Σ |x|ᵖ)^(1/p).
 *
 * @param x Tensor [N, C, spatial…].
 * @param p Exponent.
 * @param kernel Extents of the windows.
 * @returns Tensor [N, C, output…].
 */
export const lpPool: (
  x: Tensor,
  p: number,
  kernel: PerAxis,
  options?: { stride?: PerAxis; ceilMode?: boolean },
) => Tensor = operator<
  (
    x: Tensor,
    p: number,
    kernel: PerAxis,
    options?: { stride?: PerAxis; ceilMode?: boolean },
  ) => Tensor,
  { p: number; kernel: PerAxis; stride: PerAxis | undefined; ceilMode: boolean }
>({
  name: "lpPool",
  family: "pooling",
  inputs: ["x"],
  attrs: { p: 2, kernel: 1, stride: undefined, ceilMode: false },
  bind: (x, p, kernel, options) => ({
    inputs: [x],
    attrs: { p, kernel, ...options },
  }),
  formula: "(Σ |x|ᵖ)^(1/p)",
  torch:
    "[F.lp_pool1d, F.lp_pool2d, F.lp_pool3d][x.dim() - 3](x, p, kernel, stride, ceilMode)",
  onnx: "LpPool",
  caffe2: "LpPool",
  run: ([x], { p, kernel, ...options }) => {
    const cells = perAxis(kernel, x.rank - 2, "kernel").reduce(
      (a, b) => a * b,
      1,
    );
    const means = avgPool(pow(abs(x), p), kernel, options);
    return pow(mul(means, cells), 1 / p);
  },
  samples: [[t([1, 2, 4, 4], { low: 0.2 }), 2, 2], [
    t([1, 1, 6], { low: 0.2 }),
    3,
    3,
    { stride: 1 },
  ]],
});

/** Each row averages the cells of one window of adaptive pooling. */
function adaptiveMatrix(from: number, to: number): Float64Array {
  const matrix = new Float64Array(to * from);
  for (let i = 0; i < to; i++) {
    const start = Math.floor(i * from / to),
      end = Math.ceil((i + 1) * from / to);
    matrix.fill(1 / (end - start), i * from + start, i * from + end);
  }
  return matrix;
}

/**
 * Applies a matrix [to, from] along one axis of a tensor.
 */
export function alongAxis(
  x: Tensor,
  axis: number,
  matrix: Float64Array,
  to: number,
): Tensor {
  const from = x.shape[axis];
  const host = fromHost(matrix, "f64", [to, from], { device: x.device.name });
  const weights = cast(host, x.dtype);
  const inner = x.shape.slice(axis + 1).reduce((a, b) => a * b, 1);
  const shape = [...x.shape.slice(0, axis), to, ...x.shape.slice(axis + 1)];
  if (inner === 1) {
    const rows = reshape(x, [-1, from]);
    return reshape(batchMatmul(rows, weights, { transposeB: true }), shape);
  }
  return reshape(batchMatmul(weights, reshape(x, [-1, from, inner])), shape);
}

/**
 * Mean over windows that divide the input into the given number of parts.
 *
 * @param x Tensor [N, C, spatial…].
 * @param size Spatial extents of the result; 1 is global average pooling.
 * @returns Tensor [N, C, size…].
 */
export const adaptiveAvgPool: (x: Tensor, size: PerAxis) => Tensor = operator<
  (x: Tensor, size: PerAxis) => Tensor,
  { size: PerAxis }
>({
  name: "adaptiveAvgPool",
  family: "pooling",
  inputs: ["x"],
  attrs: { size: 1 },
  bind: (x, size) => ({ inputs: [x], attrs: { size } }),
  torch:
    "[F.adaptive_avg_pool1d, F.adaptive_avg_pool2d, F.adaptive_avg_pool3d][x.dim() - 3](x, size)",
  onnx: "GlobalAveragePool",
  run: ([x], { size }) => {
    const rank = x.rank - 2;
    const target = perAxis(size, rank, "size");
    const spatial = x.shape.slice(2);
    if (spatial.every((n, d) => n % target[d] === 0)) {
      return avgPool(x, spatial.map((n, d) => n / target[d]));
    }
    return target.reduce(
      (y, to, d) => alongAxis(y, 2 + d, adaptiveMatrix(y.shape[2 + d], to), to),
      x,
    );
  },
  samples: [
    [t([1, 2, 4, 6]), [2, 3]],
    [t([1, 2, 5, 7]), 3],
    [t([2, 3, 5]), 1],
    [t([1, 1, 3, 4, 5]), 2],
  ],
});

/**
 * Largest value of each of the windows that divide the input into the given number of parts.
 *
 * @param x Tensor [N, C, spatial…].
 * @param size Spatial extents of the result; 1 is global maximum pooling.
 * @returns Tensor [N, C, size…].
 */
export const adaptiveMaxPool: (x: Tensor, size: PerAxis) => Tensor = operator<
  (x: Tensor, size: PerAxis) => Tensor,
  { size: PerAxis }
>({
  name: "adaptiveMaxPool",
  family: "pooling",
  inputs: ["x"],
  attrs: { size: 1 },
  bind: (x, size) => ({ inputs: [x], attrs: { size } }),
  torch:
    "[F.adaptive_max_pool1d, F.adaptive_max_pool2d, F.adaptive_max_pool3d][x.dim() - 3](x, size)",
  onnx: "GlobalMaxPool",
  run: ([x], { size }) =>
    pickAt(x, adaptiveMaxIndices(x, perAxis(size, x.rank - 2, "size"))),
  samples: [[t([1, 2, 4, 6]), [2, 3]], [t([1, 2, 5, 7]), 3], [t([2, 3, 5]), 1]],
});

/** Row-major position of the largest value of each adaptive window (i64). */
export const adaptiveMaxIndices: (
  x: Tensor,
  size: readonly number[],
) => Tensor = operator<
  (x: Tensor, size: readonly number[]) => Tensor,
  { size: readonly number[] }
>({
  name: "adaptiveMaxIndices",
  family: "pooling",
  inputs: ["x"],
  attrs: { size: [] },
  bind: (x, size) => ({ inputs: [x], attrs: { size } }),
  torch:
    "[F.adaptive_max_pool1d, F.adaptive_max_pool2d, F.adaptive_max_pool3d][x.dim() - 3](x, size, return_indices=True)[1]",
  constant: true,
  run: ([x], { size }) => {
    const [n, c, ...spatial] = x.shape;
    const rank = spatial.length;
    const longest = spatial.map((from, d) => Math.ceil(from / size[d]) + 1);
    const table = contiguous(x.value);
    const [indices] = runRows(x.device, {
      name: "adaptiveMax",
      space: [n, c, ...size, ...longest],
      axes: size.map((_, d) => 2 + rank + d),
      streams: [],
      tables: [table],
      scalars: [...spatial, ...size, ...longest, c],
      scalarTypes: Array(3 * rank + 1).fill("i32"),
      passes: 1,
      build: ({ scalars: s, coord, load }) => {
        const from = s.slice(0, rank),
          to = s.slice(rank, 2 * rank),
          taps = s.slice(2 * rank, 3 * rank);
        const start = from.map((extent, d) =>
          k.div(k.mul(coord(2 + d), extent), to[d])
        );
        const end = from.map((extent, d) =>
          k.div(
            k.add(k.mul(k.add(coord(2 + d), 1), extent), k.sub(to[d], 1)),
            to[d],
          )
        );
        const at = start.map((p, d) => k.add(p, coord(2 + rank + d)));
        const plane = k.add(k.mul(coord(0), s[3 * rank]), coord(1));
        const element = load(0, offsetOf([plane, ...at], [plane, ...from]));
        const inside = allOf(at.map((p, d) => k.lt(p, end[d])));
        let rest: Expr = k.stage(0, "i32");
        const place: Expr[] = [];
        for (let d = rank - 1; d >= 0; d--) {
          place[d] = k.add(start[d], k.rem(rest, taps[d]));
          rest = k.div(rest, taps[d]);
        }
        return {
          stages: [{
            op: "argmax",
            value: k.select(inside, element, lowest(element.type)),
          }],
          outputs: [{ dtype: "i64", per: "row", value: offsetOf(place, from) }],
        };
      },
    });
    table.release();
    return new Tensor(indices);
  },
  samples: [[t([1, 2, 4, 6]), [2, 3]], [t([1, 2, 5, 7]), [3, 3]]],
});
