/**
 * From graphs as data to cuDNN's native descriptors, and small calls that set
 * and read attributes.
 *
 * @module
 */

import { checkCudnn, type Cudnn } from "../../../ffi/cudnn.ts";
import {
  AttributeName as A,
  AttributeType as T,
  DescriptorType as D,
} from "../../../ffi/cudnn_enums.ts";
import type { Attribute, Descriptor, Graph } from "./graph.ts";

/** Who a plan is for: the GPU of a handle, or one that is described and need not be there. */
export type Target = {
  /** Handle of the library on the GPU. */
  readonly handle: bigint;
} | {
  /** A finalized descriptor of a device's properties. */
  readonly properties: bigint;
};

const one = new BigUint64Array(1);
const count = new BigInt64Array(1);

/** Native descriptors that are destroyed together. */
export class Descriptors {
  readonly #made: bigint[] = [];

  /** Holds none yet. */
  constructor(
    /** The library that makes them. */
    readonly cudnn: Cudnn,
  ) {}

  /** Makes an empty descriptor. */
  create(kind: number): bigint {
    const { cudnn } = this;
    const status = cudnn.symbols.cudnnBackendCreateDescriptor(kind, one);
    if (status !== 0) {
      checkCudnn(
        cudnn,
        "cudnnBackendCreateDescriptor",
        status,
        nameIn(D, kind),
      );
    }
    this.#made.push(one[0]);
    return one[0];
  }

  /** Sets an attribute from values in the layout of its type. */
  set(
    descriptor: bigint,
    name: number,
    type: number,
    values: ArrayBufferView<ArrayBuffer>,
    length: number,
  ): void {
    const status = this.cudnn.symbols.cudnnBackendSetAttribute(
      descriptor,
      name,
      type,
      BigInt(length),
      values,
    );
    if (status !== 0) {
      checkCudnn(
        this.cudnn,
        "cudnnBackendSetAttribute",
        status,
        nameIn(A, name),
      );
    }
  }

  /** Sets an attribute that is one other descriptor, or a handle. */
  refer(
    descriptor: bigint,
    name: number,
    to: bigint,
    type: number = T.BACKEND_DESCRIPTOR,
  ): void {
    one[0] = to;
    this.set(descriptor, name, type, one, 1);
  }

  /** Sets an attribute that is one constant. */
  choose(descriptor: bigint, name: number, type: number, value: number): void {
    this.set(descriptor, name, type, Int32Array.of(value), 1);
  }

  /** Ends the making of a descriptor; the library checks what it says. */
  finalize(descriptor: bigint, kind: number): void {
    const status = this.cudnn.symbols.cudnnBackendFinalize(descriptor);
    if (status !== 0) {
      checkCudnn(this.cudnn, "cudnnBackendFinalize", status, nameIn(D, kind));
    }
  }

  /** Reads up to `room` values of an attribute; returns how many there are. */
  get(
    descriptor: bigint,
    name: number,
    type: number,
    room: number,
    values: ArrayBufferView<ArrayBuffer>,
  ): number {
    const status = this.cudnn.symbols.cudnnBackendGetAttribute(
      descriptor,
      name,
      type,
      BigInt(room),
      count,
      values,
    );
    if (status !== 0) {
      checkCudnn(
        this.cudnn,
        "cudnnBackendGetAttribute",
        status,
        nameIn(A, name),
      );
    }
    return Number(count[0]);
  }

  /** Makes the native form of a descriptor and of all it refers to, each once. */
  lower(descriptor: Descriptor, done: Map<Descriptor, bigint>): bigint {
    const known = done.get(descriptor);
    if (known !== undefined) return known;
    const { kind, attributes } = descriptor;
    const encoded = attributes.map((a) =>
      encode(a, (other) => this.lower(other, done))
    );
    const native = this.create(kind);
    attributes.forEach(({ name, type, values }, i) => {
      // A fraction is two integers.
      const length = values.length / (type === T.FRACTION ? 2 : 1);
      this.set(native, name, type, encoded[i], length);
    });
    this.finalize(native, kind);
    done.set(descriptor, native);
    return native;
  }

  /** Makes the native form of a graph. */
  graph({ operations }: Graph, target: Target): bigint {
    const done = new Map<Descriptor, bigint>();
    const nodes = BigUint64Array.from(operations, (o) => this.lower(o, done));
    const native = this.create(D.OPERATIONGRAPH_DESCRIPTOR);
    if ("handle" in target) {
      this.refer(native, A.OPERATIONGRAPH_HANDLE, target.handle, T.HANDLE);
    }
    const { OPERATIONGRAPH_OPS } = A;
    const { length } = nodes;
    this.set(native, OPERATIONGRAPH_OPS, T.BACKEND_DESCRIPTOR, nodes, length);
    this.finalize(native, D.OPERATIONGRAPH_DESCRIPTOR);
    return native;
  }

  /** Takes a descriptor over from others, so that it lives as long as these. */
  adopt(descriptor: bigint, from: Descriptors): void {
    from.#made.splice(from.#made.indexOf(descriptor), 1);
    this.#made.push(descriptor);
  }

  /** Destroys them, the last made first. */
  dispose(): void {
    const { symbols } = this.cudnn;
    for (let made; (made = this.#made.pop()) !== undefined;) {
      symbols.cudnnBackendDestroyDescriptor(made);
    }
  }

  /** Destroys them, the last made first. */
  [Symbol.dispose](): void {
    this.dispose();
  }
}

/** Values in the layout of their type. */
function encode(
  { type, values }: Attribute,
  lower: (descriptor: Descriptor) => bigint,
): ArrayBufferView<ArrayBuffer> {
  if (type === T.BACKEND_DESCRIPTOR) {
    return BigUint64Array.from(values as readonly Descriptor[], lower);
  }
  const numbers = values as readonly number[];
  switch (type) {
    case T.INT64:
    case T.FRACTION:
      return BigInt64Array.from(numbers, BigInt);
    case T.BOOLEAN:
    case T.CHAR:
      return Uint8Array.from(numbers);
    case T.FLOAT:
      return Float32Array.from(numbers);
    case T.DOUBLE:
      return Float64Array.from(numbers);
    default: // an enumeration, or INT32
      return Int32Array.from(numbers);
  }
}

/** Name of a constant, for messages. */
function nameIn(
  table: Readonly<Record<string, number>>,
  value: number,
): string {
  const names = Object.keys(table);
  return names.find((name) => table[name] === value) ?? `${value}`;
}
