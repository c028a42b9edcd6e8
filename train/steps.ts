/**
 * The steps of a training: forward, backward and update; decided about by the
 * device, where it runs behind the host, and by the host elsewhere.
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
import { crossEntropy } from "../ops/functions.ts";
import { toTensor } from "./arrays.ts";
import type { FitOptions, StepNumbers } from "./fit_options.ts";
import { GraphStep, type StepResult } from "./graph_step.ts";
import { LastGood } from "./last_good.ts";
import { lookAtOutputs, measure, type Measured } from "./measured.ts";
import type { Metric } from "./metrics.ts";
import type { Model } from "./model.ts";
import { type BadStep, refuseBadLoss } from "./nan_guard.ts";
import { parallelStep } from "./parallel_step.ts";
import { TrainingPrecision } from "./precision.ts";
import { StepRead } from "./step_read.ts";
import { Structure } from "./structure.ts";
import type { AskedStep } from "./under_way.ts";

/** Takes the steps of a training. */
export class Steps implements Disposable {
  /** Optimizer steps taken. */
  count = 0;
  /** In what is computed. */
  readonly precision: TrainingPrecision;
  readonly #graph: GraphStep | undefined;
  /** Lets updates happen while all is well, on devices that run behind the host. */
  #gate: UpdateGate | undefined;
  readonly #good: LastGood;

  /**
   * Prepares steps; nothing is computed yet.
   *
   * @param model What learns.
   * @param options How.
   * @param device Name of the device that steps run on.
   * @param metrics What is measured.
   * @throws {TypeError} for options that do not go together.
   */
  constructor(
    readonly model: Model,
    readonly options: FitOptions,
    readonly device: string,
    readonly metrics: readonly Metric[],
  ) {
    this.#good = new LastGood(model);
    if (options.graph && options.parallel) {
      throw new TypeError(
        "Cannot train on several devices with steps captured as a graph: a graph belongs to one device; choose one of both",
      );
    }
    if (options.graph && !options.optimizer.capturable) {
      throw new TypeError(
        `Cannot train by optimizer ${options.optimizer.method.name} with steps captured as a graph: it computes with numbers that change from step to step; choose another, such as adamW, or leave the option out`,
      );
    }
    const { precision = "f32" } = options;
    if (precision === "f16" && options.graph) {
      throw new TypeError(
        "Cannot train in f16 with steps captured as a graph: whether a step is taken depends on its gradients; choose bf16",
      );
    }
    if (options.graph && getDevice(device).capture === undefined) {
      throw new TypeError(
        `Cannot train on ${device} with steps captured as a graph: only CUDA devices have graphs; leave the option out`,
      );
    }
    this.precision = new TrainingPrecision(
      precision,
      options.parallel?.devices ?? [device],
    );
    if (options.parallel !== undefined || precision === "f16") return;
    const place = getDevice(device);
    // A host that waited for the loss would leave the device without work.
    if (place.defer !== undefined) this.#gate = new UpdateGate(place);
    if (options.graph) this.#graph = this.#graphStep();
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
          precision: this.precision,
          step: this.count + 1,
        }),
    );
    this.count++;
    return { underWay: false, numbers: () => numbers, drop() {} };
  }

  /** A step whose update the device decides about. */
  #gatedStep(gate: UpdateGate, batch: Batch): AskedStep {
    const { count: step, options: { optimizer, average }, device } = this;
    this.#good.prepare();
    const random = defaultGenerator().state();
    const forget = optimizer.remember();
    const updates = average?.updates;
    const done = this.#undoing(() =>
      this.#graph?.run(batch.inputs, batch.targets, getDevice(device)) ??
        this.#queuedStep(gate, batch)
    );
    this.count++;
    const looks = lookAtOutputs(this.metrics);
    const read = new StepRead(done, looks, gate.open);
    const look = () => {
      using _look = new Scope();
      const { good, measured } = read.wait();
      if (good) return this.#measure(measured);
      // The device has changed nothing since; neither has what the host counts.
      this.count = step;
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
    this.precision.learnWhere(gate, result.loss, this.options);
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
    const { model, device } = this;
    const step = this.count + 1;
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
    return this.#again(() => this.precision.run(() => refuseBadLoss(failed)));
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
    const { model } = this;
    const step = this.count + 1;
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
    } else if (this.precision.forgives()) this.#good.restore();
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
    return this.precision.run(() => {
      const output = this.model.forward(inputs);
      const loss = (this.options.loss ?? crossEntropy)(output, targets);
      return { output, loss };
    });
  }

  #learn(loss: Tensor): void {
    const { optimizer, average } = this.options;
    if (this.precision.learn(loss, optimizer)) average?.update();
    else this.precision.refuseStuck(this.count + 1);
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

  /** Frees what only the steps need. */
  [Symbol.dispose](): void {
    this.#graph?.[Symbol.dispose]();
    this.#gate?.[Symbol.dispose]();
    this.#good[Symbol.dispose]();
    this.precision[Symbol.dispose]();
  }
}
