/**
 * Kernels that reduce rows.
 *
 * @module
 */

import type { Launch } from "../../core/device.ts";
import type { RowVariant } from "../../kernel/cuda/render.ts";
import { product, type Walk } from "../../kernel/walk.ts";
import type { CudaContext } from "./context.ts";
import { compileVariant, type Facts, variantKernel } from "./launch_facts.ts";
import { placedOf } from "./launch_operands.ts";
import { fillCount, fillOperands, fillWalk } from "./launch_params.ts";
import type { Prepared } from "./launch_plans.ts";
import {
  hasSmallRows,
  type Pieces,
  rowVariant,
  sharedRowBytes,
  smallRows,
  smallSlots,
} from "./launch_shape.ts";

/** Shared memory that reductions take beside rows. */
const ownShared = 4096;

/** Largest number of blocks along an axis of the grid. */
const maxBlocks = 2 ** 31 - 1;

/** A kernel over rows; the walk has at least one inner axis. */
export function prepareRows(
  context: CudaContext,
  facts: Facts,
  l: Launch,
  walk: Walk,
  pieces?: Pieces,
): Prepared {
  if (pieces === undefined && hasSmallRows(walk)) {
    return prepareSmall(context, facts, l, walk);
  }
  const { sizes, outerRank } = walk;
  const operands = placedOf(l);
  const variant = rowVariant(
    facts,
    walk,
    operands,
    l.inputs.length,
    pieces,
    context.sharedMemoryPerBlock - ownShared,
  );
  const shape = shapeOf(variant);
  const kernel = variantKernel(context, facts, l.program, shape, variant);
  const { params: layout } = kernel;
  fillOperands(layout, l);
  fillWalk(layout, walk);
  const items = product(sizes, 0, outerRank);
  fillCount(layout, "count", items);
  const length = product(sizes, outerRank, sizes.length);
  fillCount(layout, "length", length);
  if (pieces !== undefined) {
    fillCount(layout, "piece", pieces.length);
    fillCount(layout, "rows", items / pieces.count);
  }
  const slots = variant.block / variant.team;
  const blocks = Math.min(Math.ceil(items / slots), maxBlocks);
  const sharedBytes = variant.shared
    ? sharedRowBytes(facts, variant.steps, operands, length)
    : 0;
  return { kernel, blocks, sharedBytes };
}

/** Few elements: the same kernel whatever the strides and extents. */
function prepareSmall(
  context: CudaContext,
  facts: Facts,
  l: Launch,
  walk: Walk,
): Prepared {
  const { sizes, outerRank } = walk;
  const innerRank = sizes.length - outerRank;
  const code = outerRank * 64 + innerRank;
  let kernel = facts.kernels.get(code);
  if (kernel === undefined) {
    const variant = smallRows(facts, outerRank, innerRank);
    kernel = compileVariant(context, l.program, variant);
    facts.kernels.set(code, kernel);
  }
  const { params: layout } = kernel;
  fillOperands(layout, l);
  fillWalk(layout, walk);
  const rows = product(sizes, 0, outerRank);
  fillCount(layout, "count", rows);
  fillCount(layout, "length", product(sizes, outerRank, sizes.length));
  return { kernel, blocks: Math.ceil(rows / smallSlots), sharedBytes: 0 };
}

/** A number that names all of a variant but the steps of its operands. */
function shapeOf(v: RowVariant): number {
  let code = v.outerRank * 16 + v.innerRank;
  code = code * 8 + (v.order === "row" ? 0 : 4) + (v.ragged ? 2 : 0) +
    (v.wide ? 1 : 0);
  code = code * 32 + v.lanes;
  code = code * 32 + v.chunks;
  code = (code * 16 + Math.log2(v.team)) * 16 + Math.log2(v.block);
  return code * 4 + (v.pieces ? 1 : 0) + (v.shared ? 2 : 0);
}
