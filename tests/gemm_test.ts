import { assert, assertEquals } from "@std/assert";
import {
  fromBf16Bits,
  fromF16Bits,
  toBf16Bits,
  toF16Bits,
} from "../core/dtype.ts";
import type { FloatDType } from "../devices/cpu/elements.ts";
import { matmul, type MatmulSpec } from "../devices/cpu/gemm.ts";
import { allocate, heap, memoryStats, release } from "../devices/cpu/memory.ts";
import { setThreads, startWorkers, threads } from "../devices/cpu/pool.ts";

const bytesOf = { f32: 4, f64: 8, f16: 2, bf16: 2 };

function read(dtype: FloatDType, address: number, index: number): number {
  const at = address / bytesOf[dtype] + index;
  switch (dtype) {
    case "f32":
      return heap.f32[at];
    case "f64":
      return heap.f64[at];
    case "f16":
      return fromF16Bits(heap.u16[at]);
    case "bf16":
      return fromBf16Bits(heap.u16[at]);
  }
}

function write(
  dtype: FloatDType,
  address: number,
  index: number,
  value: number,
): void {
  const at = address / bytesOf[dtype] + index;
  if (dtype === "f32") heap.f32[at] = value;
  else if (dtype === "f64") heap.f64[at] = value;
  else heap.u16[at] = (dtype === "f16" ? toF16Bits : toBf16Bits)(value);
}

let state = 12345;
function random(): number {
  state = Math.imul(state, 1103515245) + 12345 >>> 0;
  return (state >>> 8) / 2 ** 23 - 1;
}

/** How one test multiplies; strides of an operand are given by a layout. */
interface Case {
  dtype?: FloatDType;
  m: number;
  n: number;
  k: number;
  /** Layouts of A, B and C: rows side by side, columns side by side, or neither. */
  a?: Layout;
  b?: Layout;
  c?: Layout;
  batch?: number[];
  /** Batch axes along which A or B repeat. */
  repeatA?: number[];
  repeatB?: number[];
  accumulate?: boolean;
  bias?: "row" | "column";
  biasStride?: number;
}
type Layout = "row" | "column" | "gaps" | "padded";

interface Matrix {
  address: number;
  size: number;
  rowStride: number;
  columnStride: number;
  batchStrides: number[];
}

// What must not be overwritten: margins around every buffer and gaps inside.
const margin = 64;
const guard = 123.5;

function matrix(
  dtype: FloatDType,
  rows: number,
  columns: number,
  layout: Layout,
  batch: readonly number[],
  repeated: readonly number[],
): Matrix {
  let rowStride = columns, columnStride = 1, size = rows * columns;
  if (layout === "column") [rowStride, columnStride] = [1, rows];
  if (layout === "padded") {
    rowStride = columns + 3;
    size = rows * rowStride;
  }
  if (layout === "gaps") {
    columnStride = 2;
    rowStride = columns * 2 + 1;
    size = rows * rowStride;
  }
  const batchStrides = batch.map(() => 0);
  for (let axis = batch.length - 1; axis >= 0; axis--) {
    if (repeated.includes(axis)) continue;
    batchStrides[axis] = size;
    size *= batch[axis];
  }
  const bytes = bytesOf[dtype];
  const address = allocate((size + 2 * margin) * bytes) + margin * bytes;
  for (let i = -margin; i < size + margin; i++) {
    write(dtype, address, i, guard);
  }
  return { address, size, rowStride, columnStride, batchStrides };
}

function free(dtype: FloatDType, x: Matrix): void {
  release(x.address - margin * bytesOf[dtype]);
}

/** Calls f with the batch index, and every row and column. */
function forEachElement(
  batch: readonly number[],
  rows: number,
  columns: number,
  f: (index: number[], i: number, j: number) => void,
): void {
  const count = batch.reduce((x, y) => x * y, 1);
  for (let flat = 0; flat < count; flat++) {
    let rest = flat;
    const index = new Array<number>(batch.length);
    for (let axis = batch.length - 1; axis >= 0; axis--) {
      index[axis] = rest % batch[axis];
      rest = Math.floor(rest / batch[axis]);
    }
    for (let i = 0; i < rows; i++) {
      for (let j = 0; j < columns; j++) f(index, i, j);
    }
  }
}

