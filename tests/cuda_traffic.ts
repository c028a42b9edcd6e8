/**
 * How many bytes rendered kernels move, against the least that would do: each
 * operand read once and each result written once. `bench/gpu/traffic.ts` prints
 * them.
 */

import type { Launch } from "../core/device.ts";
import { bytesOf } from "../core/dtype.ts";
import { launch } from "../devices/cuda/launch.ts";
import { loadsOf } from "../kernel/cuda/loads.ts";
import * as k from "../kernel/expr.ts";
import { type Program, program, roots } from "../kernel/program.ts";
import { Recorder } from "./cuda_kernels.ts";
import {
  at,
  dense,
  normProgram,
  reduceProgram,
  softmaxProgram,
} from "./cuda_programs.ts";

/** How often a kernel touches each element of its operands. */
export interface Touches {
  readonly reads: ReadonlyMap<number, number>;
  readonly writes: ReadonlyMap<number, number>;
}

/** Counts, from the source of a kernel, the loops over elements that read or write each operand. */
export function touches(source: string): Touches {
  const reads = new Map<number, number>(), writes = new Map<number, number>();
  const lines = source.split("\n");
  const depth = (line: string) => line.length - line.trimStart().length;
  const loop = /^\s*for \((?:unsigned|long long) [ij] = |^\s*for \(int c = 0;/;
  const count = (from: Map<number, number>, body: string, name: string) => {
    const seen = new Set(
      [...body.matchAll(new RegExp(`p\\.${name}(\\d+)\\b`, "g"))]
        .map((m) => Number(m[1])),
    );
    for (const i of seen) from.set(i, (from.get(i) ?? 0) + 1);
  };
  for (let l = 0; l < lines.length; l++) {
    if (!loop.test(lines[l])) continue;
    const own = depth(lines[l]);
    let end = l + 1;
    while (lines[end].startsWith("#") || depth(lines[end]) > own) end++;
    const body = lines.slice(l + 1, end).join("\n");
    count(reads, body, "in");
    count(writes, body, "out");
    l = end;
  }
  return { reads, writes };
}

/** Bytes that a launch moves and the least that would do. */
export interface Traffic {
  readonly kernels: number;
  readonly moved: number;
  readonly least: number;
}

/** Counts the bytes of a launch; partial results of pieces are left out. */
export function traffic(
  l: Launch,
  recorder: Recorder = new Recorder(),
): Traffic {
  const before = recorder.launches.length;
  launch(recorder, l);
  const launches = recorder.launches.slice(before);
  const elements = (strides: readonly number[]) =>
    l.sizes.reduce((n, size, d) => strides[d] === 0 ? n : n * size, 1);
  const loads = new Set(loadsOf(roots(l.program)));
  const all = l.sizes.reduce((a, b) => a * b, 1);
  const sizes = [
    // At computed places an element each is read; of a small table all of it.
    ...l.inputs.map((o, i) =>
      bytesOf(o.dtype) *
      (loads.has(i) ? Math.min(all, l.limits[i]) : elements(o.strides))
    ),
    ...l.outputs.map((o) => elements(o.strides) * bytesOf(o.dtype)),
  ];
  let moved = 0;
  for (const { source } of launches) {
    const { reads, writes } = touches(source);
    for (let i = 0; i < l.inputs.length; i++) {
      // One element per row, or for all, is read outside of the loops over elements.
      const once = new RegExp(`p\\.in${i}\\b`).test(source) ? 1 : 0;
      moved += (reads.get(i) ?? once) * sizes[i];
    }
    for (const [o, times] of writes) {
      if (l.program.outputs[o]?.per === "element") {
        moved += times * sizes[l.inputs.length + o];
      }
    }
  }
  // Results per row are written once, outside of all loops over elements.
  l.outputs.forEach((_, o) => {
    if (l.program.outputs[o].per === "row") moved += sizes[l.inputs.length + o];
  });
  return {
    kernels: launches.length,
    moved,
    least: sizes.reduce((a, b) => a + b, 0),
  };
}

/** gelu(x·w + b) with w and b per column. */
function geluProgram(): Program {
  const [x, w, b] = [0, 1, 2].map((i) => k.input(i, "f32"));
  const y = k.add(k.mul(x, w), b);
  const value = k.mul(
    k.mul(y, 0.5),
    k.add(k.erf(k.mul(y, Math.SQRT1_2)), 1),
  );
  return program(["f32", "f32", "f32"], [], [], [
    { dtype: "f32", per: "element", value },
  ]);
}

/** s·(g − Σ g·s), the gradient of softmax. */
function softmaxGradient(): Program {
  const [s, g] = [0, 1].map((i) => k.input(i, "f32"));
  return program(["f32", "f32"], [], [
    { op: "sum", value: k.mul(g, s) },
  ], [{
    dtype: "f32",
    per: "element",
    value: k.mul(s, k.sub(g, k.stage(0, "f32"))),
  }]);
}

/** One step of Adam. */
function adamProgram(): Program {
  const [p, g, m, v] = [0, 1, 2, 3].map((i) => k.input(i, "f32"));
  const rate = k.scalar(0, "f32");
  const m1 = k.add(k.mul(m, 0.9), k.mul(g, 0.1));
  const v1 = k.add(k.mul(v, 0.999), k.mul(k.mul(g, g), 0.001));
  const p1 = k.sub(p, k.mul(rate, k.div(m1, k.add(k.sqrt(v1), 1e-8))));
  return program(["f32", "f32", "f32", "f32"], ["f32"], [], [
    { dtype: "f32", per: "element", value: p1 },
    { dtype: "f32", per: "element", value: m1 },
    { dtype: "f32", per: "element", value: v1 },
  ]);
}

/** A norm whose weight and bias stand along the row. */
function norm(dtype: "f32" | "bf16", rows: number, n: number): Launch {
  return dense(normProgram(dtype), [rows, n], 1, [
    at(dtype, [n, 1]),
    at(dtype, [0, 1]),
    at(dtype, [0, 1]),
  ]);
}

/** Launches by name. */
export const samples: Readonly<Record<string, Launch>> = {
  "gelu(x·w + b), 64 M f32": dense(geluProgram(), [1 << 14, 1 << 12], 1, [
    at("f32", [1 << 12, 1]),
    at("f32", [0, 1]),
    at("f32", [0, 1]),
  ]),
  "softmax 8192×4096 f32": dense(softmaxProgram("f32"), [8192, 4096], 1),
  "softmax 8192×4096 bf16": dense(softmaxProgram("bf16"), [8192, 4096], 1),
  "softmax 8192×50257 bf16": dense(softmaxProgram("bf16"), [8192, 50257], 1),
  "softmax gradient 8192×4096 f32": dense(softmaxGradient(), [8192, 4096], 1),
  "softmax along axis 1 of 64×32×4096 f32": dense(
    softmaxProgram("f32"),
    [64, 4096, 32],
    2,
    [at("f32", [131072, 1, 4096])],
  ),
  "layer norm 8192×4096 f32": norm("f32", 8192, 4096),
  "layer norm 16384×768 bf16": norm("bf16", 16384, 768),
  "sum of 64 M f32": dense(reduceProgram("sum", "f32"), [1 << 26]),
  "sums of rows 8192×4096 f32": dense(
    reduceProgram("sum", "f32"),
    [8192, 4096],
    1,
  ),
  "sums of columns 16384×768 bf16": dense(
    reduceProgram("sum", "bf16"),
    [768, 16384],
    1,
    [at("bf16", [1, 768])],
  ),
  "argmax of rows 4096×50257 f32": dense(
    reduceProgram("argmax", "f32"),
    [4096, 50257],
    1,
  ),
  "Adam, 64 M f32": dense(adamProgram(), [1 << 26]),
};
