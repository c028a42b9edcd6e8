/**
 * The kernels of average pooling: means of windows, and their gradient.
 *
 * @module
 */

import type { WindowSpec } from "../core/device.ts";
import { runRows } from "../core/row_kernels.ts";
import type { Tensor } from "../core/tensor.ts";
import * as k from "../kernel/expr.ts";
import type { Expr } from "../kernel/expr.ts";
import { ImageOrder } from "./image_order.ts";
import { tap, windowOver } from "./pool_windows.ts";
import { overWindows } from "./window_kernels.ts";
import { type Geometry, windowExprs, windowScalars } from "./windows.ts";

/** Whether one window covers the whole input and nothing else. */
export function isGlobal(g: Geometry): boolean {
  return g.input.every((n, d) =>
    n === g.kernel[d] && g.output[d] === 1 && g.before[d] === 0
  );
}

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

/** What a kernel of averages sums: an element per tap, and what becomes of the sum. */
interface Summing {
  /** Name of the kernel. */
  readonly name: string;
  /** Spatial extents of the result. */
  readonly extents: readonly number[];
  /** Writes both; `read` loads from the images, whose spatial extents are given. */
  build(
    w: ReturnType<typeof windowExprs>,
    position: readonly Expr[],
    taps: readonly Expr[],
    after: readonly Expr[],
    read: (spatial: readonly Expr[], extents: readonly Expr[]) => Expr,
  ): { readonly value: Expr; result(sum: Expr): Expr };
}

/** Sums over the taps of every position of the result. */
function sums(
  images: Tensor,
  g: Geometry,
  { name, extents, build }: Summing,
): Tensor {
  const rank = g.input.length;
  const [n, c] = images.shape;
  const order = ImageOrder.of(images.materialize());
  const { scalars, types } = windowScalars(g);
  const table = order.table(images.value);
  const [y] = runRows(images.device, {
    name: `${name}${order.name}`,
    space: [...order.extents([n, c, ...extents]), ...g.kernel],
    axes: g.kernel.map((_, d) => 2 + rank + d),
    streams: [],
    tables: [table],
    scalars: [...scalars, c, ...g.after],
    scalarTypes: [...types, "i32", ...g.after.map(() => "i32" as const)],
    passes: 1,
    build: ({ scalars: s, coord, load }) => {
      const w = windowExprs(s, rank);
      const position = order.position(coord);
      const { value, result } = build(
        w,
        position.spatial,
        w.input.map((_, d) => coord(2 + rank + d)),
        s.slice(6 * rank + 1),
        (spatial, extents) =>
          load(
            0,
            order.offset({ ...position, spatial }, extents, s[6 * rank]),
          ),
      );
      const { dtype } = images;
      const sum = result(k.stage(0, value.type));
      return {
        stages: [{ op: "sum", value }],
        outputs: [{ dtype, per: "row", value: k.roundTo(sum, dtype) }],
      };
    },
  });
  table.release();
  return order.images(y);
}

/** Mean of each window, by a kernel of Decaf's own. */
export function means(x: Tensor, g: Geometry, includePad: boolean): Tensor {
  return sums(x, g, {
    name: `avgPool${includePad}`,
    extents: g.output,
    build(w, position, taps, after, read) {
      const { at, inside } = tap(w, position, taps);
      const element = read(at, w.input);
      const { type } = element;
      const count = divisor(w, position, after, includePad, type);
      return {
        value: k.select(inside, element, k.constant(0, type)),
        result: (sum) => k.div(sum, count),
      };
    },
  });
}

/** Each window's gradient, divided, to all its cells, by a kernel of Decaf's own. */
export function meansGradient(
  gradient: Tensor,
  g: Geometry,
  includePad: boolean,
): Tensor {
  return sums(gradient, g, {
    name: `avgPoolGrad${includePad}`,
    extents: g.input,
    build(w, position, taps, after, read) {
      const { window, hit } = windowOver(w, position, taps);
      const element = read(window, w.output);
      const { type } = element;
      const count = divisor(w, window, after, includePad, type);
      return {
        value: k.select(hit, k.div(element, count), k.constant(0, type)),
        result: (sum) => sum,
      };
    },
  });
}

/** What the sums are divided by. */
export interface Counting {
  /** Whether padding counts. */
  readonly countIncludePad: boolean;
}

/** The windows as a library sees them; undefined where it would count other cells. */
function librarySpec(
  x: Tensor,
  g: Geometry,
  { countIncludePad }: Counting,
): Omit<WindowSpec, "dtype" | "channelsLast"> | undefined {
  // Windows may reach beyond the padding where extents are rounded up.
  const reach = g.output.map((n, d) =>
    (n - 1) * g.stride[d] + g.kernel[d] - g.before[d] - g.input[d]
  );
  const beyond = reach.some((n, d) => n > g.after[d]);
  if (countIncludePad && beyond) return undefined;
  const after = g.after.map((n, d) => Math.max(n, reach[d]));
  const [batch, c] = x.shape;
  return { ...g, after, batch, inChannels: c, outChannels: c, groups: c };
}

/** Mean of each window by the device's library; undefined where it does not take them. */
export function libraryMeans(
  x: Tensor,
  g: Geometry,
  counting: Counting,
): Tensor | undefined {
  const { meanPool } = x.device.kernels;
  const spec = meanPool && x.size > 0 ? librarySpec(x, g, counting) : undefined;
  if (spec === undefined) return undefined;
  const result = [x.shape[0], x.shape[1], ...g.output];
  return overWindows(
    { images: [x], result },
    spec,
    (spec, [xs], ys) => meanPool!(spec, counting.countIncludePad, xs, ys),
  );
}

/** The gradient of the means by the device's library. */
export function libraryMeansGradient(
  g: Tensor,
  geo: Geometry,
  counting: Counting,
): Tensor | undefined {
  const { meanPoolGrad } = g.device.kernels;
  const spec = meanPoolGrad && g.size > 0
    ? librarySpec(g, geo, counting)
    : undefined;
  if (spec === undefined) return undefined;
  const result = [g.shape[0], g.shape[1], ...geo.input];
  return overWindows(
    { images: [g], result },
    spec,
    (spec, [gs], xs) => meanPoolGrad!(spec, counting.countIncludePad, gs, xs),
  );
}
