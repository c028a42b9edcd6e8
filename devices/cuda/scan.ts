/**
 * Running sums, products and extrema of rows on a GPU. Short rows take a
 * thread each, others a block; few long ones are cut in pieces, whose totals
 * are scanned first. Tree and cut depend on sizes alone.
 *
 * @module
 */

import type { ScanSpec } from "../../core/device.ts";
import type { DType } from "../../core/dtype.ts";
import { DTypeError } from "../../core/errors.ts";
import type { CudaContext } from "./context.ts";
import { addressIn, longs, ownKernel } from "./own_kernels.ts";
import {
  carryScan,
  itemBytes,
  pieceScan,
  type ScanElement,
  scanItems,
  scanThreads,
  shortScan,
  totalScan,
} from "./scan_source.ts";

/** Rows up to this length take one thread. */
const shortLength = 64;
/** Elements that are worth a piece, and pieces of all rows together. */
const pieceLength = 8192, mostPieces = 512;

function elementOf(dtype: DType, op: ScanSpec["op"]): ScanElement {
  if (
    dtype === "f32" || dtype === "f64" || dtype === "i32" || dtype === "i64"
  ) {
    return dtype;
  }
  throw new DTypeError(
    `Cannot scan (${op}) a tensor of dtype ${dtype}: it takes f32, f64, i32 or i64; convert first`,
  );
}

/** Queues a scan of each row. */
export function scan(context: CudaContext, spec: ScanSpec): void {
  const { dtype, op, rows, length, input, output, indices } = spec;
  if (rows === 0 || length === 0) return;
  const element = elementOf(dtype, op);
  const most = Math.max(1, Math.floor(mostPieces / rows));
  const wanted = Math.min(most, 128, Math.floor(length / pieceLength));
  const tile = scanThreads * scanItems;
  const piece = wanted < 2 ? length : Math.ceil(length / wanted / tile) * tile;
  const pieces = Math.ceil(length / piece);
  const carries = pieces === 1
    ? 0
    : Number(context.workspace(rows * pieces * itemBytes(element, op)));
  const params = () =>
    longs([
      addressIn(input, dtype),
      addressIn(output, dtype),
      indices === undefined ? 0 : addressIn(indices, "i64"),
      carries,
      rows,
      length,
      pieces,
      piece,
    ]);
  const run = (entry: string, blocks: number, write: () => string) => {
    const name = `${entry} ${element} ${op}`;
    const kernel = ownKernel(context, name, entry, write);
    context.launch(kernel, blocks, 1, 1, scanThreads, 0, params());
  };
  const rowBlocks = Math.ceil(rows / scanThreads);
  if (length <= shortLength) {
    run("scan_short", rowBlocks, () => shortScan(element, op));
    return;
  }
  if (pieces > 1) {
    run("scan_totals", rows * pieces, () => totalScan(element, op));
    run("scan_carries", rowBlocks, () => carryScan(element, op));
  }
  run("scan_pieces", rows * pieces, () => pieceScan(element, op));
}
