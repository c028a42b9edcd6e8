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
import { shapeText } from "./errors.ts";
import { intercept } from "./op.ts";
import { Tensor } from "./tensor.ts";

/** One thing that took time. */
export interface ProfileEvent extends TimelineEntry {
  /** An operator call, or what it asked of a device (a launch, a product, a copy): as the host saw it, or as the device ran it. */
  readonly kind: "operator" | "host" | "device";
  /** Name of the device; empty for operators. */
  readonly device: string;
  /** Extents and the like. */
  readonly detail?: string;
}

/** What was gathered. */
export class Profile {
  /** Takes over events. */
  constructor(
    /** All events, by their start. */
    readonly events: readonly ProfileEvent[],
  ) {}

  /**
   * Sums by name, the largest first, as a table. Device work is shown where
   * there is any, otherwise the host's calls.
   *
   * @param count Most rows.
   */
  table(count = 30): string {
    const kinds = ["operator", "device", "host"] as const;
    const titles = {
      operator: "operators (with what they call)",
      device: "work on devices",
      host: "calls of devices",
    };
    return kinds.flatMap((kind) => {
      const sums = sumsOf(this.events.filter((e) => e.kind === kind));
      if (sums.length === 0) return [];
      const total = sums.reduce((all, { duration }) => all + duration, 0);
      const rows = sums.slice(0, count).map(({ name, calls, duration }) => [
        name,
        `${calls}`,
        (duration / 1000).toFixed(3),
        (duration / calls).toFixed(1),
        `${(100 * duration / total).toFixed(1)} %`,
      ]);
      return [
        aligned([[titles[kind], "calls", "ms", "µs each", "share"], ...rows]),
      ];
    }).join("\n\n");
  }

  /** The events in the format that Chrome's about:tracing and Perfetto open, as JSON. */
  trace(): string {
    const lanes = new Map<string, number>();
    const traceEvents: object[] = this.events.map(
      ({ name, kind, device, start, duration, detail }) => {
        const lane = laneOf(kind, device);
        if (!lanes.has(lane)) lanes.set(lane, lanes.size);
        return {
          name,
          cat: kind,
          ph: "X",
          ts: start,
          dur: duration,
          pid: 1,
          tid: lanes.get(lane)!,
          args: detail === undefined ? {} : { detail },
        };
      },
    );
    for (const [name, tid] of lanes) {
      const common = { ph: "M", pid: 1, tid };
      traceEvents.push(
        { ...common, name: "thread_name", args: { name } },
        { ...common, name: "thread_sort_index", args: { sort_index: tid } },
      );
    }
    return JSON.stringify({ displayTimeUnit: "ms", traceEvents });
  }
}

function laneOf(kind: ProfileEvent["kind"], device: string): string {
  switch (kind) {
    case "operator":
      return "operators";
    case "host":
      return `calls of ${device}`;
    case "device":
      return device;
    default:
      return kind satisfies never;
  }
}

interface Sum {
  readonly name: string;
  calls: number;
  duration: number;
}

function sumsOf(events: readonly ProfileEvent[]): Sum[] {
  const sums = new Map<string, Sum>();
  for (const { name, duration } of events) {
    let sum = sums.get(name);
    if (sum === undefined) {
      sums.set(name, sum = { name, calls: 0, duration: 0 });
    }
    sum.calls++;
    sum.duration += duration;
  }
  return [...sums.values()].sort((a, b) => b.duration - a.duration);
}

function aligned(rows: readonly string[][]): string {
  const widths = rows[0].map((_, i) =>
    Math.max(...rows.map((row) => row[i].length))
  );
  return rows.map((row) =>
    row.map((cell, i) =>
      i === 0 ? cell.padEnd(widths[i]) : cell.padStart(widths[i])
    ).join("  ").trimEnd()
  ).join("\n");
}

