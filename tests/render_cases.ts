/**
 * Rendered kernels against the meaning of their expressions (kernel/evaluate.ts),
 * over dtypes, ranks, loop orders, strides, tails and unrolled loops: cases for
 * every device that runs row programs.
 */

import { assert, assertEquals } from "@std/assert";
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
let device: Device;
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

function test(name: string, cases: () => void): void {
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

function elements(value: Value): (number | bigint)[] {
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

test("every dtype is copied whole, in every layout and length", () => {
  const dice = new Dice(1);
  for (const dtype of all) {
    for (const layout of layouts) {
      for (const n of [1, 2, 3, 4, 5, 7, 8, 17, 33]) {
        for (const shape of [[n], [3, n], [2, 1, n], [n, 2, 2]]) {
          check({
            name: "render copy",
            space: shape,
            axes: [],
            streams: [operand(dtype, shape, layout, drawer(dice, dtype))],
            passes: 1,
            build: ({ streams: [x] }) => ({
              stages: [],
              outputs: [{ dtype, per: "element", value: x }],
            }),
          });
        }
      }
    }
  }
});

test("conversions between all dtypes", () => {
  const odd = [0, -0, 0.5, -1.5, 300, -300, 1e10, -1e10, NaN, Infinity, 65520];
  for (const from of all) {
    for (const to of all) {
      const usable = odd.filter((v) =>
        isFloat(from) || (Number.isFinite(v) && Number.isInteger(v))
      );
      const x = operand(from, [13], "plain", (i) => usable[i % usable.length]);
      // What lies outside an 8-bit integer depends on the machine in PyTorch; here it wraps.
      check({
        name: `render convert ${to}`,
        space: [13],
        axes: [],
        streams: [x],
        passes: 1,
        build: ({ streams: [v] }) => ({
          stages: [],
          outputs: [{
            dtype: to,
            per: "element",
            value: k.roundTo(k.cast(v, k.computeType(to)), to),
          }],
        }),
      });
    }
  }
});

const spaces: { space: number[]; axes: number[] }[] = [
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

test("every reduction over every dtype, axis and layout", () => {
  const dice = new Dice(2);
  for (const op of ["sum", "prod", "max", "min", "argmax", "argmin"] as const) {
    for (const dtype of all) {
      for (const { space, axes } of spaces) {
        for (const layout of layouts) {
          const type = dtype === "bool" ? "i32" : k.computeType(dtype);
          const scale = op === "prod" && isFloat(dtype) ? 1 / 8 : 1;
          const draw = drawer(dice, dtype);
          const x = operand(
            dtype,
            space,
            layout,
            (i) => scale === 1 ? draw(i) : 1 + scale * draw(i) / 8,
          );
          check({
            name: `render ${op}`,
            space,
            axes,
            streams: [x],
            passes: 1,
            build: ({ streams }) => {
              const stage = { op, value: k.cast(streams[0], type) };
              const out = stageType(stage);
              return {
                stages: [stage],
                outputs: [{
                  dtype: out === "i32" ? "i64" : out as DType,
                  per: "row",
                  value: k.stage(0, out),
                }],
              };
            },
          });
        }
      }
    }
  }
});

test("NaN wins every extremum, and the first of equals every position", () => {
  const rows = [
    [1, NaN, 3, NaN, 2, 9, 9],
    [5, 1, 5, 1, 5, 1, 0],
    [-Infinity, -Infinity, -Infinity, -Infinity, -Infinity, -Infinity, NaN],
    [-Infinity, -Infinity, -Infinity, -Infinity, -Infinity, -Infinity, 0],
    [Infinity, Infinity, Infinity, Infinity, Infinity, Infinity, Infinity],
    [0, 0, 0, 0, 0, 0, 0],
    [3, 2, 1, 0, -1, -2, -3],
  ];
  for (const dtype of ["f32", "f64", "f16", "bf16"] as const) {
    for (const op of ["argmax", "argmin", "max", "min"] as const) {
      for (const axes of [[0], [1], [0, 1]]) {
        check({
          name: `render ties ${op}`,
          space: [7, 7],
          axes,
          streams: [
            operand(
              dtype,
              [7, 7],
              "plain",
              (i) => rows[Math.floor(i / 7)][i % 7],
            ),
          ],
          passes: 1,
          build: ({ streams }) => {
            const stage = { op, value: streams[0] };
            const type = stageType(stage);
            return {
              stages: [stage],
              outputs: [{
                dtype: type === "i32" ? "i64" : type as DType,
                per: "row",
                value: k.stage(0, type),
              }],
            };
          },
        });
      }
    }
  }
});

test("programs of several stages with outputs per row and per element", () => {
  const dice = new Dice(3);
  for (const dtype of ["f32", "f64", "bf16"] as const) {
    for (const { space, axes } of spaces) {
      for (const layout of layouts) {
        const keep = space.map((n, d) => axes.includes(d) ? 1 : n);
        const along = space.map((n, d) => axes.includes(d) ? n : 1);
        const draw = drawer(dice, dtype);
        const n = axes.reduce((total, d) => total * space[d], 1);
        check({
          name: `render norm ${dtype}`,
          space,
          axes,
          streams: [
            operand(dtype, space, layout, draw),
            operand(dtype, along, "plain", draw),
            operand(dtype, keep, "offset", draw),
          ],
          scalars: [1 / n, 0.25],
          build: ({ streams: [x, w, b], scalars }) => {
            const [share, epsilon] = scalars.map((s) => k.cast(s, x.type));
            const mean = k.mul(k.stage(0, x.type), share);
            const d = k.sub(x, mean);
            const variance = k.mul(k.stage(1, x.type), share);
            const scale = k.div(1, k.sqrt(k.add(variance, epsilon)));
            const most = k.stage(2, x.type);
            return {
              stages: [
                { op: "sum", value: x },
                { op: "sum", value: k.mul(d, d) },
                { op: "max", value: k.mul(d, scale) },
                { op: "argmin", value: x },
              ],
              outputs: [
                {
                  dtype,
                  per: "element",
                  value: k.roundTo(k.add(k.mul(k.mul(d, scale), w), b), dtype),
                },
                { dtype, per: "row", value: k.roundTo(k.add(mean, b), dtype) },
                { dtype: "i64", per: "row", value: k.stage(3, "i32") },
                {
                  dtype: "bool",
                  per: "element",
                  value: k.lt(k.mul(d, scale), most),
                },
              ],
            };
          },
        });
      }
    }
  }
});

test("coordinates and loads at computed offsets", () => {
  const dice = new Dice(4);
  for (const dtype of ["f32", "f64", "i64", "u8", "f16"] as const) {
    for (const { space, axes } of spaces) {
      const table = operand(dtype, [11], "plain", drawer(dice, dtype));
      const rank = space.length;
      check({
        name: `render load ${dtype}`,
        space,
        axes,
        streams: [operand("i32", space, "plain", drawer(dice, "i32"))],
        tables: [table],
        build: ({ streams: [x], coord, load }) => {
          let at = k.add(x, coord(0));
          for (let d = 1; d < rank; d++) at = k.add(k.mul(at, 2), coord(d));
          const element = load(0, at);
          return {
            stages: axes.length === 0 ? [] : [{ op: "max", value: element }],
            outputs: [
              { dtype, per: "element", value: element },
              { dtype: "i32", per: "element", value: at },
            ],
          };
        },
      });
    }
  }
});

test("random programs", () => {
  for (let seed = 1; seed <= 250; seed++) {
    const dice = new Dice(seed + 1000);
    const rank = 1 + dice.below(4);
    const space = Array.from(
      { length: rank },
      () => dice.pick([1, 2, 3, 5, 9]),
    );
    if (dice.below(2) === 0) space[dice.below(rank)] = dice.pick([16, 35]);
    const axes = space.map((_, d) => d).filter(() => dice.below(2) === 0);
    const streams = Array.from({ length: 1 + dice.below(3) }, () => {
      const shape = space.map((n) => dice.below(5) === 0 ? 1 : n);
      const dtype = dice.pick(all);
      return operand(dtype, shape, dice.pick(layouts), drawer(dice, dtype));
    });
    const programSeed = 1 + dice.below(1000);
    check({
      name: `render random ${seed}`,
      space,
      axes,
      streams,
      scalars: [dice.below(9) / 2],
      build: (b) => randomProgram(new Dice(programSeed), b, axes),
    });
  }
});

function randomProgram(
  dice: Dice,
  { streams, scalars }: RowBuilder,
  axes: readonly number[],
): { stages: Stage[]; outputs: Output[] } {
  const type = dice.pick(["f32", "f64", "i32", "i64"] as const);
  const pool = [...streams, ...scalars].map((e) => k.cast(e, type));
  const grow = () => {
    const a = dice.pick(pool), b = dice.pick(pool);
    const kind = dice.below(8);
    pool.push(
      kind === 0
        ? k.add(a, b)
        : kind === 1
        ? k.sub(a, b)
        : kind === 2
        ? k.mul(k.select(k.lt(a, b), a, k.constant(1, type)), b)
        : kind === 3
        ? k.max(a, b)
        : kind === 4
        ? k.select(k.and(k.le(a, b), k.ne(a, 2)), a, k.neg(b))
        : kind === 5
        ? k.min(k.abs(a), b)
        : kind === 6
        ? k.cast(k.cast(a, "i32"), type)
        : k.select(k.cast(a, "bool"), k.cast(k.lt(b, a), type), b),
    );
  };
  grow();
  const stages: Stage[] = [];
  const count = axes.length === 0 ? 0 : dice.below(4);
  for (let s = 0; s < count; s++) {
    const op = dice.pick(["sum", "max", "min", "argmax"] as const);
    const stage = { op, value: dice.pick(pool) };
    stages.push(stage);
    pool.push(k.cast(k.stage(s, stageType(stage)), type));
    grow();
  }
  const outputs: Output[] = [{
    dtype: type,
    per: "element",
    value: pool[pool.length - 1],
  }];
  if (count > 0) {
    outputs.push({
      dtype: type,
      per: "row",
      value: k.cast(k.stage(0, stageType(stages[0])), type),
    });
  }
  return { stages, outputs };
}

test("long rows are cut and joined to the same result", () => {
  const dice = new Dice(5);
  for (
    const [space, axes] of [[[70001], [0]], [[3, 65600], [1]], [
      [33000, 2],
      [0, 1],
    ], [[66000, 3], [0]]]
  ) {
    for (const op of ["sum", "max", "min"] as const) {
      for (const dtype of ["f32", "i64"] as const) {
        const x = operand(dtype, space, "plain", drawer(dice, dtype));
        check({
          name: `render long ${op}`,
          space,
          axes,
          streams: [x],
          passes: 1,
          build: ({ streams: [v] }) => ({
            stages: [{ op, value: k.add(v, v) }],
            outputs: [{
              dtype,
              per: "row",
              value: k.add(k.stage(0, v.type), k.constant(1, v.type)),
            }],
          }),
        });
      }
    }
  }
});

test("a costly value that stages and outputs share, kept in an output", () => {
  const dice = new Dice(7);
  for (const dtype of ["f32", "f64", "f16"] as const) {
    for (const { space, axes } of spaces) {
      for (const layout of layouts) {
        check({
          name: `render kept ${dtype}`,
          space,
          axes,
          streams: [operand(dtype, space, layout, drawer(dice, dtype))],
          build: ({ streams: [x] }) => {
            const e = k.exp(k.sub(x, k.stage(0, x.type)));
            const root = k.call("log1p", e);
            const share = k.div(e, k.stage(1, x.type));
            return {
              stages: [
                { op: "max", value: x },
                { op: "sum", value: e },
                { op: "sum", value: k.mul(e, x) },
                { op: "max", value: k.mul(root, k.stage(2, x.type)) },
                { op: "argmax", value: e },
              ],
              outputs: [
                { dtype, per: "element", value: k.roundTo(share, dtype) },
                {
                  dtype: x.type as DType,
                  per: "row",
                  value: k.stage(2, x.type),
                },
                {
                  dtype,
                  per: "element",
                  value: k.roundTo(k.sub(root, share), dtype),
                },
                { dtype: "i32", per: "row", value: k.stage(4, "i32") },
              ],
            };
          },
        });
      }
    }
  }
});

test("an output over its own operand keeps nothing there", () => {
  const x = operand("f32", [3, 9], "plain", (i) => i % 5);
  const y = operand("f32", [3, 9], "plain", (i) => i % 5);
  const softmax = (into: Value[] | undefined, source: Value) =>
    runRows(device, {
      name: "render in place",
      space: [3, 9],
      axes: [1],
      streams: [source],
      into,
      passes: 3,
      build: ({ streams: [v] }) => {
        const e = k.exp(v);
        return {
          stages: [
            { op: "sum", value: e },
            { op: "max", value: k.add(v, k.stage(0, "f32")) },
          ],
          outputs: [{
            dtype: "f32",
            per: "element",
            value: k.add(k.div(e, k.stage(0, "f32")), k.stage(1, "f32")),
          }],
        };
      },
    })[0];
  const apart = softmax(undefined, x.value);
  softmax([y.value], y.value);
  assertEquals(elements(y.value), elements(apart));
  for (const v of [x.value, y.value, apart]) v.release();
});

test("extrema of two, with and without a constant bound, by NaN and infinities", () => {
  const odd = [NaN, -Infinity, Infinity, 0, 1, -1, 2.5];
  for (const dtype of ["f32", "f64"] as const) {
    check({
      name: "render extrema",
      space: [49],
      axes: [],
      streams: [
        operand(dtype, [49], "plain", (i) => odd[i % 7]),
        operand(dtype, [49], "plain", (i) => odd[Math.floor(i / 7)]),
      ],
      build: ({ streams: [a, b] }) => {
        const values = [
          k.max(a, b),
          k.min(a, b),
          k.max(a, 1),
          k.min(1, a),
          k.max(a, NaN),
          k.select(k.lt(a, b), a, b),
          k.select(k.lt(a, b), b, a),
          k.select(k.gt(a, b), a, b),
          k.select(k.lt(a, 1), k.constant(1, a.type), a),
        ];
        return {
          stages: [],
          outputs: values.map((value) => ({ dtype, value, per: "element" })),
        };
      },
    });
  }
});

test("work that is cut into chunks", () => {
  const dice = new Dice(6);
  const cases: [number[], number[]][] = [
    [[14001], []],
    [[3, 4001], []],
    [[201, 50], [1]],
    [[50, 301], [0]],
    [[5, 41, 60], [0, 2]],
    [[40, 5, 61], [0, 1]],
  ];
  for (const [space, axes] of cases) {
    for (const layout of ["plain", "transposed"] as const) {
      const draw = drawer(dice, "f32");
      const along = space.map((n, d) => d === 0 ? 1 : n);
      check({
        name: "render chunks",
        space,
        axes,
        streams: [
          operand("f32", space, layout, draw),
          operand("f32", along, "plain", draw),
        ],
        build: ({ streams: [x, y] }) => {
          const scaled = k.mul(k.exp(k.div(x, 8)), y);
          return axes.length === 0
            ? {
              stages: [],
              outputs: [{ dtype: "f32", per: "element", value: scaled }],
            }
            : {
              stages: [{ op: "max", value: scaled }, { op: "sum", value: x }],
              outputs: [
                {
                  dtype: "f32",
                  per: "element",
                  value: k.sub(scaled, k.stage(0, "f32")),
                },
                { dtype: "f32", per: "row", value: k.stage(1, "f32") },
              ],
            };
        },
      });
    }
  }
});

test("rows without elements give what a reduction of nothing gives", () => {
  for (const shape of [[5, 0], [0, 5]]) {
    for (const dtype of ["f32", "i64"] as const) {
      const axis = shape.indexOf(0);
      const x = operand(dtype, shape, "plain", () => 7);
      const [total] = runRows(device, {
        name: "render empty",
        space: shape,
        axes: [axis],
        streams: [x.value],
        passes: 1,
        build: ({ streams: [v] }) => ({
          stages: [{ op: "sum", value: v }],
          outputs: [{ dtype, per: "row", value: k.stage(0, v.type) }],
        }),
      });
      assertEquals(elements(total).map(Number), [0, 0, 0, 0, 0]);
      total.release();
      x.value.release();
    }
  }
});
