/**
 * Process groups: ranks that exchange tensors.
 *
 * @module
 */

import type { Communicator, Mark, ReduceOp } from "../core/collectives.ts";
import type { Device } from "../core/device.ts";
import type { DType } from "../core/dtype.ts";
import { type Shape, sizeOf } from "../core/shape.ts";
import { Scope } from "../core/scope.ts";
import { Tensor } from "../core/tensor.ts";
import { freeingOnError, Value } from "../core/value.ts";
import {
  checkedTensors,
  checkOp,
  checkRank,
  impliedRank,
  localDevice,
  type PerRank,
  splitShape,
} from "./checks.ts";
import { CollectiveError } from "./errors.ts";
import { type Calls, callsOf, type Plan, receiveCall } from "./plan.ts";
import { Departure, type Overseer, Work } from "./work.ts";

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

/** Calls that are about to be started. */
interface Prepared extends Calls {
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
    const tensors = checkedTensors(this, "allReduce", xs);
    checkOp("allReduce", op, tensors[0].dtype);
    const { shape, size: count } = tensors[0];
    return this.#together({
      kind: "allReduce",
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
    const tensors = checkedTensors(this, "broadcast", xs);
    checkRank(this, "broadcast", "the root", peer);
    const { shape, size: count } = tensors[0];
    return this.#together({
      kind: "broadcast",
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
    const tensors = checkedTensors(this, "reduce", xs);
    checkOp("reduce", op, tensors[0].dtype);
    checkRank(this, "reduce", "the root", peer);
    const { shape, size: count } = tensors[0];
    return this.#together({
      kind: "reduce",
      tensors,
      op,
      peer,
      shape: (rank) => rank === peer ? shape : undefined,
      count,
    });
  }

  /** Gives every rank the tensors of all, one behind the other along the first axis. */
  allGather(xs: PerRank): Work<Tensor[]> {
    const tensors = checkedTensors(this, "allGather", xs);
    const [first = 1, ...rest] = tensors[0].shape;
    return this.#together({
      kind: "allGather",
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
    const tensors = checkedTensors(this, "reduceScatter", xs);
    checkOp("reduceScatter", op, tensors[0].dtype);
    const shape = splitShape(this, "reduceScatter", tensors[0].shape);
    return this.#together({
      kind: "reduceScatter",
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
    const tensors = checkedTensors(this, "allToAll", xs);
    const { shape } = tensors[0];
    return this.#together({
      kind: "allToAll",
      tensors,
      shape: () => shape,
      count: sizeOf(splitShape(this, "allToAll", shape)),
    });
  }

  /** Sends a tensor to another rank, which must receive one of its shape and dtype. */
  send(
    x: Tensor,
    options: { to: number; rank?: number },
  ): Work<void> {
    const { to: peer, rank = impliedRank(this, "send", x.device) } = options;
    checkRank(this, "send", "the receiver", peer);
    localDevice(this, "send", rank, x);
    const { size: count } = x;
    const { worldSize } = this;
    return this.#start(
      () =>
        callsOf({
          kind: "send",
          ranks: [rank],
          worldSize,
          tensors: [x],
          peer,
          count,
        }),
      () => undefined,
    );
  }

  /** Receives a tensor of a shape and dtype (f32 when omitted) from another rank. */
  recv(
    shape: Shape,
    options: { from: number; rank?: number; dtype?: DType },
  ): Work<Tensor> {
    const { from, dtype = "f32" } = options;
    checkRank(this, "recv", "the sender", from);
    const rank = options.rank ?? impliedRank(this, "recv", undefined);
    const device = localDevice(this, "recv", rank);
    return this.#start(
      () => receiveCall({ rank, from, device, shape, dtype }),
      ({ results }) => results[0]!,
    );
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
      const broken = this.communicator.failure() !== undefined;
      if (!broken || this.#failure !== undefined) throw error;
      const why = (error as Error).message;
      this.abort(
        new CollectiveError(
          `Cannot start ${what} among ${this.worldSize} ranks: ${why}`,
          { cause: error },
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

  /** Starts what `make` prepares; when that fails, nothing of it stays. */
  #start<T>(make: () => Calls, resultOf: (calls: Calls) => T): Work<T> {
    return freeingOnError(() => {
      using own = new Scope();
      const calls = make();
      const result = resultOf(calls);
      const work = new Work(this, result);
      const prepared = { ...calls, work };
      if (this.#grouped === undefined) this.#launch([prepared]);
      else this.#grouped.push(prepared);
      own.keep(calls.results);
      return work;
    });
  }

  /** Starts a collective of all ranks. */
  #together<T = Tensor[]>(plan: Omit<Plan, "ranks" | "worldSize">): Work<T> {
    const { ranks, worldSize } = this;
    return this.#start(
      () => callsOf({ ...plan, ranks, worldSize }),
      ({ results }) => results as T,
    );
  }
}
