/**
 * Addresses of the matrices of a batch of products; matrices that repeat are
 * packed once.
 *
 * @module
 */

import { heap } from "./memory.ts";
import { Scratch } from "./scratch.ts";

const tables = new Scratch();

/** Byte addresses of the matrices of an operand over all batch indices. */
export function offsets(
  shape: readonly number[],
  strides: readonly number[] | undefined,
  bytes: number,
  base: number,
): number[] {
  let list = [base];
  shape.forEach((extent, axis) => {
    const stride = (strides?.[axis] ?? 0) * bytes;
    const next = new Array<number>(list.length * extent);
    let at = 0;
    for (const start of list) {
      for (let i = 0; i < extent; i++) next[at++] = start + i * stride;
    }
    list = next;
  });
  return list;
}

/** The distinct matrices of an operand in a batch: a table of their addresses. */
export interface Slots {
  /** Address of the table. */
  readonly table: number;
  /** Matrices. */
  readonly count: number;
}

/** Writes the tables of a batch: addresses of A and of B, and the triples of the product kernel. */
export function resolveBatch(
  as: readonly number[],
  bs: readonly number[],
  cs: readonly number[],
  first: number,
  last: number,
): { a: Slots; b: Slots; products: number } {
  const count = last - first;
  const base = tables.at(count * 20);
  const products = base, tableA = base + count * 12;
  const tableB = tableA + count * 4;
  const slotsA = new Map<number, number>(), slotsB = new Map<number, number>();
  const words = heap.i32;
  for (let i = 0; i < count; i++) {
    const at = (products >>> 2) + 3 * i;
    words[at] = slot(slotsA, as[first + i], tableA);
    words[at + 1] = slot(slotsB, bs[first + i], tableB);
    words[at + 2] = cs[first + i];
  }
  return {
    a: { table: tableA, count: slotsA.size },
    b: { table: tableB, count: slotsB.size },
    products,
  };
}

function slot(
  slots: Map<number, number>,
  address: number,
  table: number,
): number {
  let index = slots.get(address);
  if (index === undefined) {
    index = slots.size;
    slots.set(address, index);
    heap.i32[(table >>> 2) + index] = address;
  }
  return index;
}
