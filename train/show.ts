/**
 * Callbacks that show a training: in the terminal, and in its run folder.
 *
 * @module
 */

import { checkOptions } from "../core/options.ts";
import type { Callback, Numbers, StartReport } from "./fit_options.ts";
import { Progress, progressNames, type ProgressOptions } from "./progress.ts";
import type { RunLog } from "./run_log.ts";

/** A progress bar that others can write above. */
export interface ProgressDisplay extends Callback {
  /** Writes a line without tearing the bar. */
  print(text: string): void;
  /** Ends the bar where it stands. */
  close(): void;
}

/** How {@linkcode progressDisplay} counts and words things. */
export interface ProgressDisplayOptions
  extends Omit<ProgressOptions, "label" | "done"> {
  /** Counted things per example, such as the characters of a window; 1 by default. */
  readonly perExample?: number;
  /** Words for the numbers of a test; `loss 0.1234` by default. */
  readonly words?: (numbers: Numbers) => string;
}

/**
 * Shows a bar for each epoch and a line with the numbers of its test; plain
 * lines where the output is no terminal.
 */
export function progressDisplay(
  options: ProgressDisplayOptions = {},
): ProgressDisplay {
  const { label: _label, done: _done, ...names } = progressNames;
  checkOptions("show progress", options, {
    ...names,
    perExample: true,
    words: true,
  });
  const { perExample = 1, words = numbersText, ...display } = options;
  let bar: Progress | undefined;
  const write = options.write ?? writeToStderr;
  const print = (text: string) =>
    bar === undefined ? write(`${text}\n`) : bar.print(text);
  // The bar of an epoch starts before its first step, so that it measures it.
  const open = (r: StartReport) => {
    if (r.epoch >= r.epochs) return;
    bar = new Progress(r.epochExamples * perExample, {
      ...display,
      label: epochLabel(r),
      done: r.examples * perExample,
    });
  };
  return {
    start: open,
    measured(r) {
      bar?.update(r.examples * perExample, r.metrics());
      if (r.examples < r.epochExamples) return;
      bar?.finish();
      bar = undefined;
    },
    test(examples, total) {
      bar ??= new Progress(total * perExample, { ...display, label: "test" });
      bar.update(examples * perExample);
    },
    epoch(report) {
      bar?.clear();
      bar = undefined;
      const { test } = report;
      if (test !== undefined) {
        print(`${epochLabel(report)}: test ${words(test)}`);
      }
      open({ ...report, epoch: report.epoch + 1, examples: 0 });
    },
    print,
    close() {
      if (bar?.started) bar.finish();
      else bar?.clear();
      bar = undefined;
    },
  };
}

function epochLabel(r: { epoch: number; epochs: number }): string {
  return `epoch ${r.epoch + 1}/${r.epochs}`;
}

function writeToStderr(text: string): void {
  Deno.stderr.writeSync(new TextEncoder().encode(text));
}

/** `accuracy 98.50 %, loss 0.1234`: the loss last. */
export function numbersText(numbers: Numbers): string {
  const { loss, ...others } = numbers;
  const all = loss === undefined ? others : { ...others, loss };
  return Object.entries(all).map(([name, value]) =>
    name === "accuracy"
      ? `accuracy ${(100 * value).toFixed(2)} %`
      : `${name} ${value.toFixed(4)}`
  ).join(", ");
}

/** Logs numbers into a run folder: means over every few steps, and each test. */
export function logging(log: RunLog, every = 10): Callback {
  let sums: Record<string, number> = {};
  let steps = 0;
  return {
    name: "log",
    measured({ step, totalSteps, batch, learningRate }) {
      steps++;
      for (const [name, value] of Object.entries(batch)) {
        sums[name] = (sums[name] ?? 0) + value;
      }
      if (step % every !== 0 && step !== 1 && step !== totalSteps) return;
      const means = Object.entries(sums).map(([name, sum]) =>
        [name, sum / steps] as const
      );
      log.write(step, {
        ...withPrefix("train/", Object.fromEntries(means)),
        learningRate,
      });
      sums = {};
      steps = 0;
    },
    epoch({ step, epoch, test }) {
      log.write(step, { epoch: epoch + 1, ...withPrefix("test/", test ?? {}) });
    },
    state: () => ({ sums, steps }),
    restore(state) {
      ({ sums, steps } = state as {
        sums: Record<string, number>;
        steps: number;
      });
    },
  };
}

function withPrefix(prefix: string, numbers: Numbers): Record<string, number> {
  return Object.fromEntries(
    Object.entries(numbers).map(([name, value]) => [prefix + name, value]),
  );
}