function place(x: Matrix, index: number[], i: number, j: number): number {
  const base = index.reduce((s, v, axis) => s + v * x.batchStrides[axis], 0);
  return base + i * x.rowStride + j * x.columnStride;
}

/** All elements of a matrix in order. */
function dense(
  dtype: FloatDType,
  x: Matrix,
  batch: readonly number[],
  rows: number,
  columns: number,
): Float64Array {
  const values = new Float64Array(
    batch.reduce((p, q) => p * q, rows * columns),
  );
  let at = 0;
  forEachElement(batch, rows, columns, (index, i, j) => {
    values[at++] = read(dtype, x.address, place(x, index, i, j));
  });
  return values;
}

/** A batch of dense products in f64, added to `start`, with the sums of the magnitudes. */
function plainProduct(
  a: Float64Array,
  b: Float64Array,
  start: Float64Array,
  [m, n, k]: [number, number, number],
): { sums: Float64Array; magnitudes: Float64Array } {
  const sums = start.slice(), magnitudes = start.map(Math.abs);
  for (let s = 0; s < start.length / Math.max(1, m * n); s++) {
    for (let i = 0; i < m; i++) {
      for (let p = 0; p < k; p++) {
        const x = a[(s * m + i) * k + p];
        for (let j = 0; j < n; j++) {
          const product = x * b[(s * k + p) * n + j];
          sums[(s * m + i) * n + j] += product;
          magnitudes[(s * m + i) * n + j] += Math.abs(product);
        }
      }
    }
  }
  return { sums, magnitudes };
}

/** Multiplies, compares with a plain f64 loop, and returns the result's values. */
function check(test: Case): number[] {
  const {
    dtype = "f32",
    m,
    n,
    k,
    batch = [],
    accumulate = false,
  } = test;
  const before = memoryStats().liveBytes;
  const a = matrix(dtype, m, k, test.a ?? "row", batch, test.repeatA ?? []);
  const b = matrix(dtype, k, n, test.b ?? "row", batch, test.repeatB ?? []);
  const c = matrix(dtype, m, n, test.c ?? "row", batch, []);
  const fill = (x: Matrix, rows: number, columns: number) =>
    forEachElement(batch, rows, columns, (index, i, j) => {
      write(dtype, x.address, place(x, index, i, j), random());
    });
  fill(a, m, k);
  fill(b, k, n);
  if (accumulate) fill(c, m, n);
  const { biasStride = 3 } = test;
  const biasMatrix = matrix(dtype, 1, biasStride * (m + n), "row", [], []);
  if (test.bias) {
    for (let i = 0; i < m + n; i++) {
      write(dtype, biasMatrix.address, i * biasStride, random());
    }
  }
  const start = accumulate
    ? dense(dtype, c, batch, m, n)
    : new Float64Array(batch.reduce((x, y) => x * y, m * n));
  if (test.bias) {
    let at = 0;
    forEachElement(batch, m, n, (_, i, j) => {
      const index = (test.bias === "row" ? i : j) * biasStride;
      start[at++] = read(dtype, biasMatrix.address, index);
    });
  }
  const { sums: expected, magnitudes } = plainProduct(
    dense(dtype, a, batch, m, k),
    dense(dtype, b, batch, k, n),
    start,
    [m, n, k],
  );
  const spec: MatmulSpec = {
    dtype,
    m,
    n,
    k,
    batchShape: batch,
    a,
    b,
    c,
    accumulate,
    bias: test.bias &&
      { address: biasMatrix.address, stride: biasStride, per: test.bias },
  };
  matmul(spec);
  const actual: number[] = [];
  const written = new Set<number>();
  // Rounding errors of a sum add up like a random walk: √k steps of ε times the magnitude.
  const epsilon = {
    f32: 2 ** -24,
    f64: 2 ** -53,
    f16: 2 ** -11,
    bf16: 2 ** -8,
  };
  const rounding = dtype === "f64" ? 2 ** -53 : 2 ** -24;
  forEachElement(batch, m, n, (index, i, j) => {
    const at = place(c, index, i, j);
    written.add(at);
    const value = read(dtype, c.address, at);
    const wanted = expected[actual.length];
    const bound = (Math.sqrt(k) + 2) * rounding * magnitudes[actual.length] +
      Math.abs(wanted) * epsilon[dtype] * 1.01;
    if (!(Math.abs(value - wanted) <= bound)) {
      throw new Error(
        `${
          JSON.stringify(test)
        }: C[${index};${i},${j}] is ${value}, not ${wanted}`,
      );
    }
    actual.push(value);
  });
  for (let i = -margin; i < c.size + margin; i++) {
    if (!written.has(i) && read(dtype, c.address, i) !== guard) {
      throw new Error(`${JSON.stringify(test)}: wrote outside C at ${i}`);
    }
  }
  for (const x of [a, b, c, biasMatrix]) free(dtype, x);
  assertEquals(memoryStats().liveBytes, before);
  return actual;
}

