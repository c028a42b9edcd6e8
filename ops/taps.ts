/**
 * Weighted sums of cells along one axis: what resizing and adaptive pooling
 * are made of. Only cells that take part are read, so NaN and infinities stay
 * where they are.
 *
 * @module
 */

import { fromHost, type Tensor } from "../core/tensor.ts";
import { add, mul } from "./arithmetic.ts";
import { cast, reshape } from "./foundation.ts";
import { where } from "./comparison.ts";
import { indexSelect } from "./selection.ts";

/** For each cell of the result, the cells that it is made of and their weights. */
export class Taps {
  readonly #rows: { cell: number; weight: number }[][];

  /** Starts with no taps in `size` cells of the result. */
  constructor(
    /** Extent of the result. */
    readonly size: number,
  ) {
    this.#rows = Array.from({ length: size }, () => []);
  }

  /** Adds a cell to the cell `row` of the result. */
  put(row: number, cell: number, weight: number): void {
    this.#rows[row].push({ cell, weight });
  }

  /** The `i`-th tap of every cell; one that has fewer repeats its first, with no weight. */
  layer(i: number): { cells: BigInt64Array; weights: Float64Array } {
    const cells = new BigInt64Array(this.size);
    const weights = new Float64Array(this.size);
    this.#rows.forEach((row, j) => {
      cells[j] = BigInt((row[i] ?? row[0]).cell);
      weights[j] = row[i]?.weight ?? NaN;
    });
    return { cells, weights };
  }

  /** Most taps of a cell. */
  get count(): number {
    return this.#rows.reduce((most, row) => Math.max(most, row.length), 0);
  }
}

/** The weighted sums along an axis; the result has the dtype of x. */
export function alongAxis(x: Tensor, axis: number, taps: Taps): Tensor {
  const device = x.device.name;
  const half = x.dtype === "f16" || x.dtype === "bf16";
  const tall = [taps.size, ...x.shape.slice(axis + 1).map(() => 1)];
  let total: Tensor | undefined;
  for (let i = 0; i < taps.count; i++) {
    const { cells, weights } = taps.layer(i);
    const index = fromHost(cells, "i64", [taps.size], { device });
    const found = indexSelect(x, axis, index);
    if (weights.every((w) => w === 1)) {
      total = total === undefined ? found : add(total, found);
      continue;
    }
    const factors = fromHost(
      weights.map((w) => Number.isNaN(w) ? 0 : w),
      "f64",
      tall,
      { device },
    );
    // Halves are added up in single precision.
    const type = half ? "f32" : x.dtype;
    let part = mul(cast(found, type), cast(factors, type));
    if (weights.some(Number.isNaN)) {
      const there = Uint8Array.from(weights, (w) => Number.isNaN(w) ? 0 : 1);
      const mask = reshape(
        fromHost(there, "bool", [taps.size], { device }),
        tall,
      );
      part = where(mask, part, 0);
    }
    total = total === undefined ? part : add(total, part);
  }
  return half ? cast(total!, x.dtype) : total!;
}
