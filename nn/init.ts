/**
 * Initialisers: they overwrite a tensor, usually a parameter, and return it.
 * Random ones draw from the default generator unless they are given one.
 *
 * @module
 */

import { showValue } from "../core/attributes.ts";
import { noGrad } from "../core/autograd.ts";
import { ShapeError, shapeText } from "../core/errors.ts";
import { checkOptions } from "../core/options.ts";
import { defaultGenerator, type Generator } from "../core/random.ts";
import { scope } from "../core/scope.ts";
import { fromHost, type Tensor } from "../core/tensor.ts";
import { fill } from "../ops/foundation.ts";
import {
  normal as drawNormal,
  truncatedNormal,
  uniform as drawUniform,
} from "../ops/random.ts";
import { overwrite } from "./convert.ts";

/** Where random numbers come from. */
export interface RandomOptions {
  /** The generator; the default one when omitted. */
  generator?: Generator;
}

function set(tensor: Tensor, make: () => Tensor): Tensor {
  noGrad(() => scope(() => overwrite(tensor, make())));
  return tensor;
}

// The dtype and device of the tensor that is overwritten.
function like(tensor: Tensor, options: RandomOptions) {
  return { ...options, dtype: tensor.dtype, device: tensor.device.name };
}

/** All elements the same. */
export function constant(tensor: Tensor, value: number): Tensor {
  const { shape, dtype, device } = tensor;
  return set(tensor, () => fill(shape, value, dtype, device));
}

/** All elements 0. */
export function zeros(tensor: Tensor): Tensor {
  return constant(tensor, 0);
}

/** All elements 1. */
export function ones(tensor: Tensor): Tensor {
  return constant(tensor, 1);
}

/** Evenly distributed in [low, high). @throws {RangeError} when the bounds are no interval. */
export function uniform(
  tensor: Tensor,
  low = 0,
  high = 1,
  options: RandomOptions = {},
): Tensor {
  checkOptions("draw initial values", options, { generator: true });
  if (!(low <= high && Number.isFinite(high - low))) {
    throw new RangeError(
      `Cannot draw from U(${low}, ${high}): the lower bound must not be above the upper one, and both finite`,
    );
  }
  return set(
    tensor,
    () => drawUniform(tensor.shape, { ...like(tensor, options), low, high }),
  );
}

/** Normally distributed. @throws {RangeError} when `std` is negative. */
export function normal(
  tensor: Tensor,
  mean = 0,
  std = 1,
  options: RandomOptions = {},
): Tensor {
  checkOptions("draw initial values", options, { generator: true });
  if (!(std >= 0 && Number.isFinite(std))) {
    throw new RangeError(
      `Cannot draw from a normal distribution with standard deviation ${std}: it must be a finite number of at least 0`,
    );
  }
  return set(
    tensor,
    () => drawNormal(tensor.shape, { ...like(tensor, options), mean, std }),
  );
}

/** Options of {@linkcode truncNormal}. */
export interface TruncNormalOptions extends RandomOptions {
  /** Mean of the whole distribution; 0 when omitted. */
  mean?: number;
  /** Standard deviation of the whole distribution; 1 when omitted. */
  std?: number;
  /** Lower bound; −2 when omitted. */
  low?: number;
  /** Upper bound; 2 when omitted. */
  high?: number;
}

/**
 * Normally distributed, but drawn again where outside of [low, high].
 *
 * @throws {RangeError} when the bounds are no interval or `std` is not above 0.
 */
export function truncNormal(
  tensor: Tensor,
  options: TruncNormalOptions = {},
): Tensor {
  checkOptions("draw initial values", options, {
    generator: true,
    mean: true,
    std: true,
    low: true,
    high: true,
  });
  const { mean = 0, std = 1, low = -2, high = 2, ...random } = options;
  if (!(low < high && std > 0)) {
    throw new RangeError(
      `Cannot draw from a normal distribution with standard deviation ${std} cut to [${low}, ${high}]: the deviation must be above 0 and the lower bound below the upper one`,
    );
  }
  const bounds = { mean, std, low, high };
  return set(
    tensor,
    () => truncatedNormal(tensor.shape, { ...like(tensor, random), ...bounds }),
  );
}

