/**
 * What a device may offer for exchanging data with others of its kind: the
 * seam between `dist/` and the libraries that devices use.
 *
 * @module
 */

import type { Block, Device } from "./device.ts";
import type { DType } from "./dtype.ts";

/** How a collective combines the elements of the ranks. */
export type ReduceOp = "sum" | "prod" | "min" | "max" | "avg";

/** What the ranks of a communicator do together. */
export type CollectiveKind =
  | "allReduce"
  | "broadcast"
  | "reduce"
  | "allGather"
  | "reduceScatter"
  | "allToAll"
  | "send"
  | "recv";

/**
 * One rank's part in a collective; operands are contiguous. `count` is the
 * number of elements of `send` for all-reduce, broadcast, reduce, all-gather
 * and send, of `recv` for reduce-scatter and receive, and of the part for one
 * rank for all-to-all.
 */
export interface CollectiveCall {
  /** What is done. */
  readonly kind: CollectiveKind;
  /** The local rank that takes part. */
  readonly rank: number;
  /** Element type. */
  readonly dtype: DType;
  /** Elements. */
  readonly count: number;
  /** How elements are combined, by kinds that combine. */
  readonly op?: ReduceOp;
  /** The root of a broadcast or reduce; the other side of send and receive. */
  readonly peer?: number;
  /** What is read; a receive reads nothing. */
  readonly send?: Block;
  /** What is written: may be `send`. Send writes nothing, and reduce only at its root. */
  readonly recv?: Block;
}

/** A point in the work that a device was given. */
export interface Mark {
  /** Gives the mark up. */
  release(): void;
}

/** Calls on their way. */
export interface Flight {
  /** Lets all work that the devices are given from now on wait for the calls; the host does not wait. */
  join(): void;
  /** Whether the calls have ended on every local rank. */
  done(): boolean;
  /** Gives up what watches the calls; they go on. */
  release(): void;
}

/** The part of a process group that runs in this process. */
export interface Communicator {
  /** The ranks that this process drives, ascending. */
  readonly ranks: readonly number[];
  /** Ranks in all processes together. */
  readonly worldSize: number;
  /** Notes how far the work of a local rank's device is, for calls that need not wait for more. */
  mark(rank: number): Mark;
  /**
   * Starts calls of the local ranks together, after what their devices were
   * given so far, or after the marks where some are given (one per local rank).
   * With marks, nothing that the calls use may have been given back or made since.
   */
  start(calls: readonly CollectiveCall[], after?: readonly Mark[]): Flight;
  /** What went wrong outside of any call, such as a peer that is gone; undefined while all is well. */
  failure(): Error | undefined;
  /** Ends whatever is on its way, without waiting for the others; nothing can be started any more. */
  abort(): void;
  /** Ends the communicator after its last call. */
  close(): void;
}

/** What joins processes into one communicator. */
export interface JoinSpec {
  /** Device of this process. */
  readonly device: Device;
  /** Rank of this process. */
  readonly rank: number;
  /** Number of processes. */
  readonly worldSize: number;
  /** What `uniqueId` gave to one of them. */
  readonly id: Uint8Array;
  /** Milliseconds to wait for the others. */
  readonly timeout: number;
  /** Milliseconds to wait for them when connections are made, at the first call of a kind. */
  readonly callTimeout: number;
}

/** A library for collectives among devices of one kind. */
export interface Collectives {
  /** Name and version, for messages. */
  readonly name: string;
  /** One communicator over several devices of this process; rank i is on device i. */
  open(devices: readonly Device[]): Communicator;
  /** Names a meeting that processes can join. */
  uniqueId(): Uint8Array;
  /** Joins other processes; returns when all are there. */
  join(spec: JoinSpec): Communicator;
}
