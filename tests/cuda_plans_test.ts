/** Launches on CUDA that come again: with other operands, numbers, steps, and with operands that start elsewhere. */

import { assert, assertEquals, assertMatch } from "@std/assert";
import { batchNorm, fromHost, layerNorm, scope, type Tensor } from "../mod.ts";
import { kernelObserver } from "../devices/cuda/launch_facts.ts";
import { bounds } from "../devices/cuda/launch_shape.ts";
import { cudaForTests, cudaTest } from "./cuda_host/device.ts";

const cuda = await cudaForTests();
const { host } = cuda;

function test(name: string, body: () => void): void {
  cudaTest(cuda, name, () => scope(body));
}

function numbers(
  device: string,
  shape: readonly number[],
  phase: number,
): Tensor {
  const size = shape.reduce((a, b) => a * b, 1);
  const data = Float32Array.from(
    { length: size },
    (_, i) => Math.sin(i + phase),
  );
  return fromHost(data, "f32", shape, { device });
}

/** What a computation gives on CUDA, next to what it gives on the CPU. */
function agree(run: (device: string) => Tensor, what: string): void {
  const [got, expected] = ["cuda", "cpu"].map((device) => run(device).data());
  assertEquals(got.length, expected.length);
  for (let i = 0; i < got.length; i++) {
    const off = Math.abs(Number(got[i]) - Number(expected[i]));
    assert(off < 1e-5, `${what}: ${got[i]} for ${expected[i]} at ${i}`);
  }
}

// Both sides of what is small enough for one kernel whatever the steps.
for (const small of [bounds.small, 0]) {
  test(`what comes again with others gives its own result, ${small} elements being few`, () => {
    const before = bounds.small;
    bounds.small = small;
    try {
      for (let round = 0; round < 3; round++) {
        for (const [rows, columns] of [[6, 8], [8, 6], [5, 7], [6, 6]]) {
          const what = `round ${round}, ${rows}×${columns}`;
          const x = (device: string) =>
            numbers(device, [rows, columns], 10 * round);
          const beside = (device: string) =>
            numbers(device, [columns], round).mul(2).materialize();
          agree((d) => x(d).add(beside(d)).mul(round + 1), what);
          agree((d) => x(d).transpose(0, 1).contiguous(), what);
          agree((d) => x(d).sum(1), what);
          agree((d) => x(d).transpose(0, 1).sum(1), what);
          agree((d) => x(d).sum(0), what);
          const eps = 10 ** -round;
          agree(
            (d) => layerNorm(x(d), columns, beside(d), undefined, { eps }),
            what,
          );
          // From the second row on, which starts where vectors may not.
          agree((d) => x(d).slice([[1, rows]]).sum(1), what);
          agree((d) => x(d).slice([[1, rows]]).add(beside(d)), what);
        }
      }
    } finally {
      bounds.small = before;
    }
  });
}

/** Kernels that are rendered for the first time. */
function rendered(run: () => void): string[] {
  const sources: string[] = [];
  kernelObserver.rendered = (source) => void sources.push(source);
  try {
    run();
  } finally {
    kernelObserver.rendered = undefined;
  }
  return sources;
}

test("a plan is not taken where other kernels are asked for", () => {
  const x = numbers("cuda", [16, 12], 0);
  const run = () => void x.softmax(1).materialize();
  run();
  assertEquals(rendered(run), []);
  const { narrow } = bounds;
  bounds.narrow = 1;
  try {
    const wide = rendered(run);
    assertEquals(wide.length, 1);
    assertMatch(wide[0], /long long/);
  } finally {
    bounds.narrow = narrow;
  }
});

test("a plan for vectors is not taken for operands that start between them", () => {
  const { small } = bounds;
  bounds.small = 0;
  try {
    const x = numbers("cuda", [4 * 64 + 1], 0);
    const from = (start: number) =>
      x.slice([[start, start + 4 * 64]]).reshape([4, 64]);
    const vectors = rendered(() => void from(0).prod(1).materialize());
    assertEquals(vectors.length, 1);
    assertEquals(rendered(() => void from(0).prod(1).materialize()), []);
    assertEquals(rendered(() => void from(1).prod(1).materialize()).length, 1);
  } finally {
    bounds.small = small;
  }
});

test("a batch normalisation and what moves its statistics are one launch, again and again", () => {
  const made = ["cuda", "cpu"].map((device) => {
    const vector = (phase: number) => numbers(device, [3], phase);
    const mean = vector(0), variance = vector(1).add(2).materialize();
    const [weight, bias] = [vector(2), vector(3)];
    const places = [mean.value, variance.value];
    for (let i = 0; i < 3; i++) {
      const x = numbers(device, [4, 3, 5], i);
      if (device === "cuda") host?.clearCalls();
      const options = { training: true, momentum: 0.1 * (i + 1) };
      batchNorm(x, mean, variance, weight, bias, options).materialize();
      if (device === "cuda" && host !== undefined) {
        const calls = host.calls().filter((c) => c.startsWith("cuLaunch"));
        assertEquals(calls.length, 1);
      }
    }
    assert(mean.value === places[0] && variance.value === places[1]);
    return [...mean.data(), ...variance.data()].map(Number);
  });
  made[0].forEach((x, i) => assert(Math.abs(x - made[1][i]) < 1e-5));
});

test("statistics of long channels move once, although their rows are reduced in pieces", () => {
  const made = ["cuda", "cpu"].map((device) => {
    const mean = numbers(device, [2], 0), variance = numbers(device, [2], 1);
    const x = numbers(device, [2, 2, 20_000], 2);
    const y = batchNorm(x, mean, variance, undefined, undefined, {
      training: true,
    });
    return [...y.data().slice(0, 100), ...mean.data(), ...variance.data()]
      .map(Number);
  });
  made[0].forEach((x, i) => assert(Math.abs(x - made[1][i]) < 1e-4));
});
