/** The model zoo against PyTorch and torchvision; see tests/golden/models. */

import { assert, assertEquals, assertThrows } from "@std/assert";
import { fromHost, type Tensor } from "../mod.ts";
import { backward, noGrad } from "../core/autograd.ts";
import { manualSeed } from "../core/random.ts";
import { Scope } from "../core/scope.ts";
import {
  charRnn,
  gpt,
  type LanguageModel,
  lenet,
  mlp,
  resnet18,
  resnet34,
  resnet50,
  sample,
} from "../models/mod.ts";
import type { Module } from "../nn/mod.ts";

interface Golden {
  readonly name: string;
  readonly state: [key: string, shape: number[]][];
  readonly evaluated: number[];
  readonly trained?: number[];
  readonly loss?: number;
  readonly gradients?: Record<string, number>;
}

const goldens = new Map(
  Deno.readTextFileSync(
    new URL("./golden/models/values.jsonl", import.meta.url),
  ).trim().split("\n").map((line) => JSON.parse(line) as Golden).map((row) => [
    row.name,
    row,
  ]),
);

type Float = "f32" | "f64";

/** The formula of tests/golden/models/make.py. */
function wave(size: number, phase: number, low = -1, high = 1): Float64Array {
  return Float64Array.from({ length: size }, (_, i) => {
    const unit = ((i + 1) * 0.618033988749895 + phase * 0.1234567) % 1;
    return low + (high - low) * unit;
  });
}

function bounds(name: string, shape: readonly number[]): [number, number] {
  if (name.endsWith("running_var")) return [0.5, 1.5];
  if (shape.length >= 2) {
    const bound = Math.sqrt(3 * shape[0] / shape.reduce((a, b) => a * b, 1));
    return [-bound, bound];
  }
  return name.endsWith("weight") ? [0.5, 1.5] : [-0.1, 0.1];
}

function floats(data: Float64Array, shape: readonly number[], dtype: Float) {
  return dtype === "f64"
    ? fromHost(data, "f64", shape)
    : fromHost(Float32Array.from(data), "f32", shape);
}

function tokens(shape: readonly number[], vocabulary: number): Tensor {
  const size = shape.reduce((a, b) => a * b, 1);
  return fromHost(Int32Array.from(wave(size, 3, 0, vocabulary)), "i32", shape);
}

function fill(model: Module, dtype: Float): void {
  using _filling = new Scope();
  model.to(dtype);
  const state = Object.entries(model.stateDict());
  model.loadStateDict(Object.fromEntries(state.map(([name, t], j) => [
    name,
    t.dtype === "i64"
      ? t
      : floats(wave(t.size, j + 1, ...bounds(name, t.shape)), t.shape, dtype),
  ])));
}

function assertClose(
  actual: ArrayLike<number>,
  wanted: readonly number[],
  tolerance: number,
  what: string,
): void {
  assertEquals(actual.length, wanted.length, what);
  const scale = Math.max(...wanted.map(Math.abs), 1e-3);
  for (const [i, w] of wanted.entries()) {
    assert(
      Math.abs(Number(actual[i]) - w) <= tolerance * scale,
      `${what}, element ${i}: ${actual[i]} instead of ${w}`,
    );
  }
}

/** Compares state dict, outputs, loss and gradients. */
function compare(
  name: string,
  model: Module,
  input: Tensor,
  { dtype, classes, tolerance }: {
    dtype: Float;
    classes: number;
    tolerance: number;
  },
): void {
  const golden = goldens.get(name)!;
  const state = Object.entries(model.stateDict());
  assertEquals(
    state.map(([key, t]) => [key, [...t.shape]]),
    golden.state as [string, number[]][],
  );
  fill(model, dtype);
  model.eval();
  noGrad(() => {
    const values = model.forward(input).data() as Float32Array;
    assertClose(values, golden.evaluated, tolerance, `${name}, evaluated`);
  });
  if (golden.trained === undefined) return;
  model.train();
  const output = model.forward(input);
  const values = output.data() as Float32Array;
  assertClose(values, golden.trained, tolerance, `${name}, trained`);
  const rows = output.reshape([-1, classes]);
  const labels = Int32Array.from(wave(rows.shape[0], 5, 0, classes));
  const loss = rows.crossEntropy(fromHost(labels, "i32", [labels.length]));
  assertClose([loss.item()], [golden.loss!], tolerance, `${name}, loss`);
  backward(loss);
  assertEquals(
    model.namedParameters().map(([key]) => key).sort(),
    Object.keys(golden.gradients!).sort(),
  );
  for (const [key, parameter] of model.namedParameters()) {
    const gradient = parameter.grad!.data() as Float32Array;
    const weights = wave(gradient.length, 7);
    let dot = 0, norm = 0;
    for (let i = 0; i < gradient.length; i++) {
      dot += gradient[i] * weights[i];
      norm += Math.abs(gradient[i] * weights[i]);
    }
    const wanted = golden.gradients![key];
    assert(
      Math.abs(dot - wanted) <= tolerance * Math.max(norm, 1e-3),
      `${name}, gradient of ${key}: ${dot} instead of ${wanted}`,
    );
  }
}

const exact = { dtype: "f64", tolerance: 1e-7 } as const;

Deno.test("models: mlp as in PyTorch", () => {
  using _test = new Scope();
  const model = mlp({ inputs: 12, hidden: [7, 5], classes: 3 });
  const x = floats(wave(48, 0), [4, 3, 4], "f64");
  compare("mlp", model, x, { ...exact, classes: 3 });
});

