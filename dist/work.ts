/**
 * Collectives on their way: what they hold, and how to wait for them.
 *
 * @module
 */

import type { Communicator, Flight } from "../core/collectives.ts";
import type { Value } from "../core/value.ts";
import { CollectiveError } from "./errors.ts";

/** Calls that were started together. */
export class Departure {
  #flight: Flight | undefined;
  #held: Value[];
  #joined = false;

  /**
   * Notes what was started.
   *
   * @param what The calls, for messages.
   * @param flight Their way.
   * @param held Values that they read and write; takes over the references.
   */
  constructor(readonly what: string, flight: Flight, held: Value[]) {
    this.#flight = flight;
    this.#held = held;
  }

  /** Whether nobody needs to think of it any more. */
  get settled(): boolean {
    return this.#joined && this.done;
  }

  /** Whether the calls have ended. */
  get done(): boolean {
    return this.#flight === undefined || this.#flight.done();
  }

  /** Lets later work of the devices wait for the calls; only then their memory may be used again. */
  join(): void {
    if (this.#joined) return;
    this.#joined = true;
    try {
      this.#flight?.join();
    } finally {
      for (const value of this.#held) value.release();
      this.#held = [];
    }
  }

  /** Forgets calls that have ended, or that were aborted. */
  release(): void {
    this.join();
    this.#flight?.release();
    this.#flight = undefined;
  }
}

/** How long to wait. */
export interface FinishOptions {
  /** Milliseconds until the group is aborted; what the group was made with when omitted. */
  timeout?: number;
}

/** What a {@linkcode Work} needs of its group. */
export interface Overseer {
  /** Milliseconds that its calls may take. */
  readonly timeout: number;
  /** Ends the group; later calls throw the error. */
  abort(reason: Error): void;
  /** The part of the group in this process. */
  readonly communicator: Communicator;
  /** Number of ranks. */
  readonly worldSize: number;
}

/**
 * A collective that was started. Its results may be used after `wait`.
 *
 * @typeParam T The results.
 */
export class Work<T> {
  readonly #group: Overseer;
  readonly #result: T;
  /** Calls that it was started with; undefined inside of `grouped`. */
  departure: Departure | undefined;

  /** Made by the methods of a process group. */
  constructor(group: Overseer, result: T) {
    this.#group = group;
    this.#result = result;
  }

  #started(): Departure {
    if (this.departure === undefined) {
      throw new TypeError(
        "Cannot wait for a collective inside of the grouped() that it is part of: it starts when that ends",
      );
    }
    return this.departure;
  }

  /** Whether it has ended on all ranks of this process. */
  get done(): boolean {
    return this.departure?.done ?? false;
  }

  /**
   * Lets all that the devices compute from now on wait for the collective, and
   * returns the results. The host does not wait; reading a result does.
   */
  wait(): T {
    this.#started().join();
    return this.#result;
  }

  /**
   * Waits until the collective has ended.
   *
   * @throws {CollectiveError} when it does not in time, or a peer is gone; the
   *   group is then aborted.
   */
  async finish(options: FinishOptions = {}): Promise<T> {
    for (const pause of this.#watch(options)) {
      await new Promise((done) => setTimeout(done, pause));
    }
    return this.wait();
  }

  /** The same, with the thread asleep: nothing else happens meanwhile. */
  finishSync(options: FinishOptions = {}): T {
    const nothing = new Int32Array(new SharedArrayBuffer(4));
    for (const pause of this.#watch(options)) {
      Atomics.wait(nothing, 0, 0, pause);
    }
    return this.wait();
  }

  /** Pauses in milliseconds to make until the end. */
  *#watch({ timeout = this.#group.timeout }: FinishOptions): Generator<number> {
    const departure = this.#started();
    const start = performance.now();
    const done = () => {
      try {
        return departure.done;
      } catch (error) {
        // Whoever waits for this rank must not wait for ever.
        this.#group.abort(error as Error);
        throw error;
      }
    };
    for (let pause = 0.05; !done(); pause = Math.min(2 * pause, 20)) {
      const { worldSize, communicator } = this.#group;
      const failure = communicator.failure();
      const late = performance.now() - start >= timeout;
      if (failure !== undefined || late) {
        const why = failure?.message ??
          `it did not end within ${timeout} ms: some rank did not take part, or took part in something else`;
        const error = new CollectiveError(
          `Cannot finish ${departure.what} among ${worldSize} ranks: ${why}`,
          { cause: failure },
        );
        this.#group.abort(error);
        throw error;
      }
      yield pause;
    }
  }
}
