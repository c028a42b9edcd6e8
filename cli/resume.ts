/**
 * `resume`: goes on with a training that was stopped or killed.
 *
 * @module
 */

import { count } from "../optim/hyper.ts";
import {
  flagName,
  type Settings,
  settle,
  textSetting,
} from "../train/settings.ts";
import type { Command } from "./command.ts";
import { exitCodes, UsageError } from "./failure.ts";
import { fromFlags, readFlags, settingsHelp } from "./flags.ts";
import { invocation } from "./invocation.ts";
import { openRun } from "./run_folder.ts";
import { runTraining } from "./run_training.ts";
import { bold } from "./terminal.ts";

const settings = {
  epochs: {
    kind: "number",
    default: 0,
    range: {
      text: `${count.text}, or 0: as many as the run was started with`,
      holds: (x) => x === 0 || count.holds(x),
    },
    unit: "epochs",
    help: "epochs in all; more than before trains longer",
  },
  device: textSetting(
    "NAME",
    "where to compute; as before by default",
  ),
  devices: textSetting(
    "LIST",
    "devices that share each batch; those of before by default",
  ),
} as const satisfies Settings;

/** The `resume` command. */
export const command: Command = {
  summary: "go on with a training that was stopped or killed",
  usage: "RUN [FLAGS]",
  async run(args) {
    const flags = readFlags(args, settings);
    if (flags.help) {
      console.log(`${bold("resume")}: ${command.summary}

${invocation()} resume ${command.usage}

RUN is a run folder. The training goes on from its last checkpoint, to the bit
as if it had never been stopped.

${settingsHelp({ Flags: settings })}`);
      return exitCodes.done;
    }
    const [path, ...more] = flags.rest;
    if (more.length > 0) {
      throw new UsageError(`resume takes one run folder, and not "${more[0]}"`);
    }
    const { epochs, device, devices } = settle(settings, [fromFlags(flags)]);
    const { folder, recipe, values, facts } = await openRun(path);
    const before = values.epochs as number;
    if (epochs > 0 && epochs < before) {
      throw new UsageError(
        `The run ${folder} was started with ${
          flagName("epochs")
        } ${before}; resume it with at least as many`,
      );
    }
    return await runTraining({
      recipe,
      values: {
        ...values,
        ...(epochs > 0 && { epochs }),
        ...((device !== "" || devices !== "") && { device, devices }),
      },
      folder,
      resume: true,
      facts,
    });
  },
};
