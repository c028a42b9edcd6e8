/** How a training ends early: no improvement, losses and parameters that are no numbers. */

import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import "../mod.ts";
import { manualSeed } from "../core/random.ts";
import type { Tensor } from "../core/tensor.ts";
import { arrayDataset } from "../data/mod.ts";
import * as nn from "../nn/mod.ts";
import * as optim from "../optim/mod.ts";
import { loadCheckpoint, loadWeights } from "../train/checkpoint.ts";
import { earlyStopping } from "../train/early_stopping.ts";
import { evaluate } from "../train/evaluate.ts";
import { fit } from "../train/fit.ts";
import { BadLossError } from "../train/nan_guard.ts";
import { LastGood } from "../train/last_good.ts";
import { assign, fromHost, ones, scope, zeros } from "../mod.ts";
import { inFolder } from "./cli_helpers.ts";
import { data, network, setUp, weightsOf } from "./train_points.ts";

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
    "the loss is NaN at step 4; the first tensor that went bad is the result of operator log (call",
  );
  assertEquals((error as BadLossError).step, 4);

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
      "is NaN at step 4; the first tensor that went bad is the input, whose element 2",
    ),
    input.error,
  );
  const label = await run("label");
  assertEquals(label.weights, good.weights);
  assert(label.error.includes("label 9 among 2"), label.error);
});

Deno.test("fit notes only those buffers at each step that steps write", () => {
  class Masked extends nn.Module {
    map = nn.linear(2, 4);
    norm = nn.batchNorm1d(4);
    mask = nn.buffer(ones([4]));
    forward(x: Tensor): Tensor {
      return this.norm.forward(this.map.forward(x)).mul(this.mask);
    }
  }
  using model = new Masked();
  using good = new LastGood(model);
  good.prepare();
  assertEquals(good.tensors.length, 8);
  const { runningMean, runningVar, numBatchesTracked } = model.norm;
  const buffers = [runningMean!, runningVar!, numBatchesTracked!, model.mask];
  const values = () => buffers.map((buffer) => buffer.toArray());
  const step = () =>
    scope(() => void model.forward(ones([3, 2])).materialize());
  step();
  const first = values();
  good.note();
  assertEquals(good.tensors.length, 6);
  assert(!good.tensors.includes(model.mask));
  step();
  good.prepare();
  good.restore();
  assertEquals(values(), first);
  // What is written after all is noted from then on.
  assign(model.mask, zeros([4]));
  good.prepare();
  assertEquals(good.tensors.length, 8);
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
      "after step 4: the first tensor that went bad is parameter 0.bias, whose element 7 is NaN",
    );
    assertEquals((await loadCheckpoint(checkpoint)).progress.step, 3);
    const again = network();
    again.loadStateDict(await loadWeights(checkpoint));
    assert(Number.isFinite((await evaluate(again, data.test)).loss));
  });
});
