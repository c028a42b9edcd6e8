/**
 * Process groups: ranks that exchange tensors.
 *
 * @module
 */

import type {
  CollectiveCall,
  CollectiveKind,
  Communicator,
  Mark,
  ReduceOp,
} from "../core/collectives.ts";
import type { Device } from "../core/device.ts";
import { type DType, isFloat } from "../core/dtype.ts";
import {
  DTypeError,
  IndexError,
  ShapeError,
  shapeText,
} from "../core/errors.ts";
import { contiguous, materialize } from "../core/fuse.ts";
import { sameShape, type Shape, sizeOf } from "../core/shape.ts";
import { Scope } from "../core/scope.ts";
import { Tensor } from "../core/tensor.ts";
import { exclusive } from "../core/update.ts";
import { freeingOnError, Value } from "../core/value.ts";
import { CollectiveError } from "./errors.ts";
import { Departure, type Overseer, Work } from "./work.ts";

/** One tensor for each rank of this process, in the order of `ranks`; without an array where there is one. */
export type PerRank = Tensor | readonly Tensor[];

/** Options of collectives that may overwrite their operands. */
export interface PlaceOptions {
  /** Overwrite the tensors instead of making new ones. */
  inPlace?: boolean;
}

/** Options of collectives that combine elements. */
export interface ReduceOptions {
  /** How: `"sum"` when omitted. `"avg"` takes floating-point tensors. */
  op?: ReduceOp;
}

/** Options of collectives with a root. */
export interface RootOptions {
  /** The rank that gives or gets; 0 when omitted. */
  root?: number;
}

/** Milliseconds that a collective may take unless something else is said. */
export const usualTimeout = 600_000;

/** Options of {@linkcode ProcessGroup}. */
export interface GroupOptions {
  /** Milliseconds that a collective may take before the group is aborted; 600,000 when omitted. */
  timeout?: number;
}

/** What a collective takes and gives. */
interface Plan {
  readonly kind: CollectiveKind;
  readonly ranks: readonly number[];
  readonly tensors: readonly Tensor[];
  readonly op?: ReduceOp;
  readonly peer?: number;
  readonly inPlace?: boolean;
  /** Shape of the result of a rank; undefined where it gets none. */
  readonly shape?: (rank: number) => Shape | undefined;
  /** Elements, as `CollectiveCall` counts them. */
  readonly count: number;
}

/** A tensor that is to have another value: its own is used by somebody else too. */
interface Overwritten {
  readonly tensor: Tensor;
  readonly value: Value;
}

/** A call with its result, before it is started. */
interface Prepared {
  readonly calls: readonly CollectiveCall[];
  /** Values that are read and written, retained. */
  readonly held: readonly Value[];
  readonly overwritten: readonly Overwritten[];
  /** Whether memory is used that was not there before the call. */
  readonly fresh: boolean;
  readonly what: string;
  readonly work: Work<unknown>;
}

/**
 * Ranks that exchange tensors, each with a device. One process drives one rank
 * ({@linkcode init}) or several ({@linkcode processGroup}).
 *
 * A method starts a collective and returns at once; `wait()` of what it
 * returns gives the results. Collectives are not recorded on the tape. All
 * ranks must start the same collectives in the same order.
 *
 * @example
 * ```ts
 * import { dist, tensor } from "@decaf/decaf";
 *
 * using group = dist.processGroup(["cpu", "cpu"]);
 * const [a, b] = group.allReduce([tensor([1, 2]), tensor([10, 20])]).wait();
 * if (`${a.toArray()} ${b.toArray()}` !== "11,22 11,22") throw new Error("sum");
 * ```
 */
export class ProcessGroup implements Disposable, Overseer {
  /** Milliseconds that a collective may take. */
  readonly timeout: number;
  #failure: Error | undefined;
  #closed = false;
  #departures: Departure[] = [];
  #grouped: Prepared[] | undefined;

