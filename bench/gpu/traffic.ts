/**
 * Bytes that kernels move, against the least: each operand of the fused
 * expression read once, each result written once. Counted from the kernels'
 * sources, for single operators and for all launches of one training step of
 * the nets of counts.ts; needs no GPU.
 *
 *     deno run -A bench/gpu/traffic.ts            # sums, and the kernels that move more than the least
 *     deno run -A bench/gpu/traffic.ts gpt all    # every kernel of one net
 *
 * Left out: what NVIDIA's libraries and Decaf's own kernels of attention,
 * sorting and scattering move, and partial results of reductions in pieces.
 */

import type { Launch } from "../../core/device.ts";
import { observer } from "../../core/launches.ts";
import { setDefaultDevice } from "../../mod.ts";
import { Recorder } from "../../tests/cuda_kernels.ts";
import { standIns } from "../stand_ins.ts";
import { samples, type Traffic, traffic } from "../../tests/cuda_traffic.ts";
import { type Net, nets } from "./counts.ts";

/** Bytes of launches of one name together. */
interface Sum {
  launches: number;
  moved: number;
  least: number;
}

/** Kernels that move so much more than the least are named. */
const tolerance = 1.001;

function row(name: string, launches: number, { moved, least }: Sum | Traffic) {
  const mb = (bytes: number) => (bytes / 1e6).toFixed(2);
  console.log(
    `| ${name} | ${launches} | ${mb(moved)} | ${mb(least)} | ${
      (moved / least).toFixed(3)
    } |`,
  );
}

/** The launches of one step, after two that warm it up. */
export function launchesOf({ prepare }: Net): Launch[] {
  const step = prepare();
  step();
  step();
  const launches: Launch[] = [];
  const before = observer.launch;
  observer.launch = (l) => launches.push(l);
  try {
    step();
  } finally {
    observer.launch = before;
  }
  return launches;
}

/** Sums by name of kernel, the largest first. */
export function sums(launches: readonly Launch[]): [string, Sum][] {
  const recorder = new Recorder();
  const found = new Map<string, Sum>();
  for (const l of launches) {
    const { moved, least } = traffic(l, recorder);
    const name = l.name ?? "unnamed";
    const sum = found.get(name) ?? { launches: 0, moved: 0, least: 0 };
    sum.launches++;
    sum.moved += moved;
    sum.least += least;
    found.set(name, sum);
  }
  return [...found].sort(([, a], [, b]) => b.moved - a.moved);
}

async function main([filter = "", every]: string[]): Promise<void> {
  const host = await standIns();
  // Only the launches are looked at: nothing need be computed.
  host.instant(true);
  setDefaultDevice("cuda");
  console.log("| kernel | launches | MB moved | MB least | ratio |");
  console.log("| --- | ---: | ---: | ---: | ---: |");
  for (const [name, l] of Object.entries(samples)) {
    if (name.includes(filter)) row(name, 1, traffic(l));
  }
  for (const net of nets.filter(({ name }) => name.includes(filter))) {
    const kernels = sums(launchesOf(net));
    const total: Sum = { launches: 0, moved: 0, least: 0 };
    for (const [, sum] of kernels) {
      total.launches += sum.launches;
      total.moved += sum.moved;
      total.least += sum.least;
    }
    row(`**${net.name}, one step**`, total.launches, total);
    for (const [name, sum] of kernels) {
      if (every === "all" || sum.moved > tolerance * sum.least) {
        row(`${net.name}: ${name}`, sum.launches, sum);
      }
    }
  }
  Deno.exit(0);
}

if (import.meta.main) await main(Deno.args);
