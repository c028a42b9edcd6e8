/**
 * The kernels of maximum pooling: largest values and their places.
 *
 * @module
 */

import { runRows } from "../core/row_kernels.ts";
import { Tensor } from "../core/tensor.ts";
import { Value } from "../core/value.ts";
import * as k from "../kernel/expr.ts";
import type { Expr } from "../kernel/expr.ts";
import { cast } from "./foundation.ts";
import { ImageOrder } from "./image_order.ts";
import { lowest, tap } from "./pool_windows.ts";
import { overWindows } from "./window_kernels.ts";
import {
  type Geometry,
  offsetOf,
  windowExprs,
  windowScalars,
} from "./windows.ts";

/** Largest values and their places. */
export function maximum(x: Tensor, g: Geometry): [Tensor, Tensor] {
  const [n, c] = x.shape;
  const { kernels } = x.device;
  const shape = [n, c, ...g.output];
  if (kernels.maxPool !== undefined && x.size > 0) {
    const indices = Value.empty(x.device, "i64", shape);
    const y = overWindows(
      { images: [x], result: shape },
      { batch: n, inChannels: c, outChannels: c, groups: c, ...g },
      (spec, [xs], y) =>
        !spec.channelsLast && kernels.maxPool!(spec, xs, y, indices),
    );
    if (y !== undefined) return [y, new Tensor(indices)];
    indices.release();
    if (x.dtype === "f16" || x.dtype === "bf16") {
      // Of the same numbers in f32, for which there is a kernel, the largest are the same.
      const [largest, places] = maximum(cast(x, "f32"), g);
      return [cast(largest, x.dtype), places];
    }
  }
  return winners(x, g);
}

/** Largest values and their places, by a kernel that looks at each window. */
function winners(x: Tensor, g: Geometry): [Tensor, Tensor] {
  const rank = g.input.length;
  const [n, c] = x.shape;
  const order = ImageOrder.of(x.materialize());
  const { scalars, types } = windowScalars(g);
  const table = order.table(x.value);
  const [y, indices] = runRows(x.device, {
    name: `maxPool${order.name}`,
    space: [...order.extents([n, c, ...g.output]), ...g.kernel],
    axes: g.kernel.map((_, d) => 2 + rank + d),
    streams: [],
    tables: [table],
    scalars: [...scalars, c],
    scalarTypes: [...types, "i32"],
    passes: 2,
    build: ({ scalars: s, coord, load }) => {
      const w = windowExprs(s, rank);
      const position = order.position(coord);
      const { at, inside } = tap(
        w,
        position.spatial,
        w.input.map((_, d) => coord(2 + rank + d)),
      );
      const element = load(
        0,
        order.offset({ ...position, spatial: at }, w.input, s[6 * rank]),
      );
      const value = k.select(inside, element, lowest(element.type));
      // The winner's tap gives its place in the plane.
      let rest: Expr = k.stage(1, "i32");
      const taps: Expr[] = [];
      for (let d = rank - 1; d >= 0; d--) {
        taps[d] = k.rem(rest, w.kernel[d]);
        rest = k.div(rest, w.kernel[d]);
      }
      // Where all of a window is −∞, the first tap wins even outside: its first cell inside is meant.
      const winner = tap(w, position.spatial, taps).at.map((p, d) => {
        const steps = k.div(
          k.sub(k.sub(w.dilation[d], 1), p),
          w.dilation[d],
        );
        const moved = k.add(p, k.mul(steps, w.dilation[d]));
        return k.select(k.lt(p, 0), moved, p);
      });
      return {
        stages: [{ op: "max", value }, { op: "argmax", value }],
        outputs: [
          { dtype: x.dtype, per: "row", value: k.stage(0, element.type) },
          {
            dtype: "i64",
            per: "row",
            value: offsetOf(winner, w.input),
          },
        ],
      };
    },
  });
  table.release();
  return [order.images(y), order.images(indices)];
}

/** Largest values alone, by the device's library; undefined where it does not take them. */
export function libraryMaxima(x: Tensor, g: Geometry): Tensor | undefined {
  const { maxima } = x.device.kernels;
  if (maxima === undefined || x.size === 0) return undefined;
  const [n, c] = x.shape;
  // Windows may reach beyond the padding where extents are rounded up.
  const after = g.output.map((n, d) =>
    Math.max(
      g.after[d],
      (n - 1) * g.stride[d] + g.kernel[d] - g.before[d] - g.input[d],
    )
  );
  return overWindows(
    { images: [x], result: [n, c, ...g.output] },
    { ...g, after, batch: n, inChannels: c, outChannels: c, groups: c },
    (spec, [xs], ys) => maxima(spec, xs, ys),
  );
}
