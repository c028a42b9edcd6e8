/** Scatter, sort and scan on the CUDA stand-ins against plain loops. */

import { assertEquals, assertThrows } from "@std/assert";
import type { ScatterMode } from "../core/device.ts";
import {
  type DType,
  getElement,
  hostArray,
  setElement,
} from "../core/dtype.ts";
import { DTypeError } from "../core/errors.ts";
import type { CudaDevice } from "../devices/cuda/device.ts";
import { Blocks, cudaTest } from "./cuda_cases.ts";
import { allDTypes } from "./cuda_programs.ts";
import { Dice, drawer } from "./render_harness.ts";

function drawn(dtype: DType, length: number, draw: (i: number) => number) {
  const array = hostArray(dtype, length);
  for (let i = 0; i < length; i++) setElement(array, dtype, i, draw(i));
  return array;
}

function numbers(array: ReturnType<typeof hostArray>, dtype: DType): number[] {
  return Array.from(
    { length: array.length },
    (_, i) => getElement(array, dtype, i),
  );
}

// ---- sort ----

const odd = [NaN, -Infinity, Infinity, 0, -0, 1, -1, NaN, 2.5];

function compareSort(
  device: CudaDevice,
  dtype: DType,
  rows: number,
  length: number,
  descending: boolean,
  dice: Dice,
): void {
  const blocks = new Blocks(device);
  const draw = drawer(dice, dtype);
  const float = ["f32", "f64", "f16", "bf16"].includes(dtype);
  const data = drawn(
    dtype,
    rows * length,
    (i) => float && dice.below(4) === 0 ? dice.pick(odd) : draw(i),
  );
  const input = blocks.of(data);
  const values = blocks.of(hostArray(dtype, rows * length));
  const indices = blocks.of(hostArray("i64", rows * length));
  device.sort({ dtype, rows, length, descending, input, values, indices });
  const own = numbers(data, dtype);
  const gotValues = numbers(
    blocks.read(values, dtype, rows * length),
    dtype,
  );
  const gotIndices = numbers(blocks.read(indices, "i64", rows * length), "i64");
  for (let row = 0; row < rows; row++) {
    const from = own.slice(row * length, (row + 1) * length);
    const order = from.map((_, i) => i).sort((a, b) => {
      const [x, y] = [from[a], from[b]];
      const larger = Number.isNaN(x)
        ? Number.isNaN(y) ? 0 : 1
        : Number.isNaN(y)
        ? -1
        : x === y
        ? 0
        : x > y
        ? 1
        : -1;
      return (descending ? -larger : larger) || a - b;
    });
    const what = `${dtype}, ${rows} rows of ${length}, row ${row}`;
    const part = (all: number[]) => all.slice(row * length, (row + 1) * length);
    assertEquals(part(gotIndices), order, what);
    assertEquals(part(gotValues), order.map((i) => from[i]), what);
  }
  blocks.release();
}

cudaTest("cuda sort: rows in shared memory, every dtype", (device) => {
  const dice = new Dice(21);
  for (const dtype of allDTypes) {
    for (
      const [rows, length] of [[3, 1], [5, 2], [300, 7], [4, 100], [2, 513]]
    ) {
      compareSort(device, dtype, rows, length, length % 2 === 0, dice);
    }
  }
  compareSort(device, "f32", 1, 4096, true, dice);
  compareSort(device, "f64", 1, 4096, false, dice);
});

cudaTest("cuda sort: long rows by radix, every dtype", (device) => {
  const dice = new Dice(22);
  for (const dtype of allDTypes) {
    compareSort(device, dtype, 2, 4097, dtype.startsWith("f"), dice);
  }
  compareSort(device, "f32", 1, 30000, false, dice);
});

// ---- scan ----

