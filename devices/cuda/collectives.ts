/**
 * Collectives among GPUs by NCCL, on a stream of their own beside the compute
 * stream of each GPU.
 *
 * @module
 */

import type {
  CollectiveCall,
  Collectives,
  Communicator,
  Flight,
  Mark,
} from "../../core/collectives.ts";
import type { Block } from "../../core/device.ts";
import {
  check as checkCuda,
  createStream,
  cudaError,
  cudart,
} from "../../ffi/cudart.ts";
import {
  asyncError,
  check,
  getUniqueId,
  initAll,
  initRank,
  nccl,
  result,
  statusName,
  statusText,
} from "../../ffi/nccl.ts";
import type { CudaStorage } from "./context.ts";
import type { CudaDevice } from "./device.ts";
import type { Aside } from "./faults.ts";
import type { Gpu } from "./gpu.ts";
import { issue, partOf } from "./nccl_calls.ts";
import { introducePeers } from "./peers.ts";

/** One local rank. */
interface Member {
  readonly rank: number;
  readonly device: CudaDevice;
  readonly gpu: Gpu;
  /** `ncclComm_t`. */
  readonly handle: bigint;
  /** Stream of the collectives. */
  readonly stream: bigint;
}

/** An event on a compute stream. */
class EventMark implements Mark {
  constructor(readonly gpu: Gpu, readonly event: bigint) {}

  release(): void {
    this.gpu.giveEvent(this.event);
  }
}

/** What was started together: an event behind it on each stream. */
class NcclFlight implements Flight {
  readonly #members: readonly Member[];
  /** What each member is suspected of; undefined for one that does nothing. */
  readonly #suspects: readonly (Aside | undefined)[];
  #events: bigint[];

  constructor(
    members: readonly Member[],
    suspects: readonly (Aside | undefined)[],
  ) {
    this.#members = members;
    this.#suspects = suspects;
    this.#events = members.map(({ gpu, stream }) => {
      gpu.activate();
      return gpu.recorded(stream);
    });
  }

  join(): void {
    let refused: { error: unknown } | undefined;
    this.#events.forEach((event, i) => {
      const { gpu } = this.#members[i];
      if (gpu.gone) return;
      try {
        gpu.activate();
        // Blocks that are given back from now on are busy until this wait is over.
        gpu.called("wait for collectives");
        checkCuda(
          cudart().cudaStreamWaitEvent(gpu.stream, event, 0),
          "cudaStreamWaitEvent",
        );
        this.#joined(i);
        gpu.queued();
      } catch (error) {
        refused ??= { error };
        // Memory that the collective uses is about to be given back.
        cudart().cudaEventSynchronize(event);
      }
    });
    if (refused !== undefined) throw refused.error;
  }

  done(): boolean {
    let done = true;
    // All are asked: one that was lost keeps the others waiting for ever.
    this.#events.forEach((event, i) => {
      const { gpu } = this.#members[i];
      gpu.activate();
      const status = cudart().cudaEventQuery(event);
      if (status === cudaError.NotReady) done = false;
      else {
        checkCuda(status, "cudaEventQuery", `collectives of ${gpu.name}`);
      }
    });
    return done;
  }

  release(): void {
    this.#events.forEach((event, i) => {
      this.#joined(i);
      this.#members[i].gpu.giveEvent(event);
    });
    this.#events = [];
  }

  #joined(member: number): void {
    const suspect = this.#suspects[member];
    if (suspect !== undefined) suspect.joined = true;
  }
}

/** Waits with growing pauses while NCCL works in the background; false when the time is over. */
function waitWhileInProgress(
  handles: readonly bigint[],
  timeout: number,
): boolean {
  const nothing = new Int32Array(new SharedArrayBuffer(4));
  const start = performance.now();
  let pause = 0.02;
  while (handles.some((handle) => asyncError(handle) === result.InProgress)) {
    if (performance.now() - start >= timeout) return false;
    Atomics.wait(nothing, 0, 0, pause);
    pause = Math.min(2 * pause, 10);
  }
  return true;
}

