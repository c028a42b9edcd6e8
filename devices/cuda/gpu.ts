/**
 * One GPU: its properties, streams, events, memory and launches.
 *
 * @module
 */

import {
  check as checkDriver,
  cuda,
  deviceName,
  functionAttribute,
} from "../../ffi/cuda.ts";
import {
  attribute,
  check,
  createEvent,
  createStream,
  cudart,
  memoryInfo,
  statusName,
} from "../../ffi/cudart.ts";
import { type FailedCall, failures } from "../../ffi/errors.ts";
import { environment } from "../../ffi/machine.ts";
import type { CudaContext, CudaFunction, CudaOptions } from "./context.ts";
import { Faults, isSticky } from "./faults.ts";
import { GpuMemory } from "./gpu_memory.ts";
import { Modules } from "./modules.ts";

/** Sees what is queued on the streams of a device. */
export interface Watcher {
  /** A launch, library call or copy is about to be queued on a stream. */
  before(what: string, stream: bigint): void;
  /** The call that was about to be queued on a stream was. */
  after(stream: bigint): void;
}

/** The GPU that is current for this thread. */
let current: Gpu | undefined;

/** Largest argument of a kernel, in bytes. */
const paramBytes = 4096;
/** Where launches put their argument: read by the driver before it returns. */
const params = new Uint8Array(paramBytes);
const paramPointers = new BigUint64Array(new ArrayBuffer(8));
let paramsAddress = 0n;

/** Address of the list of pointers that a launch takes. */
function launchArguments(): bigint {
  const address = (bytes: Uint8Array | BigUint64Array<ArrayBuffer>) =>
    BigInt(
      Deno.UnsafePointer.value(
        Deno.UnsafePointer.of(bytes as Uint8Array<ArrayBuffer>),
      ),
    );
  paramPointers[0] = address(params);
  return paramsAddress = address(paramPointers);
}

/** What is said about a failed call: whether the current GPU is lost, and whom to suspect. */
function explain(call: FailedCall): string | undefined {
  const { library, status } = call;
  if (current === undefined) return undefined;
  if (library === "cudart" || library === "cuda") {
    return isSticky(status) ? lose(current, call) : undefined;
  }
  // The other libraries hide an asynchronous error behind a status of their
  // own; the stream tells it. While it is captured it may not be asked.
  if (current.memory?.capturing) return undefined;
  const hidden = cudart().cudaStreamQuery(current.stream);
  if (!isSticky(hidden)) return undefined;
  return lose(current, {
    ...call,
    status: hidden,
    statusName: statusName(hidden),
  });
}

function lose(gpu: Gpu, call: FailedCall): string {
  current = undefined; // so that the next call finds out
  return gpu.faults.lose(call);
}

/** Words of `DECAF_DEBUG`. */
function debugging(word: string): boolean {
  return environment("DECAF_DEBUG")?.split(/[,\s]+/).includes(word) ?? false;
}

/** One GPU of this process. */
export class Gpu implements CudaContext {
  /** Number of the GPU. */
  readonly ordinal: number;
  /** `cuda:0`, … */
  readonly name: string;
  /** Name of the model. */
  readonly model: string;
  /** Compute capability, before the point. */
  readonly major: number;
  /** Compute capability, after the point. */
  readonly minor: number;
  /** Streaming multiprocessors. */
  readonly multiprocessors: number;
  /** Bytes of shared memory that a block may use. */
  readonly sharedMemoryPerBlock: number;
  /** Bytes of memory in all. */
  readonly memoryBytes: number;
  /** Compute stream. */
  readonly stream: bigint;
  /** Stream of uploads. */
  readonly copyStream: bigint;
  /** Mutable choices. */
  readonly options: CudaOptions;
  /** Last calls, and whether the device is still there. */
  readonly faults: Faults;
  /** What wants to see the calls. */
  watcher: Watcher | undefined;
  /** Gets launches instead of the stream, while a graph is made or renewed. */
  redirect: CudaContext["launch"] | undefined;
  /** Blocks of this device. */
  readonly memory: GpuMemory;
  readonly #modules: Modules;
  readonly #closing: (() => void)[] = [];
  readonly #events: bigint[] = [];
  #closed = false;

