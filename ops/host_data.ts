/**
 * Tensors from data of the host.
 *
 * @module
 */

import {
  type DType,
  dtypes,
  type HostArray,
  hostArray,
  promote,
  requireDTypeName,
  setElement,
} from "../core/dtype.ts";
import { DTypeError, ShapeError, shapeText } from "../core/errors.ts";
import { checkOptions, type OptionNames } from "../core/options.ts";
import { type Shape, sizeOf } from "../core/shape.ts";
import { fromHost, type Tensor, type TensorOptions } from "../core/tensor.ts";
import { marked } from "./creating.ts";

/** Typed arrays that tensors are made of. */
export type TypedArray =
  | Float16Array
  | Float32Array
  | Float64Array
  | Int8Array
  | Uint8Array
  | Uint8ClampedArray
  | Int16Array
  | Uint16Array
  | Int32Array
  | Uint32Array
  | BigInt64Array
  | BigUint64Array;

/** A number or truth value, a typed array, or arrays of them nested as deep as the tensor has axes. */
export type NestedData =
  | number
  | bigint
  | boolean
  | TypedArray
  | readonly NestedData[];

/** Options of {@linkcode tensor}. */
export interface TensorDataOptions extends TensorOptions {
  /** Extents that the elements are arranged in, instead of those of the nesting. */
  shape?: Shape;
}

const optionNames: OptionNames<TensorDataOptions> = {
  shape: true,
  dtype: true,
  device: true,
  requiresGrad: true,
};

/** The dtype that holds the elements of each typed array, by the name of its class. */
const typedTypes: Readonly<Record<string, DType>> = {
  Float16Array: "f16",
  Float32Array: "f32",
  Float64Array: "f64",
  Int8Array: "i8",
  Uint8Array: "u8",
  Uint8ClampedArray: "u8",
  Int16Array: "i32",
  Uint16Array: "i32",
  Int32Array: "i32",
  Uint32Array: "i64",
  BigInt64Array: "i64",
  BigUint64Array: "i64",
};

function isTyped(data: unknown): data is TypedArray {
  return ArrayBuffer.isView(data) && !(data instanceof DataView);
}

function typeOf(array: TypedArray): DType {
  return typedTypes[array.constructor.name] ?? typedTypes.Float32Array;
}

/** Extents along the first elements: what all the others must agree with. */
function shapeOf(data: NestedData): number[] {
  const shape: number[] = [];
  let inner: NestedData | undefined = data;
  while (Array.isArray(inner)) {
    shape.push(inner.length);
    inner = inner[0];
  }
  if (isTyped(inner)) shape.push(inner.length);
  return shape;
}

/** What is known of the elements: a dtype given by typed arrays, and the kinds of plain ones. */
interface Found {
  typed: DType | undefined;
  float: boolean;
  int: boolean;
  bool: boolean;
}

/** Calls `visit` with each element (or row of a typed array) in order, and checks the nesting. */
function walk(
  data: NestedData,
  shape: Shape,
  visit: (element: number | bigint | boolean | TypedArray) => void,
): void {
  function level(part: NestedData, depth: number, path: string): void {
    const length = Array.isArray(part) || isTyped(part)
      ? part.length
      : undefined;
    if (length !== shape[depth]) {
      const expected = shape[depth] === undefined
        ? "a number"
        : `${shape[depth]} elements`;
      const found = length === undefined
        ? describe(part)
        : `${length} elements`;
      throw new ShapeError(
        `Cannot make a tensor of nested arrays: data${path} has ${found} where the first of its kind has ${expected}`,
      );
    }
    if (isTyped(part) || !Array.isArray(part)) {
      const type = typeof part;
      if (
        !isTyped(part) && type !== "number" && type !== "bigint" &&
        type !== "boolean"
      ) {
        throw new DTypeError(
          `Cannot make a tensor of ${
            describe(part)
          } at data${path}: elements are numbers or truth values`,
        );
      }
      visit(part as number | bigint | boolean | TypedArray);
      return;
    }
    part.forEach((inner, i) => level(inner, depth + 1, `${path}[${i}]`));
  }
  level(data, 0, "");
}

function describe(part: unknown): string {
  if (part === null || part === undefined) return `${part}`;
  return typeof part === "object"
    ? `a ${part.constructor?.name ?? "object"}`
    : `a ${typeof part}`;
}

