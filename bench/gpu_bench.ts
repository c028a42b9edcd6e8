/**
 * The rows of bench/gpu/rows.ts on the first GPU, each run to its end.
 *
 *     deno bench -A bench/gpu_bench.ts
 *     deno task gpu      # the same next to PyTorch, as ratios, in a report
 */

import { getDevice } from "../mod.ts";
import { full, gpuRows } from "./gpu/rows.ts";
import { prepare, type Run } from "./gpu/workloads.ts";

/** Why there is nothing to time, if so. */
function absence(): string | undefined {
  try {
    getDevice("cuda");
    return undefined;
  } catch (error) {
    return (error as Error).message.split(":")[0];
  }
}

const absent = absence();

for (const { name, doc } of gpuRows(full)) {
  let run: Run | undefined;
  Deno.bench({
    name: absent === undefined ? name : `${name} (${absent})`,
    group: doc,
    ignore: absent !== undefined,
    fn() {
      run ??= prepare(name, "cuda", full);
      run();
      getDevice("cuda").synchronize();
    },
  });
}
