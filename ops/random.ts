/**
 * Random tensors. A seed gives the same numbers on every device and number of
 * threads; see {@linkcode manualSeed}.
 *
 * @module
 */

import type { DType } from "../core/dtype.ts";
import { IndexError } from "../core/errors.ts";
import { operator } from "../core/op.ts";
import { defaultGenerator, permutation } from "../core/random.ts";
import type { Shape } from "../core/shape.ts";
import { fromHost, type Tensor } from "../core/tensor.ts";
import * as k from "../kernel/expr.ts";
import { specialFunctions } from "../kernel/special.ts";
import { cast } from "./foundation.ts";
import { checkedShape } from "./creating.ts";
import {
  draw,
  inverseErf,
  longUnit,
  normals,
  type RandomOptions,
  requireFloat,
  units,
} from "./random_bits.ts";

export { defaultGenerator, Generator, manualSeed } from "../core/random.ts";
export type { RandomState } from "../core/random.ts";
export type { RandomOptions } from "./random_bits.ts";
export * from "./sampling.ts";

/** A random tensor of a shape. */
export type RandomFill = (shape: Shape, options?: RandomOptions) => Tensor;

/** Attributes that all random tensors have. */
interface RandomAttrs extends RandomOptions {
  shape: Shape;
}

const plain: RandomAttrs = {
  shape: [],
  dtype: undefined,
  device: undefined,
  requiresGrad: undefined,
  generator: undefined,
};

function perBlock(dtype: DType): number {
  return dtype === "f64" ? 2 : 4;
}

function floatType(dtype: DType): "f32" | "f64" {
  return dtype === "f64" ? "f64" : "f32";
}

/**
 * Uniform random numbers in [0, 1): multiples of 2⁻²⁴ in f32, 2⁻⁵³ in f64.
 *
 * @throws {DTypeError} for a dtype that holds no fractions.
 */
export const rand: RandomFill = operator<RandomFill, RandomAttrs>({
  name: "rand",
  family: "random",
  inputs: [],
  attrs: plain,
  bind: (shape, options) => ({ inputs: [], attrs: { shape, ...options } }),
  formula: "u, P(u < v) = v",
  constant: true,
  onnx: "RandomUniform",
  caffe2: "UniformFill",
  run: (_, { shape, dtype = "f32", ...options }) => {
    requireFloat(dtype, "uniform random numbers");
    return draw(checkedShape(shape, "random numbers"), dtype, options, {
      name: "rand",
      perBlock: perBlock(dtype),
      build: (words) => units(words, dtype),
    });
  },
  samples: [[[2, 3]], [[0]], [[5], { dtype: "f64" }]],
});

/**
 * Random numbers of the standard normal distribution.
 *
 * @throws {DTypeError} for a dtype that holds no fractions.
 */
export const randn: RandomFill = operator<RandomFill, RandomAttrs>({
  name: "randn",
  family: "random",
  inputs: [],
  attrs: plain,
  bind: (shape, options) => ({ inputs: [], attrs: { shape, ...options } }),
  formula: "z, P(z < v) = Φ(v)",
  onnx: "RandomNormal",
  caffe2: "GaussianFill",
  constant: true,
  run: (_, { shape, ...options }) => normal(shape, options),
  samples: [[[2, 3]], [[0]], [[5], { dtype: "f64" }]],
});

/** Options of {@linkcode uniform}. */
export interface UniformOptions extends RandomOptions {
  /** Smallest number; 0 when omitted. */
  low?: number;
  /** Bound that is not reached; 1 when omitted. */
  high?: number;
}

/**
 * Uniform random numbers in [low, high).
 *
 * @throws {DTypeError} for a dtype that holds no fractions.
 */
export const uniform: (shape: Shape, options?: UniformOptions) => Tensor =
  operator<
    (shape: Shape, options?: UniformOptions) => Tensor,
    RandomAttrs & { low: number; high: number }
  >({
    name: "uniform",
    family: "random",
    inputs: [],
    attrs: { ...plain, low: 0, high: 1 },
    bind: (shape, options) => ({ inputs: [], attrs: { shape, ...options } }),
    formula: "low + (high − low) · u",
    constant: true,
    onnx: "RandomUniform",
    caffe2: "UniformFill",
    run: (_, { shape, low, high, dtype = "f32", ...options }) => {
      requireFloat(dtype, "uniform random numbers");
      const type = floatType(dtype);
      return draw(checkedShape(shape, "random numbers"), dtype, options, {
        name: "uniform",
        perBlock: perBlock(dtype),
        scalars: [low, high - low],
        scalarTypes: [type, type],
        build: (words, [low, range]) =>
          units(words, dtype).map((u) => k.add(low, k.mul(u, range))),
      });
    },
    samples: [[[2, 3], { low: -1 }], [[4], { low: 2, high: 5, dtype: "f64" }]],
  });

