/**
 * Stable radix sort of unsigned keys with positions beside them, row by row,
 * in scratch memory that the caller has laid out.
 *
 * @module
 */

import type { CudaContext } from "./context.ts";
import { longs, ownKernel } from "./own_kernels.ts";
import {
  countSource,
  digitBits,
  digits,
  moveSource,
  offsetsSource,
  sortThreads,
  tileLength,
} from "./sort_source.ts";

/** Keys and positions in device memory. */
export interface Keyed {
  /** Address of the keys. */
  readonly keys: number;
  /** Address of the positions (i32). */
  readonly places: number;
}

/** What is sorted. */
export interface RadixSpec {
  /** C type of the keys. */
  readonly key: "unsigned" | "unsigned long long";
  /** Low bits of the keys in which they may differ. */
  readonly bits: number;
  /** Number of rows. */
  readonly rows: number;
  /** Keys of a row. */
  readonly length: number;
  /** The keys, overwritten. */
  readonly from: Keyed;
  /** Room for as many. */
  readonly spare: Keyed;
  /** Room for `radixCounts` counts of 4 bytes. */
  readonly counts: number;
}

/** Counts that a sort needs room for. */
export function radixCounts(rows: number, length: number): number {
  return rows * digits * Math.ceil(length / tileLength);
}

/** Queues the sort; returns where the sorted keys and positions will be. */
export function radixSort(context: CudaContext, spec: RadixSpec): Keyed {
  const { key, rows, length, counts } = spec;
  const tiles = Math.ceil(length / tileLength);
  const count = ownKernel(
    context,
    `radix_count ${key}`,
    "radix_count",
    () => countSource(key),
  );
  const offsets = ownKernel(
    context,
    "radix_offsets",
    "radix_offsets",
    offsetsSource,
  );
  const move = ownKernel(
    context,
    `radix_move ${key}`,
    "radix_move",
    () => moveSource(key),
  );
  let { from, spare: to } = spec;
  for (let shift = 0; shift < spec.bits; shift += digitBits) {
    const fields = [
      from.keys,
      from.places,
      to.keys,
      to.places,
      counts,
      length,
      tiles,
      shift,
    ];
    const blocks = rows * tiles;
    context.launch(count, blocks, 1, 1, sortThreads, 0, longs(fields));
    context.launch(
      offsets,
      rows,
      1,
      1,
      sortThreads,
      0,
      longs([counts, digits * tiles]),
    );
    context.launch(move, blocks, 1, 1, sortThreads, 0, longs(fields));
    [from, to] = [to, from];
  }
  return from;
}
