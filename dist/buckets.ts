/**
 * Which gradients travel together: parameters in the order in which their
 * gradients come, cut into buckets.
 *
 * @module
 */

import { bytesOf, type DType } from "../core/dtype.ts";

/** What a bucket must know of a parameter. */
export interface Sized {
  /** Elements. */
  readonly size: number;
  /** Element type. */
  readonly dtype: DType;
}

/**
 * Cuts parameters into buckets of at most `bytes`; a larger parameter is a
 * bucket of its own. The first bucket is small, so that the first exchange
 * starts early.
 *
 * @param parameters All parameters.
 * @param order Their numbers in the order in which gradients come.
 * @param bytes Size of a bucket.
 * @returns Numbers of the parameters of each bucket.
 */
export function bucketsOf(
  parameters: readonly Sized[],
  order: readonly number[],
  bytes: number,
): number[][] {
  const buckets: number[][] = [];
  let left = 0;
  for (const i of order) {
    const size = parameters[i].size * bytesOf(parameters[i].dtype);
    if (size > left || buckets.length === 0) {
      left = buckets.length === 0 ? bytes / 25 : bytes;
      buckets.push([]);
    }
    buckets.at(-1)!.push(i);
    left -= size;
  }
  return buckets;
}

/** Counts the gradients that have come, bucket by bucket, on every rank of this process. */
export class Arrivals {
  readonly #bucketOf: number[] = [];
  readonly #missing: number[][];
  /** Parameters of the first rank in the order in which their gradients came. */
  readonly order: number[] = [];

  /** Waits for the buckets on a number of ranks. */
  constructor(readonly buckets: readonly (readonly number[])[], ranks: number) {
    buckets.forEach((bucket, b) => {
      for (const i of bucket) this.#bucketOf[i] = b;
    });
    this.#missing = Array.from(
      { length: ranks },
      () => buckets.map((bucket) => bucket.length),
    );
  }

  /** Notes a gradient; returns the bucket that is now complete on the rank, if one is. */
  add(rank: number, parameter: number): number | undefined {
    if (rank === 0) this.order.push(parameter);
    const bucket = this.#bucketOf[parameter];
    if (bucket === undefined) return undefined;
    return --this.#missing[rank][bucket] === 0 ? bucket : undefined;
  }

  /** Whether all gradients of a bucket have come on every rank. */
  complete(bucket: number): boolean {
    return this.#missing.every((missing) => missing[bucket] <= 0);
  }
}
