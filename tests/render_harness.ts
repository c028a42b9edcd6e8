/**
 * Runs row programs on a device and compares every element with the meaning of
 * their expressions (kernel/evaluate.ts): operands in several layouts, random
 * numbers, and the groups of cases.
 */

import { assert } from "@std/assert";
import {
  bytesOf,
  type DType,
  dtypes,
  getElement,
  hostArray,
  isFloat,
  setElement,
} from "../core/dtype.ts";
import type { Device } from "../core/device.ts";
import { readBytes, type RowBuilder, runRows } from "../core/row_kernels.ts";
import type { Shape } from "../core/shape.ts";
import { Value } from "../core/value.ts";
import { evaluate } from "../kernel/evaluate.ts";
import * as k from "../kernel/expr.ts";
import type { Output, Stage } from "../kernel/program.ts";
import { stageType } from "../kernel/program.ts";

/** Where the cases run. */
export let device: Device;

/** One of how many cases runs, and the number of the next one. */
let oneOf = 1, turn = 0;

/** A group of cases. */
export interface RenderTest {
  /** What holds. */
  readonly name: string;
  /** Runs the cases on a device; every `thin`-th of them where compiling takes long. */
  run(on: Device, thin?: number): void;
}

/** All groups. */
export const renderTests: RenderTest[] = [];

/** Runs cases on a device. */
export function onDevice(on: Device, cases: () => void): void {
  device = on;
  oneOf = 1;
  cases();
}

/** Adds a group of cases. */
export function test(name: string, cases: () => void): void {
  renderTests.push({
    name,
    run(on, thin = 1) {
      device = on;
      oneOf = thin;
      turn = 0;
      cases();
    },
  });
}

/** A repeatable source of numbers in [0, 1). */
export class Dice {
  #state: number;
  constructor(seed: number) {
    this.#state = seed * 2654435761 >>> 0;
  }
  next(): number {
    this.#state = (Math.imul(this.#state, 1664525) + 1013904223) >>> 0;
    return this.#state / 2 ** 32;
  }
  below(n: number): number {
    return Math.floor(this.next() * n);
  }
  pick<T>(from: readonly T[]): T {
    return from[this.below(from.length)];
  }
}

/** An operand: strided data on the device and the same elements on the host. */
export interface Operand {
  value: Value;
  at(position: readonly number[]): number | bigint;
}

export type Layout = "plain" | "transposed" | "stretched" | "offset";

/** An operand of `shape`, laid out in one of several ways. */
export function operand(
  dtype: DType,
  shape: Shape,
  layout: Layout,
  draw: (i: number) => number,
): Operand {
  const rank = shape.length;
  // Axis order in memory, elements between neighbours, junk in front.
  const order = shape.map((_, d) => d);
  if (layout === "transposed") order.reverse();
  const gap = layout === "stretched" ? 3 : 1;
  const lead = layout === "plain" ? 0 : 5;
  const strides = new Array<number>(rank);
  let step = gap;
  for (let i = rank - 1; i >= 0; i--) {
    strides[order[i]] = step;
    step *= shape[order[i]];
  }
  const host = hostArray(dtype, lead + Math.max(1, step));
  for (let i = 0; i < host.length; i++) setElement(host, dtype, i, draw(i));
  const whole = Value.empty(device, dtype, [host.length]);
  device.write(
    whole.storage,
    0,
    new Uint8Array(host.buffer, 0, host.length * bytesOf(dtype)),
  );
  const value = whole.view(shape, strides, lead);
  whole.release();
  return {
    value,
    at: (position) => {
      let i = lead;
      position.forEach((p, d) => i += p * strides[d]);
      return dtype === "i64"
        ? (host as BigInt64Array)[i]
        : getElement(host, dtype, i);
    },
  };
}

/** A row kernel and its operands. */
export interface Case {
  name: string;
  space: Shape;
  axes: readonly number[];
  streams: readonly Operand[];
  tables?: readonly Operand[];
  scalars?: readonly number[];
  passes?: number;
  build(b: RowBuilder): { stages: Stage[]; outputs: Output[] };
}