/** Inputs and outputs that a weight [out, in, …] connects per unit. */
export function fans(tensor: Tensor): { fanIn: number; fanOut: number } {
  const { shape, size } = tensor;
  if (shape.length < 2) {
    throw new ShapeError(
      `Cannot count the inputs and outputs of a tensor of shape ${
        shapeText(shape)
      }: it must have at least two axes, [out, in, …]`,
    );
  }
  const count = Math.max(size, 1);
  return { fanIn: count / shape[0], fanOut: count / shape[1] };
}

/** Functions whose recommended gain is known. */
export type Nonlinearity =
  | "linear"
  | "sigmoid"
  | "tanh"
  | "relu"
  | "leakyRelu"
  | "selu";

/** The factor that keeps the variance through a nonlinearity; `slope` is that of leakyRelu. */
export function gain(nonlinearity: Nonlinearity, slope = 0.01): number {
  switch (nonlinearity) {
    case "linear":
    case "sigmoid":
      return 1;
    case "tanh":
      return 5 / 3;
    case "relu":
      return Math.SQRT2;
    case "leakyRelu":
      return Math.sqrt(2 / (1 + slope ** 2));
    case "selu":
      return 3 / 4;
    default:
      nonlinearity satisfies never;
      throw new TypeError(
        `Cannot say the gain of ${
          showValue(nonlinearity)
        }: it is known of linear, sigmoid, tanh, relu, leakyRelu and selu`,
      );
  }
}

/** Options of the Xavier initialisers. */
export interface XavierOptions extends RandomOptions {
  /** Factor on the standard deviation; 1 when omitted. */
  gain?: number;
}

function checkXavier(options: XavierOptions): void {
  checkOptions("draw initial values", options, { generator: true, gain: true });
}

function xavierDeviation(tensor: Tensor, gain = 1): number {
  const { fanIn, fanOut } = fans(tensor);
  return gain * Math.sqrt(2 / (fanIn + fanOut));
}

/** U(±gain·√(6/(fanIn + fanOut))) (Glorot and Bengio, 2010). @throws {ShapeError} below two axes. */
export function xavierUniform(
  tensor: Tensor,
  options: XavierOptions = {},
): Tensor {
  checkXavier(options);
  const { gain, ...random } = options;
  const bound = Math.sqrt(3) * xavierDeviation(tensor, gain);
  return uniform(tensor, -bound, bound, random);
}

/** N(0, gain²·2/(fanIn + fanOut)) (Glorot and Bengio, 2010). @throws {ShapeError} below two axes. */
export function xavierNormal(
  tensor: Tensor,
  options: XavierOptions = {},
): Tensor {
  checkXavier(options);
  const { gain, ...random } = options;
  return normal(tensor, 0, xavierDeviation(tensor, gain), random);
}

/** Options of the Kaiming initialisers. */
export interface KaimingOptions extends RandomOptions {
  /** Slope of leakyRelu below 0; 0 when omitted. */
  slope?: number;
  /** Whether the variance is kept forward (fanIn) or backward (fanOut); "fanIn" when omitted. */
  mode?: "fanIn" | "fanOut";
  /** The function that follows; "leakyRelu" when omitted. */
  nonlinearity?: Nonlinearity;
}

function kaimingDeviation(tensor: Tensor, options: KaimingOptions): number {
  checkOptions("draw initial values", options, {
    generator: true,
    slope: true,
    mode: true,
    nonlinearity: true,
  });
  const { slope = 0, mode = "fanIn", nonlinearity = "leakyRelu" } = options;
  const fan = fans(tensor);
  if (!Object.hasOwn(fan, mode)) {
    throw new TypeError(
      `Cannot draw initial values with mode ${
        showValue(mode)
      }: there are "fanIn" and "fanOut"`,
    );
  }
  return gain(nonlinearity, slope) / Math.sqrt(fan[mode]);
}