/** Options of {@linkcode normal}. */
export interface NormalOptions extends RandomOptions {
  /** Mean; 0 when omitted. */
  mean?: number;
  /** Standard deviation; 1 when omitted. */
  std?: number;
}

/**
 * Random numbers of a normal distribution.
 *
 * @throws {DTypeError} for a dtype that holds no fractions.
 */
export const normal: (shape: Shape, options?: NormalOptions) => Tensor =
  operator<
    (shape: Shape, options?: NormalOptions) => Tensor,
    RandomAttrs & { mean: number; std: number }
  >({
    name: "normal",
    family: "random",
    inputs: [],
    attrs: { ...plain, mean: 0, std: 1 },
    bind: (shape, options) => ({ inputs: [], attrs: { shape, ...options } }),
    formula: "mean + std · z",
    constant: true,
    onnx: "RandomNormal",
    caffe2: "GaussianFill",
    run: (_, { shape, mean, std, dtype = "f32", ...options }) => {
      requireFloat(dtype, "normal random numbers");
      const type = floatType(dtype);
      return draw(checkedShape(shape, "random numbers"), dtype, options, {
        name: "normal",
        perBlock: perBlock(dtype),
        scalars: [mean, std],
        scalarTypes: [type, type],
        build: (words, [mean, std]) =>
          normals(words, dtype).map((z) => k.add(mean, k.mul(z, std))),
      });
    },
    samples: [[[2, 3], { std: 3 }], [[4], { mean: 2, dtype: "f64" }]],
  });

/** Options of {@linkcode truncatedNormal}. */
export interface TruncatedNormalOptions extends NormalOptions {
  /** Smallest number; −2 when omitted. */
  low?: number;
  /** Largest number; 2 when omitted. */
  high?: number;
}

/** The normal distribution function. */
function normalCdf(x: number): number {
  return specialFunctions.erfc(-x * Math.SQRT1_2) / 2;
}

/**
 * Random numbers of a normal distribution, of those in [low, high].
 *
 * @throws {DTypeError} for a dtype that holds no fractions.
 */
export const truncatedNormal: (
  shape: Shape,
  options?: TruncatedNormalOptions,
) => Tensor = operator<
  (shape: Shape, options?: TruncatedNormalOptions) => Tensor,
  RandomAttrs & { mean: number; std: number; low: number; high: number }
>({
  name: "truncatedNormal",
  family: "random",
  inputs: [],
  attrs: { ...plain, mean: 0, std: 1, low: -2, high: 2 },
  bind: (shape, options) => ({ inputs: [], attrs: { shape, ...options } }),
  formula:
    "mean + std · Φ⁻¹(a + (b − a) · u), a = Φ((low − mean) / std), b = Φ((high − mean) / std)",
  constant: true,
  run: (_, { shape, mean, std, low, high, dtype = "f32", ...options }) => {
    requireFloat(dtype, "normal random numbers");
    const type = floatType(dtype);
    // Uniform between the values of the distribution function at the bounds, then its inverse.
    const from = 2 * normalCdf((low - mean) / std) - 1;
    const to = 2 * normalCdf((high - mean) / std) - 1;
    return draw(checkedShape(shape, "random numbers"), dtype, options, {
      name: "truncated normal",
      perBlock: perBlock(dtype),
      scalars: [from, to - from, std * Math.SQRT2, mean, low, high],
      scalarTypes: [type, type, type, type, type, type],
      build: (words, [from, range, scale, mean, low, high]) =>
        units(words, dtype).map((u) => {
          const y = k.add(from, k.mul(u, range));
          const z = type === "f64"
            ? k.call("erfinv", y)
            : inverseErf(k.min(k.max(y, -1 + 2 ** -24), 1 - 2 ** -24));
          const x = k.add(mean, k.mul(z, scale));
          return k.min(k.max(x, low), high);
        }),
    });
  },
  samples: [[[2, 3]], [[4], { mean: 1, std: 0.5, low: 0, high: 2 }]],
});

/** Integers of each type: smallest and largest. */
const ranges: Readonly<Partial<Record<DType, readonly [number, number]>>> = {
  bool: [0, 1],
  u8: [0, 255],
  i8: [-128, 127],
  i32: [-(2 ** 31), 2 ** 31 - 1],
};

