/** Every collective on every dtype and operation, against plain loops: for any list of devices. */

import { assertEquals } from "@std/assert";
import type { ReduceOp } from "../core/collectives.ts";
import { type DType, dtypes, hostArray, setElement } from "../core/dtype.ts";
import { memory } from "../core/memory.ts";
import { scope } from "../core/scope.ts";
import { fromHost, type Tensor } from "../core/tensor.ts";
import type { ProcessGroup } from "../dist/process_group.ts";
import * as dist from "../dist/mod.ts";

const ops: readonly ReduceOp[] = ["sum", "prod", "min", "max", "avg"];

/** Small numbers that every dtype holds, and whose sums and products f16 and i8 hold too. */
function element(rank: number, i: number, dtype: DType): number {
  const value = (i * 7 + rank * 3) % 5 - 1;
  if (dtype === "bool") return value > 1 ? 1 : 0;
  return dtype === "u8" ? value + 1 : value;
}

function elements(rank: number, length: number, dtype: DType): number[] {
  return Array.from({ length }, (_, i) => element(rank, i, dtype));
}

/** A tensor on a device. */
export function tensorOf(
  values: readonly number[],
  dtype: DType,
  device: string,
): Tensor {
  const data = hostArray(dtype, values.length);
  values.forEach((v, i) => setElement(data, dtype, i, v));
  return fromHost(data, dtype, [values.length], { device });
}

const combine: Record<ReduceOp, (values: number[]) => number> = {
  sum: (v) => v.reduce((a, b) => a + b),
  prod: (v) => v.reduce((a, b) => a * b),
  min: (v) => Math.min(...v),
  max: (v) => Math.max(...v),
  avg: (v) => v.reduce((a, b) => a + b) / v.length,
};

/** What combining the ranks' elements gives. */
function combined(rows: number[][], op: ReduceOp, dtype: DType): number[] {
  return rows[0].map((_, i) => {
    const value = combine[op](rows.map((row) => row[i]));
    if (dtype === "bool") return value === 0 ? 0 : 1;
    // As each dtype stores it.
    const stored = hostArray(dtype, 1);
    setElement(stored, dtype, 0, value);
    return Number(tensorOf([value], dtype, "cpu").data()[0]);
  });
}

function numbers(tensor: Tensor | undefined): number[] | undefined {
  return tensor && Array.from(tensor.data() as ArrayLike<number>, Number);
}

/** Whether a dtype can be combined so. */
function takes(op: ReduceOp, dtype: DType): boolean {
  return op !== "avg" || dtypes[dtype].kind === "float";
}

/** Runs every collective on a group; throws at the first wrong number. */
function checkCollectives(
  group: ProcessGroup,
  devices: string[],
  types: readonly DType[],
): void {
  const world = group.worldSize;
  const length = 6 * world;
  for (const dtype of types) {
    scope(() => {
      const rows = devices.map((_, rank) => elements(rank, length, dtype));
      const make = () =>
        rows.map((row, rank) => tensorOf(row, dtype, devices[rank]));
      for (const op of ops.filter((o) => takes(o, dtype))) {
        const wanted = combined(rows, op, dtype);
        const what = `${dtype} ${op}`;
        assertEquals(
          group.allReduce(make(), { op }).wait().map(numbers),
          rows.map(() => wanted),
          `allReduce ${what}`,
        );
        const xs = make();
        const results = group.allReduce(xs, { op, inPlace: true }).wait();
        assertEquals(results, xs);
        assertEquals(xs.map(numbers), rows.map(() => wanted), `in place`);
        const root = world - 1;
        assertEquals(
          group.reduce(make(), { op, root }).wait().map(numbers),
          rows.map((_, rank) => rank === root ? wanted : undefined),
          `reduce ${what}`,
        );
        assertEquals(
          group.reduceScatter(make(), { op }).wait().map(numbers),
          rows.map((_, rank) => wanted.slice(rank * 6, rank * 6 + 6)),
          `reduceScatter ${what}`,
        );
      }
      for (const root of rows.keys()) {
        assertEquals(
          group.broadcast(make(), { root }).wait().map(numbers),
          rows.map(() => rows[root]),
          `broadcast ${dtype}`,
        );
      }
      const xs = make();
      group.broadcast(xs, { inPlace: true }).wait();
      assertEquals(xs.map(numbers), rows.map(() => rows[0]));
      assertEquals(
        group.allGather(make()).wait().map(numbers),
        rows.map(() => rows.flat()),
        `allGather ${dtype}`,
      );
      assertEquals(
        group.allToAll(make()).wait().map(numbers),
        rows.map((_, to) =>
          rows.flatMap((row) => row.slice(6 * to, 6 * to + 6))
        ),
        `allToAll ${dtype}`,
      );
      checkRing(group, make(), rows, dtype);
    });
  }
}

/** Each rank sends to the next one. */
function checkRing(
  group: ProcessGroup,
  xs: Tensor[],
  rows: number[][],
  dtype: DType,
): void {
  const world = group.worldSize;
  const received = group.grouped(() =>
    xs.map((x, rank) => {
      group.send(x, { to: (rank + 1) % world, rank });
      const from = (rank + world - 1) % world;
      return group.recv(x.shape, { from, rank, dtype });
    })
  ).map((work) => work.wait());
  assertEquals(
    received.map(numbers),
    rows.map((_, rank) => rows[(rank + world - 1) % world]),
    `send and recv ${dtype}`,
  );
}

/** Runs every collective among the devices, and counts what is left in memory. */
export function checkGroup(
  devices: string[],
  types = Object.keys(dtypes) as DType[],
): void {
  const before = memory().tensors;
  using group = dist.processGroup(devices);
  assertEquals(group.worldSize, devices.length);
  checkCollectives(group, devices, types);
  assertEquals(memory().tensors, before);
}
