/**
 * Sliding windows: their geometry, and the gather (`columns`) and scatter-add
 * (`overlapAdd`) that convolutions and pooling are composed of.
 *
 * @module
 */

import { type AttributeRule, counts, rule } from "../core/attributes.ts";
import { ShapeError, shapeText } from "../core/errors.ts";
import { contiguous, runRows } from "../core/row_kernels.ts";
import { operator } from "../core/op.ts";
import { contiguousStrides, type Shape } from "../core/shape.ts";
import { Tensor } from "../core/tensor.ts";
import type { Value } from "../core/value.ts";
import * as k from "../kernel/expr.ts";
import type { Expr } from "../kernel/expr.ts";
import { t } from "./samples.ts";

/** One number for every spatial axis, or one per axis. */
export type PerAxis = number | readonly number[];

/** Zeros around the input: per axis, or per axis before and then after; `same` keeps sizes at stride 1. */
export type Padding = PerAxis | "same" | "valid";

/** Windows over spatial axes. */
export interface Geometry {
  /** Input extents. */
  readonly input: readonly number[];
  /** Window extents. */
  readonly kernel: readonly number[];
  /** Steps from window to window. */
  readonly stride: readonly number[];
  /** Padding before each axis. */
  readonly before: readonly number[];
  /** Padding after each axis. */
  readonly after: readonly number[];
  /** Steps between the taps of a window. */
  readonly dilation: readonly number[];
  /** Number of windows along each axis. */
  readonly output: readonly number[];
}

/** Rule of an attribute that is a geometry. */
export const geometryRule: AttributeRule = rule(
  "the geometry of windows, as pooling has it",
  (x) =>
    typeof x === "object" && x !== null &&
    ["input", "kernel", "stride", "before", "after", "dilation", "output"]
      .every((name) => counts.accepts((x as Record<string, unknown>)[name])),
);

/** One value per axis. */
export function perAxis(value: PerAxis, rank: number, what: string): number[] {
  const list = typeof value === "number" ? Array(rank).fill(value) : [...value];
  if (list.length !== rank) {
    throw new ShapeError(
      `Cannot use ${what} ${
        shapeText(list)
      } with ${rank} spatial axes: give one number, or ${rank}`,
    );
  }
  return list;
}

/** The values, which must be positive integers. */
export function positive(
  values: readonly number[],
  what: string,
): readonly number[] {
  for (const value of values) {
    if (!Number.isInteger(value) || value < 1) {
      throw new RangeError(
        `Cannot use ${what} ${
          shapeText(values)
        }: it must be made of positive integers`,
      );
    }
  }
  return values;
}

/**
 * The windows of a convolution or pooling.
 *
 * @throws {ShapeError} when the window does not fit into the padded input.
 */
export function geometry(
  what: string,
  input: readonly number[],
  kernel: readonly number[],
  options: {
    stride?: PerAxis;
    padding?: Padding;
    dilation?: PerAxis;
    ceilMode?: boolean;
  },
): Geometry {
  const rank = input.length;
  const stride = positive(
    perAxis(options.stride ?? 1, rank, "stride"),
    "stride",
  );
  const dilation = positive(
    perAxis(options.dilation ?? 1, rank, "dilation"),
    "dilation",
  );
  positive(kernel, "kernel");
  const span = kernel.map((n, d) => dilation[d] * (n - 1) + 1);
  const { before, after } = paddingOf(options.padding ?? 0, span, stride);
  const output = input.map((n, d) => {
    const room = n + before[d] + after[d] - span[d];
    if (room < 0) {
      throw new ShapeError(
        `Cannot ${what} an input of spatial extents ${
          shapeText(input)
        } with windows of ${shapeText(span)} (kernel ${
          shapeText(kernel)
        }, dilation ${shapeText(dilation)}) and padding ${
          shapeText(before)
        } before, ${
          shapeText(after)
        } after: the window is larger than the padded input along spatial axis ${d}`,
      );
    }
    if (!options.ceilMode) return Math.floor(room / stride[d]) + 1;
    const count = Math.ceil(room / stride[d]) + 1;
    // A window that starts in the padding after the input is dropped.
    return (count - 1) * stride[d] >= n + before[d] ? count - 1 : count;
  });
  return { input, kernel, stride, before, after, dilation, output };
}

function paddingOf(
  padding: Padding,
  span: readonly number[],
  stride: readonly number[],
): { before: number[]; after: number[] } {
  const rank = span.length;
  if (padding === "valid") {
    return { before: Array(rank).fill(0), after: Array(rank).fill(0) };
  }
  if (padding === "same") {
    if (stride.some((s) => s !== 1)) {
      throw new RangeError(
        `Cannot pad to "same" with stride ${
          shapeText(stride)
        }: it needs stride 1; give the padding as numbers`,
      );
    }
    return {
      before: span.map((n) => Math.floor((n - 1) / 2)),
      after: span.map((n) => Math.ceil((n - 1) / 2)),
    };
  }
  const list = typeof padding === "number"
    ? Array(rank).fill(padding)
    : [...padding];
  if (
    list.some((n) => !Number.isInteger(n) || n < 0) ||
    (list.length !== rank && list.length !== 2 * rank)
  ) {
    throw new RangeError(
      `Cannot use padding ${
        shapeText(list)
      } with ${rank} spatial axes: give one non-negative integer, ${rank}, or ${
        2 * rank
      } (before each axis, then after)`,
    );
  }
  return { before: list.slice(0, rank), after: list.slice(list.length - rank) };
}