/** The ranks of a communicator that this process drives. */
class NcclCommunicator implements Communicator {
  readonly ranks: readonly number[];
  readonly worldSize: number;
  readonly #members: readonly Member[];
  readonly #timeout: number;
  #ended = false;
  #broken: Error | undefined;

  constructor(
    members: readonly Member[],
    worldSize: number,
    timeout: number,
  ) {
    this.#members = members;
    this.ranks = members.map((m) => m.rank);
    this.worldSize = worldSize;
    this.#timeout = timeout;
    // A communicator must not outlive its devices.
    for (const { gpu } of members) gpu.onClose(() => this.abort());
  }

  #member(rank: number): Member {
    return this.#members[this.ranks.indexOf(rank)];
  }

  mark(rank: number): Mark {
    const { device, gpu } = this.#member(rank);
    gpu.activate();
    // What is still being uploaded was given to the device before the mark.
    device.joinUploads();
    return new EventMark(gpu, gpu.recorded(gpu.stream));
  }

  start(calls: readonly CollectiveCall[], after?: readonly Mark[]): Flight {
    if (after === undefined) {
      for (const { send, recv } of calls) {
        uploaded(send);
        uploaded(recv);
      }
    }
    this.#members.forEach(({ gpu, stream }, i) => {
      gpu.activate();
      if (after === undefined) {
        gpu.order(gpu.stream, stream);
        return;
      }
      checkCuda(
        cudart().cudaStreamWaitEvent(stream, (after[i] as EventMark).event, 0),
        "cudaStreamWaitEvent",
      );
    });
    try {
      return new NcclFlight(this.#members, this.#group(calls));
    } catch (error) {
      // What the others wait for now cannot be known.
      this.#broken = error as Error;
      throw error;
    }
  }

  /** Issues calls as one group; answers what each member may be blamed for. */
  #group(calls: readonly CollectiveCall[]): (Aside | undefined)[] {
    const { ncclGroupStart, ncclGroupEnd } = nccl().symbols;
    // Nothing is queued before the group ends, and then all of it at once.
    const parts = this.#members.map(({ rank, gpu, stream }) => {
      const what = partOf(rank, calls);
      if (what !== undefined) gpu.called(what, stream);
      return what;
    });
    check(ncclGroupStart(), "ncclGroupStart");
    let status: number = result.Success;
    try {
      for (const call of calls) {
        if (call.count === 0) continue;
        const { gpu, handle, stream } = this.#member(call.rank);
        gpu.activate(); // whom an error names, and whose stream is asked for its cause
        issue(call, { handle, stream, worldSize: this.worldSize });
      }
    } finally {
      // Even after a call that failed: an open group would swallow all later calls.
      status = ncclGroupEnd();
    }
    const [{ handle }] = this.#members;
    check(status, "ncclGroupEnd", { communicator: handle });
    if (status === result.InProgress) this.#connect();
    return this.#members.map(({ gpu, stream }, i) => {
      const what = parts[i];
      if (what === undefined) return undefined;
      gpu.queued(stream);
      return gpu.faults.aside(what);
    });
  }

  /** Waits until calls that make connections first are queued. */
  #connect(): void {
    const handles = this.#members.map((m) => m.handle);
    if (!waitWhileInProgress(handles, this.#timeout)) {
      throw new Error(
        `its connections were not made within ${this.#timeout} ms: some rank did not take part`,
      );
    }
    const failure = this.failure();
    if (failure !== undefined) throw failure;
  }

  failure(): Error | undefined {
    if (this.#broken !== undefined || this.#ended) return this.#broken;
    for (const { rank, gpu, handle } of this.#members) {
      if (gpu.gone) return new Error(`rank ${rank} has lost ${gpu.name}`);
      const status = asyncError(handle);
      if (status === result.Success || status === result.InProgress) continue;
      return new Error(
        `NCCL reports ${
          statusName(status)
        } (${status}) to rank ${rank} on ${gpu.name}, ${
          statusText(status, handle)
        }`,
      );
    }
    return undefined;
  }

  abort(): void {
    // Whatever it answers, there is nothing left to try.
    this.#end((handle) => void nccl().symbols.ncclCommAbort(handle));
  }

  close(): void {
    if (this.#ended) return;
    // The last calls of the others would never end.
    if (this.#members.some(({ gpu }) => gpu.gone)) return this.abort();
    const { ncclCommFinalize, ncclCommDestroy } = nccl().symbols;
    const handles = this.#members.map((m) => m.handle);
    // Ranks of other processes may still need this one for their last calls.
    if (handles.length < this.worldSize && ncclCommFinalize !== null) {
      check(ncclCommFinalize(handles[0]), "ncclCommFinalize");
      if (!waitWhileInProgress(handles, this.#timeout)) return this.abort();
    }
    const statuses: number[] = [];
    this.#end((handle) => void statuses.push(ncclCommDestroy(handle)));
    for (const status of statuses) check(status, "ncclCommDestroy");
  }

  /** Ends the handles, then the streams. */
  #end(endHandle: (handle: bigint) => void): void {
    if (this.#ended) return;
    this.#ended = true;
    for (const { handle } of this.#members) endHandle(handle);
    for (const { gpu, stream } of this.#members) destroy(gpu, stream);
  }
}

function destroy(gpu: Gpu, stream: bigint): void {
  if (gpu.gone) return;
  gpu.activate();
  checkCuda(cudart().cudaStreamDestroy(stream), "cudaStreamDestroy");
}

/** Has the compute stream wait for an upload into a block that is still on its way. */
function uploaded(block: Block | undefined): void {
  (block?.storage as CudaStorage | undefined)?.upload?.join();
}

/** A stream for collectives on each GPU, and what `join` makes of them; without it, nothing stays. */
function withStreams<T>(
  gpus: readonly Gpu[],
  join: (streams: readonly bigint[]) => T,
): T {
  const streams: bigint[] = [];
  try {
    for (const gpu of gpus) {
      gpu.activate();
      streams.push(createStream());
    }
    gpus[0].activate();
    return join(streams);
  } catch (error) {
    streams.forEach((stream, i) => destroy(gpus[i], stream));
    throw error;
  }
}

/** NCCL as the collectives of the CUDA devices. */
export const cudaCollectives: Collectives = {
  name: "NCCL",

  open(devices) {
    nccl();
    const opened = devices as readonly CudaDevice[];
    const gpus = opened.map(({ gpu }) => gpu);
    for (const a of gpus) {
      // NCCL's kernels write into each other's memory.
      for (const b of gpus) if (a !== b) introducePeers(a, b);
    }
    return withStreams(gpus, (streams) => {
      const handles = initAll(gpus.map((gpu) => gpu.ordinal));
      const members = gpus.map((gpu, rank) => {
        const device = opened[rank];
        const handle = handles[rank], stream = streams[rank];
        return { rank, device, gpu, handle, stream };
      });
      return new NcclCommunicator(members, gpus.length, Infinity);
    });
  },

  uniqueId: getUniqueId,

  join({ device: given, rank, worldSize, id, timeout, callTimeout }) {
    const device = given as CudaDevice;
    const { gpu } = device;
    return withStreams([gpu], ([stream]) => {
      const handle = initRank({ rank, worldSize, id: new Uint8Array(id) });
      const came = waitWhileInProgress([handle], timeout);
      const status = came ? asyncError(handle) : result.InProgress;
      if (status !== result.Success) {
        const why = came
          ? `NCCL reports ${statusName(status)} (${status}), ${
            statusText(status, handle)
          }`
          : `not all of them came within ${timeout} ms`;
        nccl().symbols.ncclCommAbort(handle);
        throw new Error(
          `Rank ${rank} on ${gpu.name} cannot join ${worldSize} ranks: ${why}`,
        );
      }
      const member = { rank, device, gpu, handle, stream };
      return new NcclCommunicator([member], worldSize, callTimeout);
    });
  },
};
