/**
 * The plain record in which file formats and data sets hand numbers over:
 * a typed array, its shape and its element type.
 *
 * @module
 */
import type { DType, HostArray } from "../core/dtype.ts";
import { DTypeError, ShapeError, shapeText } from "../core/errors.ts";
import { sizeOf } from "../core/shape.ts";

/** What helps where a file lacks bytes, at the end of a sentence. */
export const copyAgain = "copy or download it again";

/** Numbers in row-major order, with shape and element type. */
export interface ArrayRecord {
  /** The elements, row-major; `f16` and `bf16` as their raw 16 bits. */
  data: HostArray;
  /** The size of each axis; `[]` for a single number. */
  shape: number[];
  /** The element type. */
  dtype: DType;
}

/** A typed array's constructor, for one element type. */
export interface HostArrayType {
  /** Views `length` elements of `buffer`, from byte `byteOffset` on. */
  new (
    buffer: ArrayBufferLike,
    byteOffset: number,
    length: number,
  ): HostArray;
  /** Bytes per element. */
  readonly BYTES_PER_ELEMENT: number;
  /** The constructor's name, for messages. */
  readonly name: string;
}

/** The typed array that holds each element type. */
export const arrayTypes: Readonly<Record<DType, HostArrayType>> = {
  f32: Float32Array,
  f64: Float64Array,
  f16: Uint16Array,
  bf16: Uint16Array,
  i64: BigInt64Array,
  i32: Int32Array,
  i8: Int8Array,
  u8: Uint8Array,
  bool: Uint8Array,
};

/**
 * Views `bytes` as elements of `dtype`. The memory is shared when it is
 * aligned to the element size, and copied when it is not.
 */
export function viewBytes(bytes: Uint8Array, dtype: DType): HostArray {
  const Type = arrayTypes[dtype];
  const width = Type.BYTES_PER_ELEMENT;
  const aligned = bytes.byteOffset % width === 0 ? bytes : bytes.slice();
  return new Type(
    aligned.buffer,
    aligned.byteOffset,
    aligned.byteLength / width,
  );
}

/** The bytes behind an array, without a copy. */
export function byteView(data: HostArray): Uint8Array {
  return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
}

/**
 * Refuses a record whose data is not what its shape and dtype say.
 *
 * @param what Names the record in the message, such as `Tensor "fc.weight"`.
 * @throws {DTypeError} for an unknown dtype or the wrong kind of typed array.
 * @throws {ShapeError} for a bad axis or the wrong number of elements.
 */
export function checkRecord(record: ArrayRecord, what: string): void {
  const { data, shape, dtype } = record;
  if (!Object.hasOwn(arrayTypes, dtype)) {
    throw new DTypeError(
      `${what} has the unknown dtype "${dtype}"; known are ${
        Object.keys(arrayTypes).join(", ")
      }`,
    );
  }
  const Type = arrayTypes[dtype];
  if (data.constructor !== Type) {
    throw new DTypeError(
      `${what} has dtype ${dtype}, which is kept in a ${Type.name}, but its data is a ${data.constructor.name}`,
    );
  }
  const bad = shape.find((axis) => !Number.isSafeInteger(axis) || axis < 0);
  if (bad !== undefined) {
    throw new ShapeError(
      `${what} has shape ${
        shapeText(shape)
      }; every axis must be a whole number ≥ 0, and ${bad} is not`,
    );
  }
  if (data.length !== sizeOf(shape)) {
    throw new ShapeError(
      `${what} has shape ${shapeText(shape)}, which needs ${
        sizeOf(shape)
      } elements, but its data has ${data.length}`,
    );
  }
}