/** The run-time scalars that describe windows to a kernel, and their types. */
export function windowScalars(
  g: Geometry,
): { scalars: number[]; types: "i32"[] } {
  const scalars = [
    ...g.input,
    ...g.kernel,
    ...g.stride,
    ...g.before,
    ...g.dilation,
    ...g.output,
  ];
  return { scalars, types: scalars.map(() => "i32") };
}

/** The scalars of {@linkcode windowScalars} by name, one per axis. */
export function windowExprs(scalars: readonly Expr[], rank: number): Record<
  "input" | "kernel" | "stride" | "before" | "dilation" | "output",
  Expr[]
> {
  const take = (i: number) => scalars.slice(i * rank, (i + 1) * rank);
  return {
    input: take(0),
    kernel: take(1),
    stride: take(2),
    before: take(3),
    dilation: take(4),
    output: take(5),
  };
}

/** Row-major offset of coordinates in extents. */
export function offsetOf(
  coordinates: readonly Expr[],
  extents: readonly Expr[],
): Expr {
  return coordinates.reduce((sum, c, d) =>
    d === 0 ? c : k.add(k.mul(sum, extents[d]), c)
  );
}

/** All conditions at once. */
export function allOf(conditions: readonly Expr[]): Expr {
  return conditions.reduce((a, b) => k.and(a, b));
}

/** [N, C, spatial…] to [N, C, kernel…, output…]: the input under every tap, 0 in the padding. */
export function columnsValue(x: Value, g: Geometry): Value {
  const rank = g.input.length;
  const [n, c] = x.shape;
  const { scalars, types } = windowScalars(g);
  const [result] = runRows(x.device, {
    name: "columns",
    space: [n, c, ...g.kernel, ...g.output],
    axes: [],
    streams: [],
    tables: [x],
    scalars: [...scalars, c],
    scalarTypes: [...types, "i32"],
    passes: 1,
    build: ({ scalars: s, coord, load }) => {
      const w = windowExprs(s, rank);
      const at = w.input.map((_, d) =>
        k.add(
          k.sub(k.mul(coord(2 + rank + d), w.stride[d]), w.before[d]),
          k.mul(coord(2 + d), w.dilation[d]),
        )
      );
      const inside = allOf(
        at.map((p, d) => k.and(k.ge(p, 0), k.lt(p, w.input[d]))),
      );
      const plane = k.add(k.mul(coord(0), s[s.length - 1]), coord(1));
      const element = load(0, offsetOf([plane, ...at], [plane, ...w.input]));
      return {
        stages: [],
        outputs: [{
          dtype: x.dtype,
          per: "element",
          value: k.select(inside, element, k.constant(0, element.type)),
        }],
      };
    },
  });
  return result;
}

/** The adjoint of {@linkcode columnsValue}: adds each tap's column to where it came from. */
export function overlapAddValue(columns: Value, g: Geometry): Value {
  const rank = g.input.length;
  const [n, c] = columns.shape;
  const { scalars, types } = windowScalars(g);
  const space = [n, c, ...g.input, ...g.kernel];
  const [result] = runRows(columns.device, {
    name: "overlapAdd",
    space,
    axes: g.kernel.map((_, d) => 2 + rank + d),
    streams: [],
    tables: [columns],
    scalars: [...scalars, c],
    scalarTypes: [...types, "i32"],
    passes: 1,
    build: ({ scalars: s, coord, load }) => {
      const w = windowExprs(s, rank);
      const taps = w.input.map((_, d) => coord(2 + rank + d));
      // The window whose tap lies here, where there is one.
      const shifted = taps.map((tap, d) =>
        k.sub(k.add(coord(2 + d), w.before[d]), k.mul(tap, w.dilation[d]))
      );
      const window = shifted.map((p, d) => k.div(p, w.stride[d]));
      const hit = allOf(shifted.flatMap((p, d) => [
        k.ge(p, 0),
        k.eq(k.mul(window[d], w.stride[d]), p),
        k.lt(window[d], w.output[d]),
      ]));
      const plane = k.add(k.mul(coord(0), s[s.length - 1]), coord(1));
      const element = load(
        0,
        offsetOf([plane, ...taps, ...window], [
          plane,
          ...w.kernel,
          ...w.output,
        ]),
      );
      // Of truth values, whether any is true.
      const number = element.type === "bool" ? k.cast(element, "i32") : element;
      return {
        stages: [{
          op: "sum",
          value: k.select(hit, number, k.constant(0, number.type)),
        }],
        outputs: [{
          dtype: columns.dtype,
          per: "row",
          value: k.roundTo(k.stage(0, number.type), columns.dtype),
        }],
      };
    },
  });
  return result;
}

