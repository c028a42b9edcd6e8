/** Gather, scatter, masks and embeddings: bounds, order of sums, large data. */

import { assert, assertEquals, assertThrows } from "@std/assert";
import { fromHost, gradients, scope, type Tensor } from "../mod.ts";
import { defaultDevice } from "../core/device.ts";
import { type DType, hostArray, setElement } from "../core/dtype.ts";
import { DTypeError, IndexError, ShapeError } from "../core/errors.ts";
import { setThreads, threads } from "../devices/cpu/pool.ts";
import { mul } from "../ops/arithmetic.ts";
import { bincount, oneHot, searchSorted } from "../ops/counting.ts";
import { embedding, embeddingBag, sparseLengthsSum } from "../ops/embedding.ts";
import { sum } from "../ops/foundation.ts";
import { gather, scatter, scatterAdd, scatterReduce } from "../ops/indexing.ts";
import { index, maskedFill, maskedSelect, nonzero } from "../ops/masks.ts";
import { indexAdd, indexSelect, take } from "../ops/selection.ts";

function make(
  dtype: DType,
  shape: readonly number[],
  data: ArrayLike<number>,
  requiresGrad = false,
): Tensor {
  const host = hostArray(dtype, data.length);
  for (let i = 0; i < data.length; i++) setElement(host, dtype, i, data[i]);
  return fromHost(host, dtype, shape, { requiresGrad });
}

function floats(
  shape: readonly number[],
  data: ArrayLike<number>,
  requiresGrad = false,
): Tensor {
  return make("f32", shape, data, requiresGrad);
}

function ints(shape: readonly number[], data: ArrayLike<number>): Tensor {
  return make("i64", shape, data);
}

/** Numbers from 0 (inclusive) to 1, the same in every run. */
function random(seed: number): () => number {
  let state = seed;
  return () =>
    (state = (Math.imul(state, 1664525) + 1013904223) >>> 0) / 2 ** 32;
}

function list<T>(length: number, make: (i: number) => T): T[] {
  return Array.from({ length }, (_, i) => make(i));
}

/** The call, and what a device that runs behind the host finds out later. */
function settled(call: () => unknown): () => void {
  return () => {
    call();
    defaultDevice().synchronize();
  };
}

Deno.test("indices out of range are refused with value and extent", () => {
  scope(() => {
    const x = floats([3, 2], [0, 1, 2, 3, 4, 5]);
    const cases: [() => unknown, string][] = [
      [
        () => gather(x, 0, ints([1, 2], [0, 3])),
        "index 3 is out of range for extent 3",
      ],
      [
        () => gather(x, 1, ints([1, 2], [0, -1])),
        "index -1 is out of range for extent 2",
      ],
      [() => scatter(x, 0, ints([1, 1], [7]), 1), "index 7"],
      [
        () => scatterAdd(x, 1, ints([1, 1], [-2]), floats([1, 1], [1])),
        "from 0 to 1",
      ],
      [() => indexSelect(x, 0, ints([2], [0, 5])), "index 5"],
      [
        () => indexAdd(x, 0, ints([1], [3]), floats([1, 2], [0, 0])),
        "extent 3",
      ],
      [() => take(x, ints([1], [6])), "from -6 to 5"],
      [() => take(x, ints([1], [-7])), "index -7"],
      [() => index(x, ints([1], [3])), "from -3 to 2"],
      [() => embedding(ints([2], [0, 3]), x), "index 3"],
      [() => embeddingBag(ints([1, 1], [-1]), x), "index -1"],
      [() => oneHot(ints([1], [4]), { classes: 4 }), "extent 4"],
      [() => bincount(ints([2], [1, -1])), "index -1"],
      [() => gather(floats([0], []), 0, ints([1], [0])), "nothing to index"],
      [() => indexSelect(x, 0, ints([1], [2 ** 32])), "4294967296"],
    ];
    for (const [call, text] of cases) {
      assertThrows(settled(call), IndexError, text);
    }
  });
});

