/**
 * NumPy's `.npy` files, versions 1 to 3: a magic text, a header that is a
 * Python dictionary, then the elements.
 * See https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html.
 *
 * @module
 */
import { type DType, dtypes } from "../core/dtype.ts";
import { DTypeError, shapeText } from "../core/errors.ts";
import { sizeOf } from "../core/shape.ts";
import {
  type ArrayRecord,
  arrayTypes,
  byteView,
  checkRecord,
  copyAgain,
  viewBytes,
} from "./array_record.ts";

const MAGIC = [0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59];

/** NumPy's type codes, without the byte order, as Decaf reads and writes them. */
const CODE_OF: Readonly<Record<DType, string | undefined>> = {
  f32: "f4",
  f64: "f8",
  f16: "f2",
  bf16: undefined,
  i64: "i8",
  i32: "i4",
  i8: "i1",
  u8: "u1",
  bool: "b1",
};

const DTYPE_OF = new Map(
  Object.entries(CODE_OF).map(([dtype, code]) => [code, dtype as DType]),
);

/** Types that only NumPy has, with the wider one that holds all their values. */
const WIDENED: Readonly<
  Record<string, { dtype: DType; width: number; read: keyof DataView }>
> = {
  i2: { dtype: "i32", width: 2, read: "getInt16" },
  u2: { dtype: "i32", width: 2, read: "getUint16" },
  u4: { dtype: "i64", width: 4, read: "getUint32" },
};

/**
 * Writes an array as the bytes of a `.npy` file, byte for byte as NumPy does.
 *
 * @throws {DTypeError} for `bf16`, which NumPy does not have.
 */
export function encodeNpy(array: ArrayRecord): Uint8Array {
  checkRecord(array, "The array to write as .npy");
  const { data, shape, dtype } = array;
  const code = CODE_OF[dtype];
  if (code === undefined) {
    throw new DTypeError(
      `NumPy has no ${dtype}; convert the array to f32 or f16 before writing it`,
    );
  }
  const order = dtypes[dtype].bytes === 1 ? "|" : "<";
  const axes = shape.length === 1 ? `${shape[0]},` : shape.join(", ");
  const text =
    `{'descr': '${order}${code}', 'fortran_order': False, 'shape': (${axes}), }`;
  // NumPy leaves room to let the first axis grow in place to 21 digits.
  const room = shape.length > 0 ? 21 - String(shape[0]).length : 0;
  const used = MAGIC.length + 4 + text.length + room + 1;
  const headerBytes = Math.ceil(used / 64) * 64;
  const out = new Uint8Array(headerBytes + data.byteLength)
    .fill(0x20, 0, headerBytes);
  out.set([...MAGIC, 1, 0]);
  new DataView(out.buffer).setUint16(8, headerBytes - 10, true);
  out.set(new TextEncoder().encode(text), 10);
  out[headerBytes - 1] = 0x0a;
  out.set(byteView(data), headerBytes);
  return out;
}

/**
 * Reads a `.npy` file from memory. Elements are brought to the machine's byte
 * order and to row-major order; `int16` and `uint16` become `i32`, and
 * `uint32` becomes `i64`.
 *
 * @param name Names the bytes in error messages, usually the file.
 * @throws {SyntaxError} for a damaged header or the wrong number of bytes.
 * @throws {DTypeError} for an element type without a place here.
 * @example
 * ```ts
 * import { decodeNpy, encodeNpy } from "./npy.ts";
 * const data = new Int32Array([1, 2, 3, 4]);
 * const array = decodeNpy(encodeNpy({ data, shape: [2, 2], dtype: "i32" }));
 * if (array.shape.join() !== "2,2") throw new Error("shape");
 * ```
 */
export function decodeNpy(
  bytes: Uint8Array,
  name = "The .npy data",
): ArrayRecord {
  const { text, start } = readHeader(bytes, name);
  const { descr, fortran, shape } = parseHeader(text, name);
  const order = descr[0];
  const code = descr.slice(1);
  const widened = WIDENED[code];
  const dtype = widened?.dtype ?? DTYPE_OF.get(code);
  if (dtype === undefined) {
    throw new DTypeError(
      `${name} has elements of NumPy's type '${descr}'; Decaf reads ${
        [...DTYPE_OF.keys(), ...Object.keys(WIDENED)].filter(Boolean).join(", ")
      }: convert it with .astype() in Python`,
    );
  }
  const width = widened?.width ?? dtypes[dtype].bytes;
  const expected = sizeOf(shape) * width;
  const body = bytes.subarray(start);
  if (body.length !== expected) {
    throw new SyntaxError(
      `${name} is ${
        body.length < expected ? "truncated" : "too long"
      }: '${descr}' of shape ${
        shapeText(shape)
      } needs ${expected} bytes after the header, and it has ${body.length}; ${copyAgain}`,
    );
  }
  const little = order !== ">";
  const data = widened
    ? widen(body, widened, little)
    : viewBytes(little ? body : swapped(body, width), dtype);
  return {
    data: fortran && shape.length > 1 ? toRowMajor(data, shape, dtype) : data,
    shape,
    dtype,
  };
}