/** U(±gain·√(3/fan)) (He et al., 2015). @throws {ShapeError} below two axes. */
export function kaimingUniform(
  tensor: Tensor,
  options: KaimingOptions = {},
): Tensor {
  const bound = Math.sqrt(3) * kaimingDeviation(tensor, options);
  const { generator } = options;
  return uniform(tensor, -bound, bound, { generator });
}

/** N(0, gain²/fan) (He et al., 2015). @throws {ShapeError} below two axes. */
export function kaimingNormal(
  tensor: Tensor,
  options: KaimingOptions = {},
): Tensor {
  const { generator } = options;
  return normal(tensor, 0, kaimingDeviation(tensor, options), { generator });
}

/** Caffe2's XavierFill: U(±√(3/fanIn)), with fanIn = elements / first extent. */
export function xavierFill(
  tensor: Tensor,
  options: RandomOptions = {},
): Tensor {
  const bound = Math.sqrt(3 * (tensor.shape[0] ?? 1) / tensor.size);
  return uniform(tensor, -bound, bound, options);
}

/** Caffe2's MSRAFill: N(0, 2/fanOut), with fanOut = elements / second extent. @throws {ShapeError} below two axes. */
export function msraFill(tensor: Tensor, options: RandomOptions = {}): Tensor {
  return normal(tensor, 0, Math.sqrt(2 / fans(tensor).fanOut), options);
}

/** Ones on the diagonal, zeros elsewhere. @throws {ShapeError} unless there are two axes. */
export function eye(tensor: Tensor): Tensor {
  const { shape, device } = tensor;
  if (shape.length !== 2) {
    throw new ShapeError(
      `Cannot make an identity of a tensor of shape ${
        shapeText(shape)
      }: it must have two axes`,
    );
  }
  const [rows, columns] = shape;
  const data = new Float64Array(rows * columns);
  for (let i = 0; i < Math.min(rows, columns); i++) data[i * columns + i] = 1;
  return set(
    tensor,
    () => fromHost(data, "f64", shape, { device: device.name }),
  );
}

/**
 * Rows (or columns, where there are more rows) that are perpendicular and of
 * length `gain` (Saxe et al., 2014); axes after the first count as one.
 *
 * @throws {ShapeError} below two axes.
 */
export function orthogonal(
  tensor: Tensor,
  options: XavierOptions = {},
): Tensor {
  checkXavier(options);
  const { gain = 1, generator = defaultGenerator() } = options;
  fans(tensor);
  const { shape, size, device } = tensor;
  const rows = shape[0], columns = size / Math.max(rows, 1);
  const wide = columns >= rows;
  const count = wide ? rows : columns, length = wide ? columns : rows;
  const draws = fromNormal(tensor, generator);
  const vectors = Array.from(
    { length: count },
    (_, i) => draws.slice(i * length, (i + 1) * length),
  );
  perpendicular(vectors);
  const data = new Float64Array(size);
  vectors.forEach((vector, i) =>
    vector.forEach((x, j) => {
      data[wide ? i * length + j : j * count + i] = gain * x;
    })
  );
  return set(
    tensor,
    () => fromHost(data, "f64", shape, { device: device.name }),
  );
}

function fromNormal(tensor: Tensor, generator: Generator): Float64Array {
  return scope(() => {
    const options = { dtype: "f64", generator } as const;
    const draws = drawNormal([tensor.size], options).data();
    return Float64Array.from(draws, Number);
  });
}

/** Makes vectors perpendicular and of length 1, in place (Gram and Schmidt, twice for accuracy). */
function perpendicular(vectors: readonly Float64Array[]): void {
  vectors.forEach((v, i) => {
    for (let pass = 0; pass < 2; pass++) {
      for (const u of vectors.slice(0, i)) {
        const shadow = v.reduce((sum, x, j) => sum + x * u[j], 0);
        v.forEach((_, j) => v[j] -= shadow * u[j]);
      }
    }
    const length = Math.sqrt(v.reduce((sum, x) => sum + x * x, 0));
    v.forEach((_, j) => v[j] /= length);
  });
}
