/**
 * When the work of a device ran, from an event before and one after each
 * launch, library call and copy, on the stream where it is.
 *
 * @module
 */

import type { Timeline, TimelineEntry } from "../../core/device.ts";
import {
  check,
  createEvent,
  cudaError,
  cudart,
  elapsed,
} from "../../ffi/cudart.ts";
import type { Gpu, Watcher } from "./gpu.ts";

/** A call with the events around it. */
interface Span {
  readonly name: string;
  readonly before: bigint;
  /** Undefined until the call is queued; for ever, when it was refused. */
  after: bigint | undefined;
  /** When the host made the call and when it returned, in microseconds. */
  readonly called: number;
  returned: number;
  readonly purpose: string | undefined;
}

/** An event whose time is known, in microseconds of the host's clock. */
interface Point {
  readonly event: bigint;
  readonly time: number;
}

/** More than rounding makes of the time between events that are hours apart. */
const margin = 1000;

const now = () => 1000 * performance.now();

/** The timeline of one device: a lane for each stream. */
export class CudaTimeline implements Timeline, Watcher {
  readonly #gpu: Gpu;
  readonly #idle: bigint[] = [];
  /** By stream; the compute stream's is there from the beginning. */
  readonly #lanes = new Map<bigint, Span[]>();
  #origin: Point | undefined;
  #purpose: () => string | undefined = () => undefined;

  /**
   * Nothing is noted before `begin`.
   *
   * @param gpu The GPU.
   */
  constructor(gpu: Gpu) {
    this.#gpu = gpu;
  }

  /** Starts to note what runs; `purpose` is called for each piece of work. */
  begin(purpose: () => string | undefined = () => undefined): void {
    const gpu = this.#gpu;
    this.#purpose = purpose;
    this.#forget();
    gpu.synchronize();
    const event = this.#record(gpu.stream);
    gpu.synchronize();
    // The event is over by now: nothing seems to run before it was asked for.
    this.#origin = { event, time: now() };
    this.#lanes.set(gpu.stream, []);
    gpu.watcher = this;
  }

  /** A call is about to be queued on a stream. */
  before(name: string, stream: bigint): void {
    let lane = this.#lanes.get(stream);
    if (lane === undefined) this.#lanes.set(stream, lane = []);
    const before = this.#record(stream);
    this.#dropRefused(lane);
    const purpose = this.#purpose();
    const called = now();
    lane.push({
      name,
      before,
      after: undefined,
      called,
      returned: called,
      purpose,
    });
  }

  /** It was queued. */
  after(stream: bigint): void {
    const span = this.#lanes.get(stream)?.at(-1);
    if (span === undefined) return; // it was called before all this began
    span.returned = now();
    span.after = this.#record(stream);
  }

  #record(stream: bigint): bigint {
    const event = this.#idle.pop() ?? this.#newEvent();
    check(cudart().cudaEventRecord(event, stream), "cudaEventRecord");
    return event;
  }

  #newEvent(): bigint {
    // An event belongs to the device that is current.
    this.#gpu.activate();
    const event = createEvent(true);
    this.#gpu.onClose(() => cudart().cudaEventDestroy(event));
    return event;
  }

  /** Forgets a lane's last call when it was refused. */
  #dropRefused(lane: Span[]): void {
    const last = lane.at(-1);
    if (last === undefined || last.after !== undefined) return;
    this.#idle.push(last.before);
    lane.pop();
  }

  /** Waits for the device, and gives what was noted since, lane by lane. */
  end(): readonly TimelineEntry[] {
    const gpu = this.#gpu;
    const origin = this.#origin;
    if (origin === undefined) return [];
    gpu.watcher = undefined;
    if (gpu.gone) return [];
    gpu.activate();
    check(
      cudart().cudaStreamSynchronize(gpu.copyStream),
      "cudaStreamSynchronize",
    );
    gpu.synchronize();
    const ends: Point[] = [origin];
    const names = this.#names();
    const entries = Array.from(this.#lanes).flatMap(([stream, lane]) => {
      this.#dropRefused(lane);
      const name = names.get(stream)!;
      if (stream === gpu.stream) return timed(lane, name, origin, ends);
      this.#dropUnfinished(lane);
      if (lane.length === 0) return [];
      const event = lane[0].before;
      return timed(lane, name, { event, time: timeOf(event, ends) });
    });
    this.#forget();
    return entries;
  }

  /** Names of the streams that were used. */
  #names(): ReadonlyMap<bigint, string> {
    const { stream: compute, copyStream } = this.#gpu;
    const names = new Map([[compute, "compute"], [copyStream, "copies"]]);
    let others = 0;
    for (const stream of this.#lanes.keys()) {
      if (names.has(stream)) continue;
      others++;
      names.set(stream, others > 1 ? `collectives ${others}` : "collectives");
    }
    return names;
  }

  /** Takes all events back. */
  #forget(): void {
    if (this.#origin !== undefined) this.#idle.push(this.#origin.event);
    this.#origin = undefined;
    for (const lane of this.#lanes.values()) {
      for (const { before, after } of lane) {
        this.#idle.push(before);
        if (after !== undefined) this.#idle.push(after);
      }
    }
    this.#lanes.clear();
  }

  /** Forgets calls at the end of a lane that still run: collectives, which may wait for other ranks. */
  #dropUnfinished(lane: Span[]): void {
    for (;;) {
      const last = lane.at(-1);
      if (last === undefined) return;
      const status = cudart().cudaEventQuery(last.after!);
      if (status !== cudaError.NotReady) return check(status, "cudaEventQuery");
      this.#idle.push(last.before, last.after!);
      lane.pop();
    }
  }
}

/**
 * The time of an event of another stream. The runtime gives times as 32-bit
 * floats: only those between events that are close to each other are precise.
 */
function timeOf(event: bigint, points: readonly Point[]): number {
  const [first] = points;
  const about = first.time + 1000 * elapsed(first.event, event) - margin;
  const near = points.findLast(({ time }) => time <= about) ?? first;
  return near.time + 1000 * elapsed(near.event, event);
}

/** The entries of a lane, adding up what passes from event to event; the ends of its calls go to `ends`. */
function timed(
  lane: readonly Span[],
  name: string,
  from: Point,
  ends: Point[] = [],
): TimelineEntry[] {
  let { event, time } = from;
  return lane.map((span) => {
    const after = span.after!;
    const start = time + 1000 * elapsed(event, span.before);
    const duration = 1000 * elapsed(span.before, after);
    event = after;
    time = start + duration;
    ends.push({ event, time });
    const { called, returned, purpose } = span;
    const run = { name: span.name, lane: name, start, duration };
    return { ...run, called, returned, purpose };
  });
}