/** Reads a `.npy` file. Errors name the file. */
export async function readNpy(path: string | URL): Promise<ArrayRecord> {
  return decodeNpy(await Deno.readFile(path), String(path));
}

function readHeader(bytes: Uint8Array, name: string) {
  if (!MAGIC.every((byte, i) => bytes[i] === byte)) {
    throw new SyntaxError(
      `${name} is not a .npy file: it does not start with \\x93NUMPY`,
    );
  }
  const version = bytes[6];
  if (bytes.length < 12) {
    throw new SyntaxError(
      `${name} is truncated: a .npy header has at least 12 bytes, and it has ${bytes.length}; ${copyAgain}`,
    );
  }
  if (version < 1 || version > 3) {
    throw new SyntaxError(
      `${name} has .npy version ${version}.${
        bytes[7]
      }; versions 1 to 3 are known`,
    );
  }
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const prefix = version === 1 ? 10 : 12;
  const length = version === 1
    ? view.getUint16(8, true)
    : view.getUint32(8, true);
  const start = prefix + length;
  if (start > bytes.length) {
    throw new SyntaxError(
      `${name} is truncated: its header ends at byte ${start}, and it has ${bytes.length}; ${copyAgain}`,
    );
  }
  const encoding = version === 3 ? "utf-8" : "latin1";
  const text = new TextDecoder(encoding).decode(bytes.subarray(prefix, start));
  return { text: text.trim(), start };
}

/** One `key: value` of the header's dictionary, and the comma after it. */
const ITEM =
  /^\s*(['"])(descr|fortran_order|shape)\1\s*:\s*((['"])[^'"]*\4|True|False|\([\d\s,L]*\)|\[.*\])\s*(?:,|$)/;

/** Reads the dictionary, strictly: three keys, each once, nothing else. */
function parseHeader(text: string, name: string) {
  const found = new Map<string, string>();
  let rest = /^\{(.*)\}$/s.exec(text)?.[1] ?? "?";
  for (let item = ITEM.exec(rest); item !== null; item = ITEM.exec(rest)) {
    found.set(item[2], item[3]);
    rest = rest.slice(item[0].length);
  }
  const descr = found.get("descr") ?? "";
  const order = found.get("fortran_order") ?? "";
  const axes = /^\((.*)\)$/s.exec(found.get("shape") ?? "")?.[1];
  if (descr.startsWith("[")) {
    throw new DTypeError(
      `${name} has records with named fields, ${descr}; write each field as an array of its own`,
    );
  }
  const valid = rest.trim() === "" && /^['"][<>=|]?\w+['"]$/.test(descr) &&
    /^(True|False)$/.test(order) && axes !== undefined;
  if (!valid) {
    throw new SyntaxError(
      `${name} has the .npy header ${
        JSON.stringify(text.slice(0, 200))
      }, which should be a dictionary of 'descr', 'fortran_order' and 'shape'`,
    );
  }
  const shape = axes.split(",").map((axis) => axis.trim().replace(/L$/, ""))
    .filter((axis) => axis !== "").map(Number);
  const code = descr.slice(1, -1);
  return {
    descr: /^\w/.test(code) ? `|${code}` : code,
    fortran: order === "True",
    shape,
  };
}

function widen(
  body: Uint8Array,
  { dtype, width, read }: (typeof WIDENED)[string],
  little: boolean,
) {
  const view = new DataView(body.buffer, body.byteOffset, body.byteLength);
  const count = body.length / width;
  const get = (i: number): number =>
    (view[read] as (offset: number, little: boolean) => number)
      .call(view, i * width, little);
  return dtype === "i64"
    ? BigInt64Array.from({ length: count }, (_, i) => BigInt(get(i)))
    : Int32Array.from({ length: count }, (_, i) => get(i));
}

/** A copy with the bytes of each element reversed. */
function swapped(bytes: Uint8Array, width: number): Uint8Array {
  const out = bytes.slice();
  for (let start = 0; start < out.length; start += width) {
    out.subarray(start, start + width).reverse();
  }
  return out;
}

/** Copies column-major elements into row-major order. */
function toRowMajor(
  data: ArrayRecord["data"],
  shape: number[],
  dtype: DType,
): ArrayRecord["data"] {
  const bytes = new Uint8Array(data.byteLength);
  const out = new arrayTypes[dtype](bytes.buffer, 0, data.length);
  const strides: number[] = [];
  shape.reduce((stride, axis, i) => (strides[i] = stride) * axis, 1);
  const index = shape.map(() => 0);
  let from = 0;
  for (let to = 0; to < data.length; to++) {
    out[to] = data[from];
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      from += strides[axis];
      if (++index[axis] < shape[axis]) break;
      from -= strides[axis] * shape[axis];
      index[axis] = 0;
    }
  }
  return out;
}
