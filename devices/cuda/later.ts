/**
 * Copies to the host that are waited for later: into page-locked memory, with
 * an event behind them, so that the stream goes on meanwhile.
 *
 * @module
 */

import type { BlockBytes, LaterRead } from "../../core/device.ts";
import { check, cudart, memcpyKind, pinned } from "../../ffi/cudart.ts";
import type { CudaStorage } from "./context.ts";
import type { Gpu } from "./gpu.ts";

/** Bytes at whose multiples parts start: two never share a cache line. */
const alignment = 64;
/** Bytes of the smallest piece. */
const leastBytes = 4096;

/** A piece of page-locked memory. */
interface Piece {
  readonly address: bigint;
  readonly bytes: Uint8Array;
}

/** The reads of one device that are waited for later. */
export class LaterReads {
  readonly #gpu: Gpu;
  /** Pieces that nothing is copied into, by size. */
  readonly #idle = new Map<number, Piece[]>();

  /**
   * Nothing is reserved before the first read.
   *
   * @param gpu Device to read from.
   */
  constructor(gpu: Gpu) {
    this.#gpu = gpu;
  }

  /** Queues copies of all parts. */
  read(parts: readonly BlockBytes[]): LaterRead {
    const gpu = this.#gpu;
    gpu.activate();
    const starts: number[] = [];
    let end = 0;
    for (const { bytes } of parts) {
      starts.push(end);
      end += Math.ceil(bytes / alignment) * alignment;
    }
    const piece = this.#take(end);
    parts.forEach(({ storage, byteOffset, bytes }, i) => {
      if (bytes === 0) return;
      const { upload, pointer } = storage as CudaStorage;
      upload?.join();
      gpu.called("read");
      check(
        cudart().cudaMemcpyAsync(
          piece.address + BigInt(starts[i]),
          pointer + BigInt(byteOffset),
          BigInt(bytes),
          memcpyKind.DeviceToHost,
          gpu.stream,
        ),
        "cudaMemcpyAsync",
        `${bytes} bytes to the host`,
      );
      gpu.queued();
    });
    const event = gpu.recorded(gpu.stream);
    const { count } = gpu.faults;
    let open = true;
    /** Waits for the copies; answers the status of doing so. */
    const awaited = () => {
      open = false;
      gpu.activate();
      const status = cudart().cudaEventSynchronize(event);
      gpu.giveEvent(event);
      if (status === 0) gpu.faults.goodUntil(count);
      return status;
    };
    const giveBack = () => this.#idle.get(piece.bytes.length)!.push(piece);
    return {
      wait() {
        if (!open) throw new TypeError("Cannot wait twice for one read");
        check(awaited(), "cudaEventSynchronize");
        const read = parts.map(({ bytes }, i) =>
          piece.bytes.slice(starts[i], starts[i] + bytes)
        );
        giveBack();
        return read;
      },
      // Whoever lets go of a read is about to tell of another failure.
      [Symbol.dispose]() {
        if (open && !gpu.gone && awaited() === 0) giveBack();
      },
    };
  }

  /** A piece of at least so many bytes; sizes are powers of two, so that few differ. */
  #take(bytes: number): Piece {
    const size = 2 ** Math.ceil(Math.log2(Math.max(bytes, leastBytes)));
    let idle = this.#idle.get(size);
    if (idle === undefined) this.#idle.set(size, idle = []);
    return idle.pop() ?? this.#make(size);
  }

  #make(size: number): Piece {
    const piece = pinned(size);
    this.#gpu.onClose(() => cudart().cudaFreeHost(piece.address));
    return piece;
  }
}
