/**
 * Rendered CUDA kernels on the stand-in libraries against the meaning of their
 * expressions: every operation on edge values, every shape of kernels.
 */

import { assert, assertEquals } from "@std/assert";
import { type DType, hostArray, isFloat } from "../core/dtype.ts";
import type { CudaDevice } from "../devices/cuda/device.ts";
import { kernelObserver } from "../devices/cuda/launch_facts.ts";
import { fillOperands } from "../devices/cuda/launch_params.ts";
import { bounds } from "../devices/cuda/launch_shape.ts";
import { evaluate } from "../kernel/evaluate.ts";
import * as k from "../kernel/expr.ts";
import type { ScalarType } from "../kernel/expr.ts";
import { type Program, program, stageType } from "../kernel/program.ts";
import { Blocks, cudaTest } from "./cuda_cases.ts";
import { dense, operationPrograms, reduceProgram } from "./cuda_programs.ts";
import {
  check,
  Dice,
  drawer,
  onDevice,
  operand,
  renderTests,
} from "./render_harness.ts";
import "./render_cases.ts";
import "./render_program_cases.ts";

/** Runs with the shapes of kernels that large operands have. */
function asLarge(body: () => void): void {
  const before = bounds.small;
  bounds.small = 0;
  try {
    body();
  } finally {
    bounds.small = before;
  }
}

for (const { name, run } of renderTests) {
  cudaTest(`cuda render: ${name}`, (device) => {
    run(device, 7);
    asLarge(() => run(device, 31));
  });
}

Deno.test("offsets into an operand of no elements are clamped to its block, not before it", () => {
  const limits = [{ word: 2, of: 0 }, { word: 3, of: 1 }];
  const layout = { bytes: 16, scalars: [], limits } as never;
  const launch = { inputs: [], outputs: [], scalars: [], limits: [0, 5] };
  const bytes = fillOperands(layout, launch as never).slice();
  assertEquals([...new Int32Array(bytes.buffer)].slice(2), [0, 4]);
});

cudaTest(
  "cuda render: few elements that lie far apart have 64-bit offsets",
  (device) => {
    const blocks = new Blocks(device);
    const data = Float32Array.from({ length: 1000 }, (_, i) => i);
    const input = { ...blocks.of(data), dtype: "f32" as const, strides: [100] };
    const output = {
      ...blocks.of(hostArray("f32", 10)),
      dtype: "f32" as const,
      strides: [1],
    };
    const x = k.input(0, "f32");
    const p = program(["f32"], [], [], [
      { dtype: "f32", per: "element", value: k.add(x, x) },
    ]);
    const sources: string[] = [];
    const before = bounds.narrow;
    kernelObserver.rendered = (source) => void sources.push(source);
    try {
      for (const narrow of [900, 899]) {
        bounds.narrow = narrow;
        device.launch({ ...dense(p, [10], 0, [input]), outputs: [output] });
      }
    } finally {
      bounds.narrow = before;
      kernelObserver.rendered = undefined;
    }
    const wide = sources.map((source) => /long long \w+ = /.test(source));
    assertEquals(wide, [false, true]);
    const got = blocks.read(output, "f32", 10);
    assertEquals(
      [...got as Float32Array],
      Array.from({ length: 10 }, (_, i) => 200 * i),
    );
    blocks.release();
  },
);

Deno.test("the cases of rendered kernels are there", () => {
  assert(renderTests.length > 10);
});

const floats = [
  0,
  -0,
  1,
  -1,
  0.5,
  -0.5,
  1.5,
  2.5,
  -2.5,
  3,
  -3.75,
  7,
  0.001,
  1e-40,
  123456.789,
  -1e10,
  2147483648,
  -2147483649,
  9.3e18,
  1e30,
  NaN,
  Infinity,
  -Infinity,
];
const values: Readonly<Record<ScalarType, readonly (number | bigint)[]>> = {
  f32: floats.map(Math.fround),
  f64: [...floats, 1e300, -1e-310, 0.1],
  i32: [0, 1, -1, 2, 3, -7, 255, 256, 65537, -(2 ** 31), 2 ** 31 - 1],
  i64: [
    0n,
    1n,
    -1n,
    3n,
    -7n,
    2n ** 31n,
    -(2n ** 40n) - 3n,
    -(2n ** 63n),
    2n ** 63n - 1n,
  ],
  bool: [0, 1],
};

