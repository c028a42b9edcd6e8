/** Training on several devices through `fit` and the command line. */

import {
  assert,
  assertAlmostEquals,
  assertEquals,
  assertMatch,
  assertRejects,
  assertThrows,
} from "@std/assert";
import "../mod.ts";
import { deviceList } from "../cli/devices.ts";
import { memory } from "../core/memory.ts";
import { manualSeed } from "../core/random.ts";
import { arrayDataset } from "../data/mod.ts";
import * as dist from "../dist/mod.ts";
import * as nn from "../nn/mod.ts";
import * as optim from "../optim/mod.ts";
import { autocast } from "../core/autocast.ts";
import { scope } from "../core/scope.ts";
import { crossEntropy, tensor } from "../mod.ts";
import { fit } from "../train/fit.ts";
import { GradScaler } from "../train/grad_scaler.ts";
import type { FitOptions } from "../train/fit_options.ts";
import { accuracy } from "../train/metrics.ts";
import { BadLossError } from "../train/nan_guard.ts";
import { readMetrics } from "../train/run_log.ts";
import { decaf, decafCommand, inFolder, writeDigits } from "./cli_helpers.ts";

/** Points in the plane: class 1 above the line y = x. */
function points(count: number, bad = -1) {
  const at = (i: number) => ((i + 1) * 0.6180339887498949) % 1;
  const inputs = Float32Array.from({ length: 2 * count }, (_, i) => at(i * 3));
  const targets = Int32Array.from(
    { length: count },
    (_, i) => Number(inputs[2 * i + 1] > inputs[2 * i]),
  );
  if (bad >= 0) inputs[2 * bad] = NaN;
  return arrayDataset(
    { data: inputs, shape: [count, 2], dtype: "f32" },
    { data: targets, shape: [count], dtype: "i32" },
  );
}

const data = { train: points(120), test: points(40) };

interface Ran {
  readonly losses: number[];
  readonly accuracies: number[];
  readonly test: number;
  readonly weights: number[];
}

async function run(
  devices: number,
  options: Partial<FitOptions> = {},
): Promise<Ran> {
  manualSeed(4);
  using model = nn.sequential(nn.linear(2, 16), nn.tanh(), nn.linear(16, 2));
  using optimizer = optim.adam(model, { lr: 0.03 });
  using average = optim.ema(model, { decay: 0.9 });
  using parallel = devices === 0
    ? undefined
    : dist.dataParallel(model, optimizer, new Array(devices).fill("cpu"));
  const losses: number[] = [], accuracies: number[] = [];
  const { test } = await fit(model, data, {
    optimizer,
    average,
    parallel,
    epochs: 3,
    batchSize: 16,
    seed: 2,
    metrics: [accuracy()],
    callbacks: [{
      step: ({ batch }) => {
        losses.push(batch.loss);
        accuracies.push(batch.accuracy);
      },
    }],
    ...options,
  });
  const weights = Object.values(model.stateDict()).flatMap((t) =>
    Array.from(t.data() as Float32Array)
  );
  return { losses, accuracies, test: test!.loss, weights };
}

function assertClose(a: readonly number[], b: readonly number[], by = 1e-4) {
  assertEquals(a.length, b.length);
  a.forEach((x, i) => assertAlmostEquals(x, b[i], by));
}

Deno.test("fit on several devices: losses, metrics and weights of one", async () => {
  const one = await run(0);
  assert(one.losses.at(-1)! < one.losses[0] / 2, "it learns");
  for (const devices of [1, 2, 3]) {
    const many = await run(devices);
    assertClose(many.losses, one.losses);
    assertEquals(many.accuracies, one.accuracies);
    assertClose(many.weights, one.weights);
    assertAlmostEquals(many.test, one.test, 1e-4);
  }
});

for (const precision of ["tf32", "bf16", "f16"] as const) {
  Deno.test(`fit in ${precision} on several devices: losses of one`, async () => {
    const one = await run(0, { precision });
    for (const devices of [1, 2, 3]) {
      const many = await run(devices, { precision });
      assertClose(many.losses, one.losses, 0.02);
      assertClose(many.weights, one.weights, 0.02);
    }
  });
}

Deno.test("f16 on several devices: a step that overflows is skipped on all, and the scale falls", () => {
  manualSeed(4);
  using model = nn.linear(2, 2);
  using optimizer = optim.sgd(model, { lr: 0.1, momentum: 0.9 });
  using parallel = dist.dataParallel(model, optimizer, ["cpu", "cpu"]);
  const weights = () =>
    parallel.devices.map((_, i) =>
      parallel.on(i, () => model.weight.toArray())
    );
  const step = (scaler: GradScaler) =>
    scope(() => {
      const batch = {
        inputs: tensor([[1, 2], [3, 4], [5, 6], [7, 8]], { dtype: "f32" }),
        targets: tensor([0, 1, 1, 0], { dtype: "i32" }),
      };
      autocast("f16", () =>
        parallel.backward(batch, crossEntropy, scaler.factor));
      return scaler.step(parallel);
    });
  const before = weights();
  const large = new GradScaler({ initScale: 1e30 });
  assertEquals(step(large), false);
  assertEquals(weights(), before);
  assertAlmostEquals(large.factor / 5e29, 1, 1e-6);
  const usual = new GradScaler({ initScale: 1024 });
  assertEquals(step(usual), true);
  const [a, b] = weights();
  assertEquals(a, b);
  assert(`${a}` !== `${before[0]}`);
});

