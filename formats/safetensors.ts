/**
 * safetensors, the file format in which PyTorch users exchange weights: eight
 * bytes with the header's length, a JSON header, then the tensors' bytes.
 * Reading checks all that the reference implementation checks.
 * See https://github.com/huggingface/safetensors.
 *
 * @module
 */
import { type DType, dtypes } from "../core/dtype.ts";
import { shapeText } from "../core/errors.ts";
import {
  type ArrayRecord,
  byteView,
  checkRecord,
  copyAgain,
  viewBytes,
} from "./array_record.ts";
import { duplicateKey } from "./json_keys.ts";

/** The format's own limit on the header, in bytes. */
const MAX_HEADER = 100_000_000;

/** The format's names, most strictly aligned first: the order of the data. */
const NAME_OF: Readonly<Record<DType, string>> = {
  i64: "I64",
  f64: "F64",
  f32: "F32",
  i32: "I32",
  bf16: "BF16",
  f16: "F16",
  i8: "I8",
  u8: "U8",
  bool: "BOOL",
};

const DTYPE_OF = new Map(
  Object.entries(NAME_OF).map(([dtype, name]) => [name, dtype as DType]),
);

const ORDER = Object.keys(NAME_OF);

/** What a safetensors file holds. */
export interface Safetensors {
  /** The tensors by name, in the order of their bytes. */
  tensors: Map<string, ArrayRecord>;
  /** Free text by key; `{}` when the file has none. */
  metadata: Record<string, string>;
}

/** One tensor's line in the header. */
interface Entry {
  name: string;
  dtype: DType;
  shape: number[];
  begin: number;
  end: number;
}

/**
 * Writes tensors as the pieces of a safetensors file, in order: header first,
 * then each tensor's bytes, which are views and not copies.
 *
 * @throws {TypeError} when a tensor's data is not what its shape and dtype say.
 */
export function safetensorsChunks(
  tensors: Iterable<readonly [string, ArrayRecord]>,
  metadata: Readonly<Record<string, string>> = {},
): Uint8Array[] {
  const sorted = [...tensors].sort(byAlignmentThenName);
  const header: [string, unknown][] = [];
  if (Object.keys(metadata).length > 0) header.push(["__metadata__", metadata]);
  let offset = 0;
  const names = new Set<string>();
  for (const [name, tensor] of sorted) {
    checkRecord(tensor, `Tensor "${name}"`);
    if (name === "__metadata__" || names.has(name)) {
      throw new RangeError(
        `A safetensors file cannot hold a tensor named "${name}"${
          names.has(name) ? " twice" : ": the name is taken by the metadata"
        }`,
      );
    }
    names.add(name);
    const end = offset + tensor.data.byteLength;
    header.push([name, {
      dtype: NAME_OF[tensor.dtype],
      shape: tensor.shape,
      data_offsets: [offset, end],
    }]);
    offset = end;
  }
  return [
    headerBytes(header),
    ...sorted.map(([, tensor]) => byteView(tensor.data)),
  ];
}

/**
 * Writes tensors as one safetensors file in memory.
 *
 * @example
 * ```ts
 * import { decodeSafetensors, encodeSafetensors } from "./safetensors.ts";
 * const bytes = encodeSafetensors([
 *   ["bias", { data: new Float32Array([1, 2]), shape: [2], dtype: "f32" }],
 * ], { epoch: "3" });
 * const { tensors, metadata } = decodeSafetensors(bytes);
 * if (tensors.get("bias")!.data[1] !== 2) throw new Error("bias");
 * if (metadata.epoch !== "3") throw new Error("metadata");
 * ```
 */
export function encodeSafetensors(
  tensors: Iterable<readonly [string, ArrayRecord]>,
  metadata: Readonly<Record<string, string>> = {},
): Uint8Array {
  const chunks = safetensorsChunks(tensors, metadata);
  const out = new Uint8Array(chunks.reduce((sum, c) => sum + c.length, 0));
  let offset = 0;
  for (const chunk of chunks) {
    out.set(chunk, offset);
    offset += chunk.length;
  }
  return out;
}

/**
 * Reads a safetensors file from memory. Tensors are views of `bytes` where
 * they are aligned to their element size.
 *
 * @param name Names the bytes in error messages, usually the file.
 * @throws {SyntaxError} for anything that the format does not allow.
 */
export function decodeSafetensors(
  bytes: Uint8Array,
  name = "The safetensors data",
): Safetensors {
  const fail = failing(name);
  const { text, dataStart } = headerText(bytes, fail);
  const { entries, metadata } = parseHeader(text, fail);
  const data = bytes.subarray(dataStart);
  checkLayout(entries, data.length, fail);
  const tensors = new Map(entries.map(({ name, dtype, shape, begin, end }) => [
    name,
    { data: viewBytes(data.subarray(begin, end), dtype), shape, dtype },
  ]));
  return { tensors, metadata };
}

/** Reads a safetensors file. Errors name the file. */
export async function readSafetensors(
  path: string | URL,
): Promise<Safetensors> {
  return decodeSafetensors(await Deno.readFile(path), String(path));
}

type Fail = (sentence: string, cause?: unknown) => never;

function failing(name: string): Fail {
  return (sentence, cause) => {
    throw new SyntaxError(
      `${name} is not a valid safetensors file: ${sentence}`,
      { cause },
    );
  };
}

function byAlignmentThenName(
  [a, left]: readonly [string, ArrayRecord],
  [b, right]: readonly [string, ArrayRecord],
): number {
  const order = ORDER.indexOf(left.dtype) - ORDER.indexOf(right.dtype);
  return order || (a < b ? -1 : a > b ? 1 : 0);
}