/** Options of {@linkcode unfold}. */
export interface UnfoldOptions {
  /** Steps from window to window. */
  stride?: PerAxis;
  /** Zeros around the input. */
  padding?: Padding;
  /** Steps between the taps of a window. */
  dilation?: PerAxis;
}

interface Attrs {
  kernel: PerAxis;
  stride: PerAxis;
  padding: Padding;
  dilation: PerAxis;
}

const defaults: Attrs = { kernel: 1, stride: 1, padding: 0, dilation: 1 };

function spatialGeometry(what: string, spatial: Shape, a: Attrs): Geometry {
  return geometry(
    what,
    spatial,
    perAxis(a.kernel, spatial.length, "kernel"),
    a,
  );
}

/**
 * The input under every window, as columns.
 *
 * @param x Tensor [N, C, spatial…].
 * @param kernel Window extents.
 * @returns Tensor [N, C·taps, windows].
 * @throws {ShapeError} when a window does not fit.
 */
export const unfold: (
  x: Tensor,
  kernel: PerAxis,
  options?: UnfoldOptions,
) => Tensor = operator<
  (x: Tensor, kernel: PerAxis, options?: UnfoldOptions) => Tensor,
  Attrs
>({
  name: "unfold",
  family: "convolution",
  inputs: ["x"],
  attrs: defaults,
  bind: (x, kernel, options) => ({
    inputs: [x],
    attrs: { kernel, ...options },
  }),
  formula:
    "y[n, (c, k), p] = x[n, c, p · stride + k · dilation − padding], 0 outside",
  torch:
    "F.unfold(x, kernel, dilation=dilation, padding=padding, stride=stride)",
  caffe2: "Im2Col",
  saves: [],
  run: ([x], attrs) => {
    const g = spatialGeometry("unfold", x.shape.slice(2), attrs);
    const value = columnsValue(x.value, g);
    const taps = g.kernel.reduce((a, b) => a * b, 1);
    const windows = g.output.reduce((a, b) => a * b, 1);
    const view = value.view(
      [x.shape[0], x.shape[1] * taps, windows],
      [x.shape[1] * taps * windows, windows, 1],
      0,
    );
    value.release();
    return new Tensor(view);
  },
  // ∂unfold: each column's gradient goes back to where its elements came from
  gradient: ({ shapes: [shape], grad, attrs }) => [
    fold(grad, shape.slice(2), attrs.kernel, attrs),
  ],
  samples: [
    [t([2, 2, 4, 5]), [2, 3]],
    [t([1, 3, 5, 5]), 3, { stride: 2, padding: 1 }],
    [t([1, 1, 6, 5]), 2, { dilation: 2 }],
  ],
});

/**
 * Adds columns back to where windows took them from: the adjoint of {@linkcode unfold}.
 *
 * @param x Tensor [N, C·taps, windows].
 * @param size Spatial extents of the result.
 * @param kernel Window extents.
 * @returns Tensor [N, C, size…].
 */
export const fold: (
  x: Tensor,
  size: Shape,
  kernel: PerAxis,
  options?: UnfoldOptions,
) => Tensor = operator<
  (x: Tensor, size: Shape, kernel: PerAxis, options?: UnfoldOptions) => Tensor,
  Attrs & { size: Shape }
>({
  name: "fold",
  family: "convolution",
  formula:
    "y[n, c, q] = Σ x[n, (c, k), p] over p · stride + k · dilation − padding = q",
  onnx: "Col2Im",
  inputs: ["x"],
  attrs: { ...defaults, size: [] },
  bind: (x, size, kernel, options) => ({
    inputs: [x],
    attrs: { size, kernel, ...options },
  }),
  torch:
    "F.fold(x, size, kernel, dilation=dilation, padding=padding, stride=stride)",
  caffe2: "Col2Im",
  saves: [],
  run: ([x], { size, ...attrs }) => {
    const g = spatialGeometry("fold", size, attrs);
    const taps = g.kernel.reduce((a, b) => a * b, 1);
    const windows = g.output.reduce((a, b) => a * b, 1);
    if (x.rank !== 3 || x.shape[1] % taps !== 0 || x.shape[2] !== windows) {
      throw new ShapeError(
        `Cannot fold a tensor of shape ${shapeText(x.shape)} to ${
          shapeText(size)
        } with kernel ${
          shapeText(g.kernel)
        }: it must be [N, C·${taps}, ${windows}]`,
      );
    }
    const dense = new Tensor(contiguous(x.value)).value;
    const channels = x.shape[1] / taps;
    const shape = [x.shape[0], channels, ...g.kernel, ...g.output];
    const view = dense.view(shape, contiguousStrides(shape), dense.offset);
    return new Tensor(overlapAddValue(new Tensor(view).value, g));
  },
  // ∂fold: unfold
  gradient: (
    { grad, attrs: { size: _, kernel, ...rest } },
  ) => [unfold(grad, kernel, rest)],
  samples: [
    [t([2, 12, 9]), [4, 5], [2, 3]],
    [t([1, 9, 9]), [5, 5], 3, { stride: 2, padding: 1 }],
  ],
});