Deno.test("operands that do not fit are refused", () => {
  scope(() => {
    const x = floats([3, 2], [0, 1, 2, 3, 4, 5]);
    const cases: [() => unknown, new () => Error, string][] = [
      [
        () => gather(x, 0, ints([1], [0])),
        ShapeError,
        "[3, 2] with an index of shape [1]",
      ],
      [() => gather(x, 0, ints([1, 3], [0, 0, 0])), ShapeError, "axis 1"],
      [() => gather(x, 0, floats([1, 1], [0])), DTypeError, 'cast("i64")'],
      [
        () => scatter(x, 0, ints([1, 2], [0, 0]), floats([1, 1], [0])),
        ShapeError,
        "larger on axis 1",
      ],
      [
        () => scatterAdd(x, 0, ints([1, 1], [0]), ints([1, 1], [0])),
        DTypeError,
        "i64 into one of dtype f32",
      ],
      [
        () =>
          scatterReduce(x, 0, ints([1, 1], [0]), x, { reduce: "max" as never }),
        DTypeError,
        "amax",
      ],
      [
        () => indexAdd(x, 0, ints([2], [0, 1]), floats([1, 2], [0, 0])),
        ShapeError,
        "[2, 2]",
      ],
      [() => indexAdd(x, 0, ints([1, 1], [0]), x), ShapeError, "vector"],
      [() => maskedFill(x, x, 0), DTypeError, "bool"],
      [
        () => maskedFill(ints([1], [0]), make("bool", [1], [1]), 0.5),
        DTypeError,
        "0.5",
      ],
      [
        () => index(x, ints([1], [0]), ints([1], [0])),
        IndexError,
        "two tensors",
      ],
      [() => index(x, make("bool", [2], [1, 0])), ShapeError, "vector of 3"],
      [
        () => searchSorted(x, floats([2, 2], [0, 0, 0, 0])),
        ShapeError,
        "leading",
      ],
      [
        () => embedding(ints([1], [0]), floats([2], [0, 0])),
        ShapeError,
        "[rows, width]",
      ],
      [
        () => embedding(ints([1], [0]), x, { paddingIdx: 3 }),
        IndexError,
        "from -3 to 2",
      ],
      [
        () => embeddingBag(ints([2], [0, 0]), x, ints([2], [0, 5])),
        ShapeError,
        "0, 5",
      ],
      [
        () =>
          embeddingBag(
            ints([2], [0, 0]),
            x,
            ints([1], [0]),
            floats([2], [1, 1]),
          ),
        ShapeError,
        '"sum"',
      ],
      [
        () => sparseLengthsSum(x, ints([2], [0, 1]), ints([2], [1, 2])),
        ShapeError,
        "add up to 3",
      ],
    ];
    for (const [call, type, text] of cases) assertThrows(call, type, text);
  });
});

/** Scatter by plain loops over [outer, n, inner]. */
function scatterByLoops(
  target: Float64Array,
  source: ArrayLike<number>,
  at: (outer: number, s: number, inner: number) => number,
  [outer, targetSize, sourceSize, inner]: number[],
  combine: (a: number, b: number) => number,
): Float64Array {
  const result = target.slice();
  for (let o = 0; o < outer; o++) {
    for (let s = 0; s < sourceSize; s++) {
      for (let i = 0; i < inner; i++) {
        const to = (o * targetSize + at(o, s, i)) * inner + i;
        const from = (o * sourceSize + s) * inner + i;
        result[to] = combine(result[to], source[from]);
      }
    }
  }
  return result;
}

