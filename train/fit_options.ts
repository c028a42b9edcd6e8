/**
 * What a training is given, and what it tells those who watch it.
 *
 * @module
 */

import type { OptionNames } from "../core/options.ts";
import type { Tensor } from "../core/tensor.ts";
import type { Batch, Dataset } from "../data/dataset.ts";
import type { Optimizer, ParameterAverage } from "../optim/mod.ts";
import type { Metric } from "./metrics.ts";
import type { Precision } from "./precision.ts";

/** A part to learn from, and one to test on. */
export interface Split {
  /** Examples to learn from. */
  readonly train: Dataset<Batch>;
  /** Examples to test on. */
  readonly test?: Dataset<Batch>;
}

/** Numbers by name. */
export type Numbers = Readonly<Record<string, number>>;

/** Where a training stands. */
export interface StartReport {
  /** Optimizer steps taken. */
  readonly step: number;
  /** Steps that the whole training takes. */
  readonly totalSteps: number;
  /** Epochs that the whole training takes. */
  readonly epochs: number;
  /** The epoch, from 0. */
  readonly epoch: number;
  /** Examples in one epoch. */
  readonly epochExamples: number;
  /** Examples of them that were seen. */
  readonly examples: number;
}

/** The numbers of a step: its loss, and the metrics of its examples alone. */
export type StepNumbers = Numbers & { readonly loss: number };

/** What callbacks are told of a step. */
export interface StepReport extends StartReport {
  /** The loss of this step, and the metrics of its examples alone; waits for them where the device is still at it. */
  readonly batch: StepNumbers;
  /** Learning rate of this step. */
  readonly learningRate: number;
  /** The metrics over the epoch so far, this step included; waits for it where the device is still at it. */
  readonly metrics: () => Numbers;
}

/** What callbacks are told after an epoch. */
export interface EpochReport extends StartReport {
  /** Metrics over the epoch. */
  readonly train: Numbers;
  /** Metrics on the test part, when there is one. */
  readonly test: Numbers | undefined;
}

/** Watches a training. */
export interface Callback {
  /** Called before the first step, also after a resume. */
  start?(report: StartReport): void | Promise<void>;
  /** Called after each step: at the latest moment before the next, when a device that runs behind the host may still be at it. */
  step?(report: StepReport): void | Promise<void>;
  /**
   * Called when the numbers of a step are there, for each step in turn: at once
   * on the CPU, and on a device that runs behind the host when it has got that
   * far, a few calls of `step` later. Whoever asks for numbers here never waits.
   */
  measured?(report: StepReport): void | Promise<void>;
  /** Called after each batch of a test with the examples done. */
  test?(examples: number, total: number): void;
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

/** Mean loss of a batch from the model's output and the targets. */
export type Loss = (output: Tensor, target: Tensor) => Tensor;

/** What one of several devices computed of a batch. */
export interface Part {
  /** Its part of the inputs. */
  readonly inputs: Tensor;
  /** Its part of the targets. */
  readonly targets: Tensor;
  /** What the model gave. */
  readonly output: Tensor;
  /** Mean loss of the part, one element. */
  readonly loss: Tensor;
  /** Share of the part in the batch, from 0 to 1. */
  readonly share: number;
}

/** Takes steps on several devices at once; `dist.dataParallel` makes one. */
export interface Parallel {
  /** Names of the devices. */
  readonly devices: readonly string[];
  /** What updates the parameters of each device. */
  readonly optimizers: readonly Optimizer[];
  /** Forward and backward of a batch, a part on each device; every device then has the gradients of the whole batch, times `scale`. */
  backward(batch: Batch, loss: Loss, scale?: number): readonly Part[];
  /** Waits until the gradients are on all devices. */
  finish(): void;
  /** Whether something holds here and in every other process that takes part; all must ask at once. */
  agree(here: boolean): boolean;
  /** Updates the parameters on every device. */
  step(): void;
  /** Makes all devices equal to the first. */
  synchronize(): void;
  /** Runs `body` while the model computes with the tensors of one of the devices. */
  on<T>(index: number, body: () => T): T;
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
  readonly loss?: Loss;
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
  /** An average of the parameters, which tests use in their place. */
  readonly average?: ParameterAverage;
  /** File for checkpoints; none by default. */
  readonly checkpoint?: string;
  /** Steps between checkpoints, besides the one after each epoch; none by default. */
  readonly checkpointEvery?: number;
  /** Whether to go on from the checkpoint file; its absence is an error. */
  readonly resume?: boolean;
  /** Whether steps run as a captured graph, which saves the host's part of them; CUDA devices only, false by default. */
  readonly graph?: boolean;
  /**
   * In what the forward and backward pass compute: `f32` by default, `tf32`
   * (products of f32 in TF32, where the device has it), or mixed with `bf16` or
   * `f16` by autocast. Parameters and optimizer state are f32 in any; with `f16`
   * the loss is scaled by a {@linkcode GradScaler}.
   */
  readonly precision?: Precision;
  /** Ends the training after the current step, with a checkpoint. */
  readonly signal?: AbortSignal;
  /** Takes the steps on several devices: `dist.dataParallel(model, optimizer, devices)`. */
  readonly parallel?: Parallel;
  /** Watch the training. */
  readonly callbacks?: readonly Callback[];
  /** Device by name; the model's when omitted. */
  readonly device?: string;
}

/** The names of {@linkcode FitOptions}. */
export const fitNames: OptionNames<FitOptions> = {
  optimizer: true,
  epochs: true,
  batchSize: true,
  loss: true,
  metrics: true,
  seed: true,
  shuffle: true,
  dropLast: true,
  testBatchSize: true,
  average: true,
  checkpoint: true,
  checkpointEvery: true,
  resume: true,
  graph: true,
  precision: true,
  signal: true,
  parallel: true,
  callbacks: true,
  device: true,
};

/** How a training ended. */
export interface FitResult {
  /** Optimizer steps taken in all. */
  readonly step: number;
  /** Whether the signal ended it early. */
  readonly interrupted: boolean;
  /** Metrics over the last epoch that was finished. */
  readonly train: Numbers;
  /** Metrics on the test part after the last epoch. */
  readonly test: Numbers | undefined;
  /** Seconds spent learning: data and steps, but not tests and checkpoints. */
  readonly seconds: number;
}
