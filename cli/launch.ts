/**
 * `launch`: runs a script in one process per device.
 *
 * @module
 */

import { launch } from "../dist/launch.ts";
import { numberSetting, type Settings, settle } from "../train/settings.ts";
import type { Command } from "./command.ts";
import { exitCodes, UsageError } from "./failure.ts";
import { fromFlags, readFlags, settingsHelp } from "./flags.ts";
import { invocation } from "./invocation.ts";
import { bold } from "./terminal.ts";

const settings = {
  processes: numberSetting(1, "how many, one for each device", {
    unit: "processes",
  }),
} satisfies Settings;

/** The `launch` command. */
export const command: Command = {
  summary: "run a script in one process per device, which can meet in a group",
  usage: "[FLAGS] SCRIPT [ARGUMENTS OF THE SCRIPT]",
  async run(args) {
    const at = scriptAt(args);
    const flags = readFlags(args.slice(0, at), settings);
    if (flags.help) {
      console.log(`${bold("launch")}: ${command.summary}

${invocation()} launch ${command.usage}

In the script, dist.init() joins the processes. When one fails, or on Ctrl-C,
all are ended.

${settingsHelp({ Flags: settings })}`);
      return exitCodes.done;
    }
    const [script, ...rest] = args.slice(at);
    if (script === undefined) {
      throw new UsageError("launch takes a script, and was given none");
    }
    const { processes } = settle(settings, [fromFlags(flags)]);
    const stop = new AbortController();
    const listener = () => stop.abort();
    const signals: Deno.Signal[] = Deno.build.os === "windows"
      ? ["SIGINT"]
      : ["SIGINT", "SIGTERM"];
    for (const name of signals) Deno.addSignalListener(name, listener);
    const { code, failed, aborted } = await launch(script, {
      processes,
      args: rest,
      signal: stop.signal,
    });
    for (const name of signals) Deno.removeSignalListener(name, listener);
    if (aborted) return exitCodes.interrupted;
    if (failed !== undefined) {
      console.error(
        `error: Rank ${failed} of ${processes} ended with exit code ${code}; the others were ended.`,
      );
    }
    return code;
  },
};

/** Where the script stands: what follows it is its own. */
function scriptAt(args: readonly string[]): number {
  const at = args.findIndex((arg, i) =>
    !arg.startsWith("-") && args[i - 1] !== "--processes"
  );
  return at < 0 ? args.length : at;
}