/** PyTorch's inference: all truth values bool, all whole numbers i64, floats f32. */
function inferred(found: Found, requiresGrad: boolean): DType {
  const { typed, float, int, bool } = found;
  const plain: DType | undefined = float
    ? "f32"
    : int
    ? "i64"
    : bool
    ? "bool"
    : undefined;
  const both = typed !== undefined && plain !== undefined
    ? promote(typed, plain)
    : typed ?? plain ?? "f32";
  return requiresGrad && dtypes[both].kind !== "float" ? "f32" : both;
}

const limits: Readonly<Partial<Record<DType, readonly [number, number]>>> = {
  i64: [-(2 ** 63), 2 ** 63],
  i32: [-(2 ** 31), 2 ** 31],
  i8: [-128, 128],
  u8: [0, 256],
};

function checkElement(value: number | bigint, dtype: DType): void {
  const range = limits[dtype];
  if (range === undefined) return;
  const whole = Math.trunc(Number(value));
  if (!(whole >= range[0] && whole < range[1])) {
    throw new RangeError(
      `Cannot make a tensor of dtype ${dtype} with the element ${value}: it holds whole numbers from ${
        range[0]
      } up to but without ${range[1]}`,
    );
  }
}

/** Copies the elements to a host array of the dtype. */
function collect(
  data: NestedData,
  shape: Shape,
  dtype: DType,
): HostArray {
  const size = sizeOf(shape);
  if (
    isTyped(data) && typeOf(data) === dtype && data instanceof
      hostArray(dtype, 0).constructor
  ) return data as HostArray;
  const array = hostArray(dtype, size);
  let next = 0;
  const put = (value: number | bigint | boolean) => {
    if (typeof value === "bigint" && array instanceof BigInt64Array) {
      checkElement(value, dtype);
      array[next++] = value;
      return;
    }
    const number = Number(value);
    checkElement(number, dtype);
    setElement(array, dtype, next++, number);
  };
  walk(data, shape, (element) => {
    if (isTyped(element)) { for (const value of element) put(value); }
    else put(element);
  });
  return array;
}

/**
 * A tensor of numbers or truth values: one, an array of them, arrays nested
 * as deep as the tensor has axes, or typed arrays.
 *
 * The dtype is the one that the options name, or that of the typed arrays, or
 * i64 when all numbers are whole, f32 when not, bool for truth values. A
 * tensor that requires a gradient is f32 where these would make it integer.
 *
 * @example
 * ```ts
 * import { tensor } from "@decaf/decaf";
 *
 * const x = tensor([[1, 2.5], [3, 4]]);
 * if (`${x.shape}` !== "2,2" || x.dtype !== "f32") throw new Error("inference");
 * ```
 *
 * @throws {ShapeError} when inner arrays have different lengths; the sentence says where.
 * @throws {RangeError} when an integer dtype does not hold an element.
 */
export function tensor(
  data: NestedData,
  options: TensorDataOptions = {},
): Tensor {
  checkOptions("make a tensor", options, optionNames);
  const nested = shapeOf(data);
  const found: Found = {
    typed: undefined,
    float: false,
    int: false,
    bool: false,
  };
  walk(data, nested, (element) => {
    if (isTyped(element)) {
      const type = typeOf(element);
      found.typed = found.typed === undefined
        ? type
        : promote(found.typed, type);
    } else if (typeof element === "boolean") found.bool = true;
    else if (typeof element === "bigint" || Number.isInteger(element)) {
      found.int = true;
    } else found.float = true;
  });
  const { requiresGrad = false, device } = options;
  const dtype = options.dtype ?? inferred(found, requiresGrad);
  requireDTypeName(dtype, "make a tensor of");
  const shape = options.shape ?? nested;
  if (sizeOf(shape) !== sizeOf(nested)) {
    throw new ShapeError(
      `Cannot make a tensor of shape ${shapeText(shape)} from ${
        sizeOf(nested)
      } elements: the shape has ${sizeOf(shape)}`,
    );
  }
  const array = collect(data, nested, dtype);
  return marked(fromHost(array, dtype, shape, { device }), options);
}

/** A zero-dimensional tensor; its dtype is inferred as {@linkcode tensor} does. */
export function scalar(
  value: number | bigint | boolean,
  options: TensorOptions = {},
): Tensor {
  return tensor(value, options);
}
