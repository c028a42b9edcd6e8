/**
 * What the host spends on a training step on CUDA, in milliseconds: measured
 * without a GPU, on stand-in libraries that return at once and compute nothing.
 *
 *     deno run -A bench/cuda_host/steps.ts        # the nets of bench/gpu/counts.ts
 */

import { setDefaultDevice } from "../../mod.ts";
import { nets } from "../gpu/counts.ts";
import { standIns } from "../stand_ins.ts";

const host = await standIns();
host.instant(true);
setDefaultDevice("cuda");
console.log("| step | ms, the shortest | ms, the median |");
console.log("| --- | ---: | ---: |");
for (const { name, prepare } of nets) {
  const step = prepare();
  for (let i = 0; i < 30; i++) step();
  const times: number[] = [];
  const end = performance.now() + 4000;
  while (performance.now() < end) {
    const start = performance.now();
    step();
    times.push(performance.now() - start);
  }
  times.sort((a, b) => a - b);
  const [least, middle] = [times[0], times[times.length >> 1]]
    .map((t) => t.toFixed(3));
  console.log(`| ${name} | ${least} | ${middle} |`);
}
Deno.exit(0);
