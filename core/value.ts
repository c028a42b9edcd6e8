/**
 * Values: what a tensor handle points to. A value is either stored (strided
 * data in a storage) or pending (an expression that nobody needed yet).
 *
 * @module
 */

import { bytesOf, type DType } from "./dtype.ts";
import { type Device, guard, type Storage, type Strided } from "./device.ts";
import {
  contiguousStrides,
  isChannelsLast,
  isContiguous,
  type Shape,
  sizeOf,
} from "./shape.ts";
import type { Expr } from "../kernel/expr.ts";
import { DisposedError, OutOfMemoryError, shapeText } from "./errors.ts";

/** An elementwise operator specialised to the dtypes of its operands. */
export interface Template {
  /** Unique number. */
  readonly id: number;
  /** Name of the operator, for messages. */
  readonly name: string;
  /** Result in terms of `input(i)` for tensor operand i and `scalar(i)` for number operand i. */
  readonly expr: Expr;
  /** Storage type of the result. */
  readonly dtype: DType;
  /** Nodes of the expression. */
  readonly nodes: number;
  /** Whether recomputing it costs more than loading the result. */
  readonly heavy: boolean;
}

/** An expression that has not been computed. */
export interface Pending {
  /** Operator. */
  readonly template: Template;
  /** Operands: values, or numbers for the run-time scalars. */
  readonly args: readonly (Value | number)[];
  /** Nodes of the whole expression down to stored values. */
  readonly nodes: number;
  /** Stored values it reads (an upper bound). */
  readonly leaves: number;
  /** How often it was computed as part of another kernel. */
  uses: number;
}

/** A request for memory that a device could not serve. */
export interface FailedAllocation {
  /** Where. */
  readonly device: Device;
  /** What for: `a tensor of f32 [2, 3]`. */
  readonly what: string;
  /** Bytes asked for. */
  readonly bytes: number;
  /** What the device threw. */
  readonly cause: OutOfMemoryError;
}

/** Words the error for a request that a device could not serve; `core/memory.ts` provides it. */
export const allocation: { failed?: (failure: FailedAllocation) => Error } = {};

/** The error for a request that a device could not serve. */
export function outOfMemory(failure: FailedAllocation): Error {
  return allocation.failed?.(failure) ?? failure.cause;
}

function allocate(
  device: Device,
  dtype: DType,
  shape: Shape,
  size: number,
  written?: boolean,
) {
  const bytes = size * bytesOf(dtype);
  try {
    return device.allocate(bytes, written);
  } catch (cause) {
    if (!(cause instanceof OutOfMemoryError)) throw cause;
    const what = `a tensor of ${dtype} ${shapeText(shape)}`;
    throw outOfMemory({ device, what, bytes, cause });
  }
}

/** Whether new storages are owned by a scope (then no finaliser is needed). */
export const ownership: { scoped: boolean } = { scoped: false };

// Values made, and owners added, while something may have to be undone; with
// the number of owners before (0 for a value that was made).
const journal: Value[] = [];
const ownersBefore: number[] = [];
let journals = 0;

function note(value: Value, owners: number): void {
  journal.push(value);
  ownersBefore.push(owners);
}

/**
 * Runs `body`; when it throws (memory ran out, say), takes back the values it
 * made and the owners it added, so that kernels need not guard theirs.
 */
export function freeingOnError<T>(body: () => T): T {
  const start = journal.length;
  journals++;
  try {
    return body();
  } catch (error) {
    for (let i = journal.length - 1; i >= start; i--) {
      journal[i].releaseTo(ownersBefore[i]);
    }
    throw error;
  } finally {
    journals--;
    // An array whose length is set to 0 loses its memory, too.
    while (journal.length > start) {
      journal.pop();
      ownersBefore.pop();
    }
  }
}

/** Data with a shape: stored or pending. Counted references; the last release frees. */
export class Value implements Strided {
  /** Owners: handles, the tape, pending expressions. */
  refs = 1;
  /** Operator or role, for messages. */
  madeBy: string | undefined = undefined;
  /** How often an update has overwritten it. */
  writes = 0;
  #storage: Storage | undefined;
  #pending: Pending | undefined;
  /** Whether no scope frees it, so that its memory needs the backstop. */
  #loose = !ownership.scoped;
  /** Whether it was made to outlive scopes. */
  #outlives = false;

  private constructor(
    readonly device: Device,
    readonly dtype: DType,
    readonly shape: Shape,
    readonly strides: readonly number[],
    readonly offset: number,
    readonly size: number,
    storage: Storage | undefined,
    pending: Pending | undefined,
  ) {
    this.#storage = storage;
    this.#pending = pending;
    if (journals > 0) note(this, 0);
  }

