/**
 * Coordinates as tensors, for gradients that go to chosen positions.
 *
 * @module
 */

import type { Device } from "../core/device.ts";
import { runRows } from "../core/row_kernels.ts";
import type { Shape } from "../core/shape.ts";
import { Tensor } from "../core/tensor.ts";

/** 0, 1, 2, … (i64) along `axis`, with extent 1 along all others, to broadcast against `shape`. */
export function axisPositions(
  shape: Shape,
  axis: number,
  device: Device,
): Tensor {
  const [value] = runRows(device, {
    name: `axis positions ${axis}`,
    space: shape.map((n, d) => d === axis ? n : 1),
    axes: [],
    streams: [],
    passes: 1,
    build: ({ coord }) => ({
      stages: [],
      outputs: [{ dtype: "i64", per: "element", value: coord(axis) }],
    }),
  });
  return new Tensor(value);
}
