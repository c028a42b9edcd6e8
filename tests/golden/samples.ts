/**
 * The operators' samples on their way to PyTorch, and PyTorch's answers on their
 * way back: tensors as bytes in base64, so that NaN, infinities, −0 and 64-bit
 * integers arrive as they are. make.py is the other side.
 */

import { createHash } from "node:crypto";
import type { OpInfo, Sample, SampleTensor } from "../../core/op.ts";
import { fromHost, type Tensor } from "../../core/tensor.ts";
import {
  bytesOf,
  type DType,
  getElement,
  hostArray,
  setElement,
} from "../../core/dtype.ts";

/** What of a declaration goes to PyTorch. */
export type Sampled = Pick<
  OpInfo,
  "name" | "family" | "inputs" | "torch" | "samples" | "bind"
>;

/** A tensor in JSON. */
export interface EncodedTensor {
  shape: readonly number[];
  dtype: DType;
  data: string;
  /** Present and true where a gradient is wanted. */
  grad?: boolean;
}

/** An operand in JSON: a tensor, a list of them, a number, or null where it is left out. */
export type EncodedInput = EncodedTensor | EncodedTensor[] | number | null;

/** One sample in JSON, with the key by which its golden values are found. */
export interface EncodedSample {
  key: string;
  inputs: Record<string, EncodedInput>;
  attributes: Record<string, unknown>;
}

/** A tensor's bytes, little-endian, in base64. */
export function encodeTensor(
  tensor: Omit<SampleTensor, "sample">,
): EncodedTensor {
  const { shape, dtype, data, grad } = tensor;
  const size = shape.reduce((product, n) => product * n, 1);
  if (data.length !== size) {
    throw new RangeError(
      `A sample of shape [${shape}] needs ${size} elements and has ${data.length}`,
    );
  }
  const array = hostArray(dtype, size);
  for (let i = 0; i < size; i++) {
    setElement(array, dtype, i, data[i]);
  }
  const bytes = new Uint8Array(
    array.buffer,
    array.byteOffset,
    array.byteLength,
  );
  const encoded = { shape, dtype, data: bytes.toBase64() };
  return grad ? { ...encoded, grad } : encoded;
}

/** An attribute in JSON; numbers that JSON lacks become `{ number: "NaN" }` and the like. */
export function encodeAttribute(value: unknown): unknown {
  if (typeof value === "number" && !Number.isFinite(value)) {
    return { number: String(value) };
  }
  if (typeof value === "bigint") return Number(value);
  if (value === undefined) return null;
  if (Array.isArray(value)) return value.map(encodeAttribute);
  if (typeof value === "object" && value !== null) {
    return Object.fromEntries(
      Object.entries(value).map(([key, item]) => [key, encodeAttribute(item)]),
    );
  }
  return value;
}

function isSample(x: unknown): x is SampleTensor {
  return typeof x === "object" && x !== null && "sample" in x;
}

/**
 * Makes the arguments of a call from a declaration's sample.
 *
 * @param made Collects the tensors, with what they were made of.
 * @param device Where they are made; the default device when omitted.
 */
export function argumentsOf(
  sample: Sample,
  made: Map<Tensor, SampleTensor> = new Map(),
  device?: string,
): unknown[] {
  const make = (x: unknown): unknown => {
    if (Array.isArray(x)) return x.map(make);
    if (typeof x !== "object" || x === null) return x;
    if (!isSample(x)) {
      return Object.fromEntries(
        Object.entries(x).map(([key, item]) => [key, make(item)]),
      );
    }
    const array = hostArray(x.dtype, x.data.length);
    x.data.forEach((value, i) => setElement(array, x.dtype, i, value));
    const tensor = fromHost(array, x.dtype, x.shape, { device });
    made.set(tensor, x);
    return tensor;
  };
  return sample.map(make);
}

/** One sample in JSON. */
export function encodeSample(operator: Sampled, sample: Sample): EncodedSample {
  const made = new Map<Tensor, SampleTensor>();
  const bind = operator.bind as (...args: unknown[]) => ReturnType<
    OpInfo["bind"]
  >;
  const bound = bind(...argumentsOf(sample, made, "cpu"));
  const encode = (x: Tensor | number | undefined) => {
    if (x === undefined || typeof x === "number") return x ?? null;
    const source = made.get(x);
    if (source === undefined) {
      throw new TypeError(
        `Cannot encode a sample of ${operator.name}: its bind makes a tensor`,
      );
    }
    return encodeTensor(source);
  };
  const inputs: Record<string, EncodedInput> = {};
  operator.inputs.forEach((name, i) => {
    inputs[name.replace("...", "")] = name.startsWith("...")
      ? bound.inputs.slice(i).map(encode) as EncodedTensor[]
      : encode(bound.inputs[i]);
  });
  for (const tensor of made.keys()) tensor.dispose();
  const attributes = encodeAttribute(bound.attrs) as Record<string, unknown>;
  const content = JSON.stringify([operator.torch, inputs, attributes]);
  const key = createHash("sha256").update(content).digest("hex").slice(0, 16);
  return { key, inputs, attributes };
}

/** What make.py reads: the operators that have an expression for PyTorch. */
export function encodeOperators(operators: Iterable<Sampled>): string {
  const encoded = [...operators].filter((operator) => operator.torch).map(
    (operator) => ({
      name: operator.name,
      family: operator.family,
      torch: operator.torch,
      samples: operator.samples.map((sample) => encodeSample(operator, sample)),
    }),
  );
  return JSON.stringify({ operators: encoded }, null, 1) + "\n";
}

/** What PyTorch computed for one sample. */
export interface GoldenResult {
  outputs: EncodedTensor[];
  /**
   * Gradients of sum(output · weights), see {@linkcode goldenWeight}, by input;
   * of a list `xs` by `xs.0`, `xs.1`, ….
   */
  gradients?: Record<string, EncodedTensor>;
}

/** A line of a golden file. */
export interface GoldenRow {
  key: string;
  /** Computed in the sample's own types. */
  own: GoldenResult;
  /** Computed with all floats in double precision, where that differs. */
  f64?: GoldenResult;
}

/** The elements of an encoded tensor as numbers; 64-bit integers past 2^53 are rounded. */
export function decodeTensor({ dtype, data }: EncodedTensor): Float64Array {
  const bytes = Uint8Array.fromBase64(data);
  const array = hostArray(dtype, bytes.length / bytesOf(dtype));
  new Uint8Array(array.buffer).set(bytes);
  return Float64Array.from(
    { length: array.length },
    (_, i) => getElement(array, dtype, i),
  );
}

/** By what element `k` of output `index` is multiplied before the sum whose gradient is taken. */
export function goldenWeight(k: number, index = 0): number {
  return ((k + 17 * index) * 37 + 11) % 127 / 64 - 63 / 64;
}

/** Reads a family's golden file: rows by operator and sample key; empty where there is no file. */
export function readGolden(
  family: string,
): Map<string, Map<string, GoldenRow>> {
  const url = new URL(`./values/${family}.json`, import.meta.url);
  let text: string;
  try {
    text = Deno.readTextFileSync(url);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return new Map();
    throw error;
  }
  const operators: Record<string, GoldenRow[]> = JSON.parse(text);
  return new Map(
    Object.entries(operators).map(([name, rows]) => [
      name,
      new Map(rows.map((row) => [row.key, row])),
    ]),
  );
}
