/**
 * Random words inside kernels, and what distributions make of them.
 *
 * @module
 */

import { capturing } from "../core/capture.ts";
import { type DType, isFloat } from "../core/dtype.ts";
import { DTypeError } from "../core/errors.ts";
import { type RowKernel, runRows } from "../core/row_kernels.ts";
import {
  defaultGenerator,
  type Generator,
  generatorStream,
  philoxConstants,
  type RandomState,
} from "../core/random.ts";
import { contiguousStrides, type Shape, sizeOf } from "../core/shape.ts";
import { Tensor, type TensorOptions } from "../core/tensor.ts";
import { Value } from "../core/value.ts";
import * as k from "../kernel/expr.ts";
import type { Expr, ScalarType } from "../kernel/expr.ts";
import { deviceOf, marked } from "./creating.ts";

/** Options of functions that make random tensors. */
export interface RandomOptions extends TensorOptions {
  /** Where the numbers come from; the default generator when omitted. */
  generator?: Generator;
}

/** Four random words of 32 bits. */
export type Words = readonly [Expr, Expr, Expr, Expr];

/** Types of the scalars that `philox` takes. */
const stateTypes: readonly ScalarType[] = ["i32", "i32", "i32", "i32"];

/** A state as run-time scalars. */
function stateScalars({ seed, offset }: RandomState): number[] {
  return [
    seed,
    Math.floor(seed / 2 ** 32),
    offset,
    Math.floor(offset / 2 ** 32),
  ]
    .map((word) => word % 2 ** 32 | 0);
}

function literal(word: number): Expr {
  return k.constant(word | 0, "i32");
}

/** The random words of block `block` (i32, counted from the state's offset, unsigned). */
function philox(state: readonly Expr[], block: Expr): Words {
  const [seedLow, seedHigh, offsetLow, offsetHigh] = state;
  const [first, second] = philoxConstants.multipliers.map(literal);
  const [firstStep, secondStep] = philoxConstants.steps.map(literal);
  const lowest = literal(0x80000000);
  let c0 = k.add(block, offsetLow);
  const overflow = k.lt(k.xor(c0, lowest), k.xor(offsetLow, lowest));
  let c1 = k.add(offsetHigh, k.cast(overflow, "i32"));
  let c2 = literal(0), c3 = literal(generatorStream);
  let k0 = seedLow, k1 = seedHigh;
  for (let round = 0; round < philoxConstants.rounds; round++) {
    [c0, c1, c2, c3] = [
      k.xor(k.xor(k.mulhiu(c2, second), c1), k0),
      k.mul(c2, second),
      k.xor(k.xor(k.mulhiu(c0, first), c3), k1),
      k.mul(c0, first),
    ];
    k0 = k.add(k0, firstStep);
    k1 = k.add(k1, secondStep);
  }
  return [c0, c1, c2, c3];
}

/** The upper `bits` bits of a word as a fraction in [0, 1). */
function fraction(word: Expr, bits: number, type: "f32" | "f64"): Expr {
  return k.mul(k.cast(k.shru(word, 32 - bits), type), 2 ** -bits);
}

/** A number in [0, 1) with as many bits as f32 holds exactly. */
export function unit(word: Expr): Expr {
  return fraction(word, 24, "f32");
}

/** A number in [0, 1) with 53 bits. */
export function longUnit(high: Expr, low: Expr): Expr {
  return k.add(
    fraction(high, 27, "f64"),
    k.mul(fraction(low, 26, "f64"), 2 ** -27),
  );
}

/** Numbers in [0, 1) that the dtype holds exactly: four per block, two of f64. */
export function units(words: Words, dtype: DType): Expr[] {
  if (dtype === "f64") {
    return [longUnit(words[0], words[1]), longUnit(words[2], words[3])];
  }
  const bits = dtype === "f16" ? 11 : dtype === "bf16" ? 8 : 24;
  return words.map((word) => fraction(word, bits, "f32"));
}

/** A number in (0, 1], down to 2⁻³¹, for logarithms. */
function positiveUnit(word: Expr): Expr {
  return k.mul(k.add(k.cast(k.shru(word, 1), "f32"), 1), 2 ** -31);
}