function checkRange(low: number, high: number, dtype: DType): void {
  if (
    !Number.isSafeInteger(low) || !Number.isSafeInteger(high) || low >= high ||
    high - low > Number.MAX_SAFE_INTEGER
  ) {
    throw new IndexError(
      `Cannot draw integers from ${low} up to but without ${high}: both must be whole numbers, and the first the smaller one`,
    );
  }
  const range = ranges[dtype];
  if (range !== undefined && (low < range[0] || high - 1 > range[1])) {
    throw new IndexError(
      `Cannot draw integers from ${low} up to but without ${high} as ${dtype}: it holds ${
        range[0]
      } to ${range[1]}`,
    );
  }
}

/** Options of {@linkcode randint}; the dtype is i64 when omitted. */
export type RandintOptions = RandomOptions;

/**
 * Random whole numbers from low up to but without high, each equally likely.
 *
 * @throws {IndexError} when there are none, or the dtype does not hold them.
 */
export const randint: (
  low: number,
  high: number,
  shape: Shape,
  options?: RandintOptions,
) => Tensor = operator<
  (
    low: number,
    high: number,
    shape: Shape,
    options?: RandintOptions,
  ) => Tensor,
  RandomAttrs & { low: number; high: number }
>({
  name: "randint",
  family: "random",
  inputs: [],
  attrs: { ...plain, low: 0, high: 2 },
  bind: (low, high, shape, options) => ({
    inputs: [],
    attrs: { low, high, shape, ...options },
  }),
  formula: "low + ⌊u · (high − low)⌋",
  constant: true,
  caffe2: "UniformIntFill",
  run: (_, { low, high, shape, dtype = "i64", ...options }) => {
    checkRange(low, high, dtype);
    const range = high - low;
    const extents = checkedShape(shape, "random integers");
    if (low < -(2 ** 31) || high > 2 ** 31 || range >= 2 ** 32) {
      return draw(extents, dtype, options, {
        name: "randint wide",
        perBlock: 2,
        scalars: [low, range],
        scalarTypes: ["f64", "f64"],
        build: ([a, b, c, d], [low, range]) =>
          [longUnit(a, b), longUnit(c, d)].map((u) =>
            k.add(low, k.call("floor", k.mul(u, range)))
          ),
      });
    }
    return draw(extents, dtype, options, {
      name: "randint",
      perBlock: 2,
      scalars: [low, range],
      scalarTypes: ["i32", "i32"],
      build: ([a, b, c, d], [low, range]) =>
        [scaled(a, b, range), scaled(c, d, range)].map((n) => k.add(low, n)),
    });
  },
  samples: [[0, 10, [2, 3]], [-5, 5, [4], { dtype: "i32" }], [
    0,
    2 ** 40,
    [3],
  ]],
});

/** The upper word of (high · 2³² + low) · range / 2³²: every value is drawn equally often to 1 in 2³². */
function scaled(high: k.Expr, low: k.Expr, range: k.Expr): k.Expr {
  const smallest = k.constant(-(2 ** 31), "i32");
  const part = k.mul(high, range);
  const sum = k.add(part, k.mulhiu(low, range));
  const carry = k.lt(k.xor(sum, smallest), k.xor(part, smallest));
  return k.add(k.mulhiu(high, range), k.cast(carry, "i32"));
}

/**
 * The whole numbers from 0 up to but without `count` in random order, i64.
 *
 * @throws {IndexError} when `count` is not a whole number from 0 to 2³¹ − 1.
 */
export const randperm: (count: number, options?: RandomOptions) => Tensor =
  operator<
    (count: number, options?: RandomOptions) => Tensor,
    RandomOptions & { count: number }
  >({
    name: "randperm",
    family: "random",
    inputs: [],
    attrs: {
      count: 0,
      dtype: undefined,
      device: undefined,
      requiresGrad: undefined,
      generator: undefined,
    },
    bind: (count, options) => ({ inputs: [], attrs: { count, ...options } }),
    formula: "π(0), …, π(count − 1), P(π) = 1 / count!",
    constant: true,
    run: (_, { count, dtype = "i64", device, generator }) => {
      if (!Number.isInteger(count) || count < 0 || count >= 2 ** 31) {
        throw new IndexError(
          `Cannot permute ${count} numbers: give a whole number from 0 to ${
            2 ** 31 - 1
          }`,
        );
      }
      // A stream of its own: shuffling throws away now and then a word.
      const words = (generator ?? defaultGenerator()).host(1);
      const seed = (words.next32() >>> 11) * 2 ** 32 + words.next32();
      const order = new Int32Array(permutation(count, seed));
      const result = fromHost(order, "i32", [count], { device });
      return cast(result, dtype);
    },
    samples: [[5], [0], [3, { dtype: "i32" }]],
  });
