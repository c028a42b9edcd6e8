/**
 * Stable sort of rows on a GPU, with NaN as the largest value: a bitonic
 * network in shared memory for rows of up to 4096 elements, a radix sort
 * beyond.
 *
 * @module
 */

import type { SortSpec } from "../../core/device.ts";
import { bytesOf } from "../../core/dtype.ts";
import type { CudaContext } from "./context.ts";
import { addressIn, longs, ownKernel, powerOfTwo } from "./own_kernels.ts";
import { radixCounts, radixSort } from "./radix.ts";
import { Scratch } from "./scratch.ts";
import {
  gatherSource,
  keysSource,
  keyType,
  networkLength,
  networkSource,
  sortThreads,
} from "./sort_source.ts";

/** Elements that are sorted at once by radix: rows beyond wait, so that scratch memory stays small. */
const batchElements = 1 << 25;
/** Longest row: positions are signed 32-bit integers. */
const longest = 2 ** 31 - 1;
/** Blocks of the kernels that walk all elements. */
const walkingBlocks = 4096;

/** Queues a sort of each row. */
export function sort(context: CudaContext, spec: SortSpec): void {
  const { rows, length } = spec;
  if (rows === 0 || length === 0) return;
  if (length <= networkLength) {
    sortShort(context, spec);
    return;
  }
  if (length > longest) {
    throw new RangeError(
      `Cannot sort rows of ${length} elements: a row has at most ${longest}; sort parts of it`,
    );
  }
  const batch = Math.max(1, Math.floor(batchElements / length));
  for (let row = 0; row < rows; row += batch) {
    const moved = { ...spec, rows: Math.min(batch, rows - row) };
    const at = (block: SortSpec["input"]) => ({
      storage: block.storage,
      offset: block.offset + row * length,
    });
    sortLong(context, {
      ...moved,
      input: at(spec.input),
      values: at(spec.values),
      indices: at(spec.indices),
    });
  }
}

/** All bits of a key where the largest comes first; keys are compared turned over then. */
function flipOf({ dtype, descending }: SortSpec): number {
  const bytes = bytesOf(dtype);
  return descending ? (bytes < 4 ? 2 ** (8 * bytes) - 1 : -1) : 0;
}

function sortShort(context: CudaContext, spec: SortSpec): void {
  const { dtype, rows, length } = spec;
  const width = powerOfTwo(Math.max(2, length));
  const kernel = ownKernel(
    context,
    `sort_network ${dtype} ${width}`,
    "sort_network",
    () => networkSource(dtype, width),
  );
  const perBlock = Math.max(width, 2 * sortThreads) / width;
  const params = longs([
    addressIn(spec.input, dtype),
    addressIn(spec.values, dtype),
    addressIn(spec.indices, "i64"),
    rows,
    length,
    flipOf(spec),
  ]);
  const blocks = Math.ceil(rows / perBlock);
  context.launch(kernel, blocks, 1, 1, sortThreads, 0, params);
}

function sortLong(context: CudaContext, spec: SortSpec): void {
  const { dtype, rows, length } = spec;
  const key = keyType(dtype);
  const count = rows * length, width = key === "unsigned" ? 4 : 8;
  const scratch = new Scratch(context, [
    width * count,
    width * count,
    4 * count,
    4 * count,
    4 * radixCounts(rows, length),
  ]);
  const [keys, spareKeys, places, sparePlaces, counts] = scratch.addresses;
  const walk = (
    entry: string,
    write: () => string,
    fields: readonly number[],
  ) => {
    const kernel = ownKernel(context, `${entry} ${dtype}`, entry, write);
    const blocks = Math.min(walkingBlocks, Math.ceil(count / sortThreads));
    context.launch(kernel, blocks, 1, 1, sortThreads, 0, longs(fields));
  };
  const input = addressIn(spec.input, dtype);
  walk("sort_keys", () => keysSource(dtype), [
    input,
    keys,
    places,
    count,
    length,
    flipOf(spec),
  ]);
  const sorted = radixSort(context, {
    key,
    bits: 8 * bytesOf(dtype),
    rows,
    length,
    from: { keys, places },
    spare: { keys: spareKeys, places: sparePlaces },
    counts,
  });
  walk("sort_gather", () => gatherSource(dtype), [
    input,
    sorted.places,
    addressIn(spec.values, dtype),
    addressIn(spec.indices, "i64"),
    count,
    length,
  ]);
}
