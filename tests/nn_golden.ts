/**
 * What PyTorch's modules computed (tests/golden/nn), and the comparison of a
 * module with it: names and shapes of the state dict, outputs, gradients and
 * buffers, with the same numbers in all parameters and inputs.
 */

import { assertAlmostEquals, assertEquals } from "@std/assert";
import { fromHost, gradients, mul, sum, Tensor } from "../mod.ts";
import type * as nn from "../nn/mod.ts";

interface Numbers {
  shape: number[];
  data: number[];
}

interface Row {
  name: string;
  state: Record<string, number[]>;
  outputs: Numbers[];
  gradients: Record<string, Numbers>;
  buffers: Record<string, Numbers>;
}

/** A row per module. */
export const rows: Row[] = Deno.readTextFileSync(
  new URL("./golden/nn/values.jsonl", import.meta.url),
).trim().split("\n").slice(1).map((line) => JSON.parse(line));

const size = (shape: readonly number[]) => shape.reduce((a, b) => a * b, 1);

/** Numbers as in tests/golden/nn/make.py. */
export function wave(
  shape: readonly number[],
  phase: number,
  low = -1,
  high = 1,
): number[] {
  return Array.from({ length: size(shape) }, (_, i) => {
    const unit = ((i + 1) * 0.618033988749895 + phase * 0.1234567) % 1;
    return low + (high - low) * unit;
  });
}

type Float = "f32" | "f64";

let dtype: Float = "f64";

/** Numbers in the dtype of the comparison under way. */
export function floats(
  shape: readonly number[],
  data: number[],
  grad = false,
): Tensor {
  const host = dtype === "f64"
    ? Float64Array.from(data)
    : Float32Array.from(data);
  return fromHost(host, dtype, shape, { requiresGrad: grad });
}

/** An input that wants a gradient. */
export function x(shape: number[], phase = 0.5): Tensor {
  return floats(shape, wave(shape, phase, -2, 2), true);
}

export function ints(shape: number[], ...data: number[]): Tensor {
  return fromHost(BigInt64Array.from(data, BigInt), "i64", shape);
}

export function bools(shape: number[], ...data: number[]): Tensor {
  return fromHost(Uint8Array.from(data), "bool", shape);
}

function fill(module: nn.AnyModule): void {
  Object.entries(module.stateDict()).forEach(([name, tensor], j) => {
    if (tensor.dtype === "i64") return;
    const [low, high] = name.endsWith("var") ? [0.5, 1.5] : [-0.6, 0.6];
    const data = wave(tensor.shape, j + 1, low, high);
    const values = floats(tensor.shape, data);
    tensor.setValue(values.value.retain());
  });
}

/** Modules whose gradient PyTorch computes with constants in single precision (1/6, 1/α), whatever the dtype. */
const rough = ["celu", "hardSigmoid"];

function near(
  actual: Tensor,
  expected: Numbers,
  what: string,
  fine = 1e-9,
): void {
  assertEquals(actual.shape, expected.shape, `shape of ${what}`);
  const bound = dtype === "f64" ? fine : 2e-4;
  Array.from(actual.data(), Number).forEach((a, i) => {
    const e = expected.data[i];
    if (Object.is(a, e)) return;
    assertAlmostEquals(a, e, bound * (1 + Math.abs(e)), `${what}, number ${i}`);
  });
}

/** A module and what it is called with. */
export interface Case {
  module: () => nn.AnyModule;
  inputs: () => unknown[];
  train?: boolean;
}

function flat(output: unknown): Tensor[] {
  return output instanceof Tensor
    ? [output]
    : (output as unknown[]).flatMap(flat);
}

/** Compares a module with a row of the golden file, both in a dtype. */
export function compare(row: Row, made: Case, type: Float): void {
  dtype = type;
  const module = made.module().to(dtype).train(made.train ?? true);
  const state = Object.entries(module.stateDict()).map((
    [name, tensor],
  ) => [name, [...tensor.shape]]);
  assertEquals(state, Object.entries(row.state));
  fill(module);
  const inputs = made.inputs();
  const outputs = flat(module.forward(...inputs));
  assertEquals(outputs.length, row.outputs.length);
  outputs.forEach((o, i) => near(o, row.outputs[i], `output ${i}`));
  const leaves = new Map<string, Tensor>();
  inputs.flatMap((value) => Array.isArray(value) ? value : [value])
    .forEach((value, i) => {
      if (value instanceof Tensor) leaves.set(`input ${i}`, value);
    });
  for (const [name, tensor] of module.namedParameters()) {
    leaves.set(name, tensor);
  }
  const names = Object.keys(row.gradients);
  if (names.length > 0) {
    const total = outputs.map((o, i) =>
      sum(mul(o, floats(o.shape, wave(o.shape, 31 + i))))
    ).reduce((a, b) => a.add(b));
    const found = gradients(total, names.map((name) => leaves.get(name)!));
    const fine = rough.includes(row.name) ? 1e-7 : 1e-9;
    found.forEach((g, i) =>
      near(g!, row.gradients[names[i]], `gradient of ${names[i]}`, fine)
    );
  }
  const buffers = new Map(module.namedBuffers());
  assertEquals([...buffers.keys()], Object.keys(row.buffers));
  for (const [name, buffer] of buffers) {
    near(buffer, row.buffers[name], `buffer ${name}`);
  }
}