function positions(shape: Shape): number[][] {
  let all: number[][] = [[]];
  for (const n of shape) {
    all = all.flatMap((p) => Array.from({ length: n }, (_, i) => [...p, i]));
  }
  return all;
}

/** What a stage over a row gives, floats summed in double precision; `size` is the sum of magnitudes. */
function reduce(
  stage: Stage,
  values: readonly (number | bigint)[],
): { result: number | bigint; size: number } {
  const { op } = stage;
  const type = stage.value.type;
  if (op === "argmax" || op === "argmin") {
    let best = 0;
    values.forEach((v, i) => {
      const b = values[best];
      if (Number.isNaN(b)) return;
      if (Number.isNaN(v) || (op === "argmax" ? v > b : v < b)) best = i;
    });
    return { result: best, size: 0 };
  }
  if (type === "i64") {
    const start = { sum: 0n, prod: 1n, max: -(2n ** 63n), min: 2n ** 63n - 1n };
    const total = (values as bigint[]).reduce(
      (a, b) =>
        op === "sum"
          ? a + b
          : op === "prod"
          ? a * b
          : (op === "max") === a > b
          ? a
          : b,
      start[op],
    );
    return { result: BigInt.asIntN(64, total), size: 0 };
  }
  const numbers = values as number[];
  if (type === "i32") {
    const result = op === "sum"
      ? numbers.reduce((a, b) => (a + b) | 0, 0)
      : op === "prod"
      ? numbers.reduce((a, b) => Math.imul(a, b), 1)
      : Math[op](...numbers, op === "max" ? -(2 ** 31) : 2 ** 31 - 1);
    return { result, size: 0 };
  }
  if (op === "sum") {
    const result = numbers.reduce((a, b) => a + b, 0);
    return { result, size: numbers.reduce((a, b) => a + Math.abs(b), 0) };
  }
  if (op === "prod") {
    const result = numbers.reduce((a, b) => a * b, 1);
    return { result, size: Math.abs(result) * numbers.length };
  }
  return { result: Math[op](...numbers), size: 0 };
}

function near(
  actual: number | bigint,
  expected: number | bigint,
  dtype: DType,
  size: number,
): boolean {
  if (Object.is(actual, expected) || actual === expected) return true;
  if (!isFloat(dtype)) return false;
  const a = Number(actual), e = Number(expected);
  const epsilon = { f32: 3e-7, f64: 2e-15, f16: 1e-3, bf16: 8e-3 }[
    dtype as "f32"
  ];
  return Math.abs(a - e) <= epsilon * (2 * Math.abs(e) + size);
}

/** Runs a case on the device and by evaluation, and compares every element. */
export function check(c: Case): void {
  if (turn++ % oneOf === 0) compare(c);
  for (const s of c.streams) s.value.release();
  for (const t of c.tables ?? []) t.value.release();
}

