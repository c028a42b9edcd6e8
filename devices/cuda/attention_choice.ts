/**
 * How much of the scores a block of Decaf's own attention takes. The keys at a
 * time depend on the widths alone, so that results are the same on every GPU;
 * the rest follows the GPU's shared memory and how many blocks there are for it.
 *
 * @module
 */

import {
  attentionEntry,
  attentionShared,
} from "../../kernel/cuda/attention.ts";
import {
  gradientShared,
  type keyGradEntry,
  type queryGradEntry,
} from "../../kernel/cuda/attention_gradients.ts";
import type {
  AttentionCase,
  AttentionTile,
} from "../../kernel/cuda/attention_tiles.ts";

/** Kernels of attention. */
export type AttentionEntry =
  | typeof attentionEntry
  | typeof queryGradEntry
  | typeof keyGradEntry;

/** What a test sets. */
export const attentionChoice: {
  /** Rows of a thread, whatever else would be chosen. */
  rows: AttentionTile["rows"] | undefined;
} = { rows: undefined };

/** A tile, and the bytes of shared memory that a block then needs. */
export interface ChosenTile extends AttentionTile {
  /** Bytes. */
  readonly shared: number;
}

/** The GPU, and how many blocks there may be. */
export interface AttentionExtents {
  /** Bytes of shared memory that a block may use. */
  readonly sharedMemoryPerBlock: number;
  /** Streaming multiprocessors. */
  readonly multiprocessors: number;
  /** Rows of one head that blocks share. */
  readonly length: number;
  /** Heads of all sequences. */
  readonly heads: number;
}

/** All tiles of a kernel, the fastest for large operands first. */
function tilesOf(c: AttentionCase, entry: AttentionEntry): ChosenTile[] {
  const columns = Math.max(c.depth, c.width) <= 64 ? 8 : 4;
  const forward = entry === attentionEntry;
  return [8, 4, 2, 1].flatMap((rows) =>
    (forward ? [1] as const : [2, 1] as const).map((stages) => {
      const tile: AttentionTile = { rows, columns, stages };
      const shared = forward
        ? attentionShared(c, tile)
        : gradientShared(c, tile, entry);
      return { ...tile, shared };
    })
  );
}

/** Bytes of shared memory with which every case has a tile. */
export const leastShared = 64 << 10;

/**
 * The tile for a case, on a GPU with at least {@linkcode leastShared} bytes of
 * shared memory per block.
 *
 * Large tiles read shared memory least; the forward kernel takes half of a
 * multiprocessor if it can, so that one block computes while the other waits.
 * Few and short sequences take smaller tiles, for more blocks.
 */
export function chooseTile(
  c: AttentionCase,
  entry: AttentionEntry,
  { sharedMemoryPerBlock, multiprocessors, length, heads }: AttentionExtents,
): ChosenTile {
  const { rows } = attentionChoice;
  const fitting = tilesOf(c, entry).filter((tile) =>
    tile.shared <= sharedMemoryPerBlock &&
    (rows === undefined || tile.rows === rows)
  );
  const half = entry !== attentionEntry
    ? -1
    : fitting.findIndex((tile) =>
      tile.rows >= 4 && 2 * tile.shared <= sharedMemoryPerBlock
    );
  const { rows: least } = fitting.at(-1)!;
  const enough = ({ rows }: AttentionTile) =>
    rows === least ||
    heads * Math.ceil(length / (16 * rows)) >= multiprocessors;
  return fitting.slice(Math.max(0, half)).find(enough)!;
}
