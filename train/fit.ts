/**
 * The training loop.
 *
 * @module
 */

import { DeviceLostError } from "../core/errors.ts";
import { checkOptions } from "../core/options.ts";
import type { Batch, Dataset } from "../data/dataset.ts";
import {
  fitNames,
  type FitOptions,
  type FitResult,
  type Split,
} from "./fit_options.ts";
import type { Model } from "./model.ts";
import { Training } from "./training.ts";
import { turn } from "./turn.ts";
import { mostUnderWay, StepsUnderWay } from "./under_way.ts";

/**
 * Trains a model.
 *
 * @param model An `nn` module, or anything with the same methods.
 * @param data A data set, or a part to learn from and one to test on; promises are awaited.
 * @param options Optimizer, epochs, batch size and the rest.
 * @returns Metrics of the last epoch.
 * @throws {BadLossError} when the loss is no finite number, naming the step and the first tensor that went bad.
 * @throws {IndexError} when the batch is larger than the data.
 * @example
 * ```ts
 * import { data, manualSeed, nn, optim, train } from "../mod.ts";
 *
 * // Whether the second of two numbers is larger.
 * manualSeed(1);
 * const random = Float32Array.from({ length: 400 }, (_, i) => (i * 0.618) % 1);
 * const larger = Int32Array.from(
 *   { length: 200 },
 *   (_, i) => Number(random[2 * i + 1] > random[2 * i]),
 * );
 * const pairs = data.arrayDataset(
 *   { data: random, shape: [200, 2], dtype: "f32" },
 *   { data: larger, shape: [200], dtype: "i32" },
 * );
 * const model = nn.linear(2, 2);
 * const result = await train.fit(model, { train: pairs, test: pairs }, {
 *   optimizer: optim.adam(model, { lr: 0.1 }),
 *   epochs: 10,
 *   batchSize: 20,
 *   metrics: [train.accuracy()],
 * });
 * if (!(result.test!.accuracy > 0.95)) throw new Error("it did not learn");
 * ```
 */
export async function fit(
  model: Model,
  data: Dataset<Batch> | Split | Promise<Dataset<Batch> | Split>,
  options: FitOptions,
): Promise<FitResult> {
  checkOptions("train", options, fitNames);
  const { epochs = 1, checkpoint, signal } = options;
  if (!Number.isInteger(epochs) || epochs < 1) {
    throw new RangeError(
      `Cannot train for ${epochs} epochs: give a whole number of at least 1`,
    );
  }
  const { optimizer, checkpointEvery } = options;
  if (optimizer === undefined) {
    throw new TypeError(
      "Cannot train without an optimizer: give { optimizer: optim.adam(model) }, or another one",
    );
  }
  if (
    checkpointEvery !== undefined &&
    !(Number.isInteger(checkpointEvery) && checkpointEvery >= 1)
  ) {
    throw new RangeError(
      `Cannot write a checkpoint every ${checkpointEvery} steps: give a whole number of at least 1`,
    );
  }
  const given = await data;
  using training = new Training(
    model,
    "train" in given ? given : { train: given },
    options,
  );
  const { loader, callbacks } = training;
  if (options.resume) {
    if (checkpoint === undefined) {
      throw new TypeError("Cannot resume: name the checkpoint file");
    }
    await training.restore(checkpoint);
  }
  for (const callback of callbacks) await callback.start?.(training.report());
  model.train();
  let seconds = 0;
  while (
    loader.epoch < epochs && !training.stopped && signal?.aborted !== true
  ) {
    seconds += await runEpoch(training);
    if (signal?.aborted && loader.position > 0) break;
    await training.finishEpoch();
    for (const callback of callbacks) {
      const answer = await callback.epoch?.({
        ...training.report(),
        epoch: loader.epoch - 1,
        train: training.train,
        test: training.test,
      });
      if (answer === "stop") training.stopped = true;
    }
    if (checkpoint !== undefined) await training.save(checkpoint);
  }
  const interrupted = loader.epoch < epochs && !training.stopped;
  const { step, train, test } = training;
  return { step, interrupted, train, test, seconds };
}

/** The rest of the current epoch, or until the signal; returns the seconds it took. */
async function runEpoch(training: Training): Promise<number> {
  using steps = new StepsUnderWay(async (report) => {
    for (const callback of training.callbacks) {
      await callback.measured?.(report);
    }
  });
  try {
    const seconds = await takeSteps(training, steps);
    await steps.settle();
    return seconds + steps.waited;
  } catch (error) {
    // What is wrong with an earlier step is told first.
    await steps.settle().catch((earlier) => {
      if (!(earlier instanceof DeviceLostError)) throw earlier;
    });
    throw error;
  }
}

/** Asks for step after step; returns the seconds it took, without those of waiting. */
async function takeSteps(
  training: Training,
  steps: StepsUnderWay,
): Promise<number> {
  const { loader, callbacks, metrics, options } = training;
  const { checkpoint, checkpointEvery, signal } = options;
  let seconds = 0;
  for (let from = performance.now();; from = performance.now()) {
    const batch = await loader.next();
    if (batch === undefined) return seconds;
    const learningRate = options.optimizer.learningRate();
    const asked = training.take(batch);
    const report = steps.add(asked, {
      where: training.report(),
      learningRate,
      metrics,
    });
    seconds += (performance.now() - from) / 1000;
    for (const callback of callbacks) await callback.step?.(report);
    await steps.settle(mostUnderWay);
    await turn();
    // The end of an epoch has a checkpoint of its own, after the test.
    if (loader.position === loader.batchesPerEpoch) continue;
    const due = checkpointEvery !== undefined &&
      training.step % checkpointEvery === 0;
    if (checkpoint !== undefined && (due || signal?.aborted)) {
      await steps.settle();
      await training.save(checkpoint);
    }
    if (signal?.aborted) return seconds;
  }
}
