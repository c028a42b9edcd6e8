/**
 * What the host spends on each operator on CUDA, as a table: measured without
 * a GPU, on stand-in libraries that return at once.
 *
 *     deno run -A bench/cuda_host/table.ts            # all rows, half a second each
 *     deno run -A bench/cuda_host/table.ts conv 2     # those whose name has "conv", two seconds each
 *
 * Times are the shortest of batches of 100 runs, each run into new results, in
 * a process that has used all operators. Bounds: 2.5 µs per operator (and
 * launch or library call that it needs), 1.2 µs per call above what the native
 * calls cost by themselves.
 */

import { standIns } from "../stand_ins.ts";
import { bareCosts, callsOf, least, repeat, working } from "./measure.ts";
import { rows } from "./rows.ts";

const host = await standIns();
const [filter = "", seconds = "0.5"] = Deno.args;
const all = rows();
for (const row of all) repeat(row, 3);
// From here on nothing is computed.
host.instant(true);
for (const row of all) repeat(row, 2000);
const bare = bareCosts(host);
console.log(
  "| operator | µs | launches and library calls | µs per call | native calls by themselves, µs | µs per call above them |",
);
console.log("| --- | ---: | ---: | ---: | ---: | ---: |");
for (const row of all.filter(({ name }) => name.includes(filter))) {
  const time = least((times) => repeat(row, times), Number(seconds));
  const calls = callsOf(host, row);
  let native = 0, work = 0;
  for (const [name, count] of calls) {
    const cost = bare.get(name);
    if (cost === undefined) {
      throw new Error(
        `${row.name} calls ${name}, which bench/cuda_host/measure.ts does not time by itself: add it there`,
      );
    }
    native += count * cost;
    if (working.has(name)) work += count;
  }
  const cells = [
    time.toFixed(2),
    work,
    (time / work).toFixed(2),
    native.toFixed(2),
    ((time - native) / work).toFixed(2),
  ];
  console.log(`| ${row.name} | ${cells.join(" | ")} |`);
}
Deno.exit(0);
