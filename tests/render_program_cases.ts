/**
 * Programs of several stages and outputs, loads at computed offsets, random
 * programs, and work that is cut: cases for every device that runs row programs.
 */

import { assertEquals } from "@std/assert";
import type { DType } from "../core/dtype.ts";
import { type RowBuilder, runRows } from "../core/row_kernels.ts";
import type { Value } from "../core/value.ts";
import * as k from "../kernel/expr.ts";
import type { Output, Stage } from "../kernel/program.ts";
import { stageType } from "../kernel/program.ts";
import {
  all,
  check,
  device,
  Dice,
  drawer,
  elements,
  layouts,
  operand,
  spaces,
  test,
} from "./render_harness.ts";

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
