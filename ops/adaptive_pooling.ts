/**
 * Pooling into a given number of parts, and global pooling.
 *
 * @module
 */

import { positiveOrList } from "../core/attributes.ts";
import { ShapeError, shapeText } from "../core/errors.ts";
import { runRows } from "../core/row_kernels.ts";
import { operator } from "../core/op.ts";
import { Tensor } from "../core/tensor.ts";
import * as k from "../kernel/expr.ts";
import type { Expr } from "../kernel/expr.ts";
import { t } from "./samples.ts";
import { alongAxis, Taps } from "./taps.ts";
import { allOf, offsetOf, type PerAxis, perAxis, positive } from "./windows.ts";
import { lowest, requireNumbers, spatialOf } from "./pool_windows.ts";
import { pickAt } from "./plane_positions.ts";
import { avgPool } from "./average_pooling.ts";

/** The spatial extents that are asked for. */
function targetOf(x: Tensor, size: PerAxis): readonly number[] {
  const spatial = spatialOf(x.shape);
  if (spatial.includes(0)) {
    throw new ShapeError(
      `Cannot pool a tensor of shape ${
        shapeText(x.shape)
      }: its spatial extents must be at least 1`,
    );
  }
  return positive(perAxis(size, spatial.length, "size"), "size");
}

/** Each cell of the result averages the cells of one window of adaptive pooling. */
export function adaptiveTaps(from: number, to: number): Taps {
  const taps = new Taps(to);
  for (let i = 0; i < to; i++) {
    const start = Math.floor(i * from / to),
      end = Math.ceil((i + 1) * from / to);
    for (let cell = start; cell < end; cell++) {
      taps.put(i, cell, 1 / (end - start));
    }
  }
  return taps;
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
  rules: { size: positiveOrList },
  bind: (x, size) => ({ inputs: [x], attrs: { size } }),
  formula:
    "y[n, c, p] = mean x[n, c, q] over ⌊p · m / size⌋ ≤ q < ⌈(p + 1) · m / size⌉",
  torch:
    "[F.adaptive_avg_pool1d, F.adaptive_avg_pool2d, F.adaptive_avg_pool3d][x.dim() - 3](x, size)",
  onnx: "GlobalAveragePool",
  run: ([x], { size }) => {
    requireNumbers(x);
    const target = targetOf(x, size);
    const spatial = x.shape.slice(2);
    if (spatial.every((n, d) => n % target[d] === 0)) {
      return avgPool(x, spatial.map((n, d) => n / target[d]));
    }
    return target.reduce(
      (y, to, d) => alongAxis(y, 2 + d, adaptiveTaps(y.shape[2 + d], to)),
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
  rules: { size: positiveOrList },
  bind: (x, size) => ({ inputs: [x], attrs: { size } }),
  formula:
    "y[n, c, p] = max x[n, c, q] over ⌊p · m / size⌋ ≤ q < ⌈(p + 1) · m / size⌉",
  torch:
    "[F.adaptive_max_pool1d, F.adaptive_max_pool2d, F.adaptive_max_pool3d][x.dim() - 3](x, size)",
  onnx: "GlobalMaxPool",
  run: ([x], { size }) => pickAt(x, adaptiveMaxIndices(x, targetOf(x, size))),
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
  formula:
    "y[n, c, p] = argmax x[n, c, q] over ⌊p · m / size⌋ ≤ q < ⌈(p + 1) · m / size⌉",
  torch:
    "[F.adaptive_max_pool1d, F.adaptive_max_pool2d, F.adaptive_max_pool3d][x.dim() - 3](x, size, return_indices=True)[1]",
  constant: true,
  run: ([x], { size }) => {
    const [n, c, ...spatial] = x.shape;
    const rank = spatial.length;
    const longest = spatial.map((from, d) => Math.ceil(from / size[d]) + 1);
    const [indices] = runRows(x.device, {
      name: "adaptiveMax",
      space: [n, c, ...size, ...longest],
      axes: size.map((_, d) => 2 + rank + d),
      streams: [],
      tables: [x.value],
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
    return new Tensor(indices);
  },
  samples: [[t([1, 2, 4, 6]), [2, 3]], [t([1, 2, 5, 7]), [3, 3]]],
});