Deno.test("fit: a checkpoint of several devices goes on on any number of them", async () => {
  const whole = await run(0);
  await inFolder(async (folder) => {
    for (const [first, second] of [[2, 2], [2, 0], [0, 3], [3, 2]]) {
      const checkpoint = `${folder}/${first}_${second}.safetensors`;
      const controller = new AbortController();
      const half = await run(first, {
        checkpoint,
        signal: controller.signal,
        callbacks: [{
          step: ({ step }) => {
            if (step === 9) controller.abort();
          },
        }],
      });
      const rest = await run(second, { checkpoint, resume: true });
      assertEquals(half.losses.length + rest.losses.length, 12);
      assertClose(rest.weights, whole.weights);
    }
  });
});

Deno.test("fit on several devices leaves nothing behind, also when a loss is no number", async () => {
  const before = memory();
  await run(2);
  assertEquals(memory().tensors, before.tensors);
  manualSeed(4);
  {
    using model = nn.linear(2, 2);
    using optimizer = optim.sgd(model, { lr: 0.1 });
    using parallel = dist.dataParallel(model, optimizer, ["cpu", "cpu"]);
    await assertRejects(
      () =>
        fit(model, points(16, 11), {
          optimizer,
          parallel,
          batchSize: 16,
          shuffle: false,
        }),
      BadLossError,
      "the loss is NaN at step 1; the first tensor that went bad is the input, whose element 6 is NaN",
    );
    const graph = { optimizer, parallel, graph: true };
    await assertRejects(
      () => fit(model, data, graph),
      TypeError,
      "several devices",
    );
  }
  assertEquals(memory().tensors, before.tensors);
});

Deno.test("lists of devices", () => {
  assertEquals(deviceList(""), []);
  assertEquals(deviceList("0, 2"), ["cuda:0", "cuda:2"]);
  assertEquals(deviceList("cpu,cpu"), ["cpu", "cpu"]);
  assertThrows(() => deviceList("0,,1"), TypeError, `"0,,1"`);
});

Deno.test("cli: train --devices learns what one device learns, and resumes on others", async () => {
  await inFolder(async (folder) => {
    await writeDigits(`${folder}/digits`, { size: 16 });
    const train = (name: string, ...more: string[]) =>
      decaf([
        ...["train", "mnist", `${folder}/digits`, "--model", "lenet"],
        ...["--batch-size", "24", "--run", `${folder}/${name}`],
        ...["--no-curve", "--log-every", "1", ...more],
      ]);
    const losses = async (name: string) =>
      (await readMetrics(`${folder}/${name}`)).flatMap((line) =>
        "train/loss" in line ? [Number(line["train/loss"])] : []
      );
    const one = await train("one", "--epochs", "2");
    const two = await train("two", "--epochs", "2", "--devices", "cpu,cpu");
    assertEquals([one.code, two.code], [0, 0], one.stderr + two.stderr);
    const wanted = await losses("one");
    assertEquals(wanted.length, 20);
    assertClose(await losses("two"), wanted, 1e-3);
    const more = await decaf([
      ...["resume", `${folder}/two`, "--epochs", "3"],
      ...["--devices", "cpu,cpu,cpu"],
    ]);
    assertEquals(more.code, 0, more.stderr);
    assertEquals((await losses("two")).length, 30);

    const none = await train("none", "--devices", "cpu,tpu");
    assertEquals(none.code, 2);
    assertMatch(none.stderr, /Cannot use device "tpu"/);
  });
});

Deno.test({
  name: "cli: Ctrl-C ends a training on several devices with a checkpoint",
  ignore: Deno.build.os === "windows",
  async fn() {
    await inFolder(async (folder) => {
      await writeDigits(`${folder}/digits`, { size: 16 });
      const child = decafCommand([
        ...["train", "mnist", `${folder}/digits`, "--model", "lenet"],
        ...["--batch-size", "24", "--run", `${folder}/run`, "--no-curve"],
        ...["--epochs", "5000", "--devices", "cpu,cpu"],
      ]).spawn();
      const ended = child.output();
      const started = `${folder}/run/checkpoint.safetensors`;
      while (!await Deno.stat(started).then(() => true, () => false)) {
        await new Promise((done) => setTimeout(done, 50));
      }
      child.kill("SIGINT");
      const { code, stdout } = await ended;
      const said = new TextDecoder().decode(stdout);
      assertEquals(code, 130, said);
      assertMatch(said, /Stopped after step [\d,]+; the checkpoint is saved/);
    });
  },
});
