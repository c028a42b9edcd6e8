/**
 * The CUDA devices: NVIDIA's GPUs, driven through NVIDIA's own libraries. They
 * run behind the host: calls queue work, and reads wait for it.
 *
 * @module
 */

import type { Collectives } from "../../core/collectives.ts";
import {
  type BlockBytes,
  type DeferredCheck,
  type Device,
  type DeviceFlag,
  type DeviceGraph,
  type DeviceKernels,
  type DeviceStats,
  type LaterRead,
  type Launch,
  type MatmulSpec,
  type PendingCheck,
  registerFamily,
  type ScanSpec,
  type ScatterSpec,
  type SortSpec,
  type Storage,
} from "../../core/device.ts";
import { GraphError, IndexError } from "../../core/errors.ts";
import { outOfMemory } from "../../core/value.ts";
import { requireGpus, whyNotChosen } from "./available.ts";
import { Checks } from "./checks.ts";
import { cudaCollectives } from "./collectives.ts";
import { type CudaOptions, CudaStorage } from "./context.ts";
import { Gpu } from "./gpu.ts";
import { Capture } from "./graph.ts";
import { LaterReads } from "./later.ts";
import {
  cudaKernels,
  launch,
  launchAll,
  matmul,
  scan,
  scatter,
  sort,
} from "./parts.ts";
import { copyBetween } from "./peers.ts";
import { Staging } from "./staging.ts";
import { CudaTimeline } from "./timeline.ts";

/** One GPU as a place where tensors live and operators run. */
export class CudaDevice implements Device {
  /** `cuda:0`, … */
  readonly name: string;
  /** Fast paths. */
  readonly kernels: DeviceKernels;
  /** NCCL. */
  readonly collectives: Collectives = cudaCollectives;
  /** The GPU. */
  readonly gpu: Gpu;
  /** Times of what runs. */
  readonly timeline: CudaTimeline;
  readonly #staging: Staging;
  readonly #checks: Checks;
  readonly #later: LaterReads;
  #capture: Capture | undefined;
  #live = 0;
  #peak = 0;
  #blocks = 0;

  /**
   * Opens a GPU.
   *
   * @param gpu Its number, counted from 0.
   * @throws {IndexError} when there is no such GPU.
   * @throws {CudaUnavailableError} when CUDA does not work here.
   * @throws {LibraryError} when a library is missing.
   */
  constructor(ordinal: number) {
    const count = requireGpus();
    if (ordinal >= count) {
      throw new IndexError(
        `Cannot use device "cuda:${ordinal}": there ${
          count === 1
            ? "is 1 GPU, cuda:0"
            : `are ${count} GPUs, cuda:0 ${count === 2 ? "and" : "to"} cuda:${
              count - 1
            }`
        }`,
      );
    }
    this.gpu = new Gpu(ordinal);
    this.name = this.gpu.name;
    this.gpu.memory.scratchFailed = (bytes, cause) =>
      outOfMemory({ device: this, what: "scratch memory", bytes, cause });
    this.kernels = cudaKernels(this.gpu);
    this.#staging = new Staging(this.gpu);
    this.#checks = new Checks(this.gpu);
    this.#later = new LaterReads(this.gpu);
    this.timeline = new CudaTimeline(this.gpu);
  }

  /** Choices that hold until they are changed. */
  get options(): CudaOptions {
    return this.gpu.options;
  }