/** Calls of a device that are timed, with the words for one. */
const calls = {
  launch: (launch) => {
    const { sizes, outerRank } = launch as Launch;
    const rows = sizes.slice(0, outerRank), row = sizes.slice(outerRank);
    return `${shapeText(rows)} of ${shapeText(row)}`;
  },
  matmul: (spec) => {
    const { dtype, m, k, n, batchShape } = spec as MatmulSpec;
    return `${dtype} ${shapeText(batchShape)} [${m}, ${k}]·[${k}, ${n}]`;
  },
  scatter: () => undefined,
  sort: () => undefined,
  scan: () => undefined,
  read: (_storage, _offset, bytes) => `${(bytes as Uint8Array).length} bytes`,
  write: (_storage, _offset, bytes) => `${(bytes as Uint8Array).length} bytes`,
  synchronize: () => undefined,
} satisfies Partial<
  Record<keyof Device, (...args: unknown[]) => string | undefined>
>;

/** A launch is told by what it computes. */
function nameOf(method: string, [first]: readonly unknown[]): string {
  return method === "launch" ? (first as Launch).name ?? "launch" : method;
}

type Call = (...args: unknown[]) => unknown;

/** Has a method of an object timed; returns what undoes it. */
function watch(
  target: Record<string, unknown>,
  name: string,
  around: (call: () => unknown, args: unknown[]) => unknown,
): () => void {
  const own = Object.hasOwn(target, name);
  const before = target[name] as Call;
  target[name] = (...args: unknown[]) =>
    around(() => before.apply(target, args), args);
  return () => {
    if (own) target[name] = before;
    else delete target[name];
  };
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
  readonly #devices: readonly Device[];
  readonly #start = performance.now();
  #running = true;

  /**
   * Starts to watch.
   *
   * @param devices Which devices; all that were used so far when omitted.
   */
  constructor(devices: readonly Device[] = openDevices()) {
    this.#devices = devices;
    this.#undo.push(intercept((name, inputs, _attrs, next) => {
      const detail = inputs.map((x) =>
        x instanceof Tensor ? `${x.dtype}${shapeText(x.shape)}` : `${x}`
      ).join(", ");
      return this.#timed("operator", "", name, detail, () => next(inputs));
    }));
    for (const device of devices) {
      device.timeline?.begin();
      this.#watchDevice(device);
    }
  }

  #watchDevice(device: Device): void {
    const { name } = device;
    for (const [method, words] of Object.entries(calls)) {
      this.#undo.push(watch(
        device as unknown as Record<string, unknown>,
        method,
        (call, args) =>
          this.#timed(
            "host",
            name,
            nameOf(method, args),
            (words as (...args: unknown[]) => string | undefined)(...args),
            call,
          ),
      ));
    }
    for (const [method, kernel] of Object.entries(device.kernels)) {
      if (typeof kernel !== "function") continue; // a group of kernels, asked by name
      this.#undo.push(watch(
        device.kernels as Record<string, unknown>,
        method,
        (call) => this.#timed("host", name, method, undefined, call),
      ));
    }
  }

  #timed<T>(
    kind: ProfileEvent["kind"],
    device: string,
    name: string,
    detail: string | undefined,
    call: () => T,
  ): T {
    const from = performance.now();
    try {
      return call();
    } finally {
      const to = performance.now();
      const start = 1000 * (from - this.#start);
      const duration = 1000 * (to - from);
      this.#events.push({ kind, device, name, detail, start, duration });
    }
  }

  /** Waits for the devices, and ends; a second call gives nothing more. */
  stop(): Profile {
    if (this.#running) {
      this.#running = false;
      for (const undo of this.#undo.toReversed()) undo();
      for (const device of this.#devices) {
        for (const entry of device.timeline?.end() ?? []) {
          const start = entry.start - 1000 * this.#start;
          this.#events.push({
            ...entry,
            start,
            kind: "device",
            device: device.name,
          });
        }
      }
      this.#events.sort((a, b) => a.start - b.start);
    }
    return new Profile(this.#events);
  }

  /** Same as {@linkcode Profiler.stop}. */
  [Symbol.dispose](): void {
    this.stop();
  }
}
