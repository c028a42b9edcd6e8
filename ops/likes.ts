/**
 * New tensors in the shape of others.
 *
 * @module
 */

import { either, flag, value } from "../core/attributes.ts";
import { isFloat } from "../core/dtype.ts";
import { operator } from "../core/op.ts";
import type { Tensor, TensorOptions } from "../core/tensor.ts";
import { full, ones, zeros } from "./creation.ts";
import { rand, randn } from "./random.ts";
import type { RandomOptions } from "./random_bits.ts";
import { t } from "./samples.ts";

function of<T extends TensorOptions>(x: Tensor, options: T): T {
  return {
    ...options,
    dtype: options.dtype ?? x.dtype,
    device: options.device ?? x.device.name,
  };
}

/** A tensor of the shape, dtype and device of another, unless the options say otherwise. */
export type Like = (x: Tensor, options?: TensorOptions) => Tensor;

const plain: TensorOptions = {
  dtype: undefined,
  device: undefined,
  requiresGrad: undefined,
};

/** Zeros in the shape and dtype of x. */
export const zerosLike: Like = operator<Like, TensorOptions>({
  name: "zerosLike",
  family: "creation",
  inputs: ["x"],
  attrs: plain,
  formula: "y[…] = 0",
  constant: true,
  torch: "torch.zeros_like(x, dtype=dtypes.get(dtype))",
  run: ([x], options) => zeros(x.shape, of(x, options)),
  samples: [[t([2, 3])], [t([], { dtype: "i32" })], [t([2]), { dtype: "f64" }]],
});

/** Ones in the shape and dtype of x. */
export const onesLike: Like = operator<Like, TensorOptions>({
  name: "onesLike",
  family: "creation",
  inputs: ["x"],
  attrs: plain,
  formula: "y[…] = 1",
  constant: true,
  torch: "torch.ones_like(x, dtype=dtypes.get(dtype))",
  run: ([x], options) => ones(x.shape, of(x, options)),
  samples: [[t([2, 3])], [t([], { dtype: "i32" })], [t([2]), { dtype: "f64" }]],
});

/** One value in the shape and dtype of x. */
export const fullLike: (
  x: Tensor,
  value: number | boolean,
  options?: TensorOptions,
) => Tensor = operator<
  (x: Tensor, value: number | boolean, options?: TensorOptions) => Tensor,
  TensorOptions & { value: number | boolean }
>({
  name: "fullLike",
  family: "creation",
  inputs: ["x"],
  attrs: { ...plain, value: 0 },
  rules: { value: either(value, flag) },
  bind: (x, value, options) => ({ inputs: [x], attrs: { value, ...options } }),
  formula: "y[…] = value",
  constant: true,
  torch: "torch.full_like(x, value, dtype=dtypes.get(dtype))",
  run: ([x], { value, ...options }) => full(x.shape, value, of(x, options)),
  samples: [
    [t([2, 3]), 7],
    [t([2], { dtype: "i32" }), 3],
    [t([2]), 2, { dtype: "f64" }],
    [t([2], { dtype: "bool" }), true],
  ],
});

/** A random tensor in the shape of another. */
export type RandomLike = (x: Tensor, options?: RandomOptions) => Tensor;

function randomLike(x: Tensor, options: RandomOptions): RandomOptions {
  const { dtype } = of(x, options);
  return { ...of(x, options), dtype: isFloat(dtype!) ? dtype : undefined };
}

/** Uniform random numbers in [0, 1) in the shape of x, and in its dtype if that is a float. */
export const randLike: RandomLike = operator<RandomLike, RandomOptions>({
  name: "randLike",
  family: "random",
  inputs: ["x"],
  attrs: { ...plain, generator: undefined },
  formula: "u, P(u < v) = v",
  constant: true,
  onnx: "RandomUniformLike",
  run: ([x], options) => rand(x.shape, randomLike(x, options)),
  samples: [[t([2, 3])], [t([2], { dtype: "i64" }), { dtype: "f64" }]],
});

/** Standard normal random numbers in the shape of x, and in its dtype if that is a float. */
export const randnLike: RandomLike = operator<RandomLike, RandomOptions>({
  name: "randnLike",
  family: "random",
  inputs: ["x"],
  attrs: { ...plain, generator: undefined },
  formula: "z, P(z < v) = Φ(v)",
  constant: true,
  onnx: "RandomNormalLike",
  run: ([x], options) => randn(x.shape, randomLike(x, options)),
  samples: [[t([2, 3])], [t([2], { dtype: "i64" }), { dtype: "f64" }]],
});
