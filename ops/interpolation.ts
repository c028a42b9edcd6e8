/**
 * Resizing of spatial axes, and sampling at arbitrary positions.
 *
 * @module
 */

import { oneOf, positiveOrList } from "../core/attributes.ts";
import { ShapeError, shapeText } from "../core/errors.ts";
import { operator } from "../core/op.ts";
import type { Tensor } from "../core/tensor.ts";
import * as k from "../kernel/expr.ts";
import { add, mul } from "./arithmetic.ts";
import { Elementwise } from "./engine.ts";
import { cast, expand, reshape } from "./foundation.ts";
import { gather } from "./indexing.ts";
import { adaptiveTaps } from "./adaptive_pooling.ts";
import { requireFloat } from "./reduce_rows.ts";
import { t } from "./samples.ts";
import { where } from "./comparison.ts";
import { select } from "./slicing.ts";
import { alongAxis, Taps } from "./taps.ts";
import { type PerAxis, perAxis } from "./windows.ts";

/** How values between cells are found. */
export type InterpolationMode =
  | "nearest"
  | "nearestExact"
  | "linear"
  | "cubic"
  | "area";

/** Options of {@linkcode interpolate}: a size or a scale factor. */
export interface InterpolateOptions {
  /** Spatial extents of the result. */
  size?: PerAxis;
  /** Factor of the spatial extents. */
  scaleFactor?: PerAxis;
  /** How values between cells are found; `nearest` by default. */
  mode?: InterpolationMode;
  /** Whether the corner cells of input and result coincide (linear and cubic). */
  alignCorners?: boolean;
}

interface Attrs {
  size: PerAxis | undefined;
  scaleFactor: PerAxis | undefined;
  mode: InterpolationMode;
  alignCorners: boolean;
}