  /**
   * Opens a GPU.
   *
   * @param ordinal Number of the GPU, which there must be.
   * @throws {CudaError} when the GPU refuses a call.
   */
  constructor(ordinal: number) {
    this.ordinal = ordinal;
    this.name = `cuda:${ordinal}`;
    this.faults = new Faults(this.name);
    this.options = {
      tf32: false,
      benchmark: false,
      sync: debugging("sync"),
    };
    cuda();
    launchArguments();
    failures.explain = explain;
    this.#makeCurrent();
    try {
      // Makes the device's context, which CUDA 11 does no sooner.
      check(cudart().cudaFree(0n), "cudaFree");
      this.model = deviceName(ordinal);
      this.major = attribute("ComputeCapabilityMajor", ordinal);
      this.minor = attribute("ComputeCapabilityMinor", ordinal);
      this.multiprocessors = attribute("MultiProcessorCount", ordinal);
      this.sharedMemoryPerBlock = attribute(
        "MaxSharedMemoryPerBlockOptin",
        ordinal,
      );
      this.memoryBytes = memoryInfo().total;
      this.memory = new GpuMemory(this, debugging("memory"));
      this.stream = this.#newStream();
      this.copyStream = this.#newStream();
      this.#modules = new Modules(this);
    } catch (error) {
      this.close();
      throw error;
    }
  }

