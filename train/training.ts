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
import { concat, crossEntropy, to } from "../ops/functions.ts";
import { deviceOf, toTensor } from "./arrays.ts";
import { loadCheckpoint, saveCheckpoint } from "./checkpoint.ts";
import { evaluate } from "./evaluate.ts";
import type {
  Callback,
  FitOptions,
  Numbers,
  Parallel,
  Split,
  StartReport,
  StepNumbers,
} from "./fit_options.ts";
import { GraphStep, type StepResult } from "./graph_step.ts";
import { lookAtOutputs, measure, type Measured, valuesOf } from "./measured.ts";
import { meanLoss, type Metric } from "./metrics.ts";
import type { Model } from "./model.ts";
import { TrainingPrecision } from "./precision.ts";
import { StepRead } from "./step_read.ts";
import { Structure } from "./structure.ts";
import type { AskedStep } from "./under_way.ts";
import {
  refuseBadLoss,
  refuseBadParameters,
  refuseOthersLoss,
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

/** Parts of a batch on several devices as one tensor on the first of them. */
function joined(parts: readonly Tensor[]): Tensor {
  const [first, ...others] = parts;
  if (others.length === 0) return first;
  const { name } = first.device;
  return noGrad(() => concat([first, ...others.map((part) => to(part, name))]));
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
    this.device = options.device ?? deviceOf(model);
    if (options.graph && options.parallel) {
      throw new TypeError(
        "Cannot train on several devices with steps captured as a graph: a graph belongs to one device; choose one of both",
      );
    }
    if (options.graph && getDevice(this.device).capture === undefined) {
      throw new TypeError(
        `Cannot train on ${this.device} with steps captured as a graph: only CUDA devices have graphs; leave the option out`,
      );
    }
    const { precision = "f32" } = options;
    if (precision === "f16" && options.graph) {
      throw new TypeError(
        "Cannot train in f16 with steps captured as a graph: whether a step is taken depends on its gradients; choose bf16",
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
    // An overflow that was passed over says nothing of the model.
    if (Number.isFinite(batch.loss)) measure(this.metrics, batch);
    return this.#numbers(batch.loss);
  }

  /** The loss of a step, and the metrics of its batch alone. */
  #numbers(loss: number): StepNumbers {
    const last = this.metrics.flatMap((m) =>
      m.last ? [[m.name, m.last()]] : []
    );
    return { ...Object.fromEntries(last), loss };
  }

  /** Asks for one step; on devices that run behind the host, its numbers are waited for later. */
  take(batch: Batch): AskedStep {
    using _step = new Scope();
    const { options: { parallel } } = this;
    if (parallel === undefined && this.#gate !== undefined) {
      return this.#gatedStep(this.#gate, batch);
    }
    const numbers = parallel === undefined
      ? this.#plainStep(batch)
      : this.#parallelStep(parallel, batch);
    this.step++;
    return { underWay: false, numbers: () => numbers, drop() {} };
  }

  /** A step whose update the device decides about. */
  #gatedStep(gate: UpdateGate, batch: Batch): AskedStep {
    const { step, options: { optimizer, average }, device } = this;
    const random = defaultGenerator().state();
    const forget = optimizer.remember();
    const updates = average?.updates;
    const captured = this.#graph?.run(
      batch.inputs,
      batch.targets,
      getDevice(device),
    );
    const done = captured ?? this.#queuedStep(gate, batch);
    this.step++;
    const looks = lookAtOutputs(this.metrics);
    const read = new StepRead(done, gate.open, looks);
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
    return result;
  }

  /** Computes a step that went wrong again, and says what is wrong with it. */
  #refuse(batch: Batch, loss: number): never {
    const { model, step, device } = this;
    const random = defaultGenerator().state();
    const inputs = toTensor(batch.inputs, device);
    const targets = toTensor(batch.targets, device);
    let output: Tensor;
    try {
      output = noGrad(() => this.#forward(inputs, targets)).output;
      output.materialize();
      // Checks of labels and indices speak for themselves.
      getDevice(device).synchronize();
    } finally {
      defaultGenerator().restore(random);
    }
    return this.#precision.run(() =>
      refuseBadLoss({ loss, step, model, inputs, output })
    );
  }

  /** One step that the host decides about. */
  #plainStep(batch: Batch): StepNumbers {
    const { model } = this;
    const inputs = toTensor(batch.inputs, this.device);
    const targets = toTensor(batch.targets, this.device);
    const random: RandomState = defaultGenerator().state();
    const { output, loss } = this.#forward(inputs, targets);
    const value = loss.item();
    if (Number.isFinite(value)) this.#learn(loss);
    else if (!this.#precision.forgives()) {
      defaultGenerator().restore(random);
      const { step } = this;
      this.#precision.run(() =>
        refuseBadLoss({ loss: value, step, model, inputs, output })
      );
    }
    const [examples] = output.shape;
    return this.#measure({ examples, loss: value, output, targets });
  }

  /** One step on several devices. */
  #parallelStep(parallel: Parallel, batch: Batch): StepNumbers {
    const { model, step, options } = this;
    const parts = this.#precision.run(() =>
      parallel.backward(
        batch,
        options.loss ?? crossEntropy,
        this.#precision.scale,
      )
    );
    parallel.finish();
    const losses = parts.map((part) => part.loss.item());
    const value = parts.reduce(
      (sum, { share }, i) => sum + share * losses[i],
      0,
    );
    if (parallel.agree(Number.isFinite(value))) {
      if (this.#precision.stepTogether(parallel)) options.average?.update();
      else this.#precision.refuseStuck(step);
      const output = joined(parts.map((part) => part.output));
      const targets = joined(parts.map((part) => part.targets));
      const [examples] = output.shape;
      return this.#measure({ examples, loss: value, output, targets });
    }
    if (!this.#precision.forgives()) {
      if (Number.isFinite(value)) refuseOthersLoss(step);
      const bad = losses.findIndex((loss) => !Number.isFinite(loss));
      const { inputs, output } = parts[bad];
      const loss = losses[bad];
      parallel.on(
        bad,
        () =>
          this.#precision.run(() =>
            refuseBadLoss({ loss, step, model, inputs, output })
          ),
      );
    }
    return this.#numbers(value);
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
