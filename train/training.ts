/**
 * A training in progress: what a step changes, and what a checkpoint keeps.
 *
 * @module
 */

import { defaultGenerator } from "../core/random.ts";
import { Scope } from "../core/scope.ts";
import type { Batch } from "../data/dataset.ts";
import { DataLoader } from "../data/loader.ts";
import { deviceOf } from "./arrays.ts";
import { loadCheckpoint, saveCheckpoint } from "./checkpoint.ts";
import { evaluate } from "./evaluate.ts";
import type {
  Callback,
  FitOptions,
  Numbers,
  Split,
  StartReport,
} from "./fit_options.ts";
import { valuesOf } from "./measured.ts";
import { meanLoss, type Metric, requireNames } from "./metrics.ts";
import type { Model } from "./model.ts";
import { refuseBadParameters } from "./nan_guard.ts";
import { Steps } from "./steps.ts";
import type { AskedStep } from "./under_way.ts";

/** Something with a name that remembers. */
interface Memory {
  readonly name: string;
  state(): unknown;
  restore(state: unknown): void;
}

function remembers(x: Metric | Callback): x is (Metric | Callback) & Memory {
  return x.name !== undefined && x.state !== undefined &&
    x.restore !== undefined;
}

/** What the loop of `fit` moves on. */
export class Training implements Disposable {
  /** Goes through the examples. */
  readonly loader: DataLoader;
  /** The loss and what else is measured. */
  readonly metrics: readonly Metric[];
  /** Who watches. */
  readonly callbacks: readonly Callback[];
  /** Name of the device that steps run on. */
  readonly device: string;
  readonly #steps: Steps;
  /** Whether a callback has ended the training. */
  stopped = false;
  /** Metrics over the last finished epoch. */
  train: Numbers = {};
  /** Metrics of the test after it. */
  test: Numbers | undefined;

  /**
   * Prepares a training; nothing is computed yet.
   *
   * @param model What learns.
   * @param data What from.
   * @param options How.
   */
  constructor(
    readonly model: Model,
    readonly data: Split,
    readonly options: FitOptions,
  ) {
    const { batchSize = 64, shuffle = true, seed = 0, dropLast = true } =
      options;
    this.loader = new DataLoader(data.train, {
      batchSize,
      shuffle,
      seed,
      dropLast,
    });
    this.metrics = [meanLoss(), ...options.metrics ?? []];
    this.callbacks = options.callbacks ?? [];
    requireNames("train", this.#memories);
    this.device = options.device ?? deviceOf(model);
    this.#steps = new Steps(model, options, this.device, this.metrics);
  }

  /** Optimizer steps taken. */
  get step(): number {
    return this.#steps.count;
  }

  /** Asks for one step; on devices that run behind the host, its numbers are waited for later. */
  take(batch: Batch): AskedStep {
    return this.#steps.take(batch);
  }

  /** Where the training stands. */
  report(): StartReport {
    const { epochs = 1, batchSize = 64, dropLast = true } = this.options;
    const { batchesPerEpoch, dataset, epoch, position } = this.loader;
    const epochExamples = dropLast
      ? batchesPerEpoch * batchSize
      : dataset.length;
    return {
      step: this.step,
      totalSteps: epochs * batchesPerEpoch,
      epochs,
      epoch,
      epochExamples,
      examples: Math.min(position * batchSize, epochExamples),
    };
  }

  get #memories(): Memory[] {
    return [...this.metrics, ...this.callbacks].filter(remembers);
  }

  /**
   * Writes a checkpoint.
   *
   * @throws {BadLossError} when a parameter is no number any more: the
   *   checkpoint before is then the last good one, and stays.
   */
  async save(path: string): Promise<void> {
    const { model, options: { optimizer, average } } = this;
    refuseBadParameters(this.step, model);
    await saveCheckpoint(path, {
      model: model.stateDict(),
      optimizer: optimizer.stateDict(),
      average: average?.stateDict(),
      progress: {
        step: this.step,
        stopped: this.stopped,
        loader: this.loader.state(),
        random: defaultGenerator().state(),
        scaler: this.#steps.precision.state(),
        memory: Object.fromEntries(
          this.#memories.map((m) => [m.name, m.state()]),
        ),
        train: this.train,
        test: this.test,
      },
    });
    for (const callback of this.callbacks) {
      await callback.checkpoint?.(this.step, path);
    }
  }

  /** Goes to where a checkpoint was written. */
  async restore(path: string): Promise<void> {
    using _loading = new Scope();
    const { device, options: { optimizer, average } } = this;
    const saved = await loadCheckpoint(path, device);
    this.model.loadStateDict(saved.model);
    optimizer.loadStateDict(saved.optimizer);
    this.options.parallel?.synchronize();
    if (average !== undefined && saved.average !== undefined) {
      average.loadStateDict(saved.average);
    }
    const { progress } = saved;
    this.#steps.count = progress.step;
    this.stopped = progress.stopped;
    this.train = progress.train;
    this.test = progress.test;
    this.loader.restore(progress.loader);
    defaultGenerator().restore(progress.random);
    this.#steps.precision.restore(progress.scaler);
    for (const memory of this.#memories) {
      if (memory.name in progress.memory) {
        memory.restore(progress.memory[memory.name]);
      }
    }
  }

  /** Frees what only the training needs. */
  [Symbol.dispose](): void {
    this.#steps[Symbol.dispose]();
  }

  /** Ends an epoch: tests, and starts the metrics afresh. */
  async finishEpoch(): Promise<void> {
    const { model, data, metrics, callbacks } = this;
    const { average, testBatchSize, loss } = this.options;
    this.train = valuesOf(metrics);
    const { test } = data;
    if (test !== undefined) {
      const run = () =>
        evaluate(model, test, {
          batchSize: testBatchSize,
          loss,
          metrics: this.options.metrics,
          device: this.device,
          precision: this.options.precision,
          progress: (examples) => {
            for (const c of callbacks) c.test?.(examples, test.length);
          },
        });
      this.test = await (average === undefined ? run() : average.during(run));
    }
    model.train();
    for (const metric of metrics) metric.reset();
  }
}
