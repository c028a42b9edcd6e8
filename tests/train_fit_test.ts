/** The training loop: learning, watching, going on, and what it refuses. */

import { assert, assertEquals, assertRejects } from "@std/assert";
import "../mod.ts";
import { manualSeed } from "../core/random.ts";
import { memory } from "../core/memory.ts";
import type * as nn from "../nn/mod.ts";
import * as optim from "../optim/mod.ts";
import { loadCheckpoint, loadWeights } from "../train/checkpoint.ts";
import { earlyStopping } from "../train/early_stopping.ts";
import { evaluate } from "../train/evaluate.ts";
import { fit } from "../train/fit.ts";
import type { Callback, FitOptions } from "../train/fit_options.ts";
import { accuracy } from "../train/metrics.ts";
import { inFolder } from "./cli_helpers.ts";
import { data, network, setUp, weightsOf } from "./train_points.ts";

Deno.test("fit learns, and says what happens on the way", async () => {
  const log: string[] = [];
  let examples = 0, lastRate = 0;
  const watch: Callback = {
    start: (r) => void log.push(`start ${r.step}/${r.totalSteps}`),
    step(r) {
      examples = r.examples;
      lastRate = r.learningRate;
      assert(Number.isFinite(r.batch.loss));
      assertEquals(r.epochExamples, 192);
    },
    test: (done, total) => void log.push(`test ${done}/${total}`),
    epoch: (r) => void log.push(`epoch ${r.epoch} after ${r.step}`),
  };
  const { model, options } = setUp({
    metrics: [accuracy()],
    callbacks: [watch],
    testBatchSize: 40,
    epochs: 8,
  });
  const result = await fit(model, data, options);
  assertEquals(log.slice(0, 4), [
    "start 0/96",
    "test 40/60",
    "test 60/60",
    "epoch 0 after 12",
  ]);
  assertEquals([examples, lastRate], [192, 0.02]);
  assertEquals([result.step, result.interrupted], [96, false]);
  assert(result.test!.accuracy > 0.9, `${result.test!.accuracy}`);
  assert(result.train.loss < 0.4, `${result.train.loss}`);
  assert(model.training, "the model is back in training mode");
});

Deno.test("fit leaves no tensor behind", async () => {
  const { model, options } = setUp({ metrics: [accuracy()] });
  await fit(model, data, options);
  const before = memory().tensors;
  await fit(model, data, { ...options, epochs: 2 });
  assertEquals(memory().tensors, before);
});

Deno.test("fit takes a single data set, and a promise of one", async () => {
  const { model, options } = setUp({ epochs: 1 });
  const result = await fit(model, Promise.resolve(data.train), options);
  assertEquals(result.test, undefined);
  assertEquals(result.step, 12);
});

Deno.test("fit: the same seed gives the same bits, another one others", async () => {
  const run = async (seed: number) => {
    const { model, options } = setUp({ seed });
    await fit(model, data, options);
    return weightsOf(model);
  };
  assertEquals(await run(5), await run(5));
  assert(await run(5) !== await run(6));
});

Deno.test("fit: stopped anywhere and resumed, the bits are those of an unbroken run", async () => {
  await inFolder(async (folder) => {
    const parts = (model: nn.Module): Partial<FitOptions> => ({
      metrics: [accuracy()],
      average: optim.ema(model, { decay: 0.9 }),
      callbacks: [earlyStopping({ patience: 9 })],
    });
    const prepare = () => {
      const { model, options } = setUp();
      const optimizer = optim.adamW(model, {
        lr: 0.02,
        policy: optim.policies.oneCycle({ iterations: 36 }),
        maxGradientNorm: 0.5,
      });
      return { model, options: { ...options, optimizer, ...parts(model) } };
    };
    const whole = prepare();
    const wanted = await fit(whole.model, data, whole.options);
    for (const stopAt of [1, 7, 12, 23, 35]) {
      const checkpoint = `${folder}/${stopAt}.safetensors`;
      const controller = new AbortController();
      const first = prepare();
      const half = await fit(first.model, data, {
        ...first.options,
        checkpoint,
        signal: controller.signal,
        callbacks: [...first.options.callbacks!, {
          step: ({ step }) => {
            if (step === stopAt) controller.abort();
          },
        }],
      });
      assertEquals([half.step, half.interrupted], [stopAt, true]);
      const second = prepare();
      manualSeed(999);
      const result = await fit(second.model, data, {
        ...second.options,
        checkpoint,
        resume: true,
      });
      assertEquals(weightsOf(second.model), weightsOf(whole.model));
      assertEquals(result.test, wanted.test);
      assertEquals(result.train, wanted.train);
      const averages = [whole, second].map(({ options }) =>
        Object.values(options.average!.stateDict().tensors).map((t) =>
          t.toArray()
        )
      );
      assertEquals(averages[0], averages[1]);
    }
  });
});

