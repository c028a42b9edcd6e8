/** How operands of products lie, and how batches are merged: numbers only, no library. */

import { assert, assertEquals } from "@std/assert";
import { mergeBatch, walk } from "../devices/cuda/matmul_batch.ts";
import {
  alignmentCode,
  alignments,
  joinAlignments,
  leadingDimension,
  Problem,
} from "../devices/cuda/matmul_problem.ts";

Deno.test("leading dimensions: rows side by side, columns side by side, or neither", () => {
  const cases: [number, number, number, number, number][] = [
    // rows, columns, steps, expected
    [3, 4, 4, 1, 4],
    [3, 4, 7, 1, 7],
    [3, 4, 1, 3, -3],
    [3, 4, 1, 5, -5],
    [1, 4, 99, 1, 4],
    [1, 4, 4, 2, -2], // one row: every second element is a column of its own
    [3, 1, 1, 99, 1],
    [3, 1, 5, 1, 5],
    [1, 1, 0, 0, 1],
    [3, 4, 8, 2, 0], // gaps both ways
    [3, 4, 0, 1, 0], // one row for all
    [3, 4, 1, 0, 0], // one column for all
    [3, 4, 2, 1, 0], // rows that overlap
    [3, 4, -4, 1, 0], // backwards
    [3, 4, 4, -1, 0],
  ];
  for (const [rows, columns, row, column, expected] of cases) {
    assertEquals(
      leadingDimension(rows, columns, row, column),
      expected,
      `[${rows}, ${columns}] in steps of ${row} and ${column}`,
    );
  }
});

Deno.test("alignments: the largest power of two up to 256, also beyond 32 bits", () => {
  for (const base of [0, 2 ** 31, 2 ** 40, 0x7f12_3456_7800]) {
    for (let shift = 0; shift <= 8; shift++) {
      assertEquals(alignmentCode(base + 2 ** shift), Math.min(shift, 8));
      assertEquals(alignmentCode(base + 3 * 2 ** shift), Math.min(shift, 8));
    }
    assertEquals(alignmentCode(base), 8);
  }
  assertEquals(alignments(joinAlignments(0, 3, 8, 1, 4)), [1, 8, 256, 2, 16]);
});

Deno.test("batches: what is merged visits the same matrices", () => {
  const steps = [0, 1, 6, 12, -6, 30];
  for (const shape of [[], [1], [4], [2, 3], [3, 1, 2], [2, 2, 2]]) {
    for (let trial = 0; trial < 40; trial++) {
      const pick = (i: number) => steps[(trial * 7 + i * 3) % steps.length];
      const of = (first: number) => shape.map((_, d) => pick(first + d));
      const [a, b, c] = [of(0), of(1), of(2)];
      const rows = 2, rowA = trial % 2 === 0 ? 3 : 0, rowC = 3;
      const merged = mergeBatch({ shape, a, b, c, rows, rowA, rowC });
      const seen: string[] = [];
      const { inner, outer } = merged;
      assert(
        inner.extent === 1 || Math.min(inner.a, inner.b, inner.c) >= 0,
      );
      walk([inner, ...outer], (a, b, c) => {
        // Rows beyond those of one product are those of the next.
        for (let i = 0; i < merged.rows; i += rows) {
          seen.push(`${a + i * rowA} ${b} ${c + i * rowC}`);
        }
      });
      const wanted: string[] = [];
      const all = shape.map((extent, d) => ({
        extent,
        a: a[d],
        b: b[d],
        c: c[d],
      }));
      walk(all, (a, b, c) => wanted.push(`${a} ${b} ${c}`));
      assertEquals(seen.sort(), wanted.sort(), `${shape} by ${a}; ${b}; ${c}`);
    }
  }
});

Deno.test("problems: equal ones are found, and each number counts", () => {
  const one = new Problem();
  one.m = 8;
  const same = one.copy();
  assert(one.equals(same));
  assertEquals(one.hash(), same.hash());
  assertEquals(one.key(), same.key());
  for (const name of Object.keys(one) as (keyof Problem)[]) {
    const other = one.copy();
    (other[name] as number) += 16;
    assert(!one.equals(other), name);
    assert(one.key() !== other.key(), name);
  }
  one.batch = 3;
  one.compute = 5;
  assertEquals(
    `${one}`,
    "3 times [0, 0] · [0, 8], R_32F by R_32F to R_32F, compute type 5, epilogue DEFAULT, leading dimensions 0, 0 and 0, alignments 1, 1 and 1",
  );
});
