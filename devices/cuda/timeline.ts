/**
 * When the work of a device ran, from events beside it: one before each launch,
 * library call and copy, and one after each call of the device.
 *
 * @module
 */

import type { Device, Timeline, TimelineEntry } from "../../core/device.ts";
import { check, createEvent, cudart, elapsed } from "../../ffi/cudart.ts";
import type { Gpu } from "./gpu.ts";

/** Calls of a device that queue work. */
const queueing = [
  "launch",
  "matmul",
  "scatter",
  "sort",
  "scan",
  "read",
  "write",
] as const satisfies readonly (keyof Device)[];

/** Work with the event before it, and the one after it. */
interface Span {
  readonly name: string;
  readonly start: bigint;
  end: bigint | undefined;
}

/** The timeline of one device. */
export class CudaTimeline implements Timeline {
  readonly #gpu: Gpu;
  readonly #device: Device;
  readonly #idle: bigint[] = [];
  readonly #undo: (() => void)[] = [];
  #spans: Span[] = [];
  #origin: { event: bigint; time: number } | undefined;

  /**
   * Nothing is noted before `begin`.
   *
   * @param gpu The GPU.
   * @param device The device whose calls are watched.
   */
  constructor(gpu: Gpu, device: Device) {
    this.#gpu = gpu;
    this.#device = device;
  }

  /** Starts to note what runs. */
  begin(): void {
    const gpu = this.#gpu;
    gpu.synchronize();
    this.#spans = [];
    this.#origin = { event: this.#record(), time: 1000 * performance.now() };
    gpu.watch = (name) => {
      const start = this.#record();
      this.#close(start);
      this.#spans.push({ name, start, end: undefined });
    };
    for (const name of queueing) {
      this.#after(this.#device as unknown as Record<string, unknown>, name);
    }
    const kernels = this.#device.kernels as Record<string, unknown>;
    for (const name of Object.keys(kernels)) this.#after(kernels, name);
  }

  /** Has the end of a call noted. */
  #after(target: Record<string, unknown>, name: string): void {
    const before = target[name];
    if (typeof before !== "function") return;
    const own = Object.hasOwn(target, name);
    target[name] = (...args: unknown[]) => {
      const result = before.apply(target, args);
      if (this.#spans.at(-1)?.end === undefined) this.#close(this.#record());
      return result;
    };
    this.#undo.push(() => {
      if (own) target[name] = before;
      else delete target[name];
    });
  }

  #record(): bigint {
    // An event belongs to the device that is current.
    this.#gpu.activate();
    const event = this.#idle.pop() ?? this.#newEvent();
    check(cudart().cudaEventRecord(event, this.#gpu.stream), "cudaEventRecord");
    return event;
  }

  #newEvent(): bigint {
    const event = createEvent(true);
    this.#gpu.onClose(() => cudart().cudaEventDestroy(event));
    return event;
  }

  #close(end: bigint): void {
    const last = this.#spans.at(-1);
    if (last !== undefined) last.end ??= end;
  }

  /** Waits for the device, and gives what was noted since. */
  end(): readonly TimelineEntry[] {
    const origin = this.#origin;
    if (origin === undefined) return [];
    this.#gpu.watch = undefined;
    for (const undo of this.#undo.splice(0).reverse()) undo();
    this.#close(this.#record());
    this.#gpu.synchronize();
    const events = new Set([origin.event]);
    const entries = this.#spans.map(({ name, start, end }): TimelineEntry => {
      events.add(start).add(end!);
      return {
        name,
        start: origin.time + 1000 * elapsed(origin.event, start),
        duration: 1000 * elapsed(start, end!),
      };
    });
    this.#idle.push(...events);
    this.#spans = [];
    this.#origin = undefined;
    return entries;
  }
}
