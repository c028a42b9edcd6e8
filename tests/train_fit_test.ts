/** The training loop: learning, watching, stopping, going on, and what it refuses. */

import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import "../mod.ts";
import { manualSeed } from "../core/random.ts";
import { memory } from "../core/memory.ts";
import type { Tensor } from "../core/tensor.ts";
import { arrayDataset, type Batch, type Dataset } from "../data/mod.ts";
import * as nn from "../nn/mod.ts";
import * as optim from "../optim/mod.ts";
import { loadCheckpoint, loadWeights } from "../train/checkpoint.ts";
import { earlyStopping } from "../train/early_stopping.ts";
import { evaluate } from "../train/evaluate.ts";
import { fit } from "../train/fit.ts";
import type { Callback, FitOptions } from "../train/fit_options.ts";
import {
  accuracy,
  confusionMatrix,
  perplexity,
  topK,
} from "../train/metrics.ts";
import { BadLossError } from "../train/nan_guard.ts";
import { makePolicy, observes, schedules } from "../train/schedule.ts";
import { fromHost } from "../mod.ts";

/** Points in the plane: class 1 above the line y = x. */
function points(count: number, seed: number): Dataset<Batch> {
  const at = (i: number) => ((i + 1 + seed * 977) * 0.6180339887498949) % 1;
  const inputs = Float32Array.from({ length: 2 * count }, (_, i) => {
    const place = Math.floor(i / 2);
    return i % 2 === 0 ? at(place) * 2 - 1 : at(place * 7 + 3) * 2 - 1;
  });
  const targets = Int32Array.from(
    { length: count },
    (_, i) => Number(inputs[2 * i + 1] > inputs[2 * i]),
  );
  return arrayDataset(
    { data: inputs, shape: [count, 2], dtype: "f32" },
    { data: targets, shape: [count], dtype: "i32" },
  );
}

function network(): nn.Sequential {
  manualSeed(11);
  return nn.sequential(
    nn.linear(2, 16),
    nn.relu(),
    nn.dropout(0.1),
    nn.linear(16, 2),
  );
}

const data = { train: points(200, 1), test: points(60, 2) };

interface Run {
  readonly model: nn.Sequential;
  readonly options: FitOptions;
}

function setUp(options: Partial<FitOptions> = {}): Run {
  const model = network();
  const optimizer = optim.adam(model, { lr: 0.02 });
  return {
    model,
    options: { optimizer, epochs: 3, batchSize: 16, seed: 5, ...options },
  };
}

