/**
 * What all metrics of a training gather of a batch.
 *
 * @module
 */

import type { Tensor } from "../core/tensor.ts";
import type { Metric } from "./metrics.ts";

/** The values of metrics by name. */
export function valuesOf(metrics: readonly Metric[]): Record<string, number> {
  return Object.fromEntries(metrics.map((m) => [m.name, m.value()]));
}

/** A batch, as metrics look at it. */
export interface Measured {
  /** Examples that count: none where the step was passed over. */
  readonly examples: number;
  /** Its mean loss. */
  readonly loss: number;
  /** The model's outputs; may be missing where losses are enough for all metrics. */
  readonly output: Tensor | undefined;
  /** The targets; missing where the outputs are. */
  readonly targets: Tensor | undefined;
}

/** Whether metrics look at outputs and targets, not at losses alone. */
export function lookAtOutputs(metrics: readonly Metric[]): boolean {
  return metrics.some((metric) => metric.updateLoss === undefined);
}

/** Adds a batch to metrics. */
export function measure(metrics: readonly Metric[], batch: Measured): void {
  const { examples, loss, output, targets } = batch;
  for (const metric of metrics) {
    if (metric.updateLoss !== undefined) metric.updateLoss(examples, loss);
    else metric.update(output!, targets!, loss);
  }
}
