/** What the Trace Event format asks of a trace, as its viewers read it. */

import { assert, assertEquals } from "@std/assert";

/** A slice of a lane, in nanoseconds. */
export interface Slice {
  readonly name: string;
  readonly category: string;
  readonly lane: string;
  readonly start: number;
  readonly end: number;
  readonly detail: string | undefined;
}

interface TraceEvent {
  name: string;
  cat: string;
  ph: string;
  ts: number;
  dur: number;
  pid: number;
  tid: number;
  id: number;
  bp?: string;
  args: { name?: string; detail?: string; sort_index?: number };
}

const ns = (microseconds: number) => Math.round(1000 * microseconds);

/**
 * Reads a trace and checks it: fields by phase, one name for each lane, slices
 * of a lane inside of each other or apart, arrows from slice to slice.
 *
 * @param text The trace.
 * @param alone Whether slices of a lane must be apart.
 * @returns The slices, in the order of the file.
 */
export function slicesOf(
  text: string,
  alone: (lane: string) => boolean,
): Slice[] {
  const { traceEvents } = JSON.parse(text) as { traceEvents: TraceEvent[] };
  const lanes = new Map<number, string>();
  for (const e of traceEvents) {
    assertEquals(e.pid, 1);
    assert(Number.isInteger(e.tid), `tid ${e.tid}`);
    if (e.ph !== "M" || e.name !== "thread_name") continue;
    assert(!lanes.has(e.tid), `lane ${e.tid} has two names`);
    assertEquals(typeof e.args.name, "string");
    lanes.set(e.tid, e.args.name!);
  }
  assertEquals(new Set(lanes.values()).size, lanes.size);
  const slices: Slice[] = [];
  const arrows = { s: new Map<number, TraceEvent>(), f: new Map() };
  for (const e of traceEvents) {
    assert(lanes.has(e.tid), `lane ${e.tid} has no name`);
    if (e.ph === "M") continue;
    assert(Number.isFinite(e.ts), `${e.name} at ${e.ts}`);
    assertEquals([typeof e.name, typeof e.cat], ["string", "string"]);
    switch (e.ph) {
      case "X":
        assert(Number.isFinite(e.dur) && e.dur >= 0, `${e.name}: ${e.dur}`);
        slices.push({
          name: e.name,
          category: e.cat,
          lane: lanes.get(e.tid)!,
          start: ns(e.ts),
          end: ns(e.ts + e.dur),
          detail: e.args.detail,
        });
        break;
      case "s":
      case "f":
        assert(!arrows[e.ph].has(e.id), `two ends of arrow ${e.id}`);
        arrows[e.ph].set(e.id, e);
        // It begins and ends where a slice of its lane begins.
        assert(
          slices.some((slice) =>
            slice.lane === lanes.get(e.tid) && slice.start === ns(e.ts)
          ),
          `arrow ${e.id} hangs in the air`,
        );
        break;
      default:
        assert(false, `phase ${e.ph}`);
    }
  }
  for (const { id, bp } of arrows.f.values()) {
    assertEquals(bp, "e");
    assert(arrows.s.has(id), `arrow ${id} begins nowhere`);
  }
  assertEquals(arrows.s.size, arrows.f.size);
  for (const lane of lanes.values()) {
    checkLane(slices.filter((slice) => slice.lane === lane), alone(lane));
  }
  return slices;
}

/** Slices in the order of their starts: each inside of those that are open, or after them. */
function checkLane(slices: readonly Slice[], alone: boolean): void {
  const open: Slice[] = [];
  let last = -Infinity;
  for (const slice of slices) {
    assert(slice.start >= last, `${slice.name} comes too late in the file`);
    last = slice.start;
    while (open.length > 0 && open.at(-1)!.end <= slice.start) open.pop();
    const above = open.at(-1);
    if (above !== undefined) {
      const both = `${slice.name} and ${above.name} of ${slice.lane}`;
      assert(!alone, `${both} overlap`);
      assert(slice.end <= above.end, `${both} are neither nested nor apart`);
    }
    open.push(slice);
  }
}

/** Whether one slice holds another. */
export function holds(outer: Slice, inner: Slice): boolean {
  return outer.start <= inner.start && inner.end <= outer.end;
}