async function inFolder(body: (folder: string) => Promise<void>) {
  const folder = await Deno.makeTempDir();
  try {
    await body(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

function weightsOf(model: nn.Module): string {
  return Object.entries(model.stateDict()).map(([name, t]) =>
    `${name} ${new Uint8Array((t.data() as Float32Array).buffer).toHex()}`
  ).join("\n");
}

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

Deno.test("early stopping ends the training, also after a resume", async () => {
  await inFolder(async (folder) => {
    const checkpoint = `${folder}/c.safetensors`;
    const run = (resume: boolean) => {
      const { model, options } = setUp({ checkpoint, epochs: 20, resume });
      for (const group of options.optimizer.groups) group.lr = 0;
      const callbacks = [earlyStopping({ patience: 2 })];
      return fit(model, data, { ...options, callbacks });
    };
    // The first test is the best one; two more are let pass.
    const first = await run(false);
    assertEquals([first.step, first.interrupted], [48, false]);
    assertEquals((await run(true)).step, 48);
  });
  assertThrows(
    () => earlyStopping({ patience: -1 }),
    RangeError,
    "patience of -1",
  );
  assertThrows(
    () => earlyStopping({ mode: "less" as "min" }),
    TypeError,
    'mode "less": it must be "min" or "max"',
  );
  assertThrows(
    () => earlyStopping({ threshold: NaN }),
    RangeError,
    "threshold of NaN",
  );
});

Deno.test("early stopping takes NaN for no improvement, also at first", () => {
  for (const sign of [1, -1]) {
    const mode = sign === 1 ? "min" : "max";
    const callback = earlyStopping({ patience: 1, mode, metric: "m" });
    const place = { totalSteps: 9, epochs: 9, epochExamples: 8, examples: 0 };
    const ends = [NaN, 3, 2, NaN, 1, 1, 1].map((value, epoch) => {
      const train = { m: sign * value };
      const numbers = { step: epoch, epoch, train, test: undefined };
      return callback.epoch!({ ...place, ...numbers });
    });
    assertEquals(ends.indexOf("stop"), 6);
  }
});

Deno.test("fit stops at a loss that is no number, and names the first bad tensor", async () => {
  class Broken extends nn.Module {
    map = nn.linear(2, 2);
    steps = 0;
    forward(x: Tensor): Tensor {
      const scores = this.map.forward(x);
      return this.steps++ < 3 ? scores : scores.sub(9).log().add(scores);
    }
  }
  const model = new Broken();
  const optimizer = optim.sgd(model, { lr: 0.01 });
  const error = await assertRejects(
    () => fit(model, data, { optimizer, batchSize: 16 }),
    BadLossError,
    "the loss is NaN at step 3; the first tensor that went bad is the result of operator log (call",
  );
  assertEquals((error as BadLossError).step, 3);

  const { options } = setUp();
  const bad = network();
  const name = Object.keys(bad.stateDict())[2];
  const shape = bad.stateDict()[name].shape;
  const values = fromHost(
    new Float32Array(shape[0] * shape[1]).fill(Infinity, 3),
    "f32",
    shape,
  );
  bad.loadStateDict({ ...bad.stateDict(), [name]: values });
  await assertRejects(
    () => fit(bad, data, { ...options, optimizer: optim.sgd(bad) }),
    BadLossError,
    `is parameter ${name}, whose element 3 is Infinity`,
  );
});

Deno.test("fit stopped by a bad step leaves running statistics as after the last good one", async () => {
  const run = async (bad: "input" | "label" | undefined) => {
    manualSeed(4);
    const model = nn.sequential(
      nn.linear(2, 6),
      nn.batchNorm1d(6),
      nn.dropout(0.5),
      nn.linear(6, 2),
    );
    const inputs = Float32Array.from({ length: 80 }, (_, i) => Math.sin(i));
    const targets = Int32Array.from({ length: 40 }, (_, i) => i % 2);
    if (bad === "input") inputs[2 * 25] = NaN;
    if (bad === "label") targets[25] = 9;
    const ends = new AbortController();
    const error = await fit(
      model,
      arrayDataset(
        { data: inputs, shape: [40, 2], dtype: "f32" },
        { data: targets, shape: [40], dtype: "i32" },
      ),
      {
        ...{ optimizer: optim.sgd(model, { lr: 0.1 }), batchSize: 8 },
        ...{ shuffle: false, signal: ends.signal },
        callbacks: [{
          step({ step }) {
            if (step === 3 && bad === undefined) ends.abort();
          },
        }],
      },
    ).then(() => "none", (error) => `${error}`);
    assert("1.running_var" in model.stateDict());
    return { error, weights: weightsOf(model) };
  };
  const good = await run(undefined);
  const input = await run("input");
  assertEquals(input.weights, good.weights);
  // Not the statistics that the input has spoilt.
  assert(
    input.error.includes(
      "is NaN at step 3; the first tensor that went bad is the input, whose element 2",
    ),
    input.error,
  );
  const label = await run("label");
  assertEquals(label.weights, good.weights);
  assert(label.error.includes("label 9 among 2"), label.error);
});

Deno.test("fit never overwrites a good checkpoint with parameters that went bad", async () => {
  await inFolder(async (folder) => {
    const checkpoint = `${folder}/c.safetensors`;
    const model = network();
    const poison = fromHost(new Float32Array(16).fill(NaN, 7), "f32", [16]);
    const run = fit(model, data, {
      optimizer: optim.sgd(model, { lr: 0.1 }),
      batchSize: 16,
      checkpoint,
      checkpointEvery: 1,
      callbacks: [{
        step({ step }) {
          if (step === 4) {
            model.loadStateDict({ ...model.stateDict(), "0.bias": poison });
          }
        },
      }],
    });
    await assertRejects(
      () => run,
      BadLossError,
      "after step 3: the first tensor that went bad is parameter 0.bias, whose element 7 is NaN",
    );
    assertEquals((await loadCheckpoint(checkpoint)).progress.step, 3);
    const again = network();
    again.loadStateDict(await loadWeights(checkpoint));
    assert(Number.isFinite((await evaluate(again, data.test)).loss));
  });
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

Deno.test("evaluate puts modes and metrics back, also when it fails", async () => {
  const model = nn.sequential(
    nn.linear(2, 4),
    nn.dropout(0.5),
    nn.linear(4, 2),
  );
  const [first, dropout] = model.children();
  first.training = false;
  const modes = () => [model, first, dropout].map(({ training }) => training);
  const metric = accuracy();
  const ones = fromHost(Float32Array.of(1, 0), "f32", [1, 2]);
  metric.update(ones, fromHost(Int32Array.of(0), "i32", [1]), 0);
  await evaluate(model, data.test, { metrics: [metric] });
  assertEquals([modes(), metric.value()], [[true, false, true], 1]);
  const progress = () => {
    assertEquals(modes(), [false, false, false]);
    throw new Error("halt");
  };
  const halted = evaluate(model, data.test, { metrics: [metric], progress });
  await assertRejects(() => halted, Error, "halt");
  assertEquals([modes(), metric.value()], [[true, false, true], 1]);
});

Deno.test("evaluate and fit refuse two metrics of one name", async () => {
  const { model, options } = setUp();
  const metrics = [topK(1), { ...accuracy(), name: "top1" }];
  const said = 'two metrics or callbacks called "top1"';
  await assertRejects(
    () => evaluate(model, data.test, { metrics }),
    TypeError,
    said,
  );
  const fitting = () => fit(model, data, { ...options, metrics });
  await assertRejects(fitting, TypeError, said);
});

Deno.test("evaluate measures everything once, whatever the batch size", async () => {
  const model = network();
  const metrics = [accuracy(), topK(2), perplexity(), confusionMatrix(2)];
  const a = await evaluate(model, data.test, { metrics, batchSize: 7 });
  const b = await evaluate(model, data.test, { metrics });
  for (const [name, value] of Object.entries(b)) {
    assert(Math.abs(a[name] - value) < 1e-6, `${name} ${a[name]} ${value}`);
  }
  assertEquals(b.top2, 1);
  assert(Math.abs(b.perplexity - Math.exp(b.loss)) < 1e-9);
});

Deno.test("schedules: every policy by name gives finite factors, a warm-up before it", () => {
  for (const [name, { settings }] of Object.entries(schedules)) {
    const values = Object.fromEntries(
      Object.entries(settings).map(([key, s]) => [key, s.default]),
    );
    const policy = makePolicy(name as keyof typeof schedules, values, 100, 10);
    assertEquals(policy(0), 1 / 11, name);
    for (let i = 0; i < 120; i++) {
      assert(policy(i) >= 0 && policy(i) < 10, `${name} at ${i}: ${policy(i)}`);
    }
  }
  assertThrows(
    () => makePolicy("fixed", {}, 10, 10),
    RangeError,
    "Cannot warm up for 10 of 10 steps",
  );
});

Deno.test("schedules: what a plateau policy saw is kept through its warm-up", () => {
  const make = () => {
    const policy = makePolicy(
      "reduceOnPlateau",
      { policyFactor: 0.5, policyPatience: 0 },
      100,
      5,
    );
    assert(observes(policy));
    return policy;
  };
  const first = make();
  for (const loss of [1, 1, 1]) first.observe(loss);
  assertEquals(first(50), 0.25);
  const second = make();
  second.state = structuredClone(first.state);
  assertEquals(second(50), 0.25);
});
