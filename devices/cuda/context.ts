/**
 * What the parts of the CUDA device see of it: a stream to queue work on,
 * scratch memory, kernels to compile and launch, options.
 *
 * @module
 */

import { type Block, type Device, Storage } from "../../core/device.ts";
import { bytesOf, type DType } from "../../core/dtype.ts";

/** Choices that hold for a device until they are changed. */
export interface CudaOptions {
  /** Whether f32 products and convolutions may round their operands to TF32 (10 bits of mantissa). */
  tf32: boolean;
  /** Whether libraries time their algorithms instead of trusting their heuristics. */
  benchmark: boolean;
  /** Whether every launch and library call is waited for, to find the one that fails. */
  sync: boolean;
}

/** A compiled kernel, loaded on one device. */
export interface CudaFunction {
  /** Name of the entry point. */
  readonly entry: string;
  /** `CUfunction`. */
  readonly handle: bigint;
}

/** One device, as its parts see it. */
export interface CudaContext {
  /** Number of the GPU. */
  readonly ordinal: number;
  /** `cuda:0`, … */
  readonly name: string;
  /** Name of the GPU, as the driver tells it: `NVIDIA H100 80GB HBM3`. */
  readonly model: string;
  /** Compute capability, before the point. */
  readonly major: number;
  /** Compute capability, after the point. */
  readonly minor: number;
  /** Streaming multiprocessors. */
  readonly multiprocessors: number;
  /** Bytes of shared memory that a block may use. */
  readonly sharedMemoryPerBlock: number;
  /** Compute stream; all work of the device goes there. */
  readonly stream: bigint;
  /** Stream of uploads that overlap with compute. */
  readonly copyStream: bigint;
  /** Mutable choices. */
  readonly options: CudaOptions;
  /** Makes the device current for this thread; nearly free when it is. */
  activate(): void;
  /** Scratch memory, valid for calls queued until the next `workspace` of this device. */
  workspace(bytes: number): bigint;
  /** Compiles CUDA C for this device; cached in memory and on disk. */
  compile(source: string, entry: string): CudaFunction;
  /** Queues a kernel that takes one struct by value. */
  launch(
    fn: CudaFunction,
    gridX: number,
    gridY: number,
    gridZ: number,
    blockX: number,
    sharedBytes: number,
    params: Uint8Array,
  ): void;
  /**
   * To be called right before each library call that queues work: the profiler
   * sees it, and an asynchronous error names it as suspect.
   *
   * @param what Name of the call.
   * @param stream Where it goes; the compute stream when left out.
   */
  called(what: string, stream?: bigint): void;
  /** To be called once that work is queued. */
  queued(stream?: bigint): void;
  /** Registers what must be destroyed before the device goes; the last registered goes first. */
  onClose(dispose: () => void): void;
}

/** Bytes on their way to a block over the copy stream. */
export interface PendingUpload {
  /** Has later work of the compute stream wait for them. */
  join(): void;
}

/** A block of a CUDA device's memory. */
export class CudaStorage extends Storage {
  /** Device address, as native calls take it. */
  readonly pointer: bigint;
  /** Bytes that compute must still wait for. */
  upload: PendingUpload | undefined = undefined;

  /**
   * Describes a block that the device has reserved.
   *
   * @param device Device that owns the memory.
   * @param pointer Device address.
   * @param bytes Size in bytes.
   * @param idleSince How much work had been queued when the block's former owner let go of it.
   * @param allocatedAt How much work had been queued when it was allocated.
   */
  constructor(
    device: Device,
    pointer: bigint,
    bytes: number,
    /** How much work had been queued when the block's former owner let go of it. */
    readonly idleSince: number,
    /** How much work had been queued when it was allocated. */
    readonly allocatedAt: number,
  ) {
    super(device, Number(pointer), bytes);
    this.pointer = pointer;
  }
}

/**
 * Device address of a block's first element, for work that is about to be
 * queued on the compute stream.
 *
 * @throws {TypeError} when the block lies on another kind of device.
 */
export function addressOf(block: Block, dtype: DType): bigint {
  const { storage, offset } = block;
  if (!(storage instanceof CudaStorage)) {
    throw new TypeError(
      `Cannot use memory of ${storage.device.name} in a CUDA kernel: move the tensor to the device first`,
    );
  }
  storage.upload?.join();
  return offset === 0
    ? storage.pointer
    : storage.pointer + BigInt(offset * bytesOf(dtype));
}
