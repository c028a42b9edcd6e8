/**
 * Ends a training that does not get better any more.
 *
 * @module
 */

import { showValue } from "../core/attributes.ts";
import { checkOptions } from "../core/options.ts";
import type { Callback, EpochReport } from "./fit_options.ts";

/** Options of {@linkcode earlyStopping}. */
export interface EarlyStoppingOptions {
  /** Epochs without improvement that are let pass; 3 by default. */
  readonly patience?: number;
  /** Number to watch; `loss` by default. */
  readonly metric?: string;
  /** Whether less or more is better; `min` by default. */
  readonly mode?: "min" | "max";
  /** What an improvement must exceed; 0 by default. */
  readonly threshold?: number;
}

interface Memory {
  /** Best value so far; undefined before the first epoch. */
  readonly best?: number;
  /** Epochs since. */
  readonly waited: number;
}

/**
 * A callback that stops the training when a number of the test (of the
 * training, where there is no test) has not improved for more than `patience`
 * epochs.
 *
 * @throws {RangeError} when the patience is no whole number of at least 0, or
 *   the threshold is below 0.
 * @example
 * ```ts
 * import { earlyStopping } from "./early_stopping.ts";
 *
 * const callback = earlyStopping({ patience: 1 });
 * const place = { totalSteps: 9, epochs: 9, epochExamples: 8, examples: 0 };
 * const ends = [3, 2, 2.5, 2.4].map((loss, epoch) =>
 *   callback.epoch!({ ...place, step: epoch, epoch, train: { loss }, test: undefined })
 * );
 * if (ends.indexOf("stop") !== 3) throw new Error(`${ends}`);
 * ```
 */
export function earlyStopping(options: EarlyStoppingOptions = {}): Callback {
  checkOptions("stop early", options, {
    patience: true,
    metric: true,
    mode: true,
    threshold: true,
  });
  const { patience = 3, metric = "loss", mode = "min", threshold = 0 } =
    options;
  if (!Number.isInteger(patience) || patience < 0) {
    throw new RangeError(
      `Cannot stop early with a patience of ${patience} epochs: it must be a whole number of at least 0`,
    );
  }
  if (mode !== "min" && mode !== "max") {
    throw new TypeError(
      `Cannot stop early with the mode ${
        showValue(mode)
      }: it must be "min" or "max"`,
    );
  }
  if (!(threshold >= 0)) {
    throw new RangeError(
      `Cannot stop early with a threshold of ${threshold}: it must be a number of at least 0`,
    );
  }
  let memory: Memory = { waited: 0 };
  return {
    name: "early stopping",
    epoch(report) {
      const value = watched(report, metric);
      const { best, waited } = memory;
      // NaN is no improvement, not even at first.
      const worst = mode === "min" ? Infinity : -Infinity;
      const gain = mode === "min"
        ? (best ?? worst) - value
        : value - (best ?? worst);
      memory = gain > threshold
        ? { best: value, waited: 0 }
        : { best, waited: waited + 1 };
      return memory.waited > patience ? "stop" : undefined;
    },
    state: () => memory,
    restore(state) {
      memory = state as Memory;
    },
  };
}

function watched({ test, train }: EpochReport, metric: string): number {
  const value = (test ?? train)[metric];
  if (value !== undefined) return value;
  throw new RangeError(
    `Cannot stop early by "${metric}": the training measures ${
      Object.keys(test ?? train).join(", ")
    }`,
  );
}