function compareScan(
  device: CudaDevice,
  dtype: "f32" | "f64" | "i32" | "i64",
  op: "sum" | "prod" | "max" | "min",
  rows: number,
  length: number,
  positions: boolean,
  dice: Dice,
): void {
  const blocks = new Blocks(device);
  const float = dtype === "f32" || dtype === "f64";
  const draw = drawer(dice, dtype);
  const data = drawn(
    dtype,
    rows * length,
    (i) =>
      op === "prod"
        ? dice.pick([1, -1, 1, 1])
        : float && op !== "sum" && dice.below(length) < 2
        ? dice.pick(odd)
        : draw(i),
  );
  const input = blocks.of(data);
  const output = blocks.of(hostArray(dtype, rows * length));
  const indices = positions
    ? blocks.of(hostArray("i64", rows * length))
    : undefined;
  device.scan({ dtype, op, rows, length, input, output, indices });
  const from = numbers(data, dtype);
  const best: number[] = [], where: number[] = [];
  for (let row = 0; row < rows; row++) {
    let running = op === "sum" ? 0 : op === "prod" ? 1 : NaN, at = -1;
    for (let i = 0; i < length; i++) {
      const x = from[row * length + i];
      if (op === "sum") running += x;
      else if (op === "prod") running *= x;
      else if (
        at < 0 || Number.isNaN(x) ||
        (op === "max" ? x >= running : x <= running)
      ) {
        running = x;
        at = i;
      }
      best.push(running);
      where.push(at);
    }
  }
  const what = `${op} of ${dtype}, ${rows} rows of ${length}`;
  assertEquals(
    numbers(blocks.read(output, dtype, rows * length), dtype).map((x) => x + 0),
    best.map((x) => x + 0),
    what,
  );
  if (indices !== undefined) {
    const got = numbers(blocks.read(indices, "i64", rows * length), "i64");
    assertEquals(got, where, what);
  }
  blocks.release();
}

cudaTest("cuda scan: every operation, dtype and length", (device) => {
  const dice = new Dice(23);
  for (const dtype of ["f32", "f64", "i32", "i64"] as const) {
    for (const op of ["sum", "prod", "max", "min"] as const) {
      for (
        const [rows, length] of [[300, 5], [3, 64], [4, 65], [2, 1025], [
          1,
          2048,
        ], [2, 20001]]
      ) {
        const positions = op === "max" || (op === "min" && length !== 65);
        compareScan(device, dtype, op, rows, length, positions, dice);
      }
    }
  }
});

// ---- scatter ----

interface ScatterCase {
  outer: number;
  inner: number;
  sourceSize: number;
  targetSize: number;
}

/** What a walk over the source in order gives; floats rounded after each step. */
function scattered(
  target: ReturnType<typeof hostArray>,
  source: ReturnType<typeof hostArray>,
  index: BigInt64Array,
  dtype: DType,
  mode: ScatterMode,
  c: ScatterCase,
  perElement: boolean,
): void {
  const step: Record<ScatterMode, (a: number, b: number) => number> = {
    set: (_, b) => b,
    add: (a, b) => a + b,
    mul: (a, b) => a * b,
    max: Math.max,
    min: Math.min,
  };
  for (let o = 0; o < c.outer; o++) {
    for (let s = 0; s < c.sourceSize; s++) {
      for (let i = 0; i < c.inner; i++) {
        const from = (o * c.sourceSize + s) * c.inner + i;
        const t = Number(index[perElement ? from : s]);
        if (t < 0 || t >= c.targetSize) continue;
        const to = (o * c.targetSize + t) * c.inner + i;
        if (mode === "set") target[to] = source[from];
        else {
          setElement(
            target,
            dtype,
            to,
            step[mode](
              getElement(target, dtype, to),
              getElement(source, dtype, from),
            ),
          );
        }
      }
    }
  }
}

