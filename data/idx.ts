/**
 * IDX, the file format of MNIST: two zero bytes, an element code, the number
 * of axes, each axis as a big-endian 32-bit number, then the elements
 * big-endian and row-major. See http://yann.lecun.com/exdb/mnist/.
 *
 * @module
 */
import { type DType, dtypes } from "../core/dtype.ts";
import { DTypeError, ShapeError, shapeText } from "../core/errors.ts";
import { sizeOf } from "../core/shape.ts";
import {
  type ArrayRecord,
  byteView,
  checkRecord,
  copyAgain,
  viewBytes,
} from "../formats/array_record.ts";

/** Element codes of the format; 16-bit integers are widened to `i32`. */
const CODES: Readonly<Record<number, DType | "i16">> = {
  0x08: "u8",
  0x09: "i8",
  0x0b: "i16",
  0x0c: "i32",
  0x0d: "f32",
  0x0e: "f64",
};

/**
 * Parses the bytes of an IDX file. One-byte elements are views of `bytes`, not
 * copies.
 *
 * @param name Names the bytes in error messages, usually the file.
 * @throws {SyntaxError} for a wrong magic number, element code or length.
 * @example
 * ```ts
 * import { encodeIdx, parseIdx } from "./idx.ts";
 * const bytes = encodeIdx({
 *   data: new Uint8Array([1, 2, 3, 4, 5, 6]),
 *   shape: [2, 3],
 *   dtype: "u8",
 * });
 * const array = parseIdx(bytes);
 * if (array.shape.join() !== "2,3") throw new Error("round trip");
 * ```
 */
export function parseIdx(
  bytes: Uint8Array,
  name = "IDX data",
): ArrayRecord {
  const { code, shape, headerBytes } = parseHeader(bytes, name);
  const kind = CODES[code];
  const width = kind === "i16" ? 2 : dtypes[kind].bytes;
  const expected = headerBytes + sizeOf(shape) * width;
  if (bytes.length !== expected) {
    throw new SyntaxError(
      `${name} is ${bytes.length < expected ? "truncated" : "too long"}: ` +
        `its header says shape ${shapeText(shape)} of ${width}-byte ` +
        `elements, so ${expected} bytes, and it has ${bytes.length}; ${copyAgain}`,
    );
  }
  const body = bytes.subarray(headerBytes);
  if (kind === "i16") return { ...widen(body), shape, dtype: "i32" };
  const native = width === 1 ? body : swapBytes(body.slice(), width);
  return { data: viewBytes(native, kind), shape, dtype: kind };
}

/**
 * Writes an array as the bytes of an IDX file.
 *
 * @throws {DTypeError} for an element type that the format does not have.
 */
export function encodeIdx(array: ArrayRecord): Uint8Array {
  checkRecord(array, "The array to write as IDX");
  const entry = Object.entries(CODES).find(([, kind]) => kind === array.dtype);
  if (entry === undefined) {
    throw new DTypeError(
      `IDX has no element code for ${array.dtype}; it has u8, i8, i32, f32 and f64`,
    );
  }
  const { shape } = array;
  const big = shape.find((axis) => axis > 0xffffffff);
  if (shape.length > 255 || big !== undefined) {
    throw new ShapeError(
      `IDX holds at most 255 axes of at most 4294967295, and the shape is ${
        shapeText(shape)
      }`,
    );
  }
  const headerBytes = 4 + 4 * shape.length;
  const out = new Uint8Array(headerBytes + array.data.byteLength);
  const view = new DataView(out.buffer);
  out[2] = Number(entry[0]);
  out[3] = shape.length;
  shape.forEach((axis, i) => view.setUint32(4 + 4 * i, axis));
  out.set(byteView(array.data), headerBytes);
  swapBytes(out.subarray(headerBytes), array.data.BYTES_PER_ELEMENT);
  return out;
}

/**
 * Reads an IDX file, unpacking it first when it is compressed with gzip.
 *
 * @throws {Error} naming the file when it cannot be read, unpacked or parsed.
 */
export async function readIdx(path: string | URL): Promise<ArrayRecord> {
  const bytes = await Deno.readFile(path);
  const name = String(path);
  const packed = bytes[0] === 0x1f && bytes[1] === 0x8b;
  return parseIdx(packed ? await gunzip(bytes, name) : bytes, name);
}

async function gunzip(
  bytes: Uint8Array<ArrayBuffer>,
  name: string,
): Promise<Uint8Array> {
  const unpacked = new Blob([bytes]).stream()
    .pipeThrough(new DecompressionStream("gzip"));
  try {
    return new Uint8Array(await new Response(unpacked).arrayBuffer());
  } catch (error) {
    throw new SyntaxError(
      `${name} starts like a gzip file but cannot be unpacked; it is ${bytes.length} bytes long and truncated or corrupt: ${
        (error as Error).message.replace(/\.$/, "")
      }; ${copyAgain}`,
      { cause: error },
    );
  }
}

function parseHeader(bytes: Uint8Array, name: string) {
  if (bytes.length < 4) {
    throw new SyntaxError(
      `${name} is truncated: an IDX header has at least 4 bytes, and it has ${bytes.length}; ${copyAgain}`,
    );
  }
  const [zero, zeroToo, code, axes] = bytes;
  if (zero !== 0 || zeroToo !== 0) {
    throw new SyntaxError(
      `${name} is not an IDX file: it must start with the bytes 00 00, and starts with ${
        hex(zero)
      } ${hex(zeroToo)}`,
    );
  }
  if (!(code in CODES)) {
    throw new SyntaxError(
      `${name} has the unknown element code ${hex(code)}; IDX knows ${
        Object.entries(CODES).map(([c, kind]) => `${hex(Number(c))} (${kind})`)
          .join(", ")
      }`,
    );
  }
  const headerBytes = 4 + 4 * axes;
  if (bytes.length < headerBytes) {
    throw new SyntaxError(
      `${name} is truncated: a header for ${axes} axes has ${headerBytes} bytes, and the file has ${bytes.length}`,
    );
  }
  const view = new DataView(bytes.buffer, bytes.byteOffset, headerBytes);
  const shape = Array.from(
    { length: axes },
    (_, i) => view.getUint32(4 + 4 * i),
  );
  return { code, shape, headerBytes };
}

function widen(body: Uint8Array) {
  const view = new DataView(body.buffer, body.byteOffset, body.byteLength);
  const data = new Int32Array(body.length / 2);
  for (let i = 0; i < data.length; i++) data[i] = view.getInt16(2 * i);
  return { data };
}

/** Reverses the bytes of each element, in place. */
function swapBytes(bytes: Uint8Array, width: number) {
  if (width === 1) return bytes;
  for (let start = 0; start < bytes.length; start += width) {
    bytes.subarray(start, start + width).reverse();
  }
  return bytes;
}

function hex(byte: number): string {
  return `0x${byte.toString(16).padStart(2, "0")}`;
}
