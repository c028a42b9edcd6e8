/**
 * Softmax, cross entropy, normalisations and reductions on the CPU, through
 * the operators: `deno bench -A bench/softmax_bench.ts`.
 *
 * Floors on two cores with SSE and 4 MiB per tensor of 1024²: an exponential
 * takes about 20 instructions per four elements, 0.3 ms for all; a walk over
 * data in the second-level cache about 0.04 ms. Softmax is one exponential and
 * three walks; layer norm three walks, its gradient four.
 */

import {
  batchNorm,
  crossEntropy,
  gradients,
  layerNorm,
  logSoftmax,
  max,
  mean,
  scope,
  softmax,
  sum,
  type Tensor,
  variance,
} from "../mod.ts";
import { startWorkers, threads } from "../devices/cpu/pool.ts";
import { fromHost } from "../core/tensor.ts";

startWorkers();

function wave(shape: readonly number[]): Tensor {
  const size = shape.reduce((a, b) => a * b, 1);
  const data = Float32Array.from(
    { length: size },
    (_, i) => 3 * Math.sin(i * 1.7) + Math.cos(i * 0.013),
  );
  return fromHost(data, "f32", shape, { requiresGrad: true });
}

const x = wave([1024, 1024]), seed = wave([1024, 1024]);
const weight = wave([1024]), bias = wave([1024]);
const labels = fromHost(
  BigInt64Array.from({ length: 1024 }, (_, i) => BigInt(i * 7 % 1024)),
  "i64",
  [1024],
);
const images = wave([32, 64, 28, 28]), imageSeed = wave([32, 64, 28, 28]);
const scale = wave([64]), shift = wave([64]);

/** Times a function's result, and the result with its gradients. */
function bench(
  name: string,
  f: () => Tensor,
  leaves: readonly Tensor[] = [],
  seed?: Tensor,
): void {
  const group = `${name}, ${threads()} threads`;
  Deno.bench({
    name: "forward",
    group,
    fn() {
      scope(() => {
        f().materialize();
      });
    },
  });
  if (leaves.length === 0) return;
  Deno.bench({
    name: "forward and gradients",
    group,
    fn() {
      scope(() => {
        for (const g of gradients(f(), leaves, { seed })) g!.materialize();
      });
    },
  });
}

bench("softmax, rows of 1024²", () => softmax(x), [x], seed);
bench("softmax, columns of 1024²", () => softmax(x, 0), [x], seed);
bench("logSoftmax, rows of 1024²", () => logSoftmax(x), [x], seed);
bench("crossEntropy, 1024²", () => crossEntropy(x, labels), [x]);
bench(
  "layerNorm, rows of 1024²",
  () => layerNorm(x, 1024, weight, bias),
  [x, weight, bias],
  seed,
);
bench(
  "batchNorm, 32×64×28×28",
  () =>
    batchNorm(images, undefined, undefined, scale, shift, { training: true }),
  [images, scale, shift],
  imageSeed,
);
bench("sum of 1024²", () => sum(x));
bench("sum of rows", () => sum(x, 1));
bench("sum of columns", () => sum(x, 0));
bench("mean of 32×64×28×28 per channel", () => mean(images, [0, 2, 3]));
bench("max of rows", () => max(x, 1));
bench("variance of 1024²", () => variance(x));
