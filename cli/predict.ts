/**
 * `predict`: asks a trained model about pictures or a text.
 *
 * @module
 */

import { recipes } from "../train/recipes/mod.ts";
import type { Screen } from "../train/recipes/recipe.ts";
import { type Settings, settle } from "../train/settings.ts";
import type { Command } from "./command.ts";
import { deviceSetting, useDevices } from "./devices.ts";
import { exitCodes, UsageError } from "./failure.ts";
import { fromFlags, readFlags, settingsHelp } from "./flags.ts";
import { invocation } from "./invocation.ts";
import { loadTrained, openRun } from "./run_folder.ts";
import { bold, columns, hasAllColors } from "./terminal.ts";

const own = { device: deviceSetting } satisfies Settings;

/** The flags of all recipes, to tell their values from inputs. */
function everyFlag(): Settings {
  return Object.assign(
    { ...own },
    ...Array.from(recipes.values(), (r) => r.predictSettings),
  );
}

/** The `predict` command. */
export const command: Command = {
  summary: "ask a trained model about pictures or a text",
  usage: "RUN INPUT… [FLAGS]",
  async run(args) {
    const flags = readFlags(args, everyFlag());
    if (flags.help) {
      console.log(help());
      return exitCodes.done;
    }
    const [path, ...inputs] = flags.rest;
    const run = await openRun(path);
    const { recipe } = run;
    const { device, ...options } = settle(
      { ...recipe.predictSettings, ...own },
      [fromFlags(flags)],
    );
    if (inputs.length === 0) {
      throw new UsageError(
        `Name what to ask the model: predict ${run.folder} ${recipe.input}`,
      );
    }
    const screen: Screen = {
      print: console.log,
      columns: columns(),
      color: hasAllColors(),
    };
    await useDevices({ device });
    const trained = await loadTrained(run);
    for (const input of inputs) {
      await recipe.predict(trained, input, options, screen);
    }
    return exitCodes.done;
  },
};

function help(): string {
  const kinds = [...recipes.values()];
  const inputs = kinds.map((r) => `${r.input} for ${r.name}`).join(", ");
  const groups: Record<string, Settings> = Object.fromEntries(
    kinds.map((r) => [`Flags for ${r.name}`, r.predictSettings]),
  );
  groups.Flags = own;
  return `${bold("predict")}: ${command.summary}

${invocation()} predict ${command.usage}

RUN is a run folder, or a safetensors file in one. INPUT is what its recipe
takes: ${inputs}.

${settingsHelp(groups)}`;
}
