/**
 * The tensor handle: a value, and its place in the recorded computation.
 *
 * @module
 */

import {
  bytesOf,
  type DType,
  getElement,
  type HostArray,
  hostArray,
  isFloat,
} from "./dtype.ts";
import { defaultDevice, type Device, getDevice } from "./device.ts";
import {
  DisposedError,
  DTypeError,
  GradientError,
  ShapeError,
  shapeText,
} from "./errors.ts";
import { materialize } from "./fuse.ts";
import { readBytes } from "./row_kernels.ts";
import { tensorText } from "./print.ts";
import { currentScope } from "./scope.ts";
import { type Shape, sizeOf } from "./shape.ts";
import { Value } from "./value.ts";

/** Where the gradient of an operator's input goes: the record that made it, or a leaf. */
export interface Edge {
  /** Record that computed the input; undefined for a leaf. */
  readonly node: Node | undefined;
  /** Which of the record's outputs it is. */
  readonly index: number;
  /** The leaf tensor that collects the gradient. */
  readonly leaf: Tensor | undefined;
}

/** One operator call on the tape. */
export interface Node {
  /** Position in the order of calls. */
  readonly sequence: number;
  /** Name of the operator. */
  readonly name: string;
  /** Targets of the gradients, one per input; undefined where none is wanted. */
  readonly edges: readonly (Edge | undefined)[];
  /** Shapes and types of the outputs. */
  readonly outputs: readonly { shape: Shape; dtype: DType; device: Device }[];
  /** What is kept for the gradient. */
  readonly saved: readonly { readonly value: Value }[];
  /** Gradients of the inputs from those of the outputs. */
  backward(grads: readonly (Tensor | undefined)[]): (Tensor | undefined)[];
  /** Frees what was saved for the gradient. */
  release(): void;
  /** Leaves the memory of what was saved to the garbage collector if nobody calls `release`. */
  loosen(): void;
  /** Whether `release` was called. */
  readonly released: boolean;
  /** Whether `backward` may give gradients to leaves that are not among the inputs. */
  readonly reachesMore: boolean;
  /** Functions that see (and may replace) the gradient of output `index`. */
  hooks?: { index: number; hook: GradientHook }[];
}

/** Sees a gradient as it is computed; a returned tensor replaces it. */
export type GradientHook = (grad: Tensor) => Tensor | void;

let live = 0;

/** Number of tensor handles that hold memory or expressions. */
export function liveTensors(): number {
  return live;
}

/**
 * Data, tape and memory of a tensor: all that is no operator. (Its own class,
 * so that the methods that `ops/` adds to `Tensor` can refer to it.)
 */
export class TensorHandle implements Disposable {
  /** Marks tensors across module instances. */
  readonly isTensor = true;
  #value: Value | undefined;
  /** Record that computed this tensor. */
  node: Node | undefined = undefined;
  /** Which output of the record it is. */
  outputIndex = 0;
  #requiresGrad = false;
  /** Collected gradient of a leaf. */
  grad: Tensor | undefined = undefined;
  /** Whether scopes leave the tensor alone. */
  persistent = false;
  /** Functions that see the gradient of this leaf. */
  hooks: GradientHook[] | undefined = undefined;

  /** Wraps a value; takes over the caller's reference. */
  constructor(value: Value) {
    this.#value = value;
    live++;
    currentScope()?.track(this as unknown as Tensor);
  }

  /** The data. */
  get value(): Value {
    if (this.#value === undefined) {
      throw new DisposedError(
        "Cannot use a tensor after it was disposed: it was made in a scope that has ended; return it from the scope or pass it to keep()",
      );
    }
    return this.#value;
  }

  /** Replaces the data, releasing what was there; used by in-place updates. */
  setValue(value: Value): void {
    const old = this.value;
    this.#value = value;
    old.release();
  }

  /**
   * Whether gradients are collected here (leaves) or pass through.
   *
   * @throws {GradientError} when set for a tensor that is not floating-point.
   */
  get requiresGrad(): boolean {
    return this.#requiresGrad;
  }

  /** Collects gradients from now on, or no longer. */
  set requiresGrad(on: boolean) {
    if (on && !isFloat(this.dtype)) {
      throw new GradientError(
        `Cannot collect a gradient of a tensor of dtype ${this.dtype}: only floating-point tensors have gradients; convert it with .cast("f32")`,
      );
    }
    this.#requiresGrad = on;
  }

  /** Whether the tensor was disposed. */
  get disposed(): boolean {
    return this.#value === undefined;
  }

  /** Extents, outermost axis first. */
  get shape(): Shape {
    return this.value.shape;
  }

  /** Element type. */
  get dtype(): DType {
    return this.value.dtype;
  }

  /** Device that holds the data. */
  get device(): Device {
    return this.value.device;
  }

  /** Number of axes. */
  get rank(): number {
    return this.value.shape.length;
  }

  /** Number of elements. */
  get size(): number {
    return this.value.size;
  }

  /** Whether no operator made it (or none that records). */
  get isLeaf(): boolean {
    return this.node === undefined;
  }