/** Relative error that a function may have: some units in the last place. */
function close(actual: number, expected: number, type: ScalarType): boolean {
  if (Object.is(actual, expected) || actual === expected) return true;
  const epsilon = type === "f64" ? 4e-15 : 8e-7;
  // Subnormal results may be lost; lgamma and digamma are exact to their largest term only.
  return Math.abs(actual - expected) <=
      epsilon * (1e-30 + Math.abs(expected)) ||
    Math.abs(actual - expected) <= epsilon * 1e-3;
}

function storeAll(type: ScalarType, data: readonly (number | bigint)[]) {
  const array = hostArray(type, data.length);
  data.forEach((v, i) => array[i] = v as number);
  return array;
}

/** Runs an elementwise program over columns of operands, and compares with its meaning. */
function compareOperations(
  device: CudaDevice,
  p: Program,
  type: ScalarType,
): void {
  const own = values[type];
  // All pairs, with a third operand that wanders.
  const a = own.flatMap((x) => own.map(() => x));
  const b = own.flatMap(() => [...own]);
  const c = a.map((_, i) => own[(3 * i + 1) % own.length]);
  const blocks = new Blocks(device);
  const inputs = [a, b, c].map((data) => ({
    ...blocks.of(storeAll(type, data)),
    dtype: type as DType,
    strides: [1],
  }));
  const outputs = p.outputs.map(({ dtype }) => ({
    ...blocks.of(hostArray(dtype, a.length)),
    dtype,
    strides: [1],
  }));
  device.launch({ ...dense(p, [a.length], 0, inputs), outputs });
  p.outputs.forEach(({ dtype, value }, o) => {
    const got = blocks.read(outputs[o], dtype, a.length);
    a.forEach((_, i) => {
      const expected = evaluate(value, (e) => [a, b, c][Number(e.value)][i]);
      const actual = dtype === "i64" ? got[i] : Number(got[i]);
      const same = isFloat(dtype)
        ? close(Number(actual), Number(expected), value.type)
        : actual === expected;
      assert(
        same,
        `${value.op} ${value.args.map((x) => x.type)} of ${a[i]}, ${b[i]}, ${
          c[i]
        } is ${actual}, expected ${expected}`,
      );
    });
  });
  blocks.release();
}

for (const type of ["f32", "f64", "i32", "i64", "bool"] as const) {
  cudaTest(
    `cuda render: every operation on ${type}, at its edges`,
    (device) => {
      for (const p of operationPrograms(type)) {
        compareOperations(device, p, type);
      }
    },
  );
}

const lengths = [0, 1, 31, 32, 33, 1000, 4097, 20000];

cudaTest("cuda render: softmax and norms of rows of every length", (device) => {
  const dice = new Dice(11);
  const all = () => {
    for (const dtype of ["f32", "bf16", "f64"] as const) {
      for (const n of lengths) {
        for (const columns of [false, true]) {
          const rows = n > 4000 ? 3 : columns ? 40 : 9;
          const space = columns ? [n, rows] : [rows, n];
          const along = columns ? [n, 1] : [1, n];
          const draw = drawer(dice, dtype);
          check({
            name: `cuda softmax ${dtype}`,
            space,
            axes: [columns ? 0 : 1],
            streams: [
              operand(dtype, space, "plain", draw),
              operand(dtype, along, "plain", draw),
            ],
            build: ({ streams: [x, w] }) => {
              const e = k.exp(k.mul(k.sub(x, k.stage(0, x.type)), 0.125));
              return {
                stages: [
                  { op: "max", value: x },
                  { op: "sum", value: e },
                ],
                outputs: [
                  {
                    dtype,
                    per: "element",
                    value: k.roundTo(
                      k.fma(e, k.div(1, k.stage(1, x.type)), w),
                      dtype,
                    ),
                  },
                  {
                    dtype,
                    per: "row",
                    value: k.roundTo(k.stage(0, x.type), dtype),
                  },
                ],
              };
            },
          });
        }
      }
    }
  };
  onDevice(device, all);
  asLarge(() => onDevice(device, all));
});

const few: readonly (readonly [number[], number[]])[] = [
  [[40000], [0]],
  [[100003], [0]],
  [[3, 40001], [1]],
  [[4000, 3], [0]],
  [[3000, 40], [0]],
  [[20, 2, 1000], [0, 2]],
];

