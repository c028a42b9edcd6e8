/**
 * Generated kernels over a million f32: `deno bench -A bench/elementwise_bench.ts`.
 *
 * Floors for 2²⁰ elements, per core at 3 GHz: four lanes an operation and at
 * most four vector operations a cycle make 0.022 ms per operation of every
 * element, so exp (18 operations) 0.39 ms, tanh and erf (20) 0.44, sigmoid (24)
 * and gelu(x·w + b) (25) 0.55, log1p (29) 0.63, softplus (57) 1.2 and pow (109)
 * 2.4 ms; two cores take half of that. Memory, at 20 GB/s for both cores
 * together: 8 MB for a function of one operand 0.4 ms, 16 MB for gelu(x·w + b)
 * 0.8 ms, less where the last-level cache holds the operands.
 * A transposed copy moves 8 MB, 0.4 ms, if each cache line is fetched once.
 */

import {
  add,
  cast,
  erf,
  exp,
  fromHost,
  gelu,
  gt,
  log1p,
  mul,
  permute,
  pow,
  relu,
  scope,
  sigmoid,
  sin,
  softmax,
  softplus,
  tanh,
  Tensor,
} from "../mod.ts";
import { copy } from "../core/row_kernels.ts";
import { startWorkers, threads } from "../devices/cpu/pool.ts";

startWorkers();

function wave(shape: readonly number[], low = -4, high = 4): Tensor {
  const size = shape.reduce((a, b) => a * b, 1);
  const data = Float32Array.from(
    { length: size },
    (_, i) => low + (high - low) * (0.5 + 0.5 * Math.sin(i * 1.7)),
  );
  return fromHost(data, "f32", shape);
}

const million = 1 << 20;
const x = wave([million]), w = wave([million]), b = wave([million]);
const positive = wave([million], 0.1, 5);
const matrix = wave([1024, 1024]);
const images = wave([8, 64, 56, 56]);
const group = `${threads()} threads`;

function bench(name: string, f: () => Tensor): void {
  Deno.bench(name, { group }, () => {
    scope(() => {
      f().materialize();
    });
  });
}

bench("x + w", () => add(x, w));
bench("relu", () => relu(x));
bench("x > 0.5 as f32", () => cast(gt(x, 0.5), "f32"));
bench("exp", () => exp(x));
bench("log1p", () => log1p(positive));
bench("tanh", () => tanh(x));
bench("erf", () => erf(x));
bench("sin", () => sin(x));
bench("sigmoid", () => sigmoid(x));
bench("softplus", () => softplus(x));
bench("x ** w", () => pow(positive, w));
bench("gelu(x * w + b)", () => gelu(add(mul(x, w), b)));
bench("softmax of rows, 1024²", () => softmax(matrix));
bench(
  "transposed copy, 1024²",
  () => new Tensor(copy(permute(matrix, [1, 0]).value)),
);
bench("x + xᵀ, 1024²", () => add(matrix, permute(matrix, [1, 0])));
bench(
  "channels last, 8×64×56×56",
  () => new Tensor(copy(permute(images, [0, 2, 3, 1]).value)),
);
