/**
 * The operators whose host time on CUDA is measured, one row each.
 *
 * @module
 */

import {
  argMax,
  backward,
  batchNorm,
  concat,
  contiguous,
  conv,
  crossEntropy,
  cumSum,
  embedding,
  gather,
  gelu,
  indexSelect,
  layerNorm,
  linear,
  matmul,
  maxPool,
  mean,
  randint,
  randn,
  relu,
  scaledDotProductAttention as attention,
  softmax,
  sort,
  sum,
  type Tensor,
  transpose,
} from "../../mod.ts";

/** One operator. */
export interface Row {
  /** What is computed. */
  readonly name: string;
  /** Operators that a user wrote; 1 when it is left out. */
  readonly operators?: number;
  /** Computes it once, into new results that it returns. */
  readonly run: () => Tensor | readonly Tensor[] | void;
}

const where = { device: "cuda" };

/** Stored random numbers on the device. */
function normal(shape: readonly number[], requiresGrad = false): Tensor {
  const x = randn(shape, where).materialize();
  x.requiresGrad = requiresGrad;
  return x;
}

function integers(high: number, shape: readonly number[]): Tensor {
  return randint(0, high, shape, where).materialize();
}

/** The rows; their operands live as long as the process. */
export function rows(): Row[] {
  const x = normal([1024]), y = normal([1024]);
  const a = normal([64, 64]), b = normal([64, 64]), bias = normal([64]);
  const images = normal([8, 16, 14, 14]);
  const filters = normal([16, 16, 3, 3]), filterBias = normal([16]);
  const channel = normal([16]), runningMean = normal([16]);
  const runningVar = normal([16]).mul(0).add(1).materialize();
  const labels = integers(64, [64]), rowIndex = integers(64, [32]);
  const cell = integers(64, [32, 64]), tokens = integers(64, [8, 16]);
  const [q, k, v] = [0, 1, 2].map(() => normal([2, 4, 16, 32]));
  const leaf = (shape: readonly number[]) => normal(shape, true);
  const gx = leaf([1024]), ga = leaf([64, 64]), gb = leaf([64, 64]);
  const gbias = leaf([64]);
  const gimages = leaf([8, 16, 14, 14]), gfilters = leaf([16, 16, 3, 3]);
  const [gq, gk, gv] = [0, 1, 2].map(() => leaf([2, 4, 16, 32]));
  const seed = {
    vector: normal([1024]),
    matrix: normal([64, 64]),
    images: normal([8, 16, 14, 14]),
    pooled: normal([8, 16, 7, 7]),
    heads: normal([2, 4, 16, 32]),
    words: normal([8, 16, 64]),
  };
  /** Forward and backward; gradients are new ones each time. */
  const both = (result: Tensor, seed?: Tensor, ...leaves: Tensor[]) => {
    backward(result, { seed });
    for (const each of leaves) {
      each.grad?.dispose();
      each.grad = undefined;
    }
  };
  return [
    { name: "relu, 1024", run: () => relu(x) },
    { name: "add, 1024", run: () => x.add(y) },
    { name: "multiply by a number, 1024", run: () => x.mul(0.5) },
    { name: "add a row, 64×64", run: () => a.add(bias) },
    {
      name: "gelu(x·w + b), 64×64",
      operators: 3,
      run: () => gelu(a.mul(bias).add(bias)),
    },
    { name: "matmul, 64×64", run: () => matmul(a, b) },
    { name: "linear with bias, 64×64", run: () => linear(a, b, bias) },
    {
      name: "conv 3×3 with bias, 8×16×14×14",
      run: () => conv(images, filters, filterBias, { padding: 1 }),
    },
    { name: "maxPool 2×2", run: () => maxPool(images, 2) },
    {
      name: "batchNorm, training",
      run: () =>
        batchNorm(images, runningMean, runningVar, channel, channel, {
          training: true,
        }),
    },
    {
      name: "batchNorm, inference",
      run: () => batchNorm(images, runningMean, runningVar, channel, channel),
    },
    { name: "layerNorm, 64×64", run: () => layerNorm(a, [64], bias, bias) },
    { name: "softmax, 64×64", run: () => softmax(a, 1) },
    { name: "crossEntropy, 64×64", run: () => crossEntropy(a, labels) },
    { name: "sum over rows, 64×64", run: () => sum(a, 1) },
    { name: "mean, 64×64", run: () => mean(a) },
    { name: "argMax over rows, 64×64", run: () => argMax(a, 1) },
    { name: "concat, 64×64 twice", run: () => concat([a, b], 0) },
    {
      name: "transposed copy, 64×64",
      operators: 2,
      run: () => contiguous(transpose(a, 0, 1)),
    },
    { name: "cumSum, 64×64", run: () => cumSum(a, 1) },
    {
      name: "indexSelect, 32 of 64 rows",
      run: () => indexSelect(a, 0, rowIndex),
    },
    { name: "gather, 32×64", run: () => gather(a, 0, cell) },
    { name: "sort, 64×64", run: () => sort(a, 1) },
    { name: "embedding, 128 of 64 rows", run: () => embedding(tokens, a) },
    { name: "attention, 2×4×16×32", run: () => attention(q, k, v) },
    {
      name: "relu, forward + backward",
      run: () => both(relu(gx), seed.vector, gx),
    },
    {
      name: "linear, forward + backward",
      run: () => both(linear(ga, gb, gbias), seed.matrix, ga, gb, gbias),
    },
    {
      name: "conv, forward + backward",
      run: () =>
        both(
          conv(gimages, gfilters, undefined, { padding: 1 }),
          seed.images,
          gimages,
          gfilters,
        ),
    },
    {
      name: "maxPool, forward + backward",
      run: () => both(maxPool(gimages, 2), seed.pooled, gimages),
    },
    {
      name: "layerNorm, forward + backward",
      run: () =>
        both(layerNorm(ga, [64], gbias, gbias), seed.matrix, ga, gbias),
    },
    {
      name: "softmax, forward + backward",
      run: () => both(softmax(ga, 1), seed.matrix, ga),
    },
    {
      name: "crossEntropy, forward + backward",
      run: () => both(crossEntropy(ga, labels), undefined, ga),
    },
    {
      name: "embedding, forward + backward",
      run: () => both(embedding(tokens, ga), seed.words, ga),
    },
    {
      name: "attention, forward + backward",
      run: () => both(attention(gq, gk, gv), seed.heads, gq, gk, gv),
    },
  ];
}