/** Keys' cubic kernel with a = −0.75. */
function cubicWeight(distance: number): number {
  const a = -0.75, x = Math.abs(distance);
  if (x <= 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
  if (x < 2) return ((a * x - 5 * a) * x + 8 * a) * x - 4 * a;
  return 0;
}

/** The cells of which each cell of the result is made. */
function tapsOf(
  from: number,
  to: number,
  factor: number | undefined,
  mode: InterpolationMode,
  align: boolean,
): Taps {
  if (mode === "area") return adaptiveTaps(from, to);
  const taps = new Taps(to);
  const step = align
    ? (to > 1 ? (from - 1) / (to - 1) : 0)
    : factor === undefined
    ? from / to
    : 1 / factor;
  const put = (row: number, cell: number, weight: number) => {
    taps.put(row, Math.min(from - 1, Math.max(0, cell)), weight);
  };
  for (let i = 0; i < to; i++) {
    switch (mode) {
      case "nearest":
        // PyTorch takes this product in single precision.
        put(i, Math.floor(Math.fround(i * Math.fround(step))), 1);
        break;
      case "nearestExact":
        put(i, Math.floor(Math.fround((i + 0.5) * Math.fround(step))), 1);
        break;
      case "linear": {
        const at = align ? i * step : Math.max(0, (i + 0.5) * step - 0.5);
        const low = Math.min(from - 1, Math.floor(at));
        put(i, low, 1 - (at - low));
        put(i, low + 1, at - low);
        break;
      }
      case "cubic": {
        const at = align ? i * step : (i + 0.5) * step - 0.5;
        const low = Math.floor(at);
        for (let tap = -1; tap <= 2; tap++) {
          put(i, low + tap, cubicWeight(at - low - tap));
        }
        break;
      }
      default:
        mode satisfies never;
    }
  }
  return taps;
}

/**
 * Resizes the spatial axes, one after the other, by weighted sums of the nearest
 * cells, so every mode is differentiable to any order.
 *
 * @param x Tensor [N, C, spatial…].
 * @returns Tensor [N, C, size…].
 * @throws {TypeError} unless exactly one of `size` and `scaleFactor` is given.
 */
export const interpolate: (x: Tensor, options: InterpolateOptions) => Tensor =
  operator<
    (x: Tensor, options: InterpolateOptions) => Tensor,
    Attrs
  >({
    name: "interpolate",
    family: "interpolation",
    inputs: ["x"],
    attrs: {
      size: undefined,
      scaleFactor: undefined,
      mode: "nearest",
      alignCorners: false,
    },
    rules: {
      size: positiveOrList,
      mode: oneOf("nearest", "nearestExact", "linear", "cubic", "area"),
    },
    formula:
      "axis by axis y[p] = Σ w(s − q) · x[q], q kept inside, s = (p + ½) · r − ½, r = m / size or 1 / scaleFactor (alignCorners: s = p · (m − 1) / (size − 1)); w(d) = max(0, 1 − |d|) with s ≥ 0 (linear), (1.25|d| − 2.25)d² + 1 for |d| ≤ 1 and −0.75(|d|³ − 5d² + 8|d| − 4) for |d| < 2 (cubic); x[⌊p · r⌋] (nearest), x[⌊(p + ½) · r⌋] (nearestExact), mean x[q] over ⌊p · m / size⌋ ≤ q < ⌈(p + 1) · m / size⌉ (area)",
    torch: "interpolate(x, size, scaleFactor, mode, alignCorners)",
    onnx: "Resize",
    caffe2: "ResizeNearest",
    run: ([x], { size, scaleFactor, mode, alignCorners }) => {
      const rank = x.rank - 2;
      if (rank < 1) {
        throw new ShapeError(
          `Cannot resize a tensor of shape ${
            shapeText(x.shape)
          }: it must be [N, C, spatial…]`,
        );
      }
      if (mode !== "nearest" && mode !== "nearestExact") {
        requireFloat(`resize (${mode})`, x);
      }
      if (x.shape.slice(1).includes(0)) {
        throw new ShapeError(
          `Cannot resize a tensor of shape ${
            shapeText(x.shape)
          }: channels and spatial axes must have at least one position`,
        );
      }
      if ((size === undefined) === (scaleFactor === undefined)) {
        throw new TypeError("Cannot resize: give either size or scaleFactor");
      }
      const factors = scaleFactor === undefined
        ? undefined
        : perAxis(scaleFactor, rank, "scaleFactor");
      const target = size === undefined
        ? x.shape.slice(2).map((n, d) => Math.floor(n * factors![d]))
        : perAxis(size, rank, "size");
      if (target.some((n) => !Number.isInteger(n) || n < 1)) {
        throw new ShapeError(
          `Cannot resize ${shapeText(x.shape)} to ${
            shapeText(target)
          }: extents must be positive integers`,
        );
      }
      // Halves are rounded once, and what lies between does not overflow.
      const half = x.dtype === "f16" || x.dtype === "bf16";
      const start = half && !mode.startsWith("nearest") ? cast(x, "f32") : x;
      const resized = target.reduce((y, to, d) => {
        const from = y.shape[2 + d];
        const taps = tapsOf(from, to, factors?.[d], mode, alignCorners);
        return alongAxis(y, 2 + d, taps);
      }, start);
      return start === x ? resized : cast(resized, x.dtype);
    },
    samples: [
      [t([1, 2, 3, 4]), { size: [5, 7] }],
      [t([1, 1, 4, 4]), { size: 2 }],
      [t([1, 2, 3]), { scaleFactor: 2 }],
      [t([1, 1, 3, 4]), { size: [5, 6], mode: "linear" }],
      [t([1, 1, 3, 4]), { size: [5, 6], mode: "linear", alignCorners: true }],
      [t([1, 1, 4, 4]), { scaleFactor: 1.5, mode: "linear" }],
      [t([1, 1, 4, 5]), { size: [6, 7], mode: "cubic" }],
      [t([1, 1, 4, 5]), { size: [6, 3], mode: "cubic", alignCorners: true }],
      [t([1, 1, 5, 5]), { size: 3, mode: "area" }],
      [t([1, 1, 5]), { size: 7, mode: "nearestExact" }],
      [t([1, 1, 2, 2, 2]), { scaleFactor: 2, mode: "linear" }],
      [t([0, 2, 3]), { size: 5 }],
      ...(["nearest", "linear", "area"] as const).map((mode) => [
        t([1, 1, 3, 3], {
          data: [1, NaN, 2, Infinity, 3, 4, 5, 6, -Infinity],
          grad: false,
        }),
        { size: [4, 5], mode },
      ]),
    ],
  });

/** Options of {@linkcode gridSample}. */
export interface GridSampleOptions {
  /** How values between cells are found; `bilinear` by default. */
  mode?: "bilinear" | "nearest";
  /** What lies outside: zeros, the border's cells, or the mirrored input; zeros by default. */
  paddingMode?: "zeros" | "border" | "reflection";
  /** Whether −1 and 1 are the centres of the corner cells, not their edges. */
  alignCorners?: boolean;
}

interface GridAttrs {
  mode: "bilinear" | "nearest";
  paddingMode: "zeros" | "border" | "reflection";
  alignCorners: boolean;
}

const places = new Map<string, Elementwise>();

/** From [−1, 1] to cells of an axis, brought back inside as `paddingMode` says. */
function place(
  grid: Tensor,
  extent: number,
  { paddingMode, alignCorners }: GridAttrs,
): Tensor {
  const key = `${paddingMode}${alignCorners}`;
  let found = places.get(key);
  if (found === undefined) {
    found = new Elementwise(
      "grid position",
      2,
      ([x, n]) => {
        const cell = alignCorners
          ? k.mul(k.mul(k.add(x, 1), 0.5), k.sub(n, 1))
          : k.mul(k.sub(k.mul(k.add(x, 1), n), 1), 0.5);
        if (paddingMode === "zeros") return cell;
        const last = k.sub(n, 1);
        // No gradient at the border nor beyond, as in PyTorch.
        const clip = (e: k.Expr) =>
          k.select(k.le(e, 0), 0, k.select(k.ge(e, last), last, e));
        if (paddingMode === "border") return clip(cell);
        const low = alignCorners ? 0 : -0.5;
        const span = alignCorners ? last : n;
        const away = k.abs(k.sub(cell, low));
        const turns = k.call("floor", k.div(away, k.max(span, 1e-30)));
        const rest = k.sub(away, k.mul(turns, span));
        const odd = k.ne(
          k.sub(turns, k.mul(2, k.call("floor", k.mul(turns, 0.5)))),
          0,
        );
        return clip(k.add(k.select(odd, k.sub(span, rest), rest), low));
      },
      "promote",
      false,
      1,
    );
    places.set(key, found);
  }
  return found.apply([grid, extent]);
}

const corner = new Elementwise(
  "cell below",
  1,
  ([x]) => k.call("floor", x),
  "promote",
  false,
);
const nearestCell = new Elementwise(
  "nearest cell",
  1,
  ([x]) => k.call("round", x),
  "promote",
  false,
);
/** Weight of the cell below: 1 − (x − c); the cell above has the rest. On a cell, the derivative is the one to its right, as in PyTorch. */
const below = new Elementwise(
  "weight of the cell below",
  2,
  ([x, c]) => k.sub(1, k.sub(x, c)),
  "promote",
  false,
);
const above = new Elementwise(
  "weight of the cell above",
  2,
  ([x, c]) => k.sub(x, c),
  "promote",
  false,
);
const inside = new Elementwise(
  "inside",
  4,
  ([y, x, h, w]) => {
    const all = [k.ge(y, 0), k.lt(y, h), k.ge(x, 0), k.lt(x, w)].reduce((
      a,
      b,
    ) => k.and(a, b));
    return all;
  },
  "bool",
  true,
  2,
);
const flatIndex = new Elementwise(
  "cell number",
  4,
  ([y, x, h, w]) => {
    const clip = (e: k.Expr, n: k.Expr) => k.min(k.max(e, 0), k.sub(n, 1));
    return k.add(k.mul(clip(y, h), w), clip(x, w));
  },
  "promote",
  true,
  2,
);

/**
 * Values of images at given positions.
 *
 * @param x Images [N, C, H, W].
 * @param grid Positions [N, h, w, 2] as (x, y) in [−1, 1].
 * @returns Tensor [N, C, h, w].
 * @throws {ShapeError} when the shapes do not fit.
 */
export const gridSample: (
  x: Tensor,
  grid: Tensor,
  options?: GridSampleOptions,
) => Tensor = operator<
  (x: Tensor, grid: Tensor, options?: GridSampleOptions) => Tensor,
  GridAttrs
>({
  name: "gridSample",
  family: "interpolation",
  inputs: ["x", "grid"],
  attrs: { mode: "bilinear", paddingMode: "zeros", alignCorners: false },
  rules: { mode: oneOf("bilinear", "nearest") },
  formula:
    "y[n, c, i, j] = Σ w(q − v) · w(r − u) · x[n, c, q, r], w(d) = max(0, 1 − |d|) or 1 at the nearest cell, (u, v) = ((grid[n, i, j] + 1) · (W, H) − 1) / 2, with alignCorners (grid[n, i, j] + 1) · (W − 1, H − 1) / 2; x outside as paddingMode says",
  torch:
    "F.grid_sample(x, grid, mode=mode, padding_mode=paddingMode, align_corners=alignCorners)",
  onnx: "GridSample",
  run: ([x, grid], attrs) => {
    if (
      x.rank !== 4 || grid.rank !== 4 || grid.shape[3] !== 2 ||
      grid.shape[0] !== x.shape[0]
    ) {
      throw new ShapeError(
        `Cannot sample images ${shapeText(x.shape)} on a grid ${
          shapeText(grid.shape)
        }: they must be [N, C, H, W] and [N, h, w, 2]`,
      );
    }
    requireFloat("sample", x, grid);
    const [n, c, height, width] = x.shape;
    const [, h, w] = grid.shape;
    const px = place(select(grid, 3, 0), width, attrs);
    const py = place(select(grid, 3, 1), height, attrs);
    const planes = reshape(x, [n, c, height * width]);
    const at = (cy: Tensor, cx: Tensor): Tensor => {
      const index = cast(flatIndex.apply([cy, cx, height, width]), "i64");
      const spread = expand(reshape(index, [n, 1, h * w]), [n, c, h * w]);
      const values = reshape(gather(planes, 2, spread), [n, c, h, w]);
      if (attrs.paddingMode !== "zeros") return values;
      return where(
        reshape(inside.apply([cy, cx, height, width]), [n, 1, h, w]),
        values,
        0,
      );
    };
    if (attrs.mode === "nearest") {
      return at(nearestCell.apply([py]), nearestCell.apply([px]));
    }
    const y0 = corner.apply([py]), x0 = corner.apply([px]);
    let total: Tensor | undefined;
    for (const [dy, dx] of [[0, 0], [0, 1], [1, 0], [1, 1]]) {
      const cy = add(y0, dy), cx = add(x0, dx);
      const weight = mul(
        (dy === 0 ? below : above).apply([py, y0]),
        (dx === 0 ? below : above).apply([px, x0]),
      );
      const part = mul(at(cy, cx), reshape(weight, [n, 1, h, w]));
      total = total === undefined ? part : add(total, part);
    }
    return total!;
  },
  samples: [
    [t([1, 2, 4, 5]), t([1, 3, 2, 2], { low: -0.9, high: 0.95 })],
    [t([1, 1, 4, 4]), t([1, 3, 3, 2], { low: -1.4, high: 1.3 })],
    [
      // The NaN keeps finite differences away from the kinks.
      t([1, 1, 3, 3], { data: [1, 5, 2, 4, -3, 7, 6, 8, NaN], grad: false }),
      t([1, 1, 4, 2], { data: [0, 0, -1, -1, 0, -1, 1, 1] }),
      { alignCorners: true },
    ],
    [
      t([1, 1, 2, 2], { data: [1, NaN, Infinity, 2], grad: false }),
      t([1, 1, 3, 2], { data: [-0.9, -0.9, 0.9, 0.9, 3, 3], grad: false }),
    ],
    [t([2, 1, 3, 4]), t([2, 2, 2, 2], { low: -1.3, high: 1.4 }), {
      paddingMode: "border",
      alignCorners: true,
    }],
    [t([1, 1, 4, 4]), t([1, 3, 3, 2], { low: -1.9, high: 1.7 }), {
      paddingMode: "reflection",
    }],
    [t([1, 1, 4, 4]), t([1, 3, 3, 2], { low: -1.9, high: 1.7 }), {
      paddingMode: "reflection",
      alignCorners: true,
    }],
    [t([1, 1, 4, 4]), t([1, 3, 3, 2], { low: -0.9, high: 0.9, grad: false }), {
      mode: "nearest",
    }],
  ],
});
