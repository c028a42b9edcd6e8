/**
 * Measures a model on data that it does not learn from.
 *
 * @module
 */

import { noGrad } from "../core/autograd.ts";
import { checkOptions } from "../core/options.ts";
import { Scope } from "../core/scope.ts";
import type { Batch, Dataset } from "../data/dataset.ts";
import { DataLoader } from "../data/loader.ts";
import { crossEntropy } from "../ops/functions.ts";
import { deviceOf, toTensor } from "./arrays.ts";
import type { Loss } from "./fit_options.ts";
import { measure, valuesOf } from "./measured.ts";
import { meanLoss, type Metric, requireNames } from "./metrics.ts";
import { evaluating, type Model } from "./model.ts";
import { inPrecision, type Precision } from "./precision.ts";
import { turn } from "./turn.ts";

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
  let examples = 0;
  try {
    for await (const batch of loader) {
      noGrad(() => {
        using _batch = new Scope();
        const targets = toTensor(batch.targets, device);
        const { output, loss } = inPrecision(options.precision ?? "f32", () => {
          const output = model.forward(toTensor(batch.inputs, device));
          const loss = (options.loss ?? crossEntropy)(output, targets).item();
          return { output, loss };
        });
        const { shape: [size] } = batch.inputs;
        measure(metrics, { examples: size, loss, output, targets });
        examples += size;
      });
      options.progress?.(examples);
      await turn();
    }
    return valuesOf(metrics);
  } finally {
    putBack();
    given.forEach((metric, i) => metric.restore(before[i]));
  }
}