Deno.test("fit: a finished run that is resumed has nothing to do, and still says how it ended", async () => {
  await inFolder(async (folder) => {
    const checkpoint = `${folder}/c.safetensors`;
    const first = setUp({ checkpoint });
    const ended = await fit(first.model, data, first.options);
    const second = setUp({ checkpoint, resume: true });
    const again = await fit(second.model, data, second.options);
    assertEquals(again.step, ended.step);
    assertEquals(again.test, ended.test);
    assertEquals(again.seconds, 0);
    const third = setUp({ checkpoint, resume: true, epochs: 4 });
    assertEquals((await fit(third.model, data, third.options)).step, 48);
  });
});

Deno.test("checkpoints hold the model under its names, for others too", async () => {
  await inFolder(async (folder) => {
    const checkpoint = `${folder}/c.safetensors`;
    const { model, options } = setUp({ checkpoint, checkpointEvery: 5 });
    const steps: number[] = [];
    await fit(model, data, {
      ...options,
      callbacks: [{ checkpoint: (step) => void steps.push(step) }],
    });
    assertEquals(steps, [5, 10, 12, 15, 20, 24, 25, 30, 35, 36]);
    const weights = await loadWeights(checkpoint);
    assertEquals(
      Object.keys(weights).sort(),
      Object.keys(model.stateDict()).sort(),
    );
    const { optimizer, progress } = await loadCheckpoint(checkpoint);
    assertEquals(optimizer.iteration, 36);
    assertEquals(progress.loader.epoch, 3);
  });
});

Deno.test("checkpoints that are damaged are refused by name", async () => {
  await inFolder(async (folder) => {
    const checkpoint = `${folder}/c.safetensors`;
    const { model, options } = setUp({ checkpoint, epochs: 1 });
    await fit(model, data, options);
    const bytes = await Deno.readFile(checkpoint);
    const resume = () =>
      fit(model, data, { ...options, resume: true, epochs: 2 });
    for (const length of [0, 7, 100, bytes.length - 1]) {
      await Deno.writeFile(checkpoint, bytes.subarray(0, length));
      await assertRejects(resume, SyntaxError, checkpoint);
    }
    await Deno.remove(checkpoint);
    await assertRejects(
      resume,
      Error,
      `Cannot read ${checkpoint}: there is no`,
    );
    const plain = network();
    const { saveWeights } = await import("../train/checkpoint.ts");
    await saveWeights(checkpoint, plain.stateDict());
    await assertRejects(resume, SyntaxError, "is no checkpoint");
  });
});

Deno.test("fit tests with the average of the parameters, and leaves them be", async () => {
  const { model, options } = setUp({ epochs: 1 });
  const average = optim.ema(model, { decay: 0 });
  const { test } = await fit(model, data, { ...options, average });
  // With nothing kept of the past, the average is the model.
  assertEquals(test, await evaluate(model, data.test));
});

Deno.test("fit refuses batches larger than the data, and impossible epochs", async () => {
  const { model, options } = setUp();
  await assertRejects(
    () => fit(model, data, { ...options, batchSize: 201 }),
    RangeError,
    "batch size of 201 is larger than the data set of 200 examples",
  );
  await assertRejects(
    () => fit(model, data, { ...options, epochs: 0 }),
    RangeError,
    "Cannot train for 0 epochs",
  );
  await assertRejects(
    () => fit(model, data, { ...options, checkpointEvery: 0 }),
    RangeError,
    "Cannot write a checkpoint every 0 steps",
  );
  await assertRejects(
    () => fit(model, data, {} as FitOptions),
    TypeError,
    "Cannot train without an optimizer",
  );
  await assertRejects(
    () => fit(model, data, { ...options, resume: true }),
    TypeError,
    "name the checkpoint file",
  );
  await assertRejects(
    () => fit(model, data, { ...options, graph: true, device: "cpu" }),
    TypeError,
    "Cannot train on cpu with steps captured as a graph: only CUDA devices have",
  );
});
