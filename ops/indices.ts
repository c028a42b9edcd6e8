/**
 * Positions of the triangles of matrices.
 *
 * @module
 */

import { operator } from "../core/op.ts";
import type { Shape } from "../core/shape.ts";
import type { Tensor } from "../core/tensor.ts";
import { checkedShape } from "./creating.ts";
import { tril, triu } from "./diagonals.ts";
import { fill } from "./foundation.ts";
import { nonzero } from "./masks.ts";
import { permute } from "./shape.ts";

/** Positions in a triangle of a matrix of some extents. */
export type TriangleIndices = (
  rows: number,
  columns: number,
  offset?: number,
) => Tensor;

interface TriangleAttrs {
  rows: number;
  columns: number;
  offset: number;
}

function positions(
  { rows, columns, offset }: TriangleAttrs,
  triangle: (x: Tensor, offset?: number) => Tensor,
): Tensor {
  const shape: Shape = checkedShape([rows, columns], "a triangle");
  return permute(nonzero(triangle(fill(shape, 1, "i32"), offset)), [1, 0]);
}

/**
 * Rows and columns of the elements on and below a diagonal, i64 [2, count].
 * Diagonal 0 is the main one, those above it count up.
 */
export const trilIndices: TriangleIndices = operator<
  TriangleIndices,
  TriangleAttrs
>({
  name: "trilIndices",
  family: "creation",
  inputs: [],
  attrs: { rows: 0, columns: 0, offset: 0 },
  bind: (rows, columns, offset) => ({
    inputs: [],
    attrs: { rows, columns, offset },
  }),
  formula: "{(i, j) : j − i ≤ offset}, ascending",
  constant: true,
  torch: "torch.tril_indices(rows, columns, offset)",
  run: (_, attrs) => positions(attrs, tril),
  samples: [[3, 3], [2, 4, 1], [4, 2, -1], [0, 3]],
});

/**
 * Rows and columns of the elements on and above a diagonal, i64 [2, count].
 * Diagonal 0 is the main one, those above it count up.
 */
export const triuIndices: TriangleIndices = operator<
  TriangleIndices,
  TriangleAttrs
>({
  name: "triuIndices",
  family: "creation",
  inputs: [],
  attrs: { rows: 0, columns: 0, offset: 0 },
  bind: (rows, columns, offset) => ({
    inputs: [],
    attrs: { rows, columns, offset },
  }),
  formula: "{(i, j) : j − i ≥ offset}, ascending",
  constant: true,
  torch: "torch.triu_indices(rows, columns, offset)",
  run: (_, attrs) => positions(attrs, triu),
  samples: [[3, 3], [2, 4, 1], [4, 2, -1], [0, 3]],
});
