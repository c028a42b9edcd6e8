/**
 * Measures a model on data that it does not learn from.
 *
 * @module
 */

import { noGrad } from "../core/autograd.ts";
import { getDevice } from "../core/device.ts";
import { DeviceLostError } from "../core/errors.ts";
import { checkOptions } from "../core/options.ts";
import { Scope } from "../core/scope.ts";
import type { Batch, Dataset } from "../data/dataset.ts";
import { DataLoader } from "../data/loader.ts";
import { crossEntropy } from "../ops/functions.ts";
import { deviceOf, toTensor } from "./arrays.ts";
import type { Loss } from "./fit_options.ts";
import { lookAtOutputs, measure, valuesOf } from "./measured.ts";
import { meanLoss, type Metric, requireNames } from "./metrics.ts";
import { evaluating, type Model } from "./model.ts";
import { inPrecision, type Precision } from "./precision.ts";
import { StepRead } from "./step_read.ts";
import { turn } from "./turn.ts";
import { mostUnderWay } from "./under_way.ts";

/** How to evaluate. */
export interface EvaluateOptions {
  /** Examples per step; 250 by default, or all when there are fewer. */
  readonly batchSize?: number;
  /** Mean loss of a batch; cross entropy by default. */
  readonly loss?: Loss;
  /** What to measure besides the loss. */
  readonly metrics?: readonly Metric[];
  /** Device by name; the model's when omitted. */
  readonly device?: string;
  /** In what to compute; f32 by default. */
  readonly precision?: Precision;
  /** Called after each batch with the examples done. */
  readonly progress?: (examples: number) => void;
}

/**
 * Runs a model over a data set in evaluation mode and gathers the loss and the
 * metrics, by name. The metrics are reset before; they and the modes of the
 * model's modules are left as they were, also when it fails.
 *
 * @throws {TypeError} for an option that there is not.
 */
export async function evaluate(
  model: Model,
  data: Dataset<Batch>,
  options: EvaluateOptions = {},
): Promise<Record<string, number>> {
  checkOptions("evaluate", options, {
    batchSize: true,
    loss: true,
    metrics: true,
    device: true,
    precision: true,
    progress: true,
  });
  const given = options.metrics ?? [];
  const metrics = [meanLoss(), ...given];
  requireNames("evaluate", metrics);
  const batchSize = Math.min(options.batchSize ?? 250, data.length);
  const loader = new DataLoader(data, { batchSize });
  const { device = deviceOf(model) } = options;
  const before = given.map((m) => structuredClone(m.state()));
  for (const metric of given) metric.reset();
  const putBack = evaluating(model);
  try {
    await measureAll(model, loader, metrics, { ...options, device });
    return valuesOf(metrics);
  } finally {
    putBack();
    given.forEach((metric, i) => metric.restore(before[i]));
  }
}

/** Adds all batches to metrics; on devices that run behind the host, it asks for the next ones while the device is at those before. */
async function measureAll(
  model: Model,
  loader: DataLoader,
  metrics: readonly Metric[],
  options: EvaluateOptions & { readonly device: string },
): Promise<void> {
  const { device, precision = "f32", loss = crossEntropy } = options;
  const looks = lookAtOutputs(metrics);
  const underWay: StepRead[] = [];
  const settle = (most: number) => {
    while (underWay.length > most) {
      using _numbers = new Scope();
      measure(metrics, underWay.shift()!.wait().measured);
    }
  };
  let examples = 0;
  try {
    for await (const { inputs, targets } of loader) {
      noGrad(() => {
        using _batch = new Scope();
        const wanted = toTensor(targets, device);
        const step = inPrecision(precision, () => {
          const output = model.forward(toTensor(inputs, device));
          return { output, loss: loss(output, wanted), targets: wanted };
        });
        const read = new StepRead(step, looks);
        underWay.push(read);
        settle(read.apart ? mostUnderWay : 0);
      });
      examples += inputs.shape[0];
      options.progress?.(examples);
      await turn();
    }
    settle(0);
    getDevice(device).synchronize();
  } catch (error) {
    for (const read of underWay) read[Symbol.dispose]();
    // Checks of labels and indices, which waiting tells of, come first.
    if (!(error instanceof DeviceLostError)) getDevice(device).synchronize();
    throw error;
  }
}