  /**
   * Uninitialised memory.
   *
   * @param device Where.
   * @param dtype Element type.
   * @param shape Extents.
   * @param strides Contiguous when omitted, or dense in another order of the axes.
   * @param written Whether the host is about to write all of it.
   */
  static empty(
    device: Device,
    dtype: DType,
    shape: Shape,
    strides: readonly number[] = contiguousStrides(shape),
    written?: boolean,
  ): Value {
    const size = sizeOf(shape);
    const storage = allocate(device, dtype, shape, size, written);
    const value = new Value(
      device,
      dtype,
      shape,
      strides,
      0,
      size,
      storage,
      undefined,
    );
    if (!ownership.scoped) guard(storage, value);
    return value;
  }

  /** An expression to be computed when needed, into dense memory; takes over the caller's references to its operands. */
  static pending(
    device: Device,
    shape: Shape,
    size: number,
    pending: Pending,
    strides: readonly number[] = contiguousStrides(shape),
  ): Value {
    const { dtype } = pending.template;
    return new Value(
      device,
      dtype,
      shape,
      strides,
      0,
      size,
      undefined,
      pending,
    );
  }

  /** Another way to look at the same stored bytes. */
  view(shape: Shape, strides: readonly number[], offset: number): Value {
    const storage = this.storage;
    storage.owners++;
    const size = sizeOf(shape);
    return new Value(
      this.device,
      this.dtype,
      shape,
      strides,
      offset,
      size,
      storage,
      undefined,
    );
  }

  /** The memory; only for stored values. */
  get storage(): Storage {
    if (this.#storage === undefined) {
      throw new DisposedError(
        this.refs > 0
          ? "Cannot take the memory of a pending value: materialize it first"
          : "Cannot use the memory of a tensor after it was disposed",
      );
    }
    return this.#storage;
  }

  /** The expression, while it was not computed. */
  get expression(): Pending | undefined {
    return this.#pending;
  }

  /** Whether elements follow each other without gaps, in row-major order. */
  get contiguous(): boolean {
    return isContiguous(this.shape, this.strides);
  }

  /** Whether it holds images whose channels lie last in memory, without gaps. */
  get channelsLast(): boolean {
    return isChannelsLast(this.shape, this.strides);
  }

  /** Gives a pending value its memory; the caller then computes it. */
  reserve(): void {
    // What was reserved for a computation that failed serves the next attempt.
    if (this.#storage !== undefined) return;
    const { device, dtype, shape, size } = this;
    this.#storage = allocate(device, dtype, shape, size);
    this.madeBy ??= this.#pending?.template.name;
    if (this.#loose) guard(this.#storage, this);
  }

  /** Has errors leave the value alone that take back what was made before them: its owner will release it. */
  outlive(): void {
    this.#outlives = true;
  }

  /** Leaves the memory, and that of what a pending value needs, to the garbage collector if nobody releases it. */
  loosen(): void {
    this.#loose = true;
    this.#outlives = true;
    if (this.#storage !== undefined) guard(this.#storage, this);
    for (const arg of this.#pending?.args ?? []) {
      if (typeof arg !== "number" && !arg.#loose) arg.loosen();
    }
  }

  /** Drops the expression of a computed value. */
  settle(): void {
    const pending = this.#pending;
    this.#pending = undefined;
    if (pending !== undefined) releaseArgs(pending);
  }

  /** Removes owners that an exception made forget; a new value that was made to outlive scopes stays. */
  releaseTo(owners: number): void {
    if (owners === 0 && this.#outlives) return;
    while (this.refs > owners) this.release();
  }

  /** Adds an owner. */
  retain(): this {
    if (journals > 0) note(this, this.refs);
    this.refs++;
    return this;
  }

  /** Removes an owner; the last one frees memory or expression. */
  release(): void {
    if (--this.refs > 0) return;
    const storage = this.#storage;
    this.#storage = undefined;
    if (storage !== undefined) storage.release();
    this.settle();
  }
}

/**
 * The memory order of what is computed element by element from images: channels
 * last where all operands of the result's shape lie so. Those that broadcast
 * have no say.
 *
 * @returns Strides; undefined for row-major order.
 */
export function sharedOrder(
  operands: readonly (Value | number)[],
  shape: Shape,
  size: number,
): readonly number[] | undefined {
  if (shape.length < 3) return undefined;
  let found: readonly number[] | undefined;
  for (let i = 0; i < operands.length; i++) {
    const operand = operands[i];
    if (typeof operand === "number" || operand.size !== size) continue;
    if (operand.expression?.leaves === 0 || broadcasts(operand)) continue;
    if (operand.shape.length !== shape.length) return undefined;
    if (!operand.channelsLast) return undefined;
    found = operand.strides;
  }
  return found;
}

/** Whether the same elements are read along some axis. */
function broadcasts({ shape, strides }: Value): boolean {
  for (let d = 0; d < shape.length; d++) {
    if (strides[d] === 0 && shape[d] > 1) return true;
  }
  return false;
}

function releaseArgs(pending: Pending): void {
  for (const arg of pending.args) if (typeof arg !== "number") arg.release();
}