/** Standard normal numbers: four per block, two of f64. Box and Muller, 1958. */
export function normals(words: Words, dtype: DType): Expr[] {
  const turn = (radius: Expr, part: Expr): Expr[] => {
    const r = k.sqrt(k.mul(k.log(radius), -2));
    const angle = k.mul(part, 2 * Math.PI);
    return [k.mul(r, k.call("cos", angle)), k.mul(r, k.call("sin", angle))];
  };
  const [a, b, c, d] = words;
  if (dtype === "f64") {
    // 1 − u is exact and never 0.
    return turn(k.sub(1, longUnit(a, b)), longUnit(c, d));
  }
  return [
    ...turn(positiveUnit(a), unit(b)),
    ...turn(positiveUnit(c), unit(d)),
  ];
}

/**
 * The inverse of the error function in f32, to 4e-7 of its value.
 * Giles, "Approximating the erfinv function", 2012.
 */
export function inverseErf(x: Expr): Expr {
  const w = k.neg(k.log(k.mul(k.sub(1, x), k.add(1, x))));
  const series = (y: Expr, coefficients: readonly number[]) =>
    coefficients.slice(1).reduce(
      (sum, c) => k.add(k.mul(sum, y), c),
      k.constant(coefficients[0], "f32"),
    );
  const middle = series(k.sub(w, 2.5), middleSeries);
  const tail = series(k.sub(k.sqrt(w), 3), tailSeries);
  return k.mul(k.select(k.lt(w, 5), middle, tail), x);
}

const middleSeries = [
  2.81022636e-8,
  3.43273939e-7,
  -3.5233877e-6,
  -4.39150654e-6,
  2.1858087e-4,
  -1.25372503e-3,
  -4.17768164e-3,
  0.246640727,
  1.50140941,
];
const tailSeries = [
  -2.00214257e-4,
  1.00950558e-4,
  1.34934322e-3,
  -3.67342844e-3,
  5.73950773e-3,
  -7.6224613e-3,
  9.43887047e-3,
  1.00167406,
  2.83297682,
];

/** How a random tensor is computed. */
export interface Drawing {
  /** Names what `build` returns, together with the dtype. */
  readonly name: string;
  /** Elements that one block gives. */
  readonly perBlock: number;
  /** Further run-time scalars. */
  readonly scalars?: readonly number[];
  /** Types of those. */
  readonly scalarTypes?: readonly ScalarType[];
  /** The elements that a block gives. */
  build(words: Words, scalars: readonly Expr[]): Expr[];
}

/** Refuses dtypes that hold no fractions. */
export function requireFloat(dtype: DType, what: string): void {
  if (!isFloat(dtype)) {
    throw new DTypeError(
      `Cannot make ${what} of dtype ${dtype}: it takes f32, f64, f16 or bf16`,
    );
  }
}

/** A random tensor; the elements of block b are b · perBlock and the following. */
export function draw(
  shape: Shape,
  dtype: DType,
  options: RandomOptions,
  drawing: Drawing,
): Tensor {
  const { perBlock, scalars = [], scalarTypes = [] } = drawing;
  const device = deviceOf(options);
  const blocks = Math.ceil(sizeOf(shape) / perBlock);
  const state = (options.generator ?? defaultGenerator()).take(blocks);
  const memory = Value.empty(device, dtype, [blocks * perBlock]);
  const into = Array.from(
    { length: perBlock },
    (_, i) => memory.view([blocks], [perBlock], i),
  );
  const kernel: RowKernel = {
    name: `${drawing.name} ${dtype}`,
    space: [blocks],
    axes: [],
    streams: [],
    scalars: [...stateScalars(state), ...scalars],
    live: capturing() ? () => [...stateScalars(state), ...scalars] : undefined,
    scalarTypes: [...stateTypes, ...scalarTypes],
    into,
    passes: 1,
    build: ({ scalars }) => {
      const words = philox(scalars.slice(0, 4), k.linear());
      const values = drawing.build(words, scalars.slice(4));
      return {
        stages: [],
        outputs: values.map((value) => ({
          dtype,
          // Kernels store i32 values as i64.
          value: dtype === "i64" && value.type === "i32"
            ? value
            : k.roundTo(value, dtype),
          per: "element",
        })),
      };
    },
  };
  runRows(device, kernel);
  for (const part of into) part.release();
  const view = memory.view(shape, contiguousStrides(shape), 0);
  memory.release();
  return marked(new Tensor(view), options);
}
