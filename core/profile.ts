/**
 * What a profiler gathered: a table of it, and a trace that viewers open.
 *
 * @module
 */

/** One thing that took time. */
export interface ProfileEvent {
  /**
   * An operator call; what it asked of a device (a launch, a product, a copy),
   * as the host saw it; a launch, library call or copy of that, as the host
   * queued it, and as the device ran it.
   */
  readonly kind: "operator" | "host" | "queued" | "device";
  /** Name of the device; empty for operators. */
  readonly device: string;
  /** Queue of the device in which it ran. */
  readonly lane?: string;
  /** What it was. */
  readonly name: string;
  /** When it began, in microseconds since the profiler started. */
  readonly start: number;
  /** Microseconds that it took. */
  readonly duration: number;
  /** Extents and the like; of what a device ran, the call that asked for it. */
  readonly detail?: string;
  /** The same number for what was queued and for its run. */
  readonly link?: number;
}

/** Titles of the tables; what is queued is part of the host's calls. */
const titles = {
  operator: "operators (with what they call)",
  device: "work on devices",
  host: "calls of devices",
} satisfies Partial<Record<ProfileEvent["kind"], string>>;

/** What was gathered. */
export class Profile {
  /** Takes over events. */
  constructor(
    /** All events, by their start. */
    readonly events: readonly ProfileEvent[],
  ) {}

  /**
   * Sums by name, the largest first, as tables: of operators, of what devices
   * ran, where they run behind the host, and of the host's calls of devices.
   *
   * @param count Most rows.
   */
  table(count = 30): string {
    return Object.entries(titles).flatMap(([kind, title]) => {
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
      return [aligned([[title, "calls", "ms", "µs each", "share"], ...rows])];
    }).join("\n\n");
  }

  /**
   * The events in the format that Chrome's about:tracing and Perfetto open, as
   * JSON: a lane for operators, one for the calls of each device, with what
   * they queued, and one for each queue of a device.
   */
  trace(): string {
    const lanes = new Map<string, number>();
    const traceEvents: object[] = [];
    for (const event of this.events) {
      const lane = laneOf(event);
      const tid = lanes.get(lane) ?? lanes.size + 1;
      lanes.set(lane, tid);
      traceEvents.push(...slice(event, { pid: 1, tid }));
    }
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

function laneOf({ kind, device, lane }: ProfileEvent): string {
  switch (kind) {
    case "operator":
      return "operators";
    case "host":
    case "queued":
      return `calls of ${device}`;
    case "device":
      return `${device} ${lane}`;
    default:
      return kind satisfies never;
  }
}

/** Whole nanoseconds, so that what follows each other does not overlap when viewers add up. */
function nanoseconds(microseconds: number): number {
  return Math.round(1000 * microseconds) / 1000;
}

/** An event as a slice; from what was queued an arrow leads to its run. */
function slice(
  { kind, name, start, duration, detail, link }: ProfileEvent,
  place: { readonly pid: number; readonly tid: number },
): object[] {
  const ts = nanoseconds(start);
  const dur = nanoseconds(nanoseconds(start + duration) - ts);
  const args = detail === undefined ? {} : { detail };
  const own = { name, cat: kind, ph: "X", ts, dur, ...place, args };
  if (link === undefined) return [own];
  const arrow = { name: "queued", cat: "queued", id: link, ts, ...place };
  return kind === "queued"
    ? [own, { ...arrow, ph: "s" }]
    : [own, { ...arrow, ph: "f", bp: "e" }];
}

interface Sum {
  readonly name: string;
  calls: number;
  duration: number;
}

function sumsOf(events: readonly ProfileEvent[]): Sum[] {
  const sums = new Map<string, Sum>();
  for (const { kind, name: own, duration, detail } of events) {
    // Kernels have few names: what they compute tells more.
    const name = kind === "device" && detail !== undefined && detail !== own
      ? `${own} for ${detail}`
      : own;
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
