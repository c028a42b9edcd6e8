/**
 * The two parallel steps of a matrix product: packing parts of the operands
 * into panels, and multiplying panels block by block.
 *
 * @module
 */

import type { Elements } from "./elements.ts";
import type { Slots } from "./gemm_batch.ts";
import {
  productKernel,
  productParameters,
  tileBytes,
  tileColumns,
  tileRows,
} from "./gemm_kernels.ts";
import { laneBytes, packKernel, packParameters } from "./gemm_pack.ts";
import { allocatePermanent } from "./memory.ts";
import { cachedKernel, maxThreads, runKernel } from "./pool.ts";
import { ParameterBlock } from "./scratch.ts";

/** Rows and columns of a block of C that one thread computes at a time. */
const blockRows = 96, blockColumns = 256;
/** Multiplications worth a hand-over to another thread. */
const worthSharing = 2 ** 19;
/** Elements packed per hand-over. */
const worthPacking = 2 ** 14;

const packBlock = new ParameterBlock(packParameters.length);
const productBlock = new ParameterBlock(productParameters.length);
const tiles = allocatePermanent(maxThreads * tileBytes);

/** What part of the matrices to pack. */
export interface PackPart {
  /** Bytes from the slots' addresses to the first element. */
  readonly offset: number;
  /** Bytes from row to row. */
  readonly rowStride: number;
  /** Bytes from one element of a row to the next. */
  readonly depthStride: number;
  /** Rows. */
  readonly rows: number;
  /** Elements of a row. */
  readonly depth: number;
}

/** Packs one part of the matrices of a batch, in parallel over panels. */
export function pack(
  e: Elements,
  lanes: number,
  slots: Slots,
  target: number,
  part: PackPart,
): void {
  const panels = Math.ceil(part.rows / lanes);
  const block = packBlock.fill(
    slots.table,
    part.offset,
    target,
    panels * lanes * part.depth * laneBytes(e),
    part.rowStride,
    part.depthStride,
    part.rows,
    part.depth,
    panels,
  );
  const { dtype } = e;
  runKernel(
    cachedKernel(`pack ${dtype} ${lanes}`, () => packKernel(dtype, lanes)),
    block,
    panels * slots.count,
    Math.ceil(worthPacking / (lanes * Math.max(1, part.depth))),
  );
}

/** A batch of products of packed panels. */
export interface PanelProduct {
  /** Table: slot of A, slot of B, address of C for each product. */
  readonly table: number;
  /** Products. */
  readonly count: number;
  /** Packed panels of A, or the table of the slots' addresses where it is read directly. */
  readonly a: number;
  /** Where A is read directly: bytes from the slots' addresses to the first element, and from row to row. */
  readonly direct?: { readonly offset: number; readonly row: number };
  /** Packed panels of B. */
  readonly b: number;
  /** Bytes from C's addresses to the first element. */
  readonly cOffset: number;
  /** Bytes from row to row of C. */
  readonly cRow: number;
  /** Bytes from column to column of C. */
  readonly cColumn: number;
  /** Rows of C. */
  readonly rows: number;
  /** Columns of C. */
  readonly columns: number;
  /** Length of the sums. */
  readonly depth: number;
  /** One of `startModes`. */
  readonly mode: number;
  /** Padded bias. */
  readonly bias: number;
}

/** Multiplies packed panels, in parallel over blocks of the results. */
export function multiplyPanels(
  lane: "f32" | "f64",
  product: PanelProduct,
): void {
  const { rows, columns, depth, count, direct } = product;
  const bytes = lane === "f32" ? 4 : 8;
  const width = tileColumns(lane);
  let down = Math.min(ceilTo(rows, tileRows), blockRows);
  let across = Math.min(ceilTo(columns, width), blockColumns);
  // Smaller blocks while there are few of them and each is still worth it.
  for (;;) {
    const blocks = Math.ceil(rows / down) * Math.ceil(columns / across);
    if (blocks * count >= 16) break;
    if (down * across * depth < 2 * worthSharing) break;
    if (across >= down && across > width) across = ceilTo(across / 2, width);
    else if (down > tileRows) down = ceilTo(down / 2, tileRows);
    else break;
  }
  const blocksDown = Math.ceil(rows / down);
  const blocksAcross = Math.ceil(columns / across);
  const block = productBlock.fill(
    product.table,
    product.a,
    direct?.offset ?? ceilTo(rows, tileRows) * depth * bytes,
    direct?.row ?? 0,
    product.b,
    ceilTo(columns, width) * depth * bytes,
    product.cOffset,
    product.cRow,
    product.cColumn,
    rows,
    columns,
    depth,
    product.mode,
    product.bias,
    tiles,
    down,
    across,
    blocksDown,
    blocksAcross,
  );
  runKernel(
    direct === undefined
      ? cachedKernel(`product ${lane}`, () => productKernel(lane, false))
      : cachedKernel(`product ${lane} rows`, () => productKernel(lane, true)),
    block,
    count * blocksDown * blocksAcross,
    Math.ceil(worthSharing / Math.max(1, down * across * depth)),
  );
}

/** The next multiple of a unit. */
export function ceilTo(value: number, unit: number): number {
  return Math.ceil(value / unit) * unit;
}