Deno.test("scatter on all dtypes and extents, against plain loops in order", () => {
  const before = threads();
  const next = random(1);
  const sizes = [[1, 5, 400, 1], [9, 3, 50, 7], [2, 40, 90, 131], [
    1,
    6,
    70,
    1030,
  ]];
  const round: Partial<Record<DType, (x: number) => number>> = {
    f32: Math.fround,
    i32: (x) => x | 0,
    u8: (x) => x & 255,
  };
  try {
    for (const count of [1, 2]) {
      setThreads(count);
      for (const dims of sizes) {
        const [outer, targetSize, sourceSize, inner] = dims;
        for (const dtype of ["f32", "f64", "i32", "i64", "u8"] as const) {
          scope(() => {
            const whole = dtype !== "f32" && dtype !== "f64";
            const value = () =>
              whole ? Math.floor(next() * 9) : Math.fround(next());
            const t = list(outer * targetSize * inner, value);
            const s = list(outer * sourceSize * inner, value);
            const at = list(s.length, () => Math.floor(next() * targetSize));
            const x = make(dtype, [outer, targetSize, inner], t);
            const source = make(dtype, [outer, sourceSize, inner], s);
            const each = ints([outer, sourceSize, inner], at);
            const vector = ints([sourceSize], at.slice(0, sourceSize));
            const perElement = (o: number, p: number, i: number) =>
              at[(o * sourceSize + p) * inner + i];
            const near = round[dtype] ?? ((v: number) => v);
            const start = Float64Array.from(t);
            const plus = (a: number, b: number) => near(a + b);
            const check = (result: Tensor, expected: Float64Array) =>
              assertEquals(
                Float64Array.from(result.data() as ArrayLike<number>, Number),
                expected,
                `${dtype} ${dims} on ${count} threads`,
              );
            check(
              scatterAdd(x, 1, each, source),
              scatterByLoops(start, s, perElement, dims, plus),
            );
            check(
              indexAdd(x, 1, vector, source),
              scatterByLoops(start, s, (_, p) => at[p], dims, plus),
            );
            check(
              scatter(x, 1, each, source),
              scatterByLoops(start, s, perElement, dims, (_, b) => b),
            );
            for (const reduce of ["amax", "amin"] as const) {
              check(
                scatterReduce(x, 1, each, source, { reduce }),
                scatterByLoops(
                  start,
                  s,
                  perElement,
                  dims,
                  reduce === "amax" ? Math.max : Math.min,
                ),
              );
            }
          });
        }
      }
    }
  } finally {
    setThreads(before);
  }
});

Deno.test("a device leaves memory alone where an index is out of range", () => {
  scope(() => {
    const target = floats([4], [1, 2, 3, 4]);
    const source = floats([3], [10, 20, 30]);
    const positions = ints([3], [4, 1, -1]);
    for (const perElement of [true, false]) {
      target.device.scatter({
        dtype: "f32",
        mode: "add",
        outer: 1,
        inner: 1,
        targetSize: 4,
        sourceSize: 3,
        target: target.value,
        source: source.value,
        index: positions.value,
        perElement,
      });
    }
    assertEquals(target.toArray(), [1, 42, 3, 4]);
  });
});

Deno.test("a source larger than its index gets gradients where it was used", () => {
  scope(() => {
    const x = floats([3], [1, 2, 3], true);
    const source = floats([3], [5, 7, 9], true);
    const weights = floats([3], [2, 3, 4]);
    const at = ints([2], [2, 0]);
    for (const y of [scatterAdd(x, 0, at, source), scatter(x, 0, at, source)]) {
      const [, grad] = gradients(sum(mul(y, weights)), [x, source]);
      assertEquals(grad!.toArray(), [4, 2, 0]);
    }
  });
});

Deno.test("extrema share their gradient as PyTorch's scatter_reduce does", () => {
  scope(() => {
    for (
      const [includeSelf, forX] of [[true, [2, 2, 5]], [false, [
        0,
        0,
        5,
      ]]] as const
    ) {
      const x = floats([3], [1, 2, 3], true);
      const source = floats([3], [1, 1, 2], true);
      const y = scatterReduce(x, 0, ints([3], [0, 0, 1]), source, {
        reduce: "amax",
        includeSelf,
      });
      assertEquals(y.toArray(), [1, 2, 3]);
      const total = sum(mul(y, floats([3], [6, 4, 5])));
      const [dx, ds] = gradients(total, [x, source]);
      assertEquals(dx!.toArray(), [...forX]);
      assertEquals(ds!.toArray(), [2, 2, 2]);
    }
  });
});