function withThreads<T>(count: number, body: () => T): T {
  const before = threads();
  setThreads(count);
  try {
    startWorkers();
    return body();
  } finally {
    setThreads(before);
  }
}

const layouts: Layout[] = ["row", "column", "gaps", "padded"];
const dtypes: FloatDType[] = ["f32", "f64", "f16", "bf16"];

Deno.test("products of all small sizes equal a plain loop", () => {
  for (const m of [1, 2, 5, 6, 7, 13]) {
    for (const n of [1, 3, 4, 7, 8, 9, 17]) {
      for (const k of [0, 1, 2, 3, 4, 7, 8, 9, 20]) check({ m, n, k });
    }
  }
});

Deno.test("products with a size of zero", () => {
  for (const [m, n, k] of [[0, 3, 3], [3, 0, 3], [0, 0, 0], [3, 3, 0]]) {
    check({ m, n, k });
    check({ m, n, k, accumulate: true });
    if (m > 0) check({ m, n, k, bias: "row" });
  }
  check({ m: 3, n: 3, k: 3, batch: [0] });
});

Deno.test("every dtype, layout, bias and accumulation", () => {
  for (const dtype of dtypes) {
    for (const a of layouts) {
      for (const b of layouts) {
        for (const c of layouts) {
          const sizes = { m: 13, n: 19, k: 11 };
          check({ dtype, ...sizes, a, b, c });
          check({ dtype, ...sizes, a, b, c, accumulate: true });
          check({ dtype, ...sizes, a, b, c, bias: "row" });
          check({ dtype, ...sizes, a, b, c, bias: "column" });
        }
      }
    }
  }
});

Deno.test("skinny and long products, beyond one block in each direction", () => {
  for (const dtype of ["f32", "f64"] as const) {
    for (const layout of layouts) {
      check({ dtype, m: 1, n: 300, k: 500, b: layout });
      check({ dtype, m: 300, n: 1, k: 500, a: layout });
      const start = { accumulate: true, biasStride: 1 };
      for (const bias of ["row", "column"] as const) {
        check({ dtype, m: 1, n: 77, k: 50, b: layout, bias, biasStride: 1 });
        check({ dtype, m: 77, n: 1, k: 50, a: layout, bias, biasStride: 1 });
      }
      check({ dtype, m: 1, n: 77, k: 50, b: layout, ...start });
      check({ dtype, m: 77, n: 1, k: 50, a: layout, ...start });
      check({ dtype, m: 3, n: 70, k: 1000, a: layout, b: layout });
      check({ dtype, m: 100, n: 300, k: 1, a: layout });
    }
    check({ dtype, m: 205, n: 530, k: 70, c: "padded" });
    check({ dtype, m: 40, n: 50, k: 1501, bias: "column" });
    check({ dtype, m: 40, n: 50, k: 1501, accumulate: true });
  }
  check({ m: 9000, n: 9, k: 400, bias: "row" });
  check({ m: 9, n: 9000, k: 400, bias: "column" });
});

