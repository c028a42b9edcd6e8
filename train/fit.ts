/**
 * The training loop.
 *
 * @module
 */

import { backward } from "../core/autograd.ts";
import { Scope } from "../core/scope.ts";
import type { Tensor } from "../core/tensor.ts";
import { defaultGenerator } from "../core/random.ts";
import type { Batch, Dataset } from "../data/dataset.ts";
import { DataLoader } from "../data/loader.ts";
import { crossEntropy } from "../ops/loss.ts";
import type { Optimizer } from "../optim/mod.ts";
import { toTensor } from "./arrays.ts";
import {
  type Checkpoint,
  loadCheckpoint,
  saveCheckpoint,
} from "./checkpoint.ts";
import { evaluate } from "./evaluate.ts";
import { meanLoss, type Metric } from "./metrics.ts";
import type { Model } from "./model.ts";
import { refuseBadLoss } from "./nan_guard.ts";

/** A part to learn from, and one to test on. */
export interface Split {
  /** Examples to learn from. */
  readonly train: Dataset<Batch>;
  /** Examples to test on. */
  readonly test?: Dataset<Batch>;
}

/** What callbacks are told. */
export interface StepReport {
  /** Optimizer steps taken. */
  readonly step: number;
  /** Steps that the whole training takes. */
  readonly totalSteps: number;
  /** Epoch, from 0. */
  readonly epoch: number;
  /** Steps taken in this epoch. */
  readonly epochStep: number;
  /** Steps per epoch. */
  readonly epochSteps: number;
  /** Examples seen in this epoch. */
  readonly examples: number;
  /** Loss of this step. */
  readonly loss: number;
  /** Learning rate of this step. */
  readonly learningRate: number;
  /** Metrics over the epoch so far. */
  readonly metrics: Readonly<Record<string, number>>;
}

/** What callbacks are told after an epoch. */
export interface EpochReport {
  /** Optimizer steps taken. */
  readonly step: number;
  /** Epoch, from 0. */
  readonly epoch: number;
  /** Metrics over the epoch. */
  readonly train: Readonly<Record<string, number>>;
  /** Metrics on the test part, when there is one. */
  readonly test: Readonly<Record<string, number>> | undefined;
}

/** Watches a training. */
export interface Callback {
  /** Called before the first step, also after a resume. */
  start?(total: { steps: number; step: number }): void | Promise<void>;
  /** Called after each step. */
  step?(report: StepReport): void | Promise<void>;
  /** Called after each epoch; returning `"stop"` ends the training. */
  epoch?(report: EpochReport): void | "stop" | Promise<void | "stop">;
  /** Called when a checkpoint was written. */
  checkpoint?(step: number, path: string): void | Promise<void>;
  /** Name under which `state` is kept in checkpoints. */
  readonly name?: string;
  /** What to keep, as plain data. */
  state?(): unknown;
  /** Takes over what was kept. */
  restore?(state: unknown): void;
}

/** How to train. */
export interface FitOptions {
  /** Updates the parameters. */
  readonly optimizer: Optimizer;
  /** Passes over the data; 1 by default. */
  readonly epochs?: number;
  /** Examples per step; 64 by default. */
  readonly batchSize?: number;
  /** Mean loss of a batch; cross entropy by default. */
  readonly loss?: (output: Tensor, target: Tensor) => Tensor;
  /** What to measure besides the loss. */
  readonly metrics?: readonly Metric[];
  /** Chooses the order of the examples; 0 by default. */
  readonly seed?: number;
  /** Whether each epoch has its own order; true by default. */
  readonly shuffle?: boolean;
  /** Whether to leave out a last batch that is not full; true by default. */
  readonly dropLast?: boolean;
  /** Examples per step of the test; 250 by default. */
  readonly testBatchSize?: number;
  /** File for checkpoints; none by default. */
  readonly checkpoint?: string;
  /** Steps between checkpoints, besides the one after each epoch; none by default. */
  readonly checkpointEvery?: number;
  /** Whether to go on from the checkpoint file; its absence is an error. */
  readonly resume?: boolean;
  /** Ends the training after the current step, with a checkpoint. */
  readonly signal?: AbortSignal;
  /** Watch the training. */
  readonly callbacks?: readonly Callback[];
  /** Device by name; the default device when omitted. */
  readonly device?: string;
}

/** How a training ended. */
export interface FitResult {
  /** Optimizer steps taken in all. */
  readonly step: number;
  /** Whether the signal ended it early. */
  readonly interrupted: boolean;
  /** Metrics over the last epoch that was finished. */
  readonly train: Readonly<Record<string, number>>;
  /** Metrics on the test part after the last epoch. */
  readonly test: Readonly<Record<string, number>> | undefined;
  /** Seconds spent in steps (not in tests and checkpoints). */
  readonly seconds: number;
}

/** Milliseconds between turns of the event loop, so that signals arrive. */
const turnMilliseconds = 100;

function values(metrics: readonly Metric[]): Record<string, number> {
  return Object.fromEntries(metrics.map((m) => [m.name, m.value()]));
}

/** A training in progress: what a step changes and a checkpoint keeps. */
class Training {
  readonly loader: DataLoader;
  readonly metrics: readonly Metric[];
  readonly callbacks: readonly Callback[];
  step = 0;

  constructor(
    readonly model: Model,
    readonly data: Split,
    readonly o: FitOptions,
  ) {
    this.loader = new DataLoader(data.train, {
      batchSize: o.batchSize ?? 64,
      shuffle: o.shuffle ?? true,
      seed: o.seed ?? 0,
      dropLast: o.dropLast ?? true,
    });
    this.metrics = [meanLoss(), ...o.metrics ?? []];
    this.callbacks = o.callbacks ?? [];
  }

