/**
 * Evenly spaced numbers.
 *
 * @module
 */

import type { DType } from "../core/dtype.ts";
import { runRows } from "../core/row_kernels.ts";
import { operator } from "../core/op.ts";
import { Tensor, type TensorOptions } from "../core/tensor.ts";
import * as k from "../kernel/expr.ts";
import type { Expr } from "../kernel/expr.ts";
import { checkCount, deviceOf, marked } from "./creating.ts";

/** A vector whose element i is `element(i, scalars)`, computed in f64, or exactly where all is whole. */
function sequence(
  name: string,
  count: number,
  dtype: DType,
  options: TensorOptions,
  scalars: readonly number[],
  element: (i: Expr, scalars: readonly Expr[]) => Expr,
): Tensor {
  const whole = name === "arange" && scalars.every(Number.isSafeInteger);
  const type = whole ? "i64" : "f64";
  const [value] = runRows(deviceOf(options), {
    name: `${name} ${dtype} ${type}`,
    space: [count],
    axes: [],
    streams: [],
    scalars,
    scalarTypes: scalars.map(() => type),
    passes: 1,
    build: ({ scalars }) => {
      const i = k.cast(k.linear(), type);
      return {
        stages: [],
        outputs: [{
          dtype,
          value: k.roundTo(element(i, scalars), dtype),
          per: "element",
        }],
      };
    },
  });
  return marked(new Tensor(value), options);
}

/** A range: `arange(end)`, `arange(start, end)` or `arange(start, end, step)`, each with options. */
export interface Arange {
  /** 0, 1, … below `end`. */
  (end: number, options?: TensorOptions): Tensor;
  /** start, start + 1, … below `end`. */
  (start: number, end: number, options?: TensorOptions): Tensor;
  /** start, start + step, … up to but without `end`. */
  (start: number, end: number, step: number, options?: TensorOptions): Tensor;
}

interface ArangeAttrs extends TensorOptions {
  start: number;
  end: number;
  step: number;
}

const plain = {
  dtype: undefined,
  device: undefined,
  requiresGrad: undefined,
};

function bindArange(...args: (number | TensorOptions | undefined)[]) {
  const numbers = args.filter((arg) => typeof arg === "number");
  const options = args.find((arg) => typeof arg === "object");
  const [first, second, step] = numbers;
  const ends = second === undefined
    ? { start: 0, end: first }
    : { start: first, end: second };
  return { inputs: [], attrs: { ...ends, step, ...options } };
}

/**
 * Numbers from start (0 when omitted) up to but without end, by step (1 when
 * omitted). i64 when all three are whole, f32 otherwise or if a gradient is
 * asked for.
 *
 * @throws {RangeError} when the step is 0 or leads away from the end.
 */
export const arange: Arange = operator<Arange, ArangeAttrs>({
  name: "arange",
  family: "creation",
  inputs: [],
  attrs: { start: 0, end: 0, step: 1, ...plain },
  bind: bindArange,
  formula: "start + i · step",
  constant: true,
  torch: "torch.arange(start, end, step, dtype=dtypes.get(dtype))",
  onnx: "Range",
  caffe2: "Range",
  run: (_, { start, end, step, ...options }) => {
    const size = Math.ceil((end - start) / step);
    if (step === 0 || !Number.isFinite(start) || !(size >= 0)) {
      throw new RangeError(
        `Cannot count from ${start} to ${end} by ${step}: the step must lead toward the end`,
      );
    }
    checkCount(size, "a range");
    const whole = [start, end, step].every(Number.isInteger);
    const dtype = options.dtype ??
      (whole && !options.requiresGrad ? "i64" : "f32");
    return sequence(
      "arange",
      size,
      dtype,
      options,
      [start, step],
      (i, [start, step]) => k.add(start, k.mul(i, step)),
    );
  },
  samples: [
    [5],
    [2, 7],
    [5, 0, -2],
    [0, 1, 0.1],
    [0],
    [1, 4, { dtype: "f32" }],
    [3, { dtype: "f64" }],
    [6, { dtype: "u8" }],
    [-3, 3, 2, { dtype: "i32" }],
    [2.5],
    [0, 3, { dtype: "f16" }],
    [3, 3],
  ],
});

/** Numbers between two ends. */
export type Linspace = (
  start: number,
  end: number,
  count: number,
  options?: TensorOptions,
) => Tensor;

interface LinspaceAttrs extends TensorOptions {
  start: number;
  end: number;
  count: number;
}

// From both ends toward the middle, so that both are exact.
function spaced(i: Expr, [start, end, step, last]: readonly Expr[]): Expr {
  return k.select(
    k.lt(k.mul(i, 2), last),
    k.add(start, k.mul(step, i)),
    k.sub(end, k.mul(step, k.sub(last, i))),
  );
}

function spacing({ start, end, count }: LinspaceAttrs): number[] {
  checkCount(count, "a sequence");
  const last = count - 1;
  if (count === 1) return [start, start, 0, 0];
  return [start, end, (end - start) / last, last];
}

/** `count` evenly spaced numbers from start to end, both included; f32 unless the options say otherwise. */
export const linspace: Linspace = operator<Linspace, LinspaceAttrs>({
  name: "linspace",
  family: "creation",
  inputs: [],
  attrs: { start: 0, end: 0, count: 0, ...plain },
  bind: (start, end, count, options) => ({
    inputs: [],
    attrs: { start, end, count, ...options },
  }),
  formula: "start + i · (end − start) / (count − 1)",
  constant: true,
  torch: "torch.linspace(start, end, count, dtype=dtypes.get(dtype))",
  run: (_, attrs) => {
    const { dtype = "f32" } = attrs;
    const scalars = spacing(attrs);
    return sequence("linspace", attrs.count, dtype, attrs, scalars, spaced);
  },
  samples: [
    [0, 1, 5],
    [-2, 3, 4],
    [3, -1, 6, { dtype: "f64" }],
    [2, 5, 1],
    [2, 5, 0],
    [0, 10, 4, { dtype: "i64" }],
    [0, 1, 4, { dtype: "f16" }],
  ],
});

/** Powers of a base between two exponents. */
export type Logspace = (
  start: number,
  end: number,
  count: number,
  options?: TensorOptions & {
    /** What is raised to the powers; 10 when omitted. */
    base?: number;
  },
) => Tensor;

/** `count` powers of a base, their exponents evenly spaced from start to end; f32 unless the options say otherwise. */
export const logspace: Logspace = operator<
  Logspace,
  LinspaceAttrs & { base: number }
>({
  name: "logspace",
  family: "creation",
  inputs: [],
  attrs: { start: 0, end: 0, count: 0, base: 10, ...plain },
  bind: (start, end, count, options) => ({
    inputs: [],
    attrs: { start, end, count, ...options },
  }),
  formula: "base^(start + i · (end − start) / (count − 1))",
  constant: true,
  torch:
    "torch.logspace(start, end, count, base=base, dtype=dtypes.get(dtype))",
  run: (_, attrs) => {
    const { dtype = "f32", base, count } = attrs;
    return sequence(
      "logspace",
      count,
      dtype,
      attrs,
      [...spacing(attrs), base],
      (i, scalars) => k.pow(scalars[4], spaced(i, scalars)),
    );
  },
  samples: [
    [0, 2, 5],
    [-2, 3, 4, { base: 2 }],
    [1, 2, 1],
    [0, 3, 4, { dtype: "f64" }],
  ],
});