Deno.test("models: lenet as in PyTorch", () => {
  using _test = new Scope();
  const model = lenet({ channels: 2, size: 20, classes: 4 });
  const x = floats(wave(2400, 0), [3, 2, 20, 20], "f64");
  compare("lenet", model, x, { ...exact, classes: 4 });
});

Deno.test("models: char_rnn as in PyTorch", () => {
  using _test = new Scope();
  const model = charRnn({ vocabulary: 7, embedding: 3, hidden: 4, layers: 2 });
  compare("char_rnn", model, tokens([3, 5], 7), { ...exact, classes: 7 });
});

Deno.test("models: gpt as in PyTorch, under nanoGPT's names", () => {
  using _test = new Scope();
  const extents = { vocabulary: 11, context: 6, layers: 2, heads: 2, width: 8 };
  const model = gpt(extents);
  compare("gpt", model, tokens([3, 5], 11), { ...exact, classes: 11 });
});

Deno.test("models: resnet18 as in torchvision", () => {
  using _test = new Scope();
  const options = { ...exact, classes: 5 };
  const x = floats(wave(2 * 3 * 1600, 0), [2, 3, 40, 40], "f64");
  compare("resnet18", resnet18({ classes: 5 }), x, options);
  const small = floats(wave(2 * 3 * 64, 0), [2, 3, 8, 8], "f64");
  const model = resnet18({ classes: 5, stem: "small" });
  compare("resnet18 small", model, small, options);
});

Deno.test("models: resnet34 and resnet50 as in torchvision", () => {
  using _test = new Scope();
  const tolerant = { dtype: "f32", classes: 3, tolerance: 2e-3 } as const;
  const x = floats(wave(3 * 33 * 33, 0), [1, 3, 33, 33], "f32");
  compare("resnet34", resnet34({ classes: 3 }), x, tolerant);
  compare("resnet50", resnet50({ classes: 3 }), x, tolerant);
});

/** The tokens that a model gives the highest score, by whole forward passes. */
function greedy(
  model: LanguageModel & Module,
  prompt: readonly number[],
  length: number,
  context: number,
): number[] {
  const seen = [...prompt];
  for (let i = 0; i < length; i++) {
    using _pass = new Scope();
    const window = Int32Array.from(seen.slice(-context));
    const scores = noGrad(() =>
      model.forward(fromHost(window, "i32", [1, window.length]))
    );
    const last = (scores.data() as Float32Array).slice(-scores.shape[2]);
    seen.push(last.reduce((best, s, c) => s > last[best] ? c : best, 0));
  }
  return seen.slice(prompt.length);
}

Deno.test("models: samples follow the scores of forward", () => {
  using _test = new Scope();
  manualSeed(3);
  const rnn = charRnn({ vocabulary: 9, embedding: 8, hidden: 16, layers: 2 });
  const transformer = gpt({ vocabulary: 9, context: 4, width: 8, heads: 2 });
  for (const [model, context] of [[rnn, 99], [transformer, 4]] as const) {
    model.eval();
    // Larger weights, so that the scores differ clearly.
    noGrad(() => {
      for (const p of model.parameters()) {
        p.setValue(p.mul(4).materialize().value.retain());
      }
    });
    const options = { length: 12, temperature: 0 };
    const drawn = [...sample(model, [1, 2, 3], options)];
    assertEquals(drawn, greedy(model, [1, 2, 3], 12, context));
  }
});

Deno.test("models: samples are drawn by probability, from the top k, by the seed", () => {
  const scores = Float32Array.from([0, Math.log(3), -Infinity, Math.log(2)]);
  const model: LanguageModel = { reader: () => ({ read: () => scores }) };
  const counts = (options: { topK?: number; temperature?: number }) => {
    const found = [0, 0, 0, 0];
    for (const t of sample(model, [0], { length: 6000, ...options })) {
      found[t]++;
    }
    return found.map((n) => n / 6000);
  };
  const near = (found: number[], wanted: number[]) =>
    found.forEach((p, i) =>
      assert(Math.abs(p - wanted[i]) < 0.03, `${found} for ${wanted}`)
    );
  near(counts({}), [1 / 6, 3 / 6, 0, 2 / 6]);
  near(counts({ temperature: 0.5 }), [1 / 14, 9 / 14, 0, 4 / 14]);
  near(counts({ topK: 2 }), [0, 3 / 5, 0, 2 / 5]);
  const text = (seed: number) =>
    [...sample(model, [0], { length: 20, seed })].join("");
  assertEquals(text(4), text(4));
  assert(text(4) !== text(5));
});

Deno.test("models: what does not fit is refused", () => {
  assertThrows(
    () => lenet({ size: 12 }),
    TypeError,
    "pictures of 12×12: two 5×5 filters with pooling need at least 16×16",
  );
  assertThrows(
    () => gpt({ vocabulary: 5, context: 4, width: 10, heads: 4 }),
    RangeError,
    "width 10 with 4 heads",
  );
  using _test = new Scope();
  const model = gpt({ vocabulary: 5, context: 4, width: 8, heads: 2 });
  assertThrows(
    () => model.forward(tokens([1, 5], 5)),
    TypeError,
    "at most 4 at a time",
  );
  assertThrows(
    () => [...sample(model, [], { length: 1 })],
    RangeError,
    "empty prompt",
  );
});
