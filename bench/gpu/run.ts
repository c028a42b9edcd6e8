/**
 * Times rows of bench/gpu/rows.ts on a device and prints a line of JSON for
 * each: runs come in bursts that end with a synchronisation, as PyTorch's side
 * does it (torch_bench.py).
 *
 *     deno run -A bench/gpu/run.ts --device cuda [--tiny] [--seconds 1] [ROW…]
 */

import { parseArgs } from "@std/cli";
import { getDevice } from "../../mod.ts";
import { median } from "../peers/measure.ts";
import { full, gpuRows, tiny } from "./rows.ts";
import { prepare } from "./workloads.ts";

/** One timed row. */
interface Timing {
  readonly name: string;
  /** Median milliseconds of a run. */
  readonly ms: number;
  /** Least milliseconds of a run. */
  readonly ms_min: number;
  /** Median milliseconds until the host had asked for everything, per run. */
  readonly ms_host: number;
}

/** Warms up, then runs bursts for the given time. */
function time(work: () => void, device: string, seconds: number): Timing {
  const { synchronize } = bound(device);
  for (let i = 0; i < 3; i++) work();
  synchronize();
  let begin = performance.now();
  work();
  synchronize();
  const once = Math.max(performance.now() - begin, 1e-3);
  const burst = Math.max(1, Math.min(1000, Math.floor(200 * seconds / once)));
  const times: number[] = [], host: number[] = [];
  const start = performance.now();
  while (performance.now() - start < 1000 * seconds || times.length < 3) {
    begin = performance.now();
    for (let i = 0; i < burst; i++) work();
    host.push((performance.now() - begin) / burst);
    synchronize();
    times.push((performance.now() - begin) / burst);
  }
  return {
    name: "",
    ms: median(times),
    ms_min: Math.min(...times),
    ms_host: median(host),
  };
}

function bound(name: string): { synchronize: () => void } {
  const device = getDevice(name);
  return { synchronize: () => device.synchronize() };
}

function main(): void {
  const flags = parseArgs(Deno.args, {
    boolean: ["tiny"],
    string: ["device", "seconds"],
    default: { device: "cuda", seconds: "1" },
  });
  const extents = flags.tiny ? tiny : full;
  const named = flags._.map(String);
  const names = named.length > 0
    ? named
    : gpuRows(extents).map(({ name }) => name);
  for (const name of names) {
    let line: object;
    try {
      const { options } = getDevice(flags.device);
      // As PyTorch's side: libraries time their algorithms, and TF32 is off.
      if (options !== undefined) {
        Object.assign(options, { benchmark: true, tf32: false });
      }
      const run = prepare(name, flags.device, extents);
      line = { ...time(run, flags.device, Number(flags.seconds)), name };
    } catch (error) {
      line = { name, absent: (error as Error).message };
    }
    console.log(JSON.stringify(line));
  }
}

if (import.meta.main) main();
