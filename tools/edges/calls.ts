/** The calls that are tried on an operator: its samples, filled with edge values. */

import { type DType, dtypes, isFloat } from "../../core/dtype.ts";
import type { OpInfo, Sample, SampleTensor } from "../../core/op.ts";
import { sizeOf } from "../../core/shape.ts";

const floats = [
  NaN,
  Infinity,
  -Infinity,
  0,
  -0,
  1,
  -1,
  0.5,
  -0.5,
  2,
  -2,
  2.5,
  -1.5,
  3.4e38,
  -3.4e38,
  1e-40,
  -1e-45,
  88.9,
  -104,
  710,
  -746,
  65504,
  1e4,
  16777217,
];
/** Without those whose sums depend on their order. */
const tame = floats.filter((x) =>
  !(Math.abs(x) > 1e6 && Math.abs(x) < Infinity)
);
const ties = [1, 2, 2, 1, 0, -0, -1, -1];

function integersOf(dtype: DType): number[] {
  const all = [0, 1, -1, 2, -2, 3, 7, -8, 63];
  switch (dtype) {
    case "u8":
      return [0, 1, 2, 3, 7, 128, 254, 255];
    case "i8":
      return [...all, 127, -128];
    case "i32":
      return [...all, 2 ** 31 - 1, -(2 ** 31), 65536];
    case "i64":
      return [...all, 2 ** 53, -(2 ** 53), 2 ** 62, 2 ** 32];
    default:
      return [0, 1, 1];
  }
}

/** Whether a part of a sample is a tensor. */
export function isSample(x: unknown): x is SampleTensor {
  return typeof x === "object" && x !== null && "sample" in x;
}

/** A sample with each of its tensors replaced; the function gets the tensor's number. */
function replaced(
  sample: Sample,
  change: (s: SampleTensor, index: number) => SampleTensor,
): Sample {
  let index = 0;
  const walk = (x: unknown): unknown => {
    if (isSample(x)) return change(x, index++);
    if (Array.isArray(x)) return x.map(walk);
    if (typeof x !== "object" || x === null) return x;
    return Object.fromEntries(
      Object.entries(x).map(([key, value]) => [key, walk(value)]),
    );
  };
  return sample.map(walk);
}

/** Values of a list, walked from `start` by `step`. */
function walk(
  list: readonly number[],
  size: number,
  start: number,
  step: number,
): number[] {
  return Array.from(
    { length: size },
    (_, i) => list[(start + i * step) % list.length],
  );
}

/** Sorts the rows of the last axis, NaN last: what searches take for granted. */
function sortRows(data: number[], shape: readonly number[]): void {
  const width = shape.at(-1) ?? 1;
  const order = (x: number) => Number.isNaN(x) ? Infinity : x;
  for (let at = 0; at < data.length; at += width) {
    const row = data.slice(at, at + width).sort((a, b) =>
      Number(Number.isNaN(a)) - Number(Number.isNaN(b)) ||
      (order(a) < order(b) ? -1 : order(a) > order(b) ? 1 : 0)
    );
    row.forEach((x, i) => data[at + i] = x);
  }
}

/** An elementwise call with every pair of edge values. */
function pairs(dtype: DType, other: DType): Sample {
  const of = (d: DType) => isFloat(d) ? floats : integersOf(d);
  const a = of(dtype), b = of(other);
  const make = (d: DType, data: number[]): SampleTensor => ({
    sample: true,
    shape: [data.length],
    dtype: d,
    data,
    grad: isFloat(d),
  });
  return [
    make(dtype, a.flatMap((x) => b.map(() => x))),
    make(other, a.flatMap(() => b)),
  ];
}

/** The calls that are tried on an operator, among them some that may be refused. */
export function callsOf(info: OpInfo): Sample[] {
  const calls: Sample[] = [];
  const all = Object.keys(dtypes) as DType[];
  const operands = (s: Sample) => s.filter(isSample);
  // Where no sample asks for gradients, PyTorch's mean something else.
  const wanted = info.samples.some((s) =>
    JSON.stringify(s).includes('"grad":true')
  );
  const binary = info.inputs.length === 2 && !info.inputs[1].startsWith("...");
  const elementwise = [
    "arithmetic",
    "comparison",
    "math",
    "activation",
    "shape",
  ]
    .includes(info.family);
  if (binary && ["arithmetic", "comparison"].includes(info.family)) {
    for (const a of all) for (const b of all) calls.push(pairs(a, b));
  }
  for (const sample of info.samples.slice(0, 8)) {
    const first = operands(sample)[0];
    if (first === undefined) continue;
    const isData = (s: SampleTensor) => s.dtype === first.dtype;
    for (const dtype of all) {
      const lists = isFloat(dtype)
        ? [elementwise ? floats : tame, ties]
        : [integersOf(dtype)];
      for (const list of lists) {
        for (const start of [0, 5, 11, 17]) {
          calls.push(replaced(sample, (s, i) => {
            if (!isData(s)) return s;
            const data = walk(list, sizeOf(s.shape), start + 3 * i, 1 + 2 * i);
            if (info.name === "searchSorted" && i === 0) {
              sortRows(data, s.shape);
            }
            return { ...s, dtype, data, grad: wanted && isFloat(dtype) };
          }));
        }
      }
    }
    // No elements along one axis, one element along one axis.
    if (operands(sample).length !== 1) continue;
    for (const extent of [0, 1]) {
      first.shape.forEach((_, d) => {
        calls.push(replaced(sample, (s) => {
          const shape = s.shape.map((n, e) => e === d ? extent : n);
          return { ...s, shape, data: walk(tame, sizeOf(shape), 5, 1) };
        }));
      });
    }
  }
  return calls;
}
