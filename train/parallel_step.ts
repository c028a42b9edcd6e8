/**
 * A step on several devices.
 *
 * @module
 */

import { noGrad } from "../core/autograd.ts";
import type { Tensor } from "../core/tensor.ts";
import type { Batch } from "../data/dataset.ts";
import { concat, crossEntropy, to } from "../ops/functions.ts";
import type { FitOptions, Parallel, Part } from "./fit_options.ts";
import type { Measured } from "./measured.ts";
import type { Model } from "./model.ts";
import { refuseBadLoss, refuseOthersLoss } from "./nan_guard.ts";
import type { TrainingPrecision } from "./precision.ts";

/** The training that the step is of. */
export interface ParallelStepOptions {
  /** What learns. */
  readonly model: Model;
  /** How. */
  readonly options: FitOptions;
  /** In what precision. */
  readonly precision: TrainingPrecision;
  /** Number of the step, from 1. */
  readonly step: number;
}

/** Parts of a batch on several devices as one tensor on the first of them. */
function joined(parts: readonly Tensor[]): Tensor {
  const [first, ...others] = parts;
  if (others.length === 0) return first;
  const { name } = first.device;
  return noGrad(() => concat([first, ...others.map((part) => to(part, name))]));
}

/**
 * Takes a step on several devices; the host decides about its update.
 *
 * @throws {BadLossError} when its loss is no finite number, here or in another process.
 */
export function parallelStep(
  parallel: Parallel,
  batch: Batch,
  { model, options, precision, step }: ParallelStepOptions,
): Measured {
  const { loss = crossEntropy, average } = options;
  const parts = precision.run(() =>
    parallel.backward(batch, loss, precision.scale)
  );
  parallel.finish();
  const value = parts.reduce(
    (sum, { share, loss }) => sum + share * loss.item(),
    0,
  );
  if (!parallel.agree(Number.isFinite(value))) {
    if (!precision.forgives()) {
      refuse(parallel, parts, { model, precision, step });
    }
    // An overflow that was passed over says nothing of the model.
    const [{ output, targets }] = parts;
    return { examples: 0, loss: value, output, targets };
  }
  if (precision.stepTogether(parallel)) average?.update();
  else precision.refuseStuck(step);
  const output = joined(parts.map((part) => part.output));
  const targets = joined(parts.map((part) => part.targets));
  return { examples: output.shape[0], loss: value, output, targets };
}

/** Says which tensor of which device went bad first. */
function refuse(
  parallel: Parallel,
  parts: readonly Part[],
  { model, precision, step }: Omit<ParallelStepOptions, "options">,
): never {
  const bad = parts.findIndex(({ loss }) => !Number.isFinite(loss.item()));
  if (bad < 0) refuseOthersLoss(step);
  const { inputs, output, loss } = parts[bad];
  const failed = { loss: loss.item(), step, model, inputs, output };
  return parallel.on(bad, () => precision.run(() => refuseBadLoss(failed)));
}