Deno.test("batches, with operands that repeat along some axes", () => {
  for (const dtype of dtypes) {
    const sizes = { dtype, m: 7, n: 9, k: 5 };
    check({ ...sizes, batch: [3] });
    check({ ...sizes, batch: [2, 3], b: "column" });
    check({ ...sizes, batch: [2, 3], repeatA: [0], repeatB: [1] });
    check({ ...sizes, batch: [2, 3], repeatA: [0, 1] });
    check({ ...sizes, batch: [2, 3], repeatB: [0, 1], c: "gaps" });
    check({ ...sizes, batch: [4], accumulate: true });
    check({ ...sizes, batch: [4], bias: "column" });
  }
  check({ m: 64, n: 64, k: 32, batch: [4, 6], b: "column" });
});

Deno.test("more batches than the panels hold at once", () => {
  check({ m: 60, n: 64, k: 100, batch: [300], repeatA: [0] });
});

Deno.test("the number of threads does not change a bit", () => {
  const tests: Case[] = [
    { m: 205, n: 530, k: 70 },
    { m: 128, n: 100, k: 784, b: "column", bias: "column" },
    { m: 64, n: 64, k: 32, batch: [24] },
    { dtype: "f64", m: 100, n: 100, k: 300, accumulate: true },
    { dtype: "f16", m: 100, n: 100, k: 100 },
  ];
  for (const test of tests) {
    const results = [1, 2, 3].map((count) => {
      state = 777;
      return withThreads(count, () => check(test));
    });
    assertEquals(results[1], results[0]);
    assertEquals(results[2], results[0]);
  }
});

Deno.test("not-a-number and infinities go through, half types overflow to infinity", () => {
  for (const dtype of dtypes) {
    const a = allocate(64), b = allocate(64), c = allocate(64);
    const large = dtype === "f16" ? 60000 : dtype === "f64" ? 1e308 : 3e38;
    const rows: [number, number, (x: number) => boolean][] = [
      [NaN, 1, Number.isNaN],
      [Infinity, 1, (x) => x === Infinity],
      [-Infinity, 1, (x) => x === -Infinity],
      [Infinity, 0, Number.isNaN],
      [large, 1.9, (x) => x === Infinity],
      [2 ** -14, 2 ** -10, (x) => x === 2 ** -24],
    ];
    for (const [x, y, right] of rows) {
      write(dtype, a, 0, x);
      write(dtype, b, 0, y);
      const one = { rowStride: 1, columnStride: 1 };
      matmul({
        dtype,
        m: 1,
        n: 1,
        k: 1,
        a: { address: a, ...one },
        b: { address: b, ...one },
        c: { address: c, ...one },
      });
      const result = read(dtype, c, 0);
      assert(right(result), `${dtype}: ${x} · ${y} gave ${result}`);
    }
    for (const address of [a, b, c]) release(address);
  }
});

Deno.test("every half-precision pattern survives widening and narrowing", () => {
  for (const dtype of ["f16", "bf16"] as const) {
    const count = 65536;
    const a = allocate(count * 2), b = allocate(2), c = allocate(count * 2);
    for (let i = 0; i < count; i++) heap.u16[a / 2 + i] = i;
    write(dtype, b, 0, 1);
    matmul({
      dtype,
      m: count,
      n: 1,
      k: 1,
      a: { address: a, rowStride: 1, columnStride: 1 },
      b: { address: b, rowStride: 1, columnStride: 1 },
      c: { address: c, rowStride: 1, columnStride: 1 },
    });
    for (let i = 0; i < count; i++) {
      const [x, y] = [read(dtype, a, i), read(dtype, c, i)];
      // The sum starts at +0, so −0 becomes +0.
      if (!(x === y || (x !== x && y !== y))) {
        throw new Error(`${dtype} pattern ${i}: ${x} became ${y}`);
      }
    }
    for (const address of [a, b, c]) release(address);
  }
});
