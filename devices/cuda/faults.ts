/**
 * Which failures end a device's life, and whom to suspect: an error of a kernel
 * shows up in some later call, so the last calls are remembered.
 *
 * @module
 */

import { DeviceLostError } from "../../core/errors.ts";
import { cudaError } from "../../ffi/cudart.ts";
import type { FailedCall } from "../../ffi/errors.ts";

/** Statuses after which a device answers every call with the same status. */
const sticky: ReadonlySet<number> = new Set([
  cudaError.ECCUncorrectable,
  cudaError.NvlinkUncorrectable,
  cudaError.Contained,
  cudaError.IllegalAddress,
  cudaError.LaunchTimeout,
  cudaError.ContextIsDestroyed,
  cudaError.Assert,
  cudaError.HardwareStackError,
  cudaError.IllegalInstruction,
  cudaError.MisalignedAddress,
  cudaError.InvalidAddressSpace,
  cudaError.InvalidPc,
  cudaError.LaunchFailure,
  cudaError.TensorMemoryLeak,
]);

/** Whether the device cannot go on after a status of the runtime or the driver. */
export function isSticky(status: number): boolean {
  return sticky.has(status);
}

/** Calls that are remembered; a power of two. */
const capacity = 64;
/** How many of them a message names. */
const namedCalls = 5;

/** A call beside those of the compute stream, which a wait for that stream does not cover. */
export interface Aside {
  /** Name of the call. */
  readonly what: string;
  /** Whether the compute stream waits for it by now. */
  joined: boolean;
}

/** What a device was asked to do lately, and whether it is still there. */
export class Faults {
  readonly #recent = new Array<string>(capacity).fill("");
  /** Calls on streams that nobody on the host has waited for yet. */
  readonly #aside = new Set<Aside>();
  /** Calls so far: launches, library calls, copies. */
  count = 0;
  /** Calls that are known to have ended well. */
  #good = 0;
  #lost: string | undefined;

  /**
   * Nothing has happened yet.
   *
   * @param device Name of the device.
   */
  constructor(readonly device: string) {}

  /** Notes a call that is about to be made. */
  note(what: string): void {
    this.#recent[this.count++ & (capacity - 1)] = what;
  }

  /** The call that was noted last was refused: it did nothing. */
  refused(): void {
    this.#recent[(this.count - 1) & (capacity - 1)] = "";
  }

  /** Keeps a call a suspect until the compute stream waits for it and the host for that. */
  aside(what: string): Aside {
    const aside = { what, joined: false };
    this.#aside.add(aside);
    return aside;
  }

  /** All calls so far have ended well: the compute stream was waited for. */
  good(): void {
    this.goodUntil(this.count);
    for (const aside of this.#aside) {
      if (aside.joined) this.#aside.delete(aside);
    }
  }

  /** The first so many calls have ended well: an event behind them was waited for. */
  goodUntil(count: number): void {
    if (count > this.#good) this.#good = count;
  }

  /** How many calls are known to have ended. */
  get ended(): number {
    return this.#good;
  }

  /** The newest calls that may be to blame, newest first, in words. */
  suspects(): string {
    let open = this.count - this.#good;
    const known = Math.min(open, capacity);
    const cut = open > known;
    const names = new Set<string>();
    for (let i = 1; i <= known; i++) {
      const name = this.#recent[(this.count - i) & (capacity - 1)];
      if (name === "") open--;
      else names.add(name);
    }
    for (const { what } of this.#aside) {
      if (names.has(what)) continue;
      names.add(what);
      open++;
    }
    if (open === 0) return "no call was under way";
    const said = [...names].slice(0, namedCalls);
    const more = names.size > said.length || cut ? ", …" : "";
    return open === 1
      ? `the suspect is ${said[0]}`
      : `the suspects are the last ${open} calls, newest first: ${
        said.join(", ")
      }${more}`;
  }

  /** Marks the device as lost because of a call; says so in words. */
  lose(call: FailedCall): string {
    const suspects = this.suspects();
    this.#lost ??=
      `${call.function} reported ${call.statusName} (${call.status}); ${suspects}`;
    return `${suspects}; the device is lost for this process: start the program again, with DECAF_DEBUG=sync to find the call that fails`;
  }

  /** Whether the device is gone. */
  get lost(): boolean {
    return this.#lost !== undefined;
  }

  /**
   * Refuses work for a device that is gone.
   *
   * @throws {DeviceLostError} when it is lost.
   */
  requireAlive(): void {
    if (this.#lost === undefined) return;
    throw new DeviceLostError(
      `Cannot use ${this.device}: it was lost when ${this.#lost}; start the program again`,
    );
  }
}
