/** What one of the processes of `cuda_nccl_processes_test.ts` does: `cuda_nccl_rank.ts MODE FOLDER`. */

import { assertEquals } from "@std/assert";
import "../mod.ts";
import { closeDevice } from "../core/device.ts";
import { scope } from "../core/scope.ts";
import * as dist from "../dist/mod.ts";
import { seat } from "../dist/seat.ts";
import { crossEntropy, type Tensor } from "../mod.ts";
import { arrayDataset, type Batch } from "../data/mod.ts";
import { loadCheckpoint } from "../train/checkpoint.ts";
import { fit } from "../train/fit.ts";
import { type CudaHost, cudaHost } from "./cuda_host/mod.ts";
import { tensorOf } from "./dist_cases.ts";
import {
  classifier,
  onDevice,
  optimizerFor,
  pointsOf,
  weightsOf,
} from "./dist_model.ts";

const [mode, folder] = Deno.args;
const { rank, worldSize } = seat();
const device = `cuda:${rank}`;

function say(text: string): void {
  Deno.writeTextFileSync(`${folder}/said_${rank}`, text);
}

const numbers = (tensor: Tensor | undefined) =>
  tensor && Array.from(tensor.data() as Float32Array, Number);

/** The elements of a rank: [rank, rank + 1, …], as many as there are ranks. */
function own(of: number): number[] {
  return Array.from({ length: worldSize }, (_, i) => of * 10 + i);
}

const ranks = Array.from({ length: worldSize }, (_, i) => i);
const sums = ranks.map((i) => ranks.reduce((sum, r) => sum + own(r)[i], 0));

async function everyCollective(group: dist.ProcessGroup): Promise<void> {
  for (let round = 0; round < 5; round++) {
    scope(() => {
      const x = tensorOf(own(rank), "f32", device);
      const root = round % worldSize;
      const each = [
        [numbers(group.allReduce(x).wait()[0]), sums],
        [numbers(group.broadcast(x, { root }).wait()[0]), own(root)],
        [
          numbers(group.reduce(x, { root }).wait()[0]),
          rank === root ? sums : undefined,
        ],
        [numbers(group.allGather(x).wait()[0]), ranks.flatMap(own)],
        [numbers(group.reduceScatter(x).wait()[0]), [sums[rank]]],
        [
          numbers(group.allToAll(x).wait()[0]),
          ranks.map((r) => own(r)[rank]),
        ],
      ];
      for (const [found, wanted] of each) assertEquals(found, wanted);
      const left = (rank + worldSize - 1) % worldSize;
      const received = group.grouped(() => {
        group.send(x, { to: (rank + 1) % worldSize });
        return group.recv([worldSize], { from: left });
      }).wait();
      assertEquals(numbers(received), own(left));
    });
    await group.barrier();
  }
}

function train(group: dist.ProcessGroup): number[] {
  using model = classifier(device);
  // Rank 0's weights are those that count.
  if (rank > 0) {
    for (const p of model.parameters()) p.setValue(p.mul(0).value.retain());
  }
  using optimizer = optimizerFor(model);
  using parallel = dist.dataParallel(model, optimizer, group, {
    bucketBytes: 200,
  });
  for (let step = 0; step < 3; step++) {
    scope(() => {
      const { inputs, targets } = pointsOf(12, step);
      const half = (x: dist.Examples) =>
        onDevice(x, "cpu").narrow(0, rank * 6, 6);
      const batch = { inputs: half(inputs), targets: half(targets) };
      parallel.backward(batch, crossEntropy);
      parallel.finish();
      parallel.step();
    });
  }
  return weightsOf(model);
}

/** Losses that are infinite on rank 1 alone, whose gradients are finite: what then becomes of the parameters, and of the scale of f16. */
async function overflow(
  group: dist.ProcessGroup,
  precision: "f16" | "f32",
): Promise<unknown> {
  using model = classifier(device);
  using optimizer = optimizerFor(model);
  using parallel = dist.dataParallel(model, optimizer, group);
  const checkpoint = `${folder}/${precision}_${rank}.safetensors`;
  let steps = 0;
  const { inputs, targets } = pointsOf(24, 0) as Batch;
  const run = fit(model, arrayDataset(inputs, targets), {
    optimizer,
    parallel,
    precision,
    checkpoint,
    batchSize: 6,
    seed: rank,
    loss: (y, t) => {
      const loss = crossEntropy(y, t);
      return rank === 1 && steps++ === 1 ? loss.add(Infinity) : loss;
    },
  });
  if (precision === "f32") {
    return await run.then(() => "ended", (error) => error.message);
  }
  await run;
  const { progress } = await loadCheckpoint(checkpoint);
  return { weights: weightsOf(model), scaler: progress.scaler };
}

/** A communicator that does not come to its end, and connections that are not made. */
function stalled(group: dist.ProcessGroup, host: CudaHost): void {
  const x = tensorOf([1, 2], "f32", device);
  host.hang("ncclGroupEnd");
  try {
    group.allReduce(x);
  } catch (error) {
    say((error as Error).message);
  }
  x.dispose();
  host.release();
}

async function main(): Promise<void> {
  const host = await cudaHost();
  if (host.absent !== undefined) throw new Error(host.absent);
  host.devices(worldSize);
  if (mode === "absent") {
    // Rank 1 meets rank 0, but does not go on to join.
    const options = { device, joinTimeout: rank === 0 ? 4000 : 20_000 };
    if (rank === 1) {
      host.fail({ function: "ncclCommInitRankConfig", nth: 1, status: 3 });
    }
    await dist.init(options).catch((error) => say(error.message));
    return;
  }
  {
    using group = await dist.init({
      device,
      timeout: ["gone", "stalled", "unfinished"].includes(mode) ? 1500 : 60_000,
      joinTimeout: 20_000,
    });
    assertEquals([group.rank, group.worldSize], [rank, worldSize]);
    if (mode === "all") await everyCollective(group);
    if (mode === "train") say(JSON.stringify(train(group)));
    if (mode === "f16" || mode === "f32") {
      say(JSON.stringify(await overflow(group, mode)));
    }
    if (mode === "stalled") stalled(group, host);
    // What another rank does not finish is given up when the time is over.
    if (mode === "unfinished") host.hang("ncclCommFinalize");
    if (mode === "gone") {
      if (rank === 1) {
        say("going");
        Deno.exit(0);
      }
      const x = tensorOf([1, 2], "f32", device);
      await group.allReduce(x).finish().catch((error) => say(error.message));
      x.dispose();
    }
  }
  if (mode === "gone") return;
  closeDevice(device);
  assertEquals(host.violations(), []);
  assertEquals(host.leaks(), []);
  if (mode === "all" || mode === "unfinished") say("done");
}

await main().catch((error) => {
  say(error.stack);
  Deno.exit(1);
});
