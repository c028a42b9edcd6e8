/**
 * Steps that were asked for, and whose numbers are to come: the host asks for
 * the next ones while the device is at them.
 *
 * @module
 */

import type {
  Numbers,
  StartReport,
  StepNumbers,
  StepReport,
} from "./fit_options.ts";
import { valuesOf } from "./measured.ts";
import type { Metric } from "./metrics.ts";

/** Steps that may be under way when the next one is asked for. */
export const mostUnderWay = 2;

/** A step that was asked for. */
export interface AskedStep {
  /** Whether its numbers are still to come. */
  readonly underWay: boolean;
  /**
   * Waits for its numbers; called once, and after those of the steps before it.
   *
   * @throws {BadLossError} when the step went wrong: then neither it nor a later one has changed anything.
   */
  numbers(): StepNumbers;
  /** Lets go of it without a look. */
  drop(): void;
}

/** What else is told of a step. */
export interface Told {
  /** Where the training stood after it. */
  readonly where: StartReport;
  /** Learning rate of the step. */
  readonly learningRate: number;
  /** The training's metrics. */
  readonly metrics: readonly Metric[];
}

interface Step {
  readonly asked: AskedStep;
  readonly report: StepReport;
  readonly metrics: readonly Metric[];
  numbers: StepNumbers | undefined;
  /** Values of the metrics after it, once a later step was measured. */
  values: Numbers | undefined;
}

/** The steps that nobody was told the numbers of yet, oldest first. */
export class StepsUnderWay implements Disposable {
  readonly #tell: (report: StepReport) => Promise<void>;
  #steps: Step[] = [];
  #failure: { readonly error: unknown } | undefined;
  /** Seconds that the host has waited. */
  waited = 0;

  /**
   * Nothing is under way yet.
   *
   * @param tell Hears of each step in turn, once its numbers are there.
   */
  constructor(tell: (report: StepReport) => Promise<void>) {
    this.#tell = tell;
  }

  /** Adds the step that was asked for last; what it returns waits when it is asked for numbers. */
  add(asked: AskedStep, told: Told): StepReport {
    const { where, learningRate, metrics } = told;
    const wait = () => this.#numbersOf(step);
    const report: StepReport = {
      ...where,
      learningRate,
      get batch() {
        return wait();
      },
      metrics() {
        wait();
        return step.values ?? valuesOf(metrics);
      },
    };
    const step: Step = {
      ...{ asked, report, metrics },
      numbers: undefined,
      values: undefined,
    };
    this.#steps.push(step);
    return report;
  }

  /** The numbers of a step, after those of all before it. */
  #numbersOf(step: Step): StepNumbers {
    if (step.numbers !== undefined) return step.numbers;
    if (this.#failure !== undefined) throw this.#failure.error;
    const from = performance.now();
    try {
      let before: Step | undefined;
      for (const earlier of this.#steps) {
        // What is still to be told of the step before is without this one.
        if (before !== undefined && earlier.numbers === undefined) {
          before.values ??= valuesOf(before.metrics);
        }
        earlier.numbers ??= earlier.asked.numbers();
        if (earlier === step) break;
        before = earlier;
      }
      return step.numbers!;
    } catch (error) {
      this.#failure = { error };
      throw error;
    } finally {
      this.waited += (performance.now() - from) / 1000;
    }
  }

  /** Tells of the steps whose numbers are there, and waits until at most `most` are under way. */
  async settle(most = 0): Promise<void> {
    for (;;) {
      const [step] = this.#steps;
      if (step === undefined) return;
      const known = step.numbers !== undefined || !step.asked.underWay;
      if (!known && this.#steps.length <= most) return;
      this.#numbersOf(step);
      this.#steps.shift();
      await this.#tell(step.report);
    }
  }

  /** Lets go of what is still under way. */
  [Symbol.dispose](): void {
    for (const { asked, numbers } of this.#steps.splice(0)) {
      if (numbers === undefined) asked.drop();
    }
  }
}
