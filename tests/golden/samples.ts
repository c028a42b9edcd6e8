/**
 * The operators' samples on their way to PyTorch, and PyTorch's answers on their
 * way back: tensors as bytes in base64, so that NaN, infinities, −0 and 64-bit
 * integers arrive as they are. make.py is the other side.
 */

import { createHash } from "node:crypto";
import {
  bytesOf,
  type DType,
  getElement,
  hostArray,
  setElement,
} from "../../core/dtype.ts";

/** A tensor as a declaration's sample writes it. */
export interface SampleTensor {
  shape: readonly number[];
  dtype: DType;
  data: ArrayLike<number> | ArrayLike<bigint>;
}

/** One call of an operator. */
export interface Sample {
  inputs: Record<string, SampleTensor>;
  attrs?: Record<string, unknown>;
}

/** What a declaration says about its samples. */
export interface Sampled {
  name: string;
  /** The golden file it goes to. */
  family: string;
  /** The same call in PyTorch, with inputs and attributes as variables. */
  torch: string;
  samples: readonly Sample[];
  /** Names of the inputs that have gradients. */
  differentiable: readonly string[];
}

/** A tensor in JSON. */
export interface EncodedTensor {
  shape: readonly number[];
  dtype: DType;
  data: string;
}

/** A tensor's bytes, little-endian, in base64. */
export function encodeTensor(tensor: SampleTensor): EncodedTensor {
  const { shape, dtype, data } = tensor;
  const size = shape.reduce((product, n) => product * n, 1);
  if (data.length !== size) {
    throw new RangeError(
      `A sample of shape [${shape}] needs ${size} elements and has ${data.length}`,
    );
  }
  const array = hostArray(dtype, size);
  for (let i = 0; i < size; i++) {
    const value = data[i];
    if (array instanceof BigInt64Array) array[i] = BigInt(value);
    else setElement(array, dtype, i, Number(value));
  }
  const bytes = new Uint8Array(
    array.buffer,
    array.byteOffset,
    array.byteLength,
  );
  return { shape, dtype, data: bytes.toBase64() };
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

/** One sample in JSON, with the key by which its golden values are found. */
export function encodeSample(operator: Sampled, sample: Sample): {
  key: string;
  inputs: Record<string, EncodedTensor>;
  attributes: Record<string, unknown>;
} {
  const inputs = Object.fromEntries(
    Object.entries(sample.inputs).map(([name, tensor]) => [
      name,
      encodeTensor(tensor),
    ]),
  );
  const attributes = encodeAttribute(sample.attrs ?? {}) as Record<
    string,
    unknown
  >;
  const content = [operator.torch, operator.differentiable, inputs, attributes];
  const key = createHash("sha256").update(JSON.stringify(content)).digest(
    "hex",
  );
  return { key: key.slice(0, 16), inputs, attributes };
}

/** What make.py reads. */
export function encodeOperators(operators: Iterable<Sampled>): string {
  const encoded = [...operators].map((operator) => ({
    name: operator.name,
    family: operator.family,
    torch: operator.torch,
    differentiable: operator.differentiable,
    samples: operator.samples.map((sample) => encodeSample(operator, sample)),
  }));
  return JSON.stringify({ operators: encoded }, null, 1) + "\n";
}

/** What PyTorch computed for one sample. */
export interface GoldenResult {
  outputs: EncodedTensor[];
  /** Gradients of sum(output · weights) by input; see {@linkcode goldenWeight}. */
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
