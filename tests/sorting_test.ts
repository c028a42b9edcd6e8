/** Sorting: long and short rows of every dtype, order of equals, threads, distinct values. */

import { assert, assertEquals, assertThrows } from "@std/assert";
import { fromHost, gradients, scope, type Tensor } from "../mod.ts";
import {
  type DType,
  dtypes,
  hostArray,
  isFloat,
  setElement,
} from "../core/dtype.ts";
import { IndexError } from "../core/errors.ts";
import { setThreads, threads } from "../devices/cpu/pool.ts";
import { mul } from "../ops/arithmetic.ts";
import { sum } from "../ops/foundation.ts";
import {
  argSort,
  kthValue,
  median,
  sort,
  topK,
  unique,
  uniqueConsecutive,
} from "../ops/sorting.ts";

const all = Object.keys(dtypes) as DType[];

/** Numbers from 0 (inclusive) to 1, the same in every run. */
function random(seed: number): () => number {
  let state = seed;
  return () =>
    (state = (Math.imul(state, 1664525) + 1013904223) >>> 0) / 2 ** 32;
}

/** A matrix with many equal elements; floats with NaN, infinities and both zeros. */
function matrix(dtype: DType, rows: number, length: number): Tensor {
  const next = random(rows * 1000 + length);
  const host = hostArray(dtype, rows * length);
  const special = [NaN, Infinity, -Infinity, 0, -0];
  for (let i = 0; i < host.length; i++) {
    const u = next();
    let value: number;
    if (isFloat(dtype)) {
      const kind = next();
      value = kind < 0.1
        ? special[Math.floor(kind * 50)]
        : kind < 0.5
        ? Math.round(u * 9 - 4)
        : (u - 0.5) * 1e4;
    } else if (dtype === "bool") value = u < 0.5 ? 0 : 1;
    else if (dtype === "u8") value = Math.floor(u * 256);
    else if (dtype === "i8") value = Math.floor(u * 256) - 128;
    else value = Math.floor((u - 0.5) * (i % 3 === 0 ? 4e9 : 20));
    setElement(host, dtype, i, value);
  }
  return fromHost(host, dtype, [rows, length]);
}

/** Negative, zero or positive as `a` comes before, with or after `b`; NaN last. */
function compare(a: number, b: number): number {
  const na = Number.isNaN(a), nb = Number.isNaN(b);
  return na || nb ? Number(na) - Number(nb) : a < b ? -1 : a > b ? 1 : 0;
}

Deno.test("rows of every dtype and length, against Array.prototype.sort", () => {
  const before = threads();
  try {
    for (const count of [1, 2]) {
      setThreads(count);
      for (const dtype of all) {
        for (
          const [rows, length] of [[3, 7], [5, 40], [4, 41], [1, 3000], [
            300,
            129,
          ]]
        ) {
          for (const descending of [false, true]) {
            scope(() => {
              const x = matrix(dtype, rows, length);
              const all = Array.from(x.data() as ArrayLike<number>, Number);
              const [values, indices] = sort(x, 1, { descending });
              const foundValues = values.data(), foundIndices = indices.data();
              for (let row = 0; row < rows; row++) {
                const at = row * length;
                const order = Array.from({ length }, (_, i) => i);
                order.sort((i, j) =>
                  descending
                    ? compare(all[at + j], all[at + i])
                    : compare(all[at + i], all[at + j])
                );
                const what = `${dtype} row ${row} of ${rows}, ${length} long`;
                assert(
                  order.every((from, i) =>
                    Number(foundIndices[at + i]) === from
                  ),
                  `${what}: indices`,
                );
                assert(
                  order.every((from, i) =>
                    Object.is(Number(foundValues[at + i]), all[at + from])
                  ),
                  `${what}: values`,
                );
              }
            });
          }
        }
      }
    }
  } finally {
    setThreads(before);
  }
});