cudaTest("cuda render: few and long rows, cut in pieces", (device) => {
  const dice = new Dice(12);
  onDevice(device, () => {
    for (const [space, axes] of few) {
      for (const dtype of ["f32", "i64", "f16"] as const) {
        const draw = drawer(dice, dtype);
        const keep = space.map((n, d) => axes.includes(d) ? 1 : n);
        check({
          name: `cuda pieces ${dtype}`,
          space,
          axes,
          streams: [
            operand(dtype, space, "plain", draw),
            operand(dtype, keep, "plain", draw),
          ],
          scalars: [0.5],
          build: ({ streams: [x, b], scalars: [half] }) => {
            const t = x.type as "f32" | "i64";
            const second = k.mul(
              k.cast(k.lt(x, k.stage(0, t)), t),
              k.add(x, k.cast(half, t)),
            );
            return {
              stages: [
                { op: "max", value: x },
                { op: "argmin", value: x },
                { op: "sum", value: second },
              ],
              outputs: [
                { dtype: t, per: "row", value: k.add(k.stage(2, t), b) },
                { dtype: "i64", per: "row", value: k.stage(1, "i32") },
                {
                  dtype: t,
                  per: "element",
                  value: k.sub(k.stage(0, t), x),
                },
              ],
            };
          },
        });
        const ops = ["argmax", "argmin", "prod", "min"] as const;
        for (const op of dtype === "f32" ? ops : []) {
          check({
            name: `cuda pieces ${op}`,
            space,
            axes,
            streams: [
              operand(
                dtype,
                space,
                "plain",
                (i) => op === "prod" ? i % 977 === 0 ? -1 : 1 : draw(i),
              ),
            ],
            build: ({ streams: [x] }) => {
              const stage = { op, value: x };
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
});

cudaTest(
  "cuda render: NaN and ties over the pieces of a long row",
  (device) => {
    onDevice(device, () => {
      for (const nan of [[], [30000], [12345, 30000]]) {
        for (const op of ["argmax", "argmin", "max"] as const) {
          check({
            name: `cuda pieces ties ${op}`,
            space: [40000],
            axes: [0],
            streams: [
              operand("f32", [40000], "plain", (i) => {
                if (nan.includes(i)) return NaN;
                return i % 10007 === 5 ? 9 : i % 20011 === 7 ? -9 : 0;
              }),
            ],
            build: ({ streams: [x] }) => {
              const stage = { op, value: x };
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
    });
  },
);

cudaTest("cuda render: indices of 64 bits", (device) => {
  const before = bounds.narrow;
  bounds.narrow = 1;
  try {
    for (const { run } of renderTests) asLarge(() => run(device, 53));
  } finally {
    bounds.narrow = before;
  }
});

cudaTest("cuda render: rows that wait in shared memory", (device) => {
  const before = bounds.registers;
  bounds.registers = 0;
  try {
    for (const { run } of renderTests) asLarge(() => run(device, 47));
    asLarge(() => onDevice(device, longRows));
  } finally {
    bounds.registers = before;
  }
});

/** Rows of several walks, vectors cut short at their ends among them. */
function longRows(): void {
  const dice = new Dice(14);
  for (const dtype of ["f32", "bf16"] as const) {
    for (const [rows, n] of [[1, 1001], [3, 4096], [2, 5000]]) {
      const draw = drawer(dice, dtype);
      check({
        name: `cuda shared ${dtype}`,
        space: [rows, n],
        axes: [1],
        streams: [
          operand(dtype, [rows, n], "plain", draw),
          operand("f32", [rows, n], "plain", draw),
        ],
        build: ({ streams: [x, y] }) => ({
          stages: [
            { op: "max", value: k.add(x, y) },
            { op: "argmin", value: k.sub(x, k.stage(0, "f32")) },
          ],
          outputs: [
            {
              dtype: "f32",
              per: "element",
              value: k.sub(k.mul(x, y), k.stage(0, "f32")),
            },
            { dtype: "i64", per: "row", value: k.stage(1, "i32") },
          ],
        }),
      });
    }
  }
}

cudaTest("cuda render: sums are the same from run to run", (device) => {
  const dice = new Dice(13);
  const blocks = new Blocks(device);
  const data = Float32Array.from({ length: 100001 }, () => dice.next() - 0.5);
  const x = blocks.of(data);
  const y = blocks.of(new Float32Array(1));
  const p = {
    ...dense(reduceProgram("sum", "f32"), [data.length]),
    inputs: [{ ...x, dtype: "f32" as const, strides: [1] }],
    outputs: [{ ...y, dtype: "f32" as const, strides: [0] }],
  };
  const sums = Array.from({ length: 5 }, () => {
    device.launch(p);
    return Number(blocks.read(y, "f32", 1)[0]);
  });
  assertEquals(new Set(sums).size, 1);
  const exact = data.reduce((a, b) => a + b, 0);
  assert(Math.abs(sums[0] - exact) < 1e-3);
  blocks.release();
});
