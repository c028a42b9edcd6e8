/**
 * Feeds every operator the values where conventions show — NaN, ±∞, ±0, huge,
 * tiny, ties, no elements — in every dtype, and compares with PyTorch, live.
 * Prints each call that differs; cases worth keeping become samples of the
 * operator's declaration.
 *
 * Run: `deno task edges [NAME…] [--gradients] [--refusals] [--zeros]`
 * `--gradients` compares gradients too, `--refusals` shows calls that only one
 * side takes, `--zeros` tells 0 from −0.
 */

import { gradients, operators, scope, Tensor } from "../mod.ts";
import {
  type DType,
  dtypes,
  getElement,
  hostArray,
  isFloat,
  setElement,
} from "../core/dtype.ts";
import type { OpInfo, Sample, SampleTensor } from "../core/op.ts";
import { sizeOf } from "../core/shape.ts";
import {
  argumentsOf,
  decodeTensor,
  type EncodedTensor,
  encodeSample,
  type GoldenResult,
  goldenWeight,
} from "../tests/golden/samples.ts";
import { ROOT } from "./files.ts";
import { findTorch } from "./python.ts";

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

function isSample(x: unknown): x is SampleTensor {
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

/** The calls that are tried on an operator. */
function callsOf(info: OpInfo): Sample[] {
  const calls: Sample[] = [];
  const all = Object.keys(dtypes) as DType[];
  const operands = (s: Sample) => s.filter(isSample);
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
            return { ...s, dtype, data, grad: isFloat(dtype) };
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

/** The same numbers, as a tensor of the dtype holds them. */
function held(dtype: DType, x: number): number {
  const host = hostArray(dtype, 1);
  setElement(host, dtype, 0, x);
  return getElement(host, dtype, 0);
}

const tolerance: Record<DType, number> = {
  f32: 1e-4,
  f64: 1e-10,
  f16: 4e-3,
  bf16: 3e-2,
  i64: 0,
  i32: 0,
  i8: 0,
  u8: 0,
  bool: 0,
};

/** How two tensors differ, or undefined. */
function difference(
  ours: Tensor,
  theirs: EncodedTensor,
  zeros: boolean,
): string | undefined {
  if (`${ours.shape}` !== `${theirs.shape}`) {
    return `shape [${ours.shape}], PyTorch [${theirs.shape}]`;
  }
  if (ours.dtype !== theirs.dtype) {
    return `dtype ${ours.dtype}, PyTorch ${theirs.dtype}`;
  }
  const a = Float64Array.from(ours.data() as ArrayLike<number>, Number);
  const b = decodeTensor(theirs);
  const bound = tolerance[ours.dtype];
  const wrong: string[] = [];
  a.forEach((x, i) => {
    const y = b[i];
    if (Object.is(x, y) || (x === 0 && y === 0 && !zeros)) return;
    if (Math.abs(x - y) <= bound * Math.max(1e-2, Math.abs(y))) {
      return;
    }
    if (wrong.length < 4) {
      wrong.push(`[${i}] ${show(x)}, PyTorch ${show(y)}`);
    }
  });
  return wrong.length === 0 ? undefined : wrong.join("; ");
}

function show(x: number): string {
  return Object.is(x, -0) ? "-0" : `${x}`;
}

function describe(info: OpInfo, sample: Sample): string {
  const part = (x: unknown): string =>
    isSample(x)
      ? `${x.dtype}[${x.shape}](${
        x.data.slice(0, 40).map((n) => show(held(x.dtype, n))).join(" ")
      })`
      : Array.isArray(x)
      ? `[${x.map(part)}]`
      : typeof x === "object" && x !== null
      ? `{${Object.entries(x).map(([k, v]) => `${k}: ${part(v)}`)}}`
      : `${x}`;
  return `${info.name}(${sample.map(part).join(", ")})`;
}

interface Options {
  readonly gradients: boolean;
  readonly refusals: boolean;
  readonly zeros: boolean;
}

/** Compares one call with PyTorch's answer; a sentence where they differ. */
function compare(
  info: OpInfo,
  sample: Sample,
  golden: GoldenResult & { error?: string },
  options: Options,
): string | undefined {
  return scope(() => {
    const made = new Map<Tensor, SampleTensor>();
    let outputs: Tensor[];
    try {
      const args = argumentsOf(sample, made);
      for (const [tensor, s] of made) {
        tensor.requiresGrad = s.grad && isFloat(s.dtype);
      }
      const result = info.call(...args);
      outputs = (Array.isArray(result) ? result : [result]).filter((y) =>
        y instanceof Tensor
      );
      outputs.forEach((y) => y.data());
    } catch (error) {
      const { message } = error as Error;
      if (!message.startsWith("Cannot ")) return `raw error ${error}`;
      if (golden.error !== undefined || !options.refusals) return undefined;
      return `refused: ${message}`;
    }
    if (golden.error !== undefined) {
      return options.refusals ? `PyTorch refuses: ${golden.error}` : undefined;
    }
    for (const [i, output] of outputs.entries()) {
      const found = difference(output, golden.outputs[i], options.zeros);
      if (found !== undefined) return `result ${i}: ${found}`;
    }
    if (!options.gradients || golden.gradients === undefined) return undefined;
    const leaves = [...made].filter(([x]) => x.requiresGrad);
    let grads: (Tensor | undefined)[] | undefined;
    try {
      grads = gradientsOf(outputs, leaves.map(([x]) => x));
    } catch (error) {
      return `gradients: ${error}`;
    }
    const names = Object.keys(golden.gradients);
    for (const [i, name] of names.entries()) {
      if (grads?.[i] === undefined || leaves.length !== names.length) continue;
      const found = difference(
        grads[i]!,
        golden.gradients[name],
        options.zeros,
      );
      if (found !== undefined) return `gradient of ${name}: ${found}`;
    }
    return undefined;
  });
}

function gradientsOf(
  outputs: readonly Tensor[],
  leaves: readonly Tensor[],
): (Tensor | undefined)[] | undefined {
  type Methods = Tensor & {
    mul(x: Tensor): Methods;
    add(x: Tensor): Methods;
    sum(): Methods;
    cast(d: DType): Methods;
  };
  let total: Methods | undefined;
  outputs.forEach((output, index) => {
    if (!output.requiresGrad || output.size === 0) return;
    const [weights] = argumentsOf([{
      sample: true,
      shape: output.shape,
      dtype: "f64",
      data: Array.from(
        { length: output.size },
        (_, k) => goldenWeight(k, index),
      ),
      grad: false,
    }]) as Methods[];
    const part = (output as Methods).mul(weights.cast(output.dtype)).sum();
    total = total === undefined ? part : total.add(part);
  });
  return total === undefined ? undefined : gradients(total, [...leaves]);
}

async function main(): Promise<number> {
  const flags = Deno.args.filter((arg) => arg.startsWith("--"));
  const names = Deno.args.filter((arg) => !arg.startsWith("--"));
  const options = {
    gradients: flags.includes("--gradients"),
    refusals: flags.includes("--refusals"),
    zeros: flags.includes("--zeros"),
  };
  const python = await findTorch({ install: false });
  if ("absent" in python) {
    console.error(`No Python with PyTorch: ${python.absent}.`);
    return 1;
  }
  const chosen = [...operators().values()].filter((info) =>
    info.torch !== undefined &&
    (names.length === 0 || names.includes(info.name))
  );
  const calls = chosen.map((info) => {
    const seen = new Set<string>();
    return callsOf(info).flatMap((sample) => {
      try {
        const encoded = encodeSample(info, sample);
        if (seen.has(encoded.key)) return [];
        seen.add(encoded.key);
        return [{ sample, encoded }];
      } catch {
        return []; // refused before there is anything to compare
      }
    });
  });
  const folder = await Deno.makeTempDir();
  try {
    const operatorsJson = chosen.map((info, i) => ({
      name: info.name,
      torch: info.torch,
      samples: calls[i].map(({ encoded }) => encoded),
    }));
    await Deno.writeTextFile(
      `${folder}/calls.json`,
      JSON.stringify({ operators: operatorsJson }),
    );
    const { code } = await new Deno.Command(python.path, {
      args: [
        `${ROOT}/tests/golden/edges.py`,
        `${folder}/calls.json`,
        `${folder}/answers.json`,
      ],
      stdin: "null",
      stdout: "inherit",
      stderr: "inherit",
    }).output();
    if (code !== 0) return code;
    const answers = JSON.parse(
      await Deno.readTextFile(`${folder}/answers.json`),
    );
    let total = 0, wrong = 0;
    chosen.forEach((info, i) => {
      calls[i].forEach(({ sample }, j) => {
        total++;
        const found = compare(info, sample, answers[i][j], options);
        if (found === undefined) return;
        wrong++;
        console.log(`${describe(info, sample)}\n    ${found}`);
      });
    });
    console.log(
      `${total} calls of ${chosen.length} operators, ${wrong} differ`,
    );
    return wrong === 0 ? 0 : 1;
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

if (import.meta.main) Deno.exit(await main());