  /**
   * Made by {@linkcode processGroup} and {@linkcode init}.
   *
   * @param communicator The part of the group in this process.
   * @param devices Device of each of its ranks.
   * @param options Time limit.
   */
  constructor(
    readonly communicator: Communicator,
    readonly devices: readonly Device[],
    options: GroupOptions = {},
  ) {
    const { timeout = usualTimeout } = options;
    if (!(timeout > 0)) {
      throw new RangeError(
        `Cannot make a process group with a timeout of ${timeout} ms: it must be above 0`,
      );
    }
    this.timeout = timeout;
  }

  /** The ranks of this process. */
  get ranks(): readonly number[] {
    return this.communicator.ranks;
  }

  /** The first rank of this process. */
  get rank(): number {
    return this.ranks[0];
  }

  /** Number of ranks in all processes. */
  get worldSize(): number {
    return this.communicator.worldSize;
  }

  /** Combines the tensors of all ranks; each gets the result. */
  allReduce(
    xs: PerRank,
    options: ReduceOptions & PlaceOptions = {},
  ): Work<Tensor[]> {
    const { op = "sum", inPlace } = options;
    const tensors = this.#perRank("allReduce", xs);
    checkOp("allReduce", op, tensors[0].dtype);
    const { shape, size: count } = tensors[0];
    return this.#start({
      kind: "allReduce",
      ranks: this.ranks,
      tensors,
      op,
      inPlace,
      shape: () => shape,
      count,
    });
  }

  /** Gives every rank the tensor of the root. The others give tensors of its shape and dtype. */
  broadcast(
    xs: PerRank,
    options: RootOptions & PlaceOptions = {},
  ): Work<Tensor[]> {
    const { root: peer = 0, inPlace } = options;
    const tensors = this.#perRank("broadcast", xs);
    this.#checkRank("broadcast", "the root", peer);
    const { shape, size: count } = tensors[0];
    return this.#start({
      kind: "broadcast",
      ranks: this.ranks,
      tensors,
      peer,
      inPlace,
      shape: () => shape,
      count,
    });
  }

  /** Combines the tensors of all ranks for the root; the other ranks get undefined. */
  reduce(
    xs: PerRank,
    options: RootOptions & ReduceOptions = {},
  ): Work<(Tensor | undefined)[]> {
    const { root: peer = 0, op = "sum" } = options;
    const tensors = this.#perRank("reduce", xs);
    checkOp("reduce", op, tensors[0].dtype);
    this.#checkRank("reduce", "the root", peer);
    const { shape, size: count } = tensors[0];
    return this.#start({
      kind: "reduce",
      ranks: this.ranks,
      tensors,
      op,
      peer,
      shape: (rank) => rank === peer ? shape : undefined,
      count,
    });
  }

  /** Gives every rank the tensors of all, one behind the other along the first axis. */
  allGather(xs: PerRank): Work<Tensor[]> {
    const tensors = this.#perRank("allGather", xs);
    const [first = 1, ...rest] = tensors[0].shape;
    return this.#start({
      kind: "allGather",
      ranks: this.ranks,
      tensors,
      shape: () => [this.worldSize * first, ...rest],
      count: tensors[0].size,
    });
  }

  /**
   * Combines the tensors of all ranks and gives each its part along the first axis.
   *
   * @throws {ShapeError} when the axis is no multiple of the number of ranks.
   */
  reduceScatter(xs: PerRank, options: ReduceOptions = {}): Work<Tensor[]> {
    const { op = "sum" } = options;
    const tensors = this.#perRank("reduceScatter", xs);
    checkOp("reduceScatter", op, tensors[0].dtype);
    const shape = this.#split("reduceScatter", tensors[0].shape);
    return this.#start({
      kind: "reduceScatter",
      ranks: this.ranks,
      tensors,
      op,
      shape: () => shape,
      count: sizeOf(shape),
    });
  }

  /**
   * Part j along the first axis of rank i becomes part i of rank j.
   *
   * @throws {ShapeError} when the axis is no multiple of the number of ranks.
   */
  allToAll(xs: PerRank): Work<Tensor[]> {
    const tensors = this.#perRank("allToAll", xs);
    const { shape } = tensors[0];
    return this.#start({
      kind: "allToAll",
      ranks: this.ranks,
      tensors,
      shape: () => shape,
      count: sizeOf(this.#split("allToAll", shape)),
    });
  }

  /** Sends a tensor to another rank, which must receive one of its shape and dtype. */
  send(
    x: Tensor,
    options: { to: number; rank?: number },
  ): Work<void> {
    this.#checkRank("send", "the receiver", options.to);
    const rank = options.rank ?? this.#rankOf("send", x.device);
    this.#local("send", rank, x);
    return this.#start({
      kind: "send",
      ranks: [rank],
      tensors: [x],
      peer: options.to,
      count: x.size,
    });
  }

  /** Receives a tensor of a shape and dtype (f32 when omitted) from another rank. */
  recv(
    shape: Shape,
    options: { from: number; rank?: number; dtype?: DType },
  ): Work<Tensor> {
    const { from, dtype = "f32" } = options;
    this.#checkRank("recv", "the sender", from);
    const rank = options.rank ?? this.#rankOf("recv", undefined);
    const device = this.#local("recv", rank);
    return freeingOnError(() => {
      using own = new Scope();
      const value = Value.empty(device, dtype, shape);
      const result = new Tensor(value.retain());
      const call: CollectiveCall = {
        kind: "recv",
        rank,
        dtype,
        count: value.size,
        peer: from,
        recv: { storage: value.storage, offset: 0 },
      };
      const what = `recv of ${dtype} ${shapeText(shape)} from rank ${from}`;
      const plan = {
        calls: [call],
        held: [value],
        overwritten: [],
        fresh: true,
        what,
      };
      const work = this.#prepare(plan, result);
      own.keep(result);
      return work;
    });
  }

  /**
   * Starts the collectives that `body` calls as one: needed for a send and a
   * receive that wait for each other, and cheaper for many small ones.
   *
   * @param body Calls methods of the group.
   * @param after How far the devices' work must be, one mark for each rank of
   *   this process; all that they were given when omitted.
   */
  grouped<T>(body: () => T, after?: readonly Mark[]): T {
    if (this.#grouped !== undefined) return body();
    const prepared: Prepared[] = this.#grouped = [];
    let result: T;
    try {
      result = body();
    } catch (error) {
      for (const { held } of prepared) for (const v of held) v.release();
      throw error;
    } finally {
      this.#grouped = undefined;
    }
    this.#launch(prepared, after);
    return result;
  }

  /** Notes how far the work of a rank of this process is, for `grouped`. */
  mark(rank: number): Mark {
    return this.communicator.mark(rank);
  }

  /** Returns when every rank has called it. @throws {CollectiveError} when that takes too long. */
  async barrier(): Promise<void> {
    const values = this.devices.map((device) =>
      Value.empty(device, "i32", [1])
    );
    const tensors = values.map((value) => new Tensor(value));
    // What is summed does not matter, but undefined memory should not be read.
    for (const { device, value } of tensors) {
      device.write(value.storage, 0, new Uint8Array(4));
    }
    try {
      await this.allReduce(tensors, { inPlace: true }).finish();
    } finally {
      for (const tensor of tensors) tensor.dispose();
    }
  }

  /** Throws what went wrong outside of any call, if anything did; the group is then aborted. */
  check(): void {
    if (this.#failure !== undefined) throw this.#failure;
    const failure = this.communicator.failure();
    if (failure === undefined) return;
    const error = new CollectiveError(
      `The process group of ${this.worldSize} ranks failed: ${failure.message}`,
      { cause: failure },
    );
    this.abort(error);
    throw error;
  }

  /** Ends the group at once, whatever the other ranks do: calls that are on their way end with undefined results. */
  abort(reason?: Error): void {
    if (this.#failure !== undefined || this.#closed) return;
    this.#failure = reason ??
      new CollectiveError("The process group was aborted");
    this.communicator.abort();
    this.#forget();
  }

  /** Ends the group after its last collective. */
  [Symbol.dispose](): void {
    if (this.#closed) return;
    if (this.#failure === undefined) {
      this.#forget();
      this.communicator.close();
    }
    this.#closed = true;
  }

  #forget(): void {
    for (const departure of this.#departures) departure.release();
    this.#departures = [];
  }

  /** Starts what was prepared, together; after the marks where some are given. */
  #launch(
    prepared: readonly Prepared[],
    after?: readonly Mark[],
  ): void {
    if (prepared.length === 0) return;
    const held = prepared.flatMap((p) => p.held);
    const [{ what }] = prepared;
    const more = prepared.length - 1;
    try {
      this.#usable();
      const flight = this.communicator.start(
        prepared.flatMap((p) => p.calls),
        // Fresh memory may have been used by work that came after the marks.
        prepared.some((p) => p.fresh) ? undefined : after,
      );
      const departure = new Departure(
        more === 0 ? what : `${what} and ${more} more`,
        flight,
        held,
      );
      for (const { work, overwritten } of prepared) {
        work.departure = departure;
        for (const { tensor, value } of overwritten) {
          value.madeBy = tensor.value.madeBy;
          if (tensor.persistent) value.loosen();
          tensor.setValue(value.retain());
        }
      }
      this.#departures.push(departure);
    } catch (error) {
      for (const value of held) value.release();
      const failure = this.communicator.failure();
      if (failure === undefined || this.#failure !== undefined) throw error;
      this.abort(
        new CollectiveError(
          `Cannot start ${what} among ${this.worldSize} ranks: ${failure.message}`,
          { cause: failure },
        ),
      );
      throw this.#failure;
    }
    while (this.#departures.length > 16 && this.#departures[0].settled) {
      this.#departures.shift()!.release();
    }
  }

  #usable(): void {
    if (this.#closed) {
      throw new CollectiveError(
        "Cannot start a collective: the process group was closed",
      );
    }
    this.check();
  }

  /** Makes calls of a plan and starts them. */
  #start<T>(plan: Plan): Work<T> {
    return freeingOnError(() => {
      using own = new Scope();
      const { kind, tensors, ranks, op, peer, count } = plan;
      const held: Value[] = [];
      const overwritten: Overwritten[] = [];
      const results: (Tensor | undefined)[] = [];
      let fresh = false;
      for (const tensor of tensors) materialize(tensor.value);
      const asTheyLie = this.#alike(plan);
      const calls = tensors.map((tensor, i): CollectiveCall => {
        const { dtype, device, value } = tensor;
        // Before anything here holds the value too.
        const free = plan.inPlace === true && exclusive(value) &&
          (asTheyLie || value.contiguous);
        const send = asTheyLie ? value.retain() : contiguous(value);
        held.push(send);
        fresh ||= send !== tensor.value;
        const shape = plan.shape?.(ranks[i]);
        let recv: Value | undefined;
        let result: Tensor | undefined;
        if (free) {
          recv = send;
          result = tensor;
        } else if (shape !== undefined) {
          const strides = asTheyLie ? value.strides : undefined;
          recv = Value.empty(device, dtype, shape, strides);
          held.push(recv);
          fresh = true;
          result = plan.inPlace ? tensor : new Tensor(recv.retain());
          if (plan.inPlace) overwritten.push({ tensor, value: recv });
        }
        results.push(result);
        return {
          kind,
          rank: ranks[i],
          dtype,
          count,
          op,
          peer,
          send: { storage: send.storage, offset: send.offset },
          recv: recv && { storage: recv.storage, offset: recv.offset },
        };
      });
      const [{ dtype, shape }] = tensors;
      const what = `${kind} of ${dtype} ${shapeText(shape)}`;
      const work = this.#prepare(
        { calls, held, overwritten, fresh, what },
        results as T,
      );
      own.keep(results);
      return work;
    });
  }

  /**
   * Whether the tensors are images whose channels lie last on every rank, and
   * may stay so: element i of one then meets element i of the others.
   */
  #alike({ kind, tensors }: Plan): boolean {
    const meets = kind === "allReduce" || kind === "broadcast" ||
      kind === "reduce";
    return meets && this.ranks.length === this.worldSize &&
      tensors.every(({ value }) => value.channelsLast);
  }

  #prepare<T>(plan: Omit<Prepared, "work">, result: T): Work<T> {
    const work = new Work(this, result);
    const prepared = { ...plan, work };
    if (this.#grouped === undefined) this.#launch([prepared]);
    else this.#grouped.push(prepared);
    return work;
  }

  /** The tensors of the local ranks, checked. */
  #perRank(kind: CollectiveKind, xs: PerRank): readonly Tensor[] {
    const tensors: readonly Tensor[] = xs instanceof Tensor ? [xs] : xs;
    if (tensors.length !== this.ranks.length) {
      throw new TypeError(
        `Cannot ${kind} ${tensors.length} tensors: this process drives ${this.ranks.length} ranks, and each takes part with one`,
      );
    }
    const [first] = tensors;
    tensors.forEach((tensor, i) => {
      this.#local(kind, this.ranks[i], tensor);
      if (
        tensor.dtype === first.dtype && sameShape(tensor.shape, first.shape)
      ) return;
      throw new ShapeError(
        `Cannot ${kind} tensors that differ: rank ${
          this.ranks[0]
        } has ${first.dtype} ${shapeText(first.shape)} and rank ${
          this.ranks[i]
        } ${tensor.dtype} ${shapeText(tensor.shape)}`,
      );
    });
    return tensors;
  }

  /** The device of a local rank, on which the tensor must be. */
  #local(kind: CollectiveKind, rank: number, tensor?: Tensor): Device {
    const i = this.ranks.indexOf(rank);
    if (i < 0) {
      throw new IndexError(
        `Cannot ${kind} as rank ${rank}: this process drives ${
          this.ranks.join(", ")
        }`,
      );
    }
    const device = this.devices[i];
    if (tensor !== undefined && tensor.device !== device) {
      throw new TypeError(
        `Cannot ${kind} a tensor on ${tensor.device.name} as rank ${rank}, whose device is ${device.name}: bring it there with .to("${device.name}")`,
      );
    }
    return device;
  }

  #rankOf(kind: CollectiveKind, device: Device | undefined): number {
    if (this.ranks.length === 1) return this.rank;
    const found = this.ranks.filter((_, i) => this.devices[i] === device);
    if (found.length === 1) return found[0];
    throw new TypeError(
      `Cannot ${kind} without { rank }: this process drives ranks ${
        this.ranks.join(", ")
      }`,
    );
  }

  #checkRank(kind: CollectiveKind, role: string, rank: number): void {
    if (Number.isInteger(rank) && rank >= 0 && rank < this.worldSize) return;
    throw new IndexError(
      `Cannot ${kind} with rank ${rank} as ${role}: ranks go from 0 to ${
        this.worldSize - 1
      }`,
    );
  }

  #split(kind: CollectiveKind, [first, ...rest]: Shape): Shape {
    if (first !== undefined && first % this.worldSize === 0) {
      return [first / this.worldSize, ...rest];
    }
    throw new ShapeError(
      `Cannot ${kind} a tensor of shape ${
        shapeText(first === undefined ? [] : [first, ...rest])
      } among ${this.worldSize} ranks: its first axis must be a multiple of their number`,
    );
  }
}

const reduceOps: Readonly<Record<ReduceOp, true>> = {
  sum: true,
  prod: true,
  min: true,
  max: true,
  avg: true,
};

function checkOp(kind: CollectiveKind, op: ReduceOp, dtype: DType): void {
  if (!Object.hasOwn(reduceOps, op)) {
    throw new TypeError(
      `Cannot ${kind} with "${op}": there is ${
        Object.keys(reduceOps).join(", ")
      }`,
    );
  }
  if (op === "avg" && !isFloat(dtype)) {
    throw new DTypeError(
      `Cannot ${kind} tensors of dtype ${dtype} with "avg": means of whole numbers are not whole; convert them with .cast("f32")`,
    );
  }
}
