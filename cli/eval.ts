/**
 * `eval`: measures a trained model on test data.
 *
 * @module
 */

import { evaluate } from "../train/evaluate.ts";
import type { Numbers } from "../train/fit_options.ts";
import { Progress } from "../train/progress.ts";
import { plainJson } from "../train/run_log.ts";
import {
  type Settings,
  settle,
  switchSetting,
  textSetting,
} from "../train/settings.ts";
import type { Command } from "./command.ts";
import { deviceSetting, useDevices } from "./devices.ts";
import { exitCodes, UsageError } from "./failure.ts";
import { fromFlags, readFlags, settingsHelp } from "./flags.ts";
import { invocation } from "./invocation.ts";
import { loadTrained, openRun } from "./run_folder.ts";
import { bold } from "./terminal.ts";

const settings = {
  data: textSetting(
    "PATH",
    "other data of the same kind; the run's by default",
  ),
  device: deviceSetting,
  json: switchSetting("prints JSON"),
} satisfies Settings;

/** The `eval` command. */
export const command: Command = {
  summary: "measure a trained model on test data",
  usage: "RUN [FLAGS]",
  async run(args) {
    const flags = readFlags(args, settings);
    if (flags.help) {
      console.log(`${bold("eval")}: ${command.summary}

${invocation()} eval ${command.usage}

RUN is a run folder, or a safetensors file in one. The test part of the data is
the same as while training.

${settingsHelp({ Flags: settings })}`);
      return exitCodes.done;
    }
    const [path, ...more] = flags.rest;
    if (more.length > 0) {
      throw new UsageError(`eval takes one run folder, and not "${more[0]}"`);
    }
    const { data, device, json } = settle(settings, [fromFlags(flags)]);
    const run = await openRun(path);
    await useDevices({ device });
    const { recipe, facts, weights } = run;
    const values = data === "" ? run.values : { ...run.values, data };
    const { model } = await loadTrained(run);
    using source = await recipe.open(values, facts);
    const { test } = source.split;
    if (test === undefined) {
      throw new RangeError(
        `${values.data} has no part to test on: ${source.words}`,
      );
    }
    const measure = recipe.measure(values);
    const { perExample = 1, unit } = measure;
    const bar = new Progress(test.length * perExample, { label: "test", unit });
    let numbers: Numbers;
    try {
      numbers = await evaluate(model, test, {
        loss: measure.loss,
        metrics: measure.metrics,
        progress: (examples) => bar.update(examples * perExample),
      });
    } finally {
      bar.clear();
    }
    const examples = test.length * perExample;
    console.log(
      json
        ? plainJson({ weights, examples, unit, ...numbers })
        : `${bold(measure.words(numbers))} on ${
          examples.toLocaleString("en-US")
        } ${unit} (${weights})`,
    );
    return exitCodes.done;
  },
};
