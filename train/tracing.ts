/**
 * A trace of a few training steps.
 *
 * @module
 */

import { checkOptions } from "../core/options.ts";
import { Profiler } from "../core/profiler.ts";
import { writeFileAtomic } from "./atomic_file.ts";
import type { Callback } from "./fit_options.ts";

/** Which steps are traced. */
export interface TracingOptions {
  /** Steps before the first that is traced, in which plans are chosen and kernels compiled; 10 by default. */
  readonly after?: number;
  /** Steps that are traced; 5 by default. */
  readonly steps?: number;
  /** Gets a table of the times. */
  readonly table?: (text: string) => void;
}

/**
 * Writes a trace of some steps, which Perfetto and Chrome's about:tracing open.
 *
 * @param path The file.
 * @param options Which steps.
 */
export function tracing(path: string, options: TracingOptions = {}): Callback {
  checkOptions("trace", options, { after: true, steps: true, table: true });
  const { steps = 5 } = options;
  let { after = 10 } = options;
  let seen = 0;
  let profiler: Profiler | undefined;
  async function end(): Promise<void> {
    if (profiler === undefined) return;
    const profile = profiler.stop();
    profiler = undefined;
    await writeFileAtomic(path, profile.trace());
    options.table?.(profile.table());
  }
  return {
    start({ step, totalSteps }) {
      // A short training is traced from an earlier step on.
      after = Math.max(0, Math.min(after, totalSteps - step - steps));
      if (after === 0) profiler = new Profiler();
    },
    async step() {
      seen++;
      if (seen === after + steps) await end();
      else if (seen === after) profiler = new Profiler();
    },
    async epoch({ step, totalSteps }) {
      if (profiler === undefined || seen > after || step >= totalSteps) {
        return await end();
      }
      // No step was traced yet, only the test after the epoch.
      profiler.stop();
      profiler = new Profiler();
    },
  };
}
