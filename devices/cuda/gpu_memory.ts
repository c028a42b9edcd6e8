/**
 * The memory of one GPU: its own blocks, those of graphs, scratch memory, and
 * what happens when there is none left.
 *
 * @module
 */

import { type MemoryRoom, OutOfMemoryError } from "../../core/errors.ts";
import { memoryInfo } from "../../ffi/cudart.ts";
import type { Gpu } from "./gpu.ts";
import { BlockCache, type Taken } from "./memory.ts";
import { DevicePool } from "./pool.ts";

/** The memory of one GPU. */
export class GpuMemory {
  /** Blocks outside of graphs. */
  readonly #blocks: BlockCache;
  /** Where they come from. */
  readonly pool: DevicePool;
  readonly #gpu: Gpu;
  /** Where new blocks come from: the GPU's own, or those of the graph that is being captured. */
  #source: BlockCache;
  /** Where blocks belong that are not the GPU's own. */
  readonly #strays = new Map<bigint, BlockCache>();
  /** Caches of graphs. */
  readonly #graphs = new Set<BlockCache>();
  /** Those of graphs that are gone, while some of their blocks are in use. */
  readonly #retired = new Set<BlockCache>();
  #workspace: { pointer: bigint; bytes: number } | undefined;
  /** Words the error when there is no scratch memory; what is thrown otherwise when omitted. */
  scratchFailed:
    | ((bytes: number, error: OutOfMemoryError) => Error)
    | undefined;

  /**
   * Nothing is reserved before it is needed.
   *
   * @param gpu The GPU, which must be current.
   * @param exact Whether each block is one of the driver's own, of the very size asked for.
   */
  constructor(gpu: Gpu, exact: boolean) {
    this.#gpu = gpu;
    this.pool = new DevicePool(gpu);
    this.#blocks = new BlockCache(this.pool, () => gpu.faults.count, exact);
    this.#source = this.#blocks;
  }

  /** Whether blocks are a graph's: work becomes part of it instead of being queued. */
  get capturing(): boolean {
    return this.#source !== this.#blocks;
  }

  /** Gives back all that a graph about to be captured might need, for it has memory of its own. */
  clear(): void {
    this.dropWorkspace();
    this.#blocks.trim();
    this.#gpu.synchronize();
    this.pool.trim();
  }

  /** Says that work is captured from now on, with new blocks from a graph's own cache; that it is over, when there is none. */
  capture(own?: BlockCache): void {
    this.#source = own ?? this.#blocks;
    if (own === undefined) this.pool.captured();
    else this.#graphs.add(own);
  }

  /**
   * Takes a block.
   *
   * @param bytes Its size.
   * @param written Whether the copy stream will write it at once.
   * @throws {OutOfMemoryError} when there is none.
   */
  take(bytes: number, written = false): Taken {
    const { faults } = this.#gpu;
    this.#gpu.activate();
    const source = this.#source;
    const taken = source.take(bytes, written ? faults.ended : undefined) ??
      this.#takeAtLast(bytes);
    if (source !== this.#blocks) this.#strays.set(taken.pointer, source);
    return taken;
  }

  /** Takes a block back. */
  give(pointer: bigint, bytes: number): void {
    const stray = this.#strays.size > 0 && this.#strays.get(pointer);
    if (!stray) return this.#blocks.give(pointer, bytes);
    this.#strays.delete(pointer);
    stray.give(pointer, bytes);
    if (this.#retired.has(stray)) this.retire(stray);
  }

  /** Returns the memory of a graph's cache that is no longer taken from, as soon as none of its blocks is in use. */
  retire(cache: BlockCache): void {
    if (this.#uses(cache)) this.#retired.add(cache);
    else {
      this.#retired.delete(cache);
      this.#graphs.delete(cache);
      cache.close();
    }
  }

  #uses(cache: BlockCache): boolean {
    for (const owner of this.#strays.values()) if (owner === cache) return true;
    return false;
  }

  /** Frees what is idle, scratch memory too, and tries again. */
  #takeAtLast(bytes: number): Taken {
    if (!this.capturing) {
      this.clear();
      const taken = this.#source.take(bytes);
      if (taken !== undefined) return taken;
    }
    const room = this.#room();
    throw new OutOfMemoryError(
      `${this.#gpu.name} has no ${bytes} bytes left: ${room.freeBytes} are free`,
      { room },
    );
  }

  /** What is free, and what neither tensors hold nor is free. */
  #room(): MemoryRoom {
    const { free, total } = memoryInfo();
    const { reserved, used } = this.pool.held() ??
      { reserved: this.#blocks.reservedBytes, used: undefined };
    const inGraphs = this.#graphBytes;
    const idle = used === undefined ? 0 : reserved - used;
    const unused = idle + this.#blocks.idleBytes;
    const away = total - free - reserved - inGraphs;
    // A graph's own memory is the driver's; nothing of the pool may go there meanwhile.
    return this.capturing
      ? {
        freeBytes: free + this.#source.idleBytes,
        others: {
          ...besides(away),
          "are kept for work outside of the graph": reserved,
        },
      }
      : {
        freeBytes: free + unused,
        others: { ...besides(away), "are held by captured graphs": inGraphs },
      };
  }

  get #graphBytes(): number {
    let bytes = 0;
    for (const cache of this.#graphs) bytes += cache.reservedBytes;
    return bytes;
  }

  /** Bytes taken from the driver, in use or idle. */
  get reservedBytes(): number {
    return this.#blocks.reservedBytes + this.#graphBytes;
  }

  /** Scratch memory, valid for calls queued until the next `workspace` or `take`. */
  workspace(bytes: number): bigint {
    if (this.#workspace === undefined || this.#workspace.bytes < bytes) {
      this.dropWorkspace();
      this.#workspace = { pointer: this.#takeScratch(bytes), bytes };
    }
    return this.#workspace.pointer;
  }

  #takeScratch(bytes: number): bigint {
    try {
      return this.take(bytes).pointer;
    } catch (error) {
      if (!(error instanceof OutOfMemoryError)) throw error;
      throw this.scratchFailed?.(bytes, error) ?? error;
    }
  }

  /** Gives the scratch memory back. */
  dropWorkspace(): void {
    if (this.#workspace === undefined) return;
    const { pointer, bytes } = this.#workspace;
    this.#workspace = undefined;
    this.give(pointer, bytes);
  }

  /** Returns the GPU's own blocks, those in use included. */
  close(): void {
    this.#blocks.close();
  }
}

function besides(bytes: number): Readonly<Record<string, number>> {
  return {
    "are held by other programs, the driver and libraries": Math.max(0, bytes),
  };
}