function compare(c: Case): void {
  const results = runRows(device, {
    name: c.name,
    space: c.space,
    axes: c.axes,
    streams: c.streams.map((s) => s.value),
    tables: c.tables?.map((t) => t.value),
    scalars: c.scalars,
    passes: c.passes ?? 2,
    build: c.build,
  });
  const { stages, outputs } = c.build({
    streams: c.streams.map((s, i) => k.input(i, k.computeType(s.value.dtype))),
    scalars: (c.scalars ?? []).map((_, i) => k.scalar(i, "f32")),
    coord: k.coord,
    load: (i, at) => k.load(i, k.computeType(c.tables![i].value.dtype), at),
  });
  const got = results.map((r) => elements(r));
  const outer = c.space.map((_, d) => d).filter((d) => !c.axes.includes(d));
  const rows = positions(outer.map((d) => c.space[d]));
  const inner = positions(c.axes.map((d) => c.space[d]));
  rows.forEach((row, r) => {
    const full = (element: readonly number[]) =>
      c.space.map((_, d) =>
        c.axes.includes(d)
          ? element[c.axes.indexOf(d)] ?? 0
          : row[outer.indexOf(d)]
      );
    const reduced: (number | bigint)[] = [];
    let size = 0;
    const leaves =
      (position: readonly number[]) =>
      (e: k.Expr, args: readonly (number | bigint)[]): number | bigint => {
        const i = Number(e.value);
        switch (e.op) {
          case "input":
            return read(c.streams[i], c.space, position);
          case "scalar":
            return Math.fround(c.scalars![i]);
          case "coord":
            return position[i];
          case "stage":
            return reduced[i];
          case "load": {
            const table = c.tables![i];
            const limit = table.value.size - 1;
            const at = Math.min(limit, Math.max(0, Number(args[0])));
            return table.at([at]);
          }
          default:
            throw new Error(`leaf ${e.op}`);
        }
      };
    for (const stage of stages) {
      const part = reduce(
        stage,
        inner.map((p) => evaluate(stage.value, leaves(full(p)))),
      );
      const type = stageType(stage);
      size += part.size;
      reduced.push(
        type === "f32" ? Math.fround(Number(part.result)) : part.result,
      );
    }
    outputs.forEach((output, o) => {
      const where = output.per === "row" ? [[]] : inner;
      where.forEach((p) => {
        const position = full(p);
        let expected = evaluate(output.value, leaves(position));
        if (output.dtype === "i64") expected = BigInt(expected);
        const at = output.per === "row" ? r : flat(position, c.space);
        const actual = got[o][at];
        assert(
          near(actual, expected, output.dtype, size),
          `${c.name}, space [${c.space}], axes [${c.axes}], strides ${
            c.streams.map((s) => `[${s.value.strides}]`).join(" ")
          }: output ${o} at [${position}] is ${actual}, expected ${expected}`,
        );
      });
    });
  });
  for (const r of results) r.release();
}

function read(s: Operand, space: Shape, position: readonly number[]) {
  const { shape } = s.value;
  const own = position.slice(space.length - shape.length)
    .map((p, d) => shape[d] === 1 ? 0 : p);
  return s.at(own);
}

function flat(position: readonly number[], shape: Shape): number {
  return position.reduce((at, p, d) => at * shape[d] + p, 0);
}

/** All elements of a value, in order. */
export function elements(value: Value): (number | bigint)[] {
  const bytes = readBytes(value);
  const { constructor } = hostArray(value.dtype, 0);
  const host = new (constructor as Uint8ArrayConstructor)(bytes.buffer);
  return Array.from(
    { length: value.size },
    (_, i) =>
      value.dtype === "i64"
        ? (host as unknown as BigInt64Array)[i]
        : getElement(host, value.dtype, i),
  );
}

/** Numbers that a dtype can hold; small integers, quarters for floats. */
export function drawer(dice: Dice, dtype: DType): (i: number) => number {
  return () => {
    if (dtype === "bool") return dice.below(2);
    if (isFloat(dtype)) return (dice.below(65) - 32) / 4;
    return dice.below(dtype === "u8" ? 9 : 17) - (dtype === "u8" ? 0 : 8);
  };
}

export const all = Object.keys(dtypes) as DType[];

export const layouts: Layout[] = ["plain", "transposed", "stretched", "offset"];

/** Shapes of spaces, and their reduced axes. */
export const spaces: { space: number[]; axes: number[] }[] = [
  { space: [1], axes: [0] },
  { space: [7], axes: [0] },
  { space: [67], axes: [0] },
  { space: [3, 5], axes: [1] },
  { space: [5, 3], axes: [0] },
  { space: [4, 37], axes: [0] },
  { space: [37, 4], axes: [0] },
  { space: [2, 33], axes: [1] },
  { space: [2, 33], axes: [0, 1] },
  { space: [3, 4, 5], axes: [1] },
  { space: [3, 4, 5], axes: [0, 2] },
  { space: [2, 19, 3], axes: [1] },
  { space: [2, 3, 18], axes: [0, 1] },
  { space: [2, 3, 4, 5], axes: [0, 2, 3] },
  { space: [2, 1, 4, 5], axes: [1, 2] },
  { space: [3, 1, 1], axes: [2] },
];