  /** Releases the handle; memory is freed when nothing else needs it. */
  dispose(): void {
    const value = this.#value;
    if (value === undefined) return;
    this.#value = undefined;
    live--;
    value.release();
    this.grad?.dispose();
    this.grad = undefined;
  }

  /** Same as {@linkcode Tensor.dispose}. */
  [Symbol.dispose](): void {
    this.dispose();
  }

  /** Computes the tensor now if it is pending. */
  materialize(): this {
    materialize(this.value);
    return this;
  }

  /** A copy of the elements on the host, in row-major order; f16 and bf16 come as f32. */
  data(): HostArray {
    return hostData(this.value);
  }

  /**
   * The single element as a number.
   *
   * @throws {ShapeError} when there is not exactly one element.
   */
  item(): number {
    if (this.size !== 1) {
      throw new ShapeError(
        `Cannot take the item of a tensor of shape ${
          shapeText(this.shape)
        }: it has ${this.size} elements, not 1`,
      );
    }
    return Number(this.data()[0]);
  }

  /** The tensor's values, laid out as PyTorch lays them out, with dtype and device where they are not the usual ones. */
  toString(): string {
    if (this.disposed) return "tensor(disposed)";
    const { shape, dtype, device, size } = this;
    const remarks: string[] = [];
    if (device.name !== "cpu") remarks.push(`device="${device.name}"`);
    if (this.node !== undefined) remarks.push(`gradOf="${this.node.name}"`);
    else if (this.requiresGrad) remarks.push("requiresGrad=true");
    const data = size === 0 ? [] : this.data() as ArrayLike<number | bigint>;
    return tensorText({ shape, dtype, data, remarks });
  }

  /** The elements as nested arrays of numbers (a number when zero-dimensional). */
  toArray(): NestedNumbers {
    const flat = this.data();
    return nest(this.shape, (i) => Number(flat[i]));
  }
}

/**
 * An n-dimensional array on a device. Made by the creation functions and
 * operators; every operator whose first operand is a tensor is a method.
 */
export class Tensor extends TensorHandle {}

// What the consoles and REPLs of Deno and Node show.
for (const name of ["Deno.customInspect", "nodejs.util.inspect.custom"]) {
  Object.defineProperty(Tensor.prototype, Symbol.for(name), {
    value(this: Tensor): string {
      return this.toString();
    },
  });
}

/** Numbers nested as deep as a tensor has axes. */
export type NestedNumbers = number | NestedNumbers[];

function nest(shape: Shape, element: (i: number) => number): NestedNumbers {
  let next = 0;
  function level(d: number): NestedNumbers {
    if (d === shape.length) return element(next++);
    return Array.from({ length: shape[d] }, () => level(d + 1));
  }
  return level(0);
}

/** A copy of a value's elements on the host, in row-major order; f16 and bf16 come as f32. */
export function hostData(value: Value): HostArray {
  return hostElements(readBytes(value), value.dtype);
}

/** Elements from their raw bytes, which it takes over; f16 and bf16 come as f32. */
export function hostElements(
  bytes: Uint8Array<ArrayBuffer>,
  dtype: DType,
): HostArray {
  const raw = hostArray(dtype, 0);
  const Raw = raw.constructor as new (b: ArrayBuffer) => HostArray;
  const array = new Raw(bytes.buffer);
  if (dtype !== "f16" && dtype !== "bf16") return array;
  const wide = new Float32Array(array.length);
  for (let i = 0; i < wide.length; i++) wide[i] = getElement(array, dtype, i);
  return wide;
}

/** Options of functions that make tensors. */
export interface TensorOptions {
  /** Element type. */
  dtype?: DType;
  /** Device by name; the default device when omitted. */
  device?: string;
  /** Whether to collect a gradient for it. */
  requiresGrad?: boolean;
}

/** A tensor from host data in row-major order. */
export function fromHost(
  data: HostArray,
  dtype: DType,
  shape: Shape,
  options: TensorOptions = {},
): Tensor {
  const size = sizeOf(shape);
  if (!ArrayBuffer.isView(data)) {
    throw new TypeError(
      "Cannot make a tensor from what is no typed array: tensor([...]) takes numbers and lists of them",
    );
  }
  if (data.length !== size) {
    throw new ShapeError(
      `Cannot make a tensor of shape ${
        shapeText(shape)
      } from ${data.length} elements: the shape has ${size}`,
    );
  }
  if (data.byteLength !== size * bytesOf(dtype)) {
    throw new DTypeError(
      `Cannot make a tensor of dtype ${dtype} from a ${data.constructor.name}: elements of ${data.BYTES_PER_ELEMENT} bytes are given, and ${
        bytesOf(dtype)
      } are needed`,
    );
  }
  const device = options.device === undefined
    ? defaultDevice()
    : getDevice(options.device);
  const value = Value.empty(device, dtype, shape, undefined, true);
  const bytes = size * bytesOf(dtype);
  try {
    if (size > 0) {
      const host = new Uint8Array(data.buffer, data.byteOffset, bytes);
      device.write(value.storage, 0, host);
    }
  } catch (error) {
    value.release();
    throw error;
  }
  const tensor = new Tensor(value);
  tensor.requiresGrad = options.requiresGrad ?? false;
  return tensor;
}