  #newStream(): bigint {
    const stream = createStream();
    this.onClose(() => cudart().cudaStreamDestroy(stream));
    return stream;
  }

  /** Makes the device current for this thread. */
  activate(): void {
    if (current !== this) this.#makeCurrent();
  }

  #makeCurrent(): void {
    this.faults.requireAlive();
    if (this.#closed) {
      throw new TypeError(`Cannot use ${this.name} after it was closed`);
    }
    // From here on this device is to blame, also for what the call itself answers.
    current = this;
    failures.device = this.name;
    const status = cudart().cudaSetDevice(this.ordinal);
    if (status === 0) return;
    try {
      check(status, "cudaSetDevice", this.name);
    } finally {
      current = undefined;
    }
  }

  /** To be called right before each library call that queues work on a stream. */
  called(what: string, stream: bigint = this.stream): void {
    this.faults.note(what);
    this.queues(what, stream);
  }

  /** To be called instead for what was noted as a suspect before, or for a part of it. */
  queues(what: string, stream: bigint): void {
    if (this.watcher !== undefined && !this.capturing) {
      this.watcher.before(what, stream);
    }
  }

  /** To be called once that work is queued. */
  queued(stream: bigint = this.stream): void {
    if (this.watcher === undefined && !this.options.sync) return;
    if (this.capturing) return;
    this.watcher?.after(stream);
    if (!this.options.sync) return;
    // Collectives are not waited for: other ranks may come later, or never.
    if (stream === this.copyStream) {
      check(cudart().cudaStreamSynchronize(stream), "cudaStreamSynchronize");
    }
    if (stream === this.stream || stream === this.copyStream) {
      this.synchronize();
    }
  }

  /** Queues a kernel that takes one struct by value. */
  launch(
    fn: CudaFunction,
    gridX: number,
    gridY: number,
    gridZ: number,
    blockX: number,
    sharedBytes: number,
    argument: Uint8Array,
  ): void {
    if (this.redirect !== undefined) {
      this.redirect(
        fn,
        gridX,
        gridY,
        gridZ,
        blockX,
        sharedBytes,
        argument,
      );
      return;
    }
    this.activate();
    params.set(argument);
    if (sharedBytes > this.#modules.sharedLimit(fn)) {
      this.#allowShared(fn, sharedBytes);
    }
    this.called(fn.entry);
    const status = cuda().cuLaunchKernel(
      fn.handle,
      gridX,
      gridY,
      gridZ,
      blockX,
      1,
      1,
      sharedBytes,
      this.stream,
      paramsAddress,
      0n,
    );
    if (status !== 0) {
      // It did not happen: nobody need suspect it later.
      if (!isSticky(status)) this.faults.refused();
      checkDriver(
        status,
        "cuLaunchKernel",
        `${fn.entry}, grid ${gridX}×${gridY}×${gridZ}, block ${blockX}, ${sharedBytes} bytes of shared memory`,
      );
    }
    this.queued();
  }

  #allowShared(fn: CudaFunction, bytes: number): void {
    checkDriver(
      cuda().cuFuncSetAttribute(
        fn.handle,
        functionAttribute.MAX_DYNAMIC_SHARED_SIZE_BYTES,
        bytes,
      ),
      "cuFuncSetAttribute",
      `${fn.entry}, ${bytes} bytes of shared memory, of which the device has ${this.sharedMemoryPerBlock} per block`,
    );
    this.#modules.allowShared(fn, bytes);
  }

  /** Compiles CUDA C for this device. */
  compile(source: string, entry: string): CudaFunction {
    return this.#modules.get(source, entry);
  }

  /** Waits for all queued work of the compute stream. */
  synchronize(): void {
    this.activate();
    check(cudart().cudaStreamSynchronize(this.stream), "cudaStreamSynchronize");
    this.faults.good();
  }

  /** Whether work becomes part of a graph instead of being queued. */
  get capturing(): boolean {
    return this.memory.capturing;
  }

  /** Scratch memory, valid for calls queued until the next `workspace` of this device. */
  workspace(bytes: number): bigint {
    return this.memory.workspace(bytes);
  }

  /** An event without times. */
  takeEvent(): bigint {
    return this.#events.pop() ?? this.#newEvent();
  }

  #newEvent(): bigint {
    this.activate(); // an event belongs to the device that is current
    const event = createEvent(false);
    this.onClose(() => cudart().cudaEventDestroy(event));
    return event;
  }

  /** An event behind what is queued on a stream. */
  recorded(stream: bigint): bigint {
    const event = this.takeEvent();
    const status = cudart().cudaEventRecord(event, stream);
    if (status !== 0) {
      this.giveEvent(event);
      check(status, "cudaEventRecord");
    }
    return event;
  }

  /** Takes back an event that nobody waits for on the host any more. */
  giveEvent(event: bigint): void {
    this.#events.push(event);
  }

  /** Has one stream wait for what is queued on another; nothing waits on the host. */
  order(before: bigint, after: bigint): void {
    const event = this.recorded(before);
    const status = cudart().cudaStreamWaitEvent(after, event, 0);
    this.giveEvent(event);
    check(status, "cudaStreamWaitEvent");
  }

  /** Registers what must be destroyed before the device goes; the last registered goes first. */
  onClose(dispose: () => void): void {
    this.#closing.push(dispose);
  }

  /** Whether the device was closed or lost: its memory is gone with it. */
  get gone(): boolean {
    return this.#closed || this.faults.lost;
  }

  /** Destroys streams, events, modules and memory. */
  close(): void {
    if (this.#closed) return;
    const errors: unknown[] = [];
    const attempt = (body: () => void) => {
      try {
        body();
      } catch (error) {
        errors.push(error);
      }
    };
    if (!this.faults.lost) {
      attempt(() => {
        this.activate();
        cudart().cudaStreamSynchronize(this.copyStream ?? 0n);
        cudart().cudaStreamSynchronize(this.stream ?? 0n);
        this.memory?.close();
      });
    }
    for (const dispose of this.#closing.splice(0).reverse()) attempt(dispose);
    this.#closed = true;
    if (current === this) {
      current = undefined;
      failures.device = undefined;
    }
    // What a lost device refuses to give back is gone with it.
    if (errors.length > 0 && !this.faults.lost) throw errors[0];
  }
}
