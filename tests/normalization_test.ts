/** What the samples of the normalisations cannot show: running statistics, refusals, large batches. */

import { assert, assertEquals, assertThrows } from "@std/assert";
import {
  backward,
  batchNorm,
  gradients,
  groupNorm,
  layerNorm,
  memory,
  mul,
  ones,
  randn,
  rmsNorm,
  scope,
  sum,
  type Tensor,
  zeros,
} from "../mod.ts";
import { ShapeError } from "../core/errors.ts";
import { fromHost } from "../core/tensor.ts";

function wave(shape: readonly number[], phase = 0): Tensor {
  const size = shape.reduce((a, b) => a * b, 1);
  const data = Float32Array.from(
    { length: size },
    (_, i) => 2 * Math.sin(i * 1.7 + phase) + Math.cos(i * 0.31),
  );
  return fromHost(data, "f32", shape, { requiresGrad: true });
}

function assertNear(
  actual: Tensor,
  expected: Tensor,
  bound: number,
  what: string,
): void {
  assertEquals([...actual.shape], [...expected.shape], what);
  const a = actual.data(), e = expected.data();
  for (let i = 0; i < a.length; i++) {
    const near = Math.abs(Number(a[i]) - Number(e[i])) <=
      bound * (1 + Math.abs(Number(e[i])));
    assert(near, `${what}: element ${i} is ${a[i]}, expected ${e[i]}`);
  }
}

Deno.test("batchNorm: running statistics follow PyTorch's convention", () => {
  // torch.nn.functional.batch_norm on [[1, 2], [3, 6]] with momentum 0.25
  const mean = fromHost(Float32Array.of(0, 4), "f32", [2]);
  const variance = fromHost(Float32Array.of(1, 2), "f32", [2]);
  const x = fromHost(Float32Array.of(1, 2, 3, 6), "f32", [2, 2]);
  const options = { training: true, momentum: 0.25 };
  batchNorm(x, mean, variance, undefined, undefined, options);
  assertEquals(mean.toArray(), [0.5, 4]);
  assertEquals(variance.toArray(), [1.25, 3.5]);
  // Outside of training they stay, and normalise.
  const y = batchNorm(x, mean, variance, undefined, undefined, { eps: 0 });
  assertNear(
    y,
    fromHost(
      Float32Array.of(
        0.5 / Math.sqrt(1.25),
        -2 / Math.sqrt(3.5),
        2.5 / Math.sqrt(1.25),
        2 / Math.sqrt(3.5),
      ),
      "f32",
      [2, 2],
    ),
    1e-6,
    "evaluation",
  );
  assertEquals(mean.toArray(), [0.5, 4]);
});

Deno.test("normalisations: the fused gradient is the composed one, over many rows", () => {
  const cases: [
    string,
    readonly number[],
    readonly number[],
    (
      x: Tensor,
      w: Tensor,
      b: Tensor,
    ) => Tensor,
  ][] = [
    [
      "batchNorm",
      [16, 20, 7, 9],
      [20],
      (x, w, b) => batchNorm(x, undefined, undefined, w, b, { training: true }),
    ],
    [
      "batchNorm of vectors",
      [70, 33],
      [33],
      (x, w, b) => batchNorm(x, undefined, undefined, w, b, { training: true }),
    ],
    ["layerNorm", [130, 67], [67], (x, w, b) => layerNorm(x, 67, w, b)],
    ["groupNorm", [6, 8, 5, 5], [8], (x, w, b) => groupNorm(x, 2, w, b)],
    [
      "rmsNorm",
      [40, 35],
      [35],
      (x, w, b) => mul(rmsNorm(x, 35, w), sum(mul(b, 0.01))),
    ],
  ];
  for (const [name, shape, parameters, f] of cases) {
    const x = wave(shape), w = wave(parameters, 1), b = wave(parameters, 2);
    const seed = wave(shape, 3);
    const run = (createGraph: boolean) =>
      gradients(f(x, w, b), [x, w, b], { seed, createGraph });
    const fused = run(false), composed = run(true);
    fused.forEach((g, i) => assertNear(g!, composed[i]!, 2e-4, `${name} ${i}`));
  }
});

Deno.test("normalisations refuse what does not fit, with the shapes", () => {
  const x = wave([1, 3]);
  assertThrows(
    () =>
      batchNorm(x, undefined, undefined, undefined, undefined, {
        training: true,
      }),
    ShapeError,
    "one value per channel",
  );
  assertThrows(() => batchNorm(x), TypeError, "running statistics");
  assertThrows(
    () => batchNorm(wave([2, 3]), wave([4]), wave([3])),
    ShapeError,
    "running mean of shape [4]: it must be [3]",
  );
  assertThrows(() => layerNorm(x, 4), ShapeError, "over [4]");
  assertThrows(() => groupNorm(wave([2, 6]), 4), ShapeError, "6 channels");
});

Deno.test("batchNorm: the statistics that a gradient uses outlive the scope of the call", () => {
  const x = wave([8, 3]);
  const w = wave([3], 1);
  const y = batchNorm(x, undefined, undefined, w, undefined, {
    training: true,
  });
  backward(sum(mul(y, y)));
  // Σ y² over a batch does not depend on x: its gradient is 0 but for ε.
  const slopes = x.grad!.data() as Float32Array;
  const largest = slopes.reduce((a, b) => Math.max(a, Math.abs(b)), 0);
  assert(largest < 1e-3, `${largest}`);
});

Deno.test("normalisations leave nothing behind but their result", () => {
  const [x, w, b] = [randn([4, 3]), ones([3]), zeros([3])];
  const calls: (() => Tensor)[] = [
    () => layerNorm(x, 3, w, b),
    () => rmsNorm(x, 3, w),
    () => batchNorm(x, undefined, undefined, w, b, { training: true }),
    () => batchNorm(x, zeros([3]), ones([3]), w, b, { training: true }),
    () => batchNorm(x, b, w, w, b),
  ];
  for (const requiresGrad of [false, true]) {
    w.requiresGrad = b.requiresGrad = requiresGrad;
    calls.forEach((call, i) => {
      scope(() => {
        const before = memory().tensors;
        call().materialize();
        // The fourth call makes its statistics itself.
        assertEquals(memory().tensors - before, i === 3 ? 3 : 1, `call ${i}`);
      });
    });
  }
});