function compareScatter(
  device: CudaDevice,
  dtype: DType,
  mode: ScatterMode,
  c: ScatterCase,
  perElement: boolean,
  dice: Dice,
): void {
  const blocks = new Blocks(device);
  const { outer, inner, sourceSize, targetSize } = c;
  const float = dtype === "f32" || dtype === "f64";
  // Fractions whose sums depend on their order.
  const draw = (i: number) =>
    mode === "mul"
      ? dice.pick([1, -1, 1, 1.5 - (float ? 0 : 0.5)])
      : float && mode === "add"
      ? dice.next() * 10 ** dice.below(4)
      : float && (mode === "max" || mode === "min") && i % 50 === 3
      ? NaN
      : drawer(dice, dtype)(i);
  const target = drawn(dtype, outer * targetSize * inner, draw);
  const source = drawn(dtype, outer * sourceSize * inner, draw);
  const index = new BigInt64Array(
    perElement ? outer * sourceSize * inner : sourceSize,
  );
  for (let i = 0; i < index.length; i++) {
    index[i] = BigInt(dice.below(targetSize + 2) - 1);
  }
  const blockOf = blocks.of(target);
  device.scatter({
    dtype,
    mode,
    ...c,
    target: blockOf,
    source: blocks.of(source),
    index: blocks.of(index),
    perElement,
  });
  const got = blocks.read(blockOf, dtype, target.length);
  scattered(target, source, index, dtype, mode, c, perElement);
  assertEquals(
    numbers(got, dtype),
    numbers(target, dtype),
    `${mode} of ${dtype}, ${JSON.stringify(c)}, ${perElement}`,
  );
  blocks.release();
}

const scatters: ScatterCase[] = [
  { outer: 2, inner: 3, sourceSize: 5, targetSize: 4 },
  { outer: 1, inner: 1, sourceSize: 3000, targetSize: 17 },
  { outer: 2, inner: 5, sourceSize: 200, targetSize: 300 },
  { outer: 1, inner: 40, sourceSize: 100, targetSize: 7 },
];

cudaTest(
  "cuda scatter: every mode and dtype, with the results of a walk in order",
  (device) => {
    const dice = new Dice(24);
    for (const dtype of ["f32", "f64", "i32", "i64"] as const) {
      for (const mode of ["set", "add", "mul", "max", "min"] as const) {
        for (const c of scatters) {
          for (const perElement of [false, true]) {
            compareScatter(device, dtype, mode, c, perElement, dice);
          }
        }
      }
    }
  },
);

cudaTest("cuda scatter: narrow dtypes are set", (device) => {
  const dice = new Dice(25);
  for (const dtype of ["f16", "u8", "bool"] as const) {
    for (const c of scatters) {
      compareScatter(device, dtype, "set", c, true, dice);
    }
  }
  const block = { storage: device.allocate(64), offset: 0 };
  assertThrows(
    () =>
      device.scatter({
        dtype: "f16",
        mode: "add",
        outer: 1,
        targetSize: 2,
        sourceSize: 2,
        inner: 1,
        target: block,
        source: block,
        index: block,
        perElement: true,
      }),
    DTypeError,
    "convert first",
  );
  block.storage.release();
});

cudaTest(
  "cuda scatter, sort and scan: nothing happens to nothing",
  (device) => {
    const block = { storage: device.allocate(64), offset: 0 };
    device.sort({
      dtype: "f32",
      rows: 0,
      length: 5,
      descending: false,
      input: block,
      values: block,
      indices: block,
    });
    device.scan({
      dtype: "f32",
      op: "sum",
      rows: 3,
      length: 0,
      input: block,
      output: block,
    });
    device.scatter({
      dtype: "f32",
      mode: "add",
      outer: 0,
      targetSize: 2,
      sourceSize: 2,
      inner: 1,
      target: block,
      source: block,
      index: block,
      perElement: true,
    });
    assertThrows(
      () =>
        device.scan({
          dtype: "f16",
          op: "max",
          rows: 1,
          length: 1,
          input: block,
          output: block,
        }),
      DTypeError,
      "convert first",
    );
    block.storage.release();
  },
);
