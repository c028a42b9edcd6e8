import { assertEquals } from "@std/assert";
import { add, fromHost, mul, permute, Scope, Tensor } from "../mod.ts";
import { materialize } from "../core/fuse.ts";
import { copy } from "../core/row_kernels.ts";
import { setThreads, threads } from "../devices/cpu/pool.ts";
import { transpose } from "../devices/cpu/transpose.ts";
import { allocate, heap, release } from "../devices/cpu/memory.ts";

type Dtype = "f32" | "i32" | "f64" | "i64" | "u8";

const arrays = {
  f32: Float32Array,
  i32: Int32Array,
  f64: Float64Array,
  i64: BigInt64Array,
  u8: Uint8Array,
};

function counting(shape: readonly number[], dtype: Dtype): Tensor {
  const size = shape.reduce((a, b) => a * b, 1);
  const data = Array.from({ length: size }, (_, i) => i % 251);
  const host = dtype === "i64"
    ? BigInt64Array.from(data, BigInt)
    : arrays[dtype as "f32"].from(data);
  return fromHost(host as Float32Array, dtype, shape);
}

/** The elements of a tensor of shape `shape` with axes in another order, by plain loops. */
function permuted(shape: readonly number[], order: readonly number[]) {
  const strides = shape.map((_, d) =>
    shape.slice(d + 1).reduce((a, b) => a * b, 1)
  );
  let offsets = [0];
  for (const axis of order) {
    offsets = offsets.flatMap((base) =>
      Array.from({ length: shape[axis] }, (_, i) => base + i * strides[axis])
    );
  }
  return offsets.map((offset) => offset % 251);
}

const cases: [readonly number[], readonly number[]][] = [
  [[64, 64], [1, 0]],
  [[33, 67], [1, 0]],
  [[4, 1000], [1, 0]],
  [[1000, 5], [1, 0]],
  [[3, 1000], [1, 0]],
  [[257, 19], [1, 0]],
  [[128, 256], [1, 0]],
  [[3, 17, 21, 9], [0, 2, 3, 1]],
  [[3, 17, 21, 9], [0, 3, 1, 2]],
  [[3, 17, 21, 9], [3, 2, 1, 0]],
  [[5, 6, 7, 8, 9], [4, 0, 3, 1, 2]],
  [[5, 6, 7, 8, 9], [2, 4, 0, 3, 1]],
  [[2, 3, 4, 5, 4, 6], [5, 3, 1, 4, 2, 0]],
];

for (const [shape, order] of cases) {
  Deno.test(`transpose: [${shape}] by [${order}], copied and in a formula`, () => {
    using _scope = new Scope();
    const expected = permuted(shape, order);
    for (const dtype of ["f32", "i32", "f64", "i64", "u8"] as const) {
      const x = permute(counting(shape, dtype), order);
      assertEquals(new Tensor(copy(x.value)).shape, x.shape);
      const elements = [...new Tensor(copy(x.value)).data()].map(Number);
      assertEquals(elements, expected, dtype);
      const ordered = counting(x.shape, dtype);
      const sum = add(x, ordered);
      materialize(sum.value);
      const wrap = (v: number) => dtype === "u8" ? v % 256 : v;
      assertEquals(
        [...sum.data()].map(Number),
        expected.map((v, i) => wrap(v + i % 251)),
        dtype,
      );
      assertEquals(
        [...mul(x, x).data()].map(Number),
        expected.map((v) => wrap(v * v)),
        dtype,
      );
    }
  });
}

Deno.test("transpose: of a part that starts inside its memory", () => {
  using _scope = new Scope();
  const whole = counting([70, 90], "f32");
  const part = whole.value.view([60, 50], [90, 1], 5 * 90 + 7);
  const x = permute(new Tensor(part), [1, 0]);
  const expected = Array.from(
    { length: 50 * 60 },
    (_, i) => ((i % 60 + 5) * 90 + Math.floor(i / 60) + 7) % 251,
  );
  assertEquals([...new Tensor(copy(x.value)).data()].map(Number), expected);
});

Deno.test("transpose: writes its target and nothing else, on any number of threads", () => {
  const before = threads();
  const rows = 37, columns = 53, guard = 8;
  const source = allocate(4 * rows * columns);
  const target = allocate(4 * (rows * columns + 2 * guard));
  try {
    for (let i = 0; i < rows * columns; i++) heap.i32[source / 4 + i] = i;
    for (const count of [1, 2]) {
      setThreads(count);
      heap.i32.fill(-1, target / 4, target / 4 + rows * columns + 2 * guard);
      transpose({
        source,
        target: target + 4 * guard,
        rows,
        columns,
        sourceStep: 4 * rows,
        targetStep: 4 * columns,
        outer: [],
      });
      const got = [
        ...heap.i32.subarray(
          target / 4,
          target / 4 + rows * columns + 2 * guard,
        ),
      ];
      const edge = Array(guard).fill(-1);
      const inner = Array.from(
        { length: rows * columns },
        (_, i) => (i % columns) * rows + Math.floor(i / columns),
      );
      assertEquals(got, [...edge, ...inner, ...edge]);
    }
  } finally {
    setThreads(before);
    release(source);
    release(target);
  }
});