Deno.test("64-bit integers beyond 2^53 are told apart", () => {
  scope(() => {
    const big = 2n ** 62n;
    const host = BigInt64Array.of(big + 1n, -big, big, -big - 1n, 0n);
    const [values, indices] = sort(fromHost(host, "i64", [5]));
    assertEquals([...values.data() as BigInt64Array], [
      -big - 1n,
      -big,
      0n,
      big,
      big + 1n,
    ]);
    assertEquals(indices.toArray(), [3, 1, 4, 2, 0]);
  });
});

Deno.test("axes other than the last, and what was transposed", () => {
  scope(() => {
    const x = fromHost(
      new Float32Array([3, 9, 1, 7, 2, 8]),
      "f32",
      [3, 2],
    );
    const [values, indices] = sort(x, 0);
    assertEquals(values.toArray(), [[1, 7], [2, 8], [3, 9]]);
    assertEquals(indices.toArray(), [[1, 1], [2, 2], [0, 0]]);
    assertEquals(argSort(x, -1, { descending: true }).toArray(), [
      [1, 0],
      [1, 0],
      [1, 0],
    ]);
  });
});

Deno.test("gradients go back to where values stood, also the second ones", () => {
  scope(() => {
    const x = fromHost(new Float32Array([3, 1, 2]), "f32", [3], {
      requiresGrad: true,
    });
    const weights = fromHost(new Float32Array([1, 10, 100]), "f32", [3]);
    const [values] = sort(x, 0);
    const total = sum(mul(mul(values, values), weights));
    const [first] = gradients(total, [x], { createGraph: true });
    assertEquals(first!.toArray(), [600, 2, 40]);
    const [second] = gradients(sum(first!), [x]);
    assertEquals(second!.toArray(), [200, 2, 20]);
    const [top] = topK(x, 2);
    const [grad] = gradients(sum(mul(top, top)), [x]);
    assertEquals(grad!.toArray(), [6, 0, 4]);
  });
});

Deno.test("medians: the lower of two, NaN where there is one and where it stands", () => {
  scope(() => {
    const x = fromHost(
      new Float32Array([4, 1, 3, 2, 1, NaN, 3, NaN]),
      "f32",
      [2, 4],
    );
    const [values, indices] = median(x, 1);
    assertEquals(values.toArray(), [2, NaN]);
    // torch.median gives the first NaN.
    assertEquals(indices.toArray(), [3, 1]);
  });
});

Deno.test("distinct values of many elements, against Set", () => {
  scope(() => {
    const next = random(11);
    const n = 30000;
    const data = Int32Array.from(
      { length: n },
      () => Math.floor(next() ** 3 * 500) - 100,
    );
    const [values, inverse, counts] = unique(fromHost(data, "i32", [n]));
    const expected = [...new Set(data)].sort((a, b) => a - b);
    assertEquals([...values.data() as Int32Array], expected);
    const back = inverse.data() as BigInt64Array;
    assert(data.every((v, i) => expected[Number(back[i])] === v));
    const tally = new Map<number, number>();
    for (const v of data) tally.set(v, (tally.get(v) ?? 0) + 1);
    assertEquals(
      Array.from(counts.data() as BigInt64Array, Number),
      expected.map((v) => tally.get(v)!),
    );
    const nan = fromHost(new Float32Array([NaN, 1, NaN]), "f32", [3]);
    assertEquals(unique(nan)[0].toArray(), [1, NaN, NaN]);
    assertEquals(uniqueConsecutive(nan)[2].toArray(), [1, 1, 1]);
  });
});

Deno.test("sorting errors say what would work", () => {
  scope(() => {
    const x = fromHost(new Float32Array(6), "f32", [2, 3]);
    const empty = fromHost(new Float32Array(0), "f32", [0]);
    const cases: [() => unknown, string][] = [
      [() => sort(x, 2), "axis 2"],
      [() => topK(x, 4), "from 0 to 3"],
      [() => kthValue(x, 0), "from 1 to 3"],
      [() => kthValue(x, 1.5), "1.5"],
      [() => median(empty), "[0]"],
    ];
    for (const [call, text] of cases) assertThrows(call, IndexError, text);
  });
});
