/**
 * Times bench/rows_bench.ts the way the peers are timed, for `deno bench` reports no
 * medians. Prints a line of JSON for each bench whose name is a row of
 * bench/peers/rows.ts.
 *
 * Run: `deno run -A tools/bench_run.ts`
 */

import { measure, type TimedRun } from "../bench/peers/measure.ts";
import { rows } from "../bench/peers/rows.ts";

type Body = (context: Deno.BenchContext) => unknown;

/** One run of a bench; the time between start() and end() where it says so. */
function timedBench(name: string, body: Body): TimedRun {
  return async () => {
    let started: number | undefined;
    let ended: number | undefined;
    const begin = performance.now();
    await body({
      name,
      origin: import.meta.url,
      start: () => {
        started = performance.now();
      },
      end: () => {
        ended = performance.now();
      },
    });
    return (ended ?? performance.now()) - (started ?? begin);
  };
}

/** Collects what bench/rows_bench.ts hands to Deno.bench instead of running it. */
async function collect(): Promise<Map<string, Body>> {
  const benches = new Map<string, Body>();
  const register = (...args: unknown[]) => {
    const options = args.find((arg) => typeof arg === "object") as
      | Deno.BenchDefinition
      | undefined;
    const body = args.find((arg) => typeof arg === "function") as
      | Body
      | undefined;
    const name = args.find((arg) => typeof arg === "string") as
      | string
      | undefined;
    const fn = body ?? options!.fn;
    if (!options?.ignore) benches.set(name ?? options?.name ?? fn.name, fn);
  };
  Object.defineProperty(Deno, "bench", { value: register, configurable: true });
  await import("../bench/rows_bench.ts");
  return benches;
}

async function main(): Promise<void> {
  const benches = await collect();
  for (const { name } of rows) {
    const body = benches.get(name);
    if (!body) {
      console.log(JSON.stringify({ name, absent: "no bench of this name" }));
      continue;
    }
    const [ms_median, ms_min] = await measure(timedBench(name, body));
    const threads = name.endsWith("1 thread")
      ? 1
      : navigator.hardwareConcurrency;
    console.log(JSON.stringify({ name, ms_median, ms_min, threads }));
  }
}

if (import.meta.main) {
  await main();
  Deno.exit(0);
}
