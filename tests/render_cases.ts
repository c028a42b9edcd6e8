/**
 * Rendered kernels against the meaning of their expressions, over dtypes,
 * ranks, loop orders, strides, tails and unrolled loops: cases for every device
 * that runs row programs.
 */

import { assertEquals } from "@std/assert";
import { type DType, isFloat } from "../core/dtype.ts";
import { runRows } from "../core/row_kernels.ts";
import * as k from "../kernel/expr.ts";
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
