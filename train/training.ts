/**
 * A training in progress: what a step changes, and what a checkpoint keeps.
 *
 * @module
 */

import { noGrad } from "../core/autograd.ts";
import { getDevice } from "../core/device.ts";
import { defaultGenerator, type RandomState } from "../core/random.ts";
import { Scope } from "../core/scope.ts";
import type { Tensor } from "../core/tensor.ts";
import { UpdateGate } from "../core/update_gate.ts";
import type { Batch } from "../data/dataset.ts";
import { DataLoader } from "../data/loader.ts";
import { crossEntropy } from "../ops/functions.ts";
import { deviceOf, toTensor } from "./arrays.ts";
import { loadCheckpoint, saveCheckpoint } from "./checkpoint.ts";
import { evaluate } from "./evaluate.ts";
import type {
  Callback,
  FitOptions,
  Numbers,
  Split,
  StartReport,
  StepNumbers,
} from "./fit_options.ts";
import { GraphStep, type StepResult } from "./graph_step.ts";
import { LastGood } from "./last_good.ts";
import { lookAtOutputs, measure, type Measured, valuesOf } from "./measured.ts";
import { meanLoss, type Metric, requireNames } from "./metrics.ts";
import type { Model } from "./model.ts";
import { parallelStep } from "./parallel_step.ts";
import { TrainingPrecision } from "./precision.ts";
import { StepRead } from "./step_read.ts";
import { Structure } from "./structure.ts";
import type { AskedStep } from "./under_way.ts";
import {
  type BadStep,
  refuseBadLoss,
  refuseBadParameters,
} from "./nan_guard.ts";

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
  readonly #graph: GraphStep | undefined;
  /** Lets updates happen while all is well, on devices that run behind the host. */
  #gate: UpdateGate | undefined;
  readonly #precision: TrainingPrecision;
  readonly #good: LastGood;
  /** Optimizer steps taken. */
  step = 0;
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
    this.#good = new LastGood(model);
    this.device = options.device ?? deviceOf(model);
    if (options.graph && options.parallel) {
      throw new TypeError(
        "Cannot train on several devices with steps captured as a graph: a graph belongs to one device; choose one of both",
      );
    }
    const { precision = "f32" } = options;
    if (precision === "f16" && options.graph) {
      throw new TypeError(
        "Cannot train in f16 with steps captured as a graph: whether a step is taken depends on its gradients; choose bf16",
      );
    }
    if (options.graph && getDevice(this.device).capture === undefined) {
      throw new TypeError(
        `Cannot train on ${this.device} with steps captured as a graph: only CUDA devices have graphs; leave the option out`,
      );
    }
    this.#precision = new TrainingPrecision(
      precision,
      options.parallel?.devices ?? [this.device],
    );
    if (options.parallel !== undefined || precision === "f16") return;
    const device = getDevice(this.device);
    // A host that waited for the loss would leave the device without work.
    if (device.defer !== undefined) this.#gate = new UpdateGate(device);
    if (options.graph) this.#graph = this.#graphStep();
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
        scaler: this.#precision.state(),
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
    this.step = progress.step;
    this.stopped = progress.stopped;
    this.train = progress.train;
    this.test = progress.test;
    this.loader.restore(progress.loader);
    defaultGenerator().restore(progress.random);
    this.#precision.restore(progress.scaler);
    for (const memory of this.#memories) {
      if (memory.name in progress.memory) {
        memory.restore(progress.memory[memory.name]);
      }
    }
  }

  /** Adds the batch of a step to the metrics; gives the step's numbers. */
  #measure(batch: Measured): StepNumbers {
    if (batch.examples > 0) measure(this.metrics, batch);
    const last = this.metrics.flatMap((m) =>
      m.last ? [[m.name, m.last()]] : []
    );
    return { ...Object.fromEntries(last), loss: batch.loss };
  }

  /** Asks for one step; on devices that run behind the host, its numbers are waited for later. */
  take(batch: Batch): AskedStep {
    using _step = new Scope();
    const { options: { parallel } } = this;
    if (parallel === undefined && this.#gate !== undefined) {
      return this.#gatedStep(this.#gate, batch);
    }
    const numbers = this.#measure(
      parallel === undefined
        ? this.#plainStep(batch)
        : parallelStep(parallel, batch, {
          model: this.model,
          options: this.options,
          precision: this.#precision,
          step: this.step,
        }),
    );
    this.step++;
    return { underWay: false, numbers: () => numbers, drop() {} };
  }

  /** A step whose update the device decides about. */
  #gatedStep(gate: UpdateGate, batch: Batch): AskedStep {
    const { step, options: { optimizer, average }, device } = this;
    this.#good.prepare();
    const random = defaultGenerator().state();
    const forget = optimizer.remember();
    const updates = average?.updates;
    const done = this.#undoing(() =>
      this.#graph?.run(batch.inputs, batch.targets, getDevice(device)) ??
        this.#queuedStep(gate, batch)
    );
    this.step++;
    const looks = lookAtOutputs(this.metrics);
    const read = new StepRead(done, looks, gate.open);
    const look = () => {
      using _look = new Scope();
      const { good, measured } = read.wait();
      if (good) return this.#measure(measured);
      // The device has changed nothing since; neither has what the host counts.
      this.step = step;
      forget();
      if (average !== undefined) average.updates = updates!;
      defaultGenerator().restore(random);
      this.#refuse(batch, measured.loss);
    };
    const drop = () => read[Symbol.dispose]();
    if (read.apart) return { underWay: true, numbers: look, drop };
    const numbers = look();
    return { underWay: false, numbers: () => numbers, drop };
  }

  /** Asks for a whole step; nothing of it is waited for. */
  #queuedStep(gate: UpdateGate, batch: Batch) {
    const targets = toTensor(batch.targets, this.device);
    const inputs = toTensor(batch.inputs, this.device);
    return { targets, ...this.#ask(gate, inputs, targets) };
  }

  #ask(gate: UpdateGate, inputs: Tensor, targets: Tensor): StepResult {
    const result = gate.watch(() => this.#forward(inputs, targets));
    this.#precision.learnWhere(gate, result.loss, this.options);
    this.#good.settle(gate.open);
    return result;
  }

  /** Runs a forward pass, whose failure takes back what it did to the buffers. */
  #undoing<T>(body: () => T): T {
    try {
      return body();
    } catch (error) {
      this.#good.restore();
      throw error;
    }
  }

  /** Computes a step that went wrong again, and says what is wrong with it. */
  #refuse(batch: Batch, loss: number): never {
    const { model, step, device } = this;
    const inputs = toTensor(batch.inputs, device);
    const targets = toTensor(batch.targets, device);
    const output = this.#again(() => {
      const { output } = noGrad(() => this.#forward(inputs, targets));
      output.materialize();
      // Checks of labels and indices speak for themselves.
      getDevice(device).synchronize();
      return output;
    });
    return this.#refuseLoss({ loss, step, model, inputs, output });
  }

  /** Says what went bad first in a step, with the random numbers that come next. */
  #refuseLoss(failed: BadStep): never {
    return this.#again(() => this.#precision.run(() => refuseBadLoss(failed)));
  }

  /** Runs a forward pass that leaves buffers and random numbers as they were. */
  #again<T>(body: () => T): T {
    const random = defaultGenerator().state();
    try {
      return body();
    } finally {
      this.#good.restore();
      defaultGenerator().restore(random);
    }
  }

  /** One step that the host decides about. */
  #plainStep(batch: Batch): Measured {
    const { model, step } = this;
    this.#good.prepare();
    const inputs = toTensor(batch.inputs, this.device);
    const targets = toTensor(batch.targets, this.device);
    const random: RandomState = defaultGenerator().state();
    const { output, loss, value } = this.#undoing(() => {
      const result = this.#forward(inputs, targets);
      return { ...result, value: result.loss.item() };
    });
    if (Number.isFinite(value)) {
      this.#learn(loss);
      this.#good.note();
    } else if (this.#precision.forgives()) this.#good.restore();
    else {
      defaultGenerator().restore(random);
      this.#good.restore();
      this.#refuseLoss({ loss: value, step, model, inputs, output });
    }
    // An overflow that was passed over says nothing of the model.
    const examples = Number.isFinite(value) ? output.shape[0] : 0;
    return { examples, loss: value, output, targets };
  }

  #forward(inputs: Tensor, targets: Tensor): StepResult {
    return this.#precision.run(() => {
      const output = this.model.forward(inputs);
      const loss = (this.options.loss ?? crossEntropy)(output, targets);
      return { output, loss };
    });
  }

  #learn(loss: Tensor): void {
    const { optimizer, average } = this.options;
    if (this.#precision.learn(loss, optimizer)) average?.update();
    else this.#precision.refuseStuck(this.step);
  }

  #graphStep(): GraphStep {
    const { model, options: { optimizer, average } } = this;
    // There is one on all devices that have graphs; others refuse to capture.
    const gate = this.#gate ??= new UpdateGate(getDevice(this.device));
    return new GraphStep({
      step: (inputs, targets) => this.#ask(gate, inputs, targets),
      // Learning rates are asked for at each step.
      structure: () =>
        new Structure([
          { root: model },
          { root: optimizer, except: ["iteration", "lr", "policy"] },
        ]),
      tensors: () => [
        gate.open,
        ...this.#good.tensors,
        ...Object.values(model.stateDict()),
        ...Object.values(optimizer.stateDict().tensors),
        ...Object.values(average?.stateDict().tensors ?? {}),
      ],
    });
  }

  /** Frees what only the training needs. */
  [Symbol.dispose](): void {
    this.#graph?.[Symbol.dispose]();
    this.#gate?.[Symbol.dispose]();
    this.#good[Symbol.dispose]();
    this.#precision[Symbol.dispose]();
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