  /** Reserves memory; its contents are whatever was there. */
  allocate(bytes: number, written = false): Storage {
    const { gpu } = this;
    const { pointer, idleSince } = gpu.memory.take(bytes, written);
    this.#live += bytes;
    if (this.#live > this.#peak) this.#peak = this.#live;
    this.#blocks++;
    return new CudaStorage(this, pointer, bytes, idleSince, gpu.faults.count);
  }

  /** Returns memory; work that is queued may still use it. */
  free(storage: Storage): void {
    this.#live -= storage.bytes;
    this.#blocks--;
    if (this.gpu.gone) return; // its memory went with it
    if (!(storage instanceof CudaStorage)) {
      return this.gpu.memory.give(BigInt(storage.address), storage.bytes);
    }
    try {
      storage.upload?.join();
    } finally {
      this.gpu.memory.give(storage.pointer, storage.bytes);
    }
  }

  /** Queues a copy of host bytes; they may change afterwards. */
  write(storage: Storage, byteOffset: number, bytes: Uint8Array): void {
    if (bytes.length === 0) return;
    this.#refuseInCapture("write from the host");
    this.gpu.activate();
    this.#staging.upload(storage as CudaStorage, byteOffset, bytes);
  }

  /** Copies device bytes to the host, after all work queued before. */
  read(storage: Storage, byteOffset: number, bytes: Uint8Array): void {
    this.#refuseInCapture("read results on the host");
    if (bytes.length === 0) return this.synchronize();
    this.gpu.activate();
    (storage as CudaStorage).upload?.join();
    const source = (storage as CudaStorage).pointer + BigInt(byteOffset);
    this.#staging.download(source, bytes);
    this.#checks.settle();
  }

  /** Queues copies of device bytes to the host; nothing is waited for before its result is. */
  readLater(parts: readonly BlockBytes[]): LaterRead {
    this.#refuseInCapture("read results on the host");
    return this.#later.read(parts);
  }

  /**
   * Copies from a block of this or another CUDA device, directly where the two
   * are linked.
   *
   * @returns Whether it could: not when the source lies on another kind of device.
   */
  copy(
    target: Storage,
    targetOffset: number,
    source: Storage,
    sourceOffset: number,
    bytes: number,
  ): boolean {
    const { device } = source;
    if (!(device instanceof CudaDevice)) return false;
    if (bytes === 0) return true;
    copyBetween(
      { gpu: this.gpu, storage: target as CudaStorage, offset: targetOffset },
      { gpu: device.gpu, storage: source as CudaStorage, offset: sourceOffset },
      bytes,
    );
    return true;
  }

  /** Queues a row program. */
  launch(l: Launch): void {
    if (this.#capture !== undefined && l.live !== undefined) {
      this.#capture.live([l]);
    } else launch(this.gpu, l);
  }

  /** Queues launches of one program that have nothing to do with each other. */
  launchAll(launches: readonly Launch[]): void {
    if (
      this.#capture !== undefined && launches.some((l) => l.live !== undefined)
    ) {
      this.#capture.live(launches);
    } else launchAll(this.gpu, launches);
  }

  /** Queues products of matrices. */
  matmul(spec: MatmulSpec): void {
    matmul(this.gpu, spec);
  }

  /** Queues a scatter along an axis. */
  scatter(spec: ScatterSpec): void {
    scatter(this.gpu, spec);
  }

  /** Queues a sort of rows. */
  sort(spec: SortSpec): void {
    sort(this.gpu, spec);
  }

  /** Queues a scan of rows. */
  scan(spec: ScanSpec): void {
    scan(this.gpu, spec);
  }

  /** Has later work of the compute stream wait for every upload that is under way. */
  joinUploads(): void {
    this.#staging.join();
  }

  /** Waits for all queued work. */
  synchronize(): void {
    this.#refuseInCapture("wait for the device");
    this.gpu.synchronize();
    this.#checks.settle();
  }

  /** Looks at a flag when the host waits next. */
  defer(check: DeferredCheck): void {
    this.#checks.add(check);
  }

  /** A flag that a kernel may set, looked at when the host waits next. */
  flag(check: PendingCheck): DeviceFlag {
    return this.#checks.flag(check);
  }

  /**
   * Captures what `body` asks for as a CUDA graph.
   *
   * @throws {GraphError} when `body` does what a graph would silently get wrong.
   */
  capture(body: () => void): DeviceGraph {
    this.#staging.join();
    const capture = new Capture(this.gpu, launchAll);
    this.#capture = capture;
    try {
      return capture.run(body);
    } finally {
      this.#capture = undefined;
    }
  }

  #refuseInCapture(what: string): void {
    if (this.#capture === undefined) return;
    throw new GraphError(
      `Cannot ${what} while a graph is captured on ${this.name}: a replay would not do it again; move it out of the step`,
    );
  }

  /** Memory in use. */
  stats(): DeviceStats {
    return {
      liveBytes: this.#live,
      peakBytes: this.#peak,
      blocks: this.#blocks,
      limitBytes: this.gpu.memoryBytes,
      reservedBytes: this.gpu.memory.reservedBytes,
    };
  }

  /** Destroys streams, events, kernels and memory; tensors that live here are gone. */
  close(): void {
    this.#checks.drop();
    this.gpu.close();
  }
}

registerFamily("cuda", {
  open: (ordinal) => new CudaDevice(ordinal),
  unavailable: whyNotChosen,
});
