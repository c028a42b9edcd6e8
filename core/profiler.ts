/**
 * The profiler: which operators were called, what they asked of devices, and
 * how long each took, on the host and, where the device runs behind it, on the
 * device.
 *
 * @module
 */

import {
  type Device,
  type Launch,
  type MatmulSpec,
  openDevices,
  type TimelineEntry,
} from "./device.ts";
import { type DeviceCall, watchCalls } from "./device_calls.ts";
import { shapeText } from "./errors.ts";
import { intercept } from "./op.ts";
import { Profile, type ProfileEvent } from "./profile.ts";
import { Tensor } from "./tensor.ts";

/** Name and details of a call: a launch is told by what it computes. */
function wordsOf({ method, args }: DeviceCall): [string, string?] {
  switch (method) {
    case "launch": {
      const { name, sizes, outerRank } = args[0] as Launch;
      const rows = sizes.slice(0, outerRank), row = sizes.slice(outerRank);
      return [name ?? method, `${shapeText(rows)} of ${shapeText(row)}`];
    }
    case "launchAll": {
      const launches = args[0] as readonly Launch[];
      return [launches[0]?.name ?? method, `${launches.length} launches`];
    }
    case "matmul": {
      const { dtype, m, k, n, batchShape } = args[0] as MatmulSpec;
      const batch = shapeText(batchShape);
      return [method, `${dtype} ${batch} [${m}, ${k}]·[${k}, ${n}]`];
    }
    case "read":
    case "write":
      return [method, `${(args[2] as Uint8Array).length} bytes`];
    case "copy":
      return [method, `${args[4]} bytes`];
    default:
      return [method];
  }
}

/**
 * Gathers events from its making to `stop`. Costs about a microsecond per
 * event, and two device events per launch on CUDA; nothing when none is active.
 *
 * @example
 * ```ts
 * import { Profiler, rand, scope } from "@decaf/decaf";
 *
 * const profiler = new Profiler();
 * scope(() => rand([64, 64]).matmul(rand([64, 64])).relu().data());
 * const profile = profiler.stop();
 * if (!profile.table().includes("matmul")) throw new Error(profile.table());
 * ```
 */
export class Profiler implements Disposable {
  readonly #events: ProfileEvent[] = [];
  readonly #undo: (() => void)[] = [];
  readonly #start = performance.now();
  #links = 0;
  #running = true;

  /**
   * Starts to watch.
   *
   * @param devices Which devices; all that were used so far when omitted.
   */
  constructor(devices: readonly Device[] = openDevices()) {
    this.#undo.push(intercept((name, inputs, _attrs, next) => {
      const detail = inputs.map((x) =>
        x instanceof Tensor ? `${x.dtype}${shapeText(x.shape)}` : `${x}`
      ).join(", ");
      const event = { kind: "operator", device: "", name, detail } as const;
      return this.#timed(event, () => next(inputs));
    }));
    try {
      for (const device of devices) this.#watch(device);
    } catch (error) {
      this.#unwatch(); // a device that is lost cannot be watched
      throw error;
    }
  }

  #watch(device: Device): void {
    let under: string | undefined;
    const { timeline } = device;
    timeline?.begin(() => under);
    if (timeline !== undefined) {
      this.#undo.push(() => this.#take(device.name, timeline.end()));
    }
    this.#undo.push(watchCalls(device, (call, run) => {
      const [name, detail] = wordsOf(call);
      const above = under;
      under = name;
      try {
        const event = { kind: "host", device: device.name, name } as const;
        return this.#timed({ ...event, detail }, run);
      } finally {
        under = above;
      }
    }));
  }

  #timed<T>(
    event: Omit<ProfileEvent, "start" | "duration">,
    call: () => T,
  ): T {
    const from = performance.now();
    try {
      return call();
    } finally {
      const to = performance.now();
      const start = 1000 * (from - this.#start);
      this.#events.push({ ...event, start, duration: 1000 * (to - from) });
    }
  }

  /**
   * Waits for the devices, and ends; a second call gives nothing more. Of a
   * device that was lost before, only the host's part is known.
   *
   * @throws {Error} when a device is lost meanwhile; what was gathered is in the next call's answer.
   */
  stop(): Profile {
    if (this.#running) {
      const failure = this.#unwatch();
      // What holds another comes first, also when both began at once.
      this.#events.sort((a, b) => a.start - b.start || b.duration - a.duration);
      if (failure !== undefined) throw failure.error;
    }
    return new Profile(this.#events);
  }

  /** Ends all watching, also where a device fails meanwhile; answers the first failure. */
  #unwatch(): { readonly error: unknown } | undefined {
    this.#running = false;
    let failure: { readonly error: unknown } | undefined;
    for (const undo of this.#undo.splice(0).reverse()) {
      try {
        undo();
      } catch (error) {
        failure ??= { error };
      }
    }
    return failure;
  }

  /** Takes over what a device ran: each as the host queued it, and as it ran. */
  #take(device: string, entries: readonly TimelineEntry[]): void {
    const origin = 1000 * this.#start;
    for (const entry of entries) {
      const { name, lane, duration, called, returned, purpose } = entry;
      const common = { device, name, detail: purpose, link: ++this.#links };
      this.#events.push({
        ...common,
        kind: "queued",
        start: called - origin,
        duration: returned - called,
      }, {
        ...common,
        kind: "device",
        lane,
        start: entry.start - origin,
        duration,
      });
    }
  }

  /** Same as {@linkcode Profiler.stop}. */
  [Symbol.dispose](): void {
    this.stop();
  }
}