Deno.test("the padding row of an embedding gets no gradient", () => {
  scope(() => {
    const weight = floats([3, 2], [0, 1, 2, 3, 4, 5], true);
    const y = embedding(ints([4], [1, 2, 1, 0]), weight, { paddingIdx: 1 });
    assertEquals(y.toArray(), [[2, 3], [4, 5], [2, 3], [0, 1]]);
    const weights = floats([4, 2], [1, 2, 3, 4, 5, 6, 7, 8]);
    const [grad] = gradients(sum(mul(y, weights)), [weight]);
    assertEquals(grad!.toArray(), [[7, 8], [0, 0], [3, 4]]);
  });
});

Deno.test("embeddings of a large table, forward and gradient", () => {
  scope(() => {
    const rows = 300, width = 72, length = 1000;
    const next = random(7);
    const table = list(rows * width, () => Math.fround(next()));
    const at = list(length, () => Math.floor(next() * rows));
    const weight = floats([rows, width], table, true);
    const y = embedding(ints([length], at), weight);
    const host = y.data();
    assert(
      at.every((row, i) => host[i * width + 5] === table[row * width + 5]),
    );
    const [grad] = gradients(sum(y), [weight]);
    const counts = list(rows, (row) => at.filter((a) => a === row).length);
    assertEquals(
      Array.from(grad!.data() as Float32Array),
      counts.flatMap((n) => list(width, () => n)),
    );
  });
});

Deno.test("sparse lengths: rows of any rank, empty stretches, weighted means", () => {
  scope(() => {
    const data = floats([3, 1, 2], [0, 1, 2, 3, 4, 5]);
    const at = ints([3], [2, 0, 1]);
    const lengths = make("i32", [3], [2, 0, 1]);
    assertEquals(
      sparseLengthsSum(data, at, lengths).toArray(),
      [[[4, 6]], [[0, 0]], [[2, 3]]],
    );
    const weights = floats([3], [1, -1, 10]);
    assertEquals(
      sparseLengthsSum(data, at, lengths, weights, { reduce: "mean" })
        .toArray(),
      [[[2, 2]], [[0, 0]], [[20, 30]]],
    );
  });
});

Deno.test("masks of many elements, against filter", () => {
  scope(() => {
    const next = random(3);
    const n = 20000;
    const values = list(n, () => Math.fround(next()));
    const mask = list(n, () => next() < 0.3 ? 1 : 0);
    const x = floats([100, 200], values);
    const where = make("bool", [100, 200], mask);
    assertEquals(
      Array.from(maskedSelect(x, where).data() as Float32Array),
      values.filter((_, i) => mask[i] === 1),
    );
    const positions = list(n, (i) => i).filter((i) => mask[i] === 1);
    assertEquals(
      nonzero(where).toArray(),
      positions.map((i) => [Math.floor(i / 200), i % 200]),
    );
  });
});

Deno.test("searching many values, against counting", () => {
  scope(() => {
    const next = random(5);
    for (const n of [1, 2, 7, 64, 100]) {
      const edges = list(n, () => Math.floor(next() * 30)).sort((a, b) =>
        a - b
      );
      const values = list(200, () => Math.floor(next() * 32) - 1);
      for (const right of [false, true]) {
        const found = searchSorted(ints([n], edges), ints([200], values), {
          right,
        });
        assertEquals(
          Array.from(found.data() as BigInt64Array, Number),
          values.map((v) => edges.filter((e) => right ? e <= v : e < v).length),
        );
      }
    }
  });
});
