/**
 * Every library call of a LeNet training step made to fail in turn: a clear
 * error or the right result, nothing left behind, and the device goes on or
 * says that it is lost. Each call of a step is visited, and each collective of
 * steps of two devices; of the longer programs some calls are, and with
 * DECAF_FAULTS=all each of them.
 */

import { assert, assertEquals } from "@std/assert";
import {
  backward,
  crossEntropy,
  dist,
  fromHost,
  getDevice,
  manualSeed,
  models,
  optim,
  scope,
  setDefaultDevice,
  type Tensor,
} from "../mod.ts";
import type { ArrayRecord } from "../formats/array_record.ts";
import { GraphStep } from "../train/graph_step.ts";
import { cudaHost } from "./cuda_host/mod.ts";
import { closeAll, visit, type Visited } from "./cuda_faults.ts";

const host = await cudaHost();
const all = Deno.env.get("DECAF_FAULTS") === "all";
const size = 16;
const inputs: ArrayRecord = {
  data: Float32Array.from({ length: 2 * size * size }, (_, i) => Math.sin(i)),
  dtype: "f32",
  shape: [2, 1, size, size],
} as const;
const targets: ArrayRecord = {
  data: Int32Array.of(3, 7),
  dtype: "i32",
  shape: [2],
};

/** Runs `body` with a new LeNet on cuda:0, always the same. */
function withLeNet(
  body: (model: models.LeNet, optimizer: optim.Optimizer) => number[],
): number[] {
  manualSeed(1);
  using model = models.lenet({ size });
  using optimizer = optim.sgd(model, { lr: 0.1, momentum: 0.9 });
  try {
    model.to("cuda");
    setDefaultDevice("cuda");
    return body(model, optimizer as optim.Optimizer);
  } finally {
    setDefaultDevice("cpu");
    optimizer.zeroGrad();
  }
}

function step(
  model: models.LeNet,
  optimizer: optim.Optimizer,
  x: Tensor,
  y: Tensor,
): { output: Tensor; loss: Tensor } {
  const output = model.forward(x);
  const loss = crossEntropy(output, y);
  optimizer.zeroGrad();
  backward(loss);
  optimizer.step();
  return { output, loss };
}

/** Steps of one device. */
function plain(steps: number): number[] {
  return withLeNet((model, optimizer) =>
    Array.from({ length: steps }, () =>
      scope(() => {
        const { data, dtype, shape } = inputs;
        const x = fromHost(data, dtype, shape);
        const y = fromHost(targets.data, targets.dtype, targets.shape);
        return step(model, optimizer, x, y).loss.item();
      }))
  );
}

/** Steps of two devices that exchange their gradients. */
function parallel(): number[] {
  return withLeNet((model, optimizer) => {
    using both = dist.dataParallel(model, optimizer, ["cuda:0", "cuda:1"], {
      bucketBytes: 1e5,
    });
    return Array.from({ length: 2 }, () =>
      scope(() => {
        const shards = both.backward({ inputs, targets }, crossEntropy);
        both.finish();
        both.step();
        return shards.reduce((sum, s) => sum + s.share * s.loss.item(), 0);
      }));
  });
}

/** Two plain steps, then one that is captured, and its replay. */
function graphed(): number[] {
  return withLeNet((model, optimizer) => {
    using graph = new GraphStep({
      step: (x, y) => step(model, optimizer, x, y),
      tensors: () => model.parameters(),
    });
    const device = getDevice("cuda");
    return Array.from({ length: 4 }, () =>
      scope(() => {
        const result = graph.run(inputs, targets, device);
        if (result !== undefined) return result.loss.item();
        const x = fromHost(inputs.data, inputs.dtype, inputs.shape);
        const y = fromHost(targets.data, targets.dtype, targets.shape);
        return step(model, optimizer, x, y).loss.item();
      }));
  });
}

/** Registers a test that makes calls fail: every so many of them, which must be at least so many. */
function test(
  name: string,
  what: Omit<Visited, "every">,
  { every, least }: { every: number; least: number },
): void {
  Deno.test({
    name: host.absent === undefined ? name : `${name} (${host.absent})`,
    ignore: host.absent !== undefined,
    fn() {
      if (host.absent !== undefined) return;
      host.quiet(true);
      try {
        const seen = visit(host, { ...what, every: all ? 1 : every });
        assertEquals(seen.wrong, []);
        const { visits, errors } = seen;
        if (all) console.log(`${visits} calls visited, ${errors} errors`);
        assert(visits >= least, `only ${visits} calls were visited`);
        // Freeing may be refused unnoticed; most else is told.
        assert(what.cold || errors > visits / 2, `${errors} of ${visits}`);
      } finally {
        closeAll();
        host.quiet(false);
        host.reset();
      }
    },
  });
}

test(
  "faults: calls of a first step, the opening of the device included, are refused",
  { run: () => plain(1), devices: 1, cold: true, kind: "refused" },
  { every: 11, least: 30 },
);

test(
  "faults: every allocation finds no memory once, and is tried again",
  { run: () => plain(1), devices: 1, cold: true, kind: "full" },
  { every: 1, least: 1 },
);

for (
  const [name, run, devices, every] of [
    ["a step", () => plain(1), 1, 1],
    ["steps of two devices", parallel, 2, 23],
    ["captured steps", graphed, 1, 11],
  ] as const
) {
  test(
    `faults: calls of ${name} are refused`,
    { run, devices, kind: "refused" },
    { every, least: 10 },
  );
  test(
    `faults: calls of ${name} tell that the device is lost`,
    { run, devices, kind: "lost" },
    { every: every === 1 ? 1 : 2 * every, least: 3 },
  );
  test(
    `faults: what calls of ${name} queue loses the device`,
    { run, devices, kind: "later" },
    { every: every === 1 ? 1 : 2 * every, least: 2 },
  );
}