  get #named(): {
    name: string;
    state(): unknown;
    restore(state: unknown): void;
  }[] {
    const all = [...this.metrics, ...this.callbacks];
    return all.flatMap(({ name }, i) => {
      const { state, restore } = all[i];
      if (name === undefined || state === undefined || restore === undefined) {
        return [];
      }
      return [{
        name,
        state: () => state.call(all[i]),
        restore: (s: unknown) => restore.call(all[i], s),
      }];
    });
  }

  async save(path: string): Promise<void> {
    const memory = Object.fromEntries(
      this.#named.map((m) => [m.name, m.state()]),
    );
    await saveCheckpoint(path, {
      model: this.model.stateDict(),
      optimizer: this.o.optimizer.stateDict(),
      progress: {
        step: this.step,
        loader: this.loader.state(),
        random: defaultGenerator.state(),
        memory,
      },
    });
    for (const callback of this.callbacks) {
      await callback.checkpoint?.(this.step, path);
    }
  }

  async restore(path: string): Promise<void> {
    using _loading = new Scope();
    const saved: Checkpoint = await loadCheckpoint(path, this.o.device);
    this.model.loadStateDict(saved.model);
    this.o.optimizer.loadStateDict(saved.optimizer);
    const { step, loader, random, memory } = saved.progress;
    this.step = step;
    this.loader.restore(loader);
    defaultGenerator.restore(
      random as ReturnType<typeof defaultGenerator.state>,
    );
    for (const m of this.#named) {
      if (m.name in memory) m.restore(memory[m.name]);
    }
  }

  /** One step; returns its loss. */
  take(batch: Batch): number {
    const { model, o } = this;
    using _step = new Scope();
    const inputs = toTensor(batch.inputs, o.device);
    const targets = toTensor(batch.targets, o.device);
    const output = model.forward(inputs);
    const loss = (o.loss ?? crossEntropy)(output, targets);
    const value = loss.item();
    if (!Number.isFinite(value)) {
      refuseBadLoss(value, this.step, model, inputs, output);
    }
    o.optimizer.zeroGrad();
    backward(loss);
    o.optimizer.step();
    for (const metric of this.metrics) metric.update(output, targets, value);
    this.step++;
    return value;
  }
}

/**
 * Trains a model.
 *
 * @param model An `nn` module, or anything with the same methods.
 * @param data A data set, or a part to learn from and one to test on; promises are awaited.
 * @param options Optimizer, epochs, batch size and the rest.
 * @returns Metrics of the last epoch.
 * @throws {Error} when the loss is no finite number, naming the step and the first tensor that went bad.
 * @throws {IndexError} when the batch is larger than the data.
 */
export async function fit(
  model: Model,
  data: Dataset<Batch> | Split | Promise<Dataset<Batch> | Split>,
  options: FitOptions,
): Promise<FitResult> {
  const given = await data;
  const split: Split = "train" in given ? given : { train: given };
  const training = new Training(model, split, options);
  const { loader, metrics, callbacks } = training;
  const { epochs = 1, checkpoint, checkpointEvery, signal } = options;
  if (!Number.isInteger(epochs) || epochs < 1) {
    throw new RangeError(
      `Cannot train for ${epochs} epochs: give a positive integer`,
    );
  }
  if (options.resume) {
    if (checkpoint === undefined) {
      throw new TypeError("Cannot resume: name the checkpoint file");
    }
    await training.restore(checkpoint);
  }
  const totalSteps = epochs * loader.batchesPerEpoch;
  let seconds = 0;
  let last: Record<string, number> = {};
  let tested: Record<string, number> | undefined;
  let turned = performance.now();
  let interrupted = false;
  for (const callback of callbacks) {
    await callback.start?.({ steps: totalSteps, step: training.step });
  }
  model.train();
  training: while (loader.epoch < epochs) {
    const epoch = loader.epoch;
    for (
      let batch = await loader.next();
      batch !== undefined;
      batch = await loader.next()
    ) {
      const start = performance.now();
      const learningRate = options.optimizer.learningRate();
      const loss = training.take(batch);
      seconds += (performance.now() - start) / 1000;
      const report: StepReport = {
        step: training.step,
        totalSteps,
        epoch,
        epochStep: loader.position,
        epochSteps: loader.batchesPerEpoch,
        examples: loader.position * (options.batchSize ?? 64),
        loss,
        learningRate,
        metrics: values(metrics),
      };
      for (const callback of callbacks) await callback.step?.(report);
      if (performance.now() - turned > turnMilliseconds) {
        await new Promise((resolve) => setTimeout(resolve, 0));
        turned = performance.now();
      }
      if (signal?.aborted) {
        interrupted = true;
        break training;
      }
      const due = checkpointEvery !== undefined &&
        training.step % checkpointEvery === 0;
      if (due && checkpoint !== undefined) await training.save(checkpoint);
    }
    last = values(metrics);
    tested = split.test === undefined
      ? undefined
      : await evaluate(model, split.test, {
        batchSize: options.testBatchSize,
        loss: options.loss,
        metrics: options.metrics,
        device: options.device,
      });
    model.train();
    for (const metric of metrics) metric.reset();
    let stop = false;
    for (const callback of callbacks) {
      const answer = await callback.epoch?.({
        step: training.step,
        epoch,
        train: last,
        test: tested,
      });
      if (answer === "stop") stop = true;
    }
    if (checkpoint !== undefined) await training.save(checkpoint);
    if (stop) break;
  }
  if (interrupted && checkpoint !== undefined) await training.save(checkpoint);
  return {
    step: training.step,
    interrupted,
    train: last,
    test: tested,
    seconds,
  };
}
