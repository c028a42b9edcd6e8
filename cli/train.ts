/**
 * `train`: trains a model from a recipe.
 *
 * @module
 */

import { nearest } from "../core/errors.ts";
import { recipes } from "../train/recipes/mod.ts";
import {
  allSettings,
  type Picks,
  pickSettings,
  settingElsewhere,
  settingGroups,
} from "../train/recipes/common.ts";
import type { Recipe } from "../train/recipes/recipe.ts";
import { newRunFolder } from "../train/run_log.ts";
import {
  type Given,
  settingName,
  type Settings,
  settle,
  textSetting,
  type Values,
} from "../train/settings.ts";
import type { Command } from "./command.ts";
import { type ConfigFile, readConfigFile } from "./config_file.ts";
import { exitCodes, UsageError } from "./failure.ts";
import { type Flags, fromFlags, readFlags, settingsHelp } from "./flags.ts";
import { invocation } from "./invocation.ts";
import { runTraining } from "./run_training.ts";
import { bold, definitions } from "./terminal.ts";

const own = {
  config: textSetting(
    "FILE",
    "settings as JSON or YAML; flags come before them",
  ),
} satisfies Settings;

/** The `train` command. */
export const command: Command = {
  summary: "train a model from a recipe",
  usage: "RECIPE [DATA] [FLAGS]",
  async run(args) {
    const [first, ...others] = args;
    const named = first !== undefined && !first.startsWith("-");
    const flagArgs = named ? others : args;
    const { values: { config: path } } = readFlags(flagArgs, own);
    const file = typeof path === "string"
      ? await readConfigFile(path)
      : undefined;
    const name = named ? first : file?.recipe;
    if (name === undefined) {
      console.log(overview());
      return flagArgs.some((arg) => arg === "--help" || arg === "-h")
        ? exitCodes.done
        : exitCodes.usage;
    }
    const recipe = findRecipe(name);
    const picks = pick(recipe, flagArgs, file);
    if (readFlags(flagArgs, own).help) {
      console.log(recipeHelp(recipe, picks));
      return exitCodes.done;
    }
    const values = chosen(recipe, picks, flagArgs, file);
    const folder = values.run === ""
      ? newRunFolder("runs", picks.model)
      : values.run as string;
    return await runTraining({ recipe, values, folder, resume: false });
  },
};

function findRecipe(name: string): Recipe {
  const recipe = recipes.get(name);
  if (recipe !== undefined) return recipe;
  const near = nearest(name, recipes.keys());
  throw new UsageError(
    `There is no recipe "${name}"${
      near === undefined ? "" : `; did you mean ${near}?`
    } (there are ${[...recipes.keys()].join(", ")})`,
  );
}

/** The values among `values` that are in a table. */
function only(given: Given, table: Settings): Given {
  const values = Object.fromEntries(
    Object.entries(given.values).filter(([name]) => settingName(name) in table),
  );
  return { ...given, values };
}

/** Model, optimizer and policy, which decide what else can be set. */
function pick(
  recipe: Recipe,
  args: readonly string[],
  file: ConfigFile | undefined,
): Picks {
  let table = pickSettings(recipe);
  const flags = fromFlags(readFlags(args, table));
  const places = file === undefined ? [flags] : [file, flags];
  const { model } = settle(
    { model: table.model },
    places.map((place) => only(place, { model: table.model })),
  );
  table = pickSettings(recipe, model as string);
  return settle(
    table,
    places.map((place) => only(place, table)),
  ) as unknown as Picks;
}

/** All settings of a training with their values. */
function chosen(
  recipe: Recipe,
  picks: Picks,
  args: readonly string[],
  file: ConfigFile | undefined,
): Values {
  const table = allSettings(recipe, picks);
  const flags = readFlags(args, { ...table, ...own });
  const { config: _, ...values } = flags.values;
  const places: Given[] = [
    ...(file === undefined ? [] : [file]),
    withArgument(recipe, { ...flags, values }),
  ];
  if (file?.recipe !== undefined && file.recipe !== recipe.name) {
    throw new UsageError(
      `The configuration ${file.where} is for the recipe ${file.recipe}, and the command line names ${recipe.name}`,
    );
  }
  return settle(table, places, (name) => settingElsewhere(recipe, name));
}

/** The argument without a flag under the name of its setting. */
function withArgument(recipe: Recipe, flags: Flags): Given {
  const given = fromFlags(flags);
  const { argument } = recipe;
  const [first, ...more] = flags.rest;
  if (first === undefined) return given;
  if (argument === undefined || argument in given.values || more.length > 0) {
    throw new UsageError(
      `The recipe ${recipe.name} does not take the argument "${
        more[0] ?? first
      }"`,
    );
  }
  return { ...given, values: { ...given.values, [argument]: first } };
}

function overview(): string {
  const rows = [...recipes.values()].map((r) => [r.name, r.summary] as const);
  const me = invocation();
  return `${bold("train")}: ${command.summary}

${me} train ${command.usage}

${definitions(rows)}

The settings of a recipe: ${me} train RECIPE --help`;
}

function recipeHelp(recipe: Recipe, picks: Picks): string {
  const { argument } = recipe;
  const me = `${invocation()} train ${recipe.name}`;
  return `${bold(`train ${recipe.name}`)}: ${recipe.summary}

${me}${argument === undefined ? "" : ` [${argument.toUpperCase()}]`} [FLAGS]

In brackets: the default with its unit, and what else it may be.

${settingsHelp({ ...settingGroups(recipe, picks), "File": own })}

Other models, optimizers and policies have settings of their own, which
${me} --optimizer NAME --policy NAME --help shows.`;
}