function headerBytes(header: [string, unknown][]): Uint8Array {
  // Written piece by piece, because an object would lose names like "__proto__".
  const body = header.map(([key, value]) =>
    `${JSON.stringify(key)}:${JSON.stringify(value)}`
  );
  const json = new TextEncoder().encode(`{${body.join(",")}}`);
  const padded = Math.ceil(json.length / 8) * 8;
  if (padded > MAX_HEADER) {
    throw new RangeError(
      `The header would have ${padded} bytes, and safetensors allows ${MAX_HEADER}; use fewer tensors, shorter names or less metadata`,
    );
  }
  const out = new Uint8Array(8 + padded).fill(0x20, 8);
  new DataView(out.buffer).setBigUint64(0, BigInt(padded), true);
  out.set(json, 8);
  return out;
}

function headerText(bytes: Uint8Array, fail: Fail) {
  if (bytes.length < 8) {
    fail(
      `it must have at least 8 bytes, and has ${bytes.length}; ${copyAgain}`,
    );
  }
  const view = new DataView(bytes.buffer, bytes.byteOffset, 8);
  const length = view.getBigUint64(0, true);
  if (length > MAX_HEADER) {
    fail(
      `it says that its header has ${length} bytes, and at most ${MAX_HEADER} are allowed: it is damaged, or of another format`,
    );
  }
  const dataStart = 8 + Number(length);
  if (dataStart > bytes.length) {
    fail(
      `truncated: its header ends at byte ${dataStart}, and it has ${bytes.length} bytes; ${copyAgain}`,
    );
  }
  try {
    const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
    return { text: decoder.decode(bytes.subarray(8, dataStart)), dataStart };
  } catch (error) {
    return fail("its header is not UTF-8", error);
  }
}

function parseHeader(text: string, fail: Fail) {
  let header: unknown;
  try {
    header = JSON.parse(text);
  } catch (error) {
    fail(`its header is not JSON: ${(error as Error).message}`, error);
  }
  if (!isObject(header)) {
    return fail("its header is not a JSON object");
  }
  const duplicate = duplicateKey(text);
  if (duplicate !== undefined) {
    fail(`its header has the key "${duplicate}" twice`);
  }
  const metadata = Object.hasOwn(header, "__metadata__")
    ? header.__metadata__
    : {};
  if (!isObject(metadata)) {
    return fail("its __metadata__ is not a JSON object");
  }
  for (const [key, value] of Object.entries(metadata)) {
    if (typeof value !== "string") {
      fail(
        `its metadata must be texts, and "${key}" is ${JSON.stringify(value)}`,
      );
    }
  }
  const entries = Object.entries(header)
    .filter(([name]) => name !== "__metadata__")
    .map(([name, value]) => parseEntry(name, value, fail));
  return { entries, metadata: metadata as Record<string, string> };
}

function parseEntry(name: string, value: unknown, fail: Fail): Entry {
  if (!isObject(value)) {
    return fail(`the entry of tensor "${name}" is not a JSON object`);
  }
  const { dtype: code, shape, data_offsets: offsets } = value;
  const dtype = DTYPE_OF.get(String(code));
  if (dtype === undefined) {
    return fail(
      `tensor "${name}" has the dtype ${JSON.stringify(code)}; Decaf reads ${
        [...DTYPE_OF.keys()].join(", ")
      }`,
    );
  }
  if (!isCounts(shape)) {
    return fail(
      `tensor "${name}" has the shape ${
        JSON.stringify(shape)
      }, which is not a list of whole numbers ≥ 0`,
    );
  }
  if (!isCounts(offsets) || offsets.length !== 2) {
    return fail(
      `tensor "${name}" has the data_offsets ${
        JSON.stringify(offsets)
      }, which are not two whole numbers ≥ 0`,
    );
  }
  const [begin, end] = offsets;
  const size = shape.reduce((product, axis) => product * axis, 1) *
    dtypes[dtype].bytes;
  if (end - begin !== size) {
    fail(
      `tensor "${name}" of ${code} and shape ${
        shapeText(shape)
      } needs ${size} bytes, and its offsets [${begin}, ${end}] hold ${
        end - begin
      }`,
    );
  }
  return { name, dtype, shape, begin, end };
}

/** Sorts the entries by offset, and refuses overlaps, holes and overruns. */
function checkLayout(entries: Entry[], length: number, fail: Fail): void {
  entries.sort((a, b) => a.begin - b.begin || a.end - b.end);
  let position = 0;
  let before = "the start";
  for (const { name, begin, end } of entries) {
    if (begin !== position) {
      fail(
        begin < position
          ? `tensor "${name}" starts at byte ${begin} and overlaps ${before}, which ends at ${position}`
          : `bytes ${position} to ${begin}, between ${before} and tensor "${name}", belong to no tensor`,
      );
    }
    if (end > length) {
      fail(
        `tensor "${name}" ends at byte ${end} of the data, which has ${length} bytes: the file is truncated; ${copyAgain}`,
      );
    }
    position = end;
    before = `tensor "${name}"`;
  }
  if (position !== length) {
    fail(
      `its tensors end at byte ${position} of the data, which has ${length} bytes; ${copyAgain}`,
    );
  }
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function isCounts(value: unknown): value is number[] {
  return Array.isArray(value) &&
    value.every((count) => Number.isSafeInteger(count) && count >= 0);
}
