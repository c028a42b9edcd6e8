/**
 * Run folders as the commands see them: which files they hold, and how a
 * trained model is made of them again.
 *
 * @module
 */

import "../devices/cpu/device.ts";
import { nearest } from "../core/errors.ts";
import { Scope } from "../core/scope.ts";
import { loadWeights } from "../train/checkpoint.ts";
import {
  allSettings,
  type Picks,
  pickSettings,
} from "../train/recipes/common.ts";
import { recipes } from "../train/recipes/mod.ts";
import type { Facts, Recipe, Trained } from "../train/recipes/recipe.ts";
import { readConfig, restore } from "../train/run_log.ts";
import { type Settings, settle, type Values } from "../train/settings.ts";
import { UsageError } from "./failure.ts";

/** The files of a run folder. */
export function runFiles(
  folder: string,
): Record<"config" | "metrics" | "checkpoint" | "model" | "curve", string> {
  return {
    config: `${folder}/config.json`,
    metrics: `${folder}/metrics.jsonl`,
    checkpoint: `${folder}/checkpoint.safetensors`,
    model: `${folder}/model.safetensors`,
    curve: `${folder}/curve`,
  };
}

/** What `config.json` of a run says. */
export interface Run {
  /** The folder. */
  readonly folder: string;
  /** The recipe. */
  readonly recipe: Recipe;
  /** All settings. */
  readonly values: Values;
  /** What the model knows of the data. */
  readonly facts: Facts;
  /** The file with the weights. */
  readonly weights: string;
}

/**
 * Reads a run.
 *
 * @param path The run folder, or a file with weights in it.
 * @throws {UsageError} when there is no such folder.
 */
export async function openRun(path: string | undefined): Promise<Run> {
  if (path === undefined) {
    throw new UsageError("Name a run folder, such as runs/<time>_lenet");
  }
  const { folder, weights } = await locate(path);
  const { recipe: name, values, facts, decaf } = await readConfig(folder);
  const recipe = typeof name === "string" ? recipes.get(name) : undefined;
  const damaged = (why: string) =>
    new SyntaxError(`${folder}/config.json is damaged: ${why}; ${restore}`);
  if (recipe === undefined) {
    throw damaged(
      `its recipe ${JSON.stringify(name)} is none of ${
        [...recipes.keys()].join(", ")
      }`,
    );
  }
  if (!isObject(values) || !isObject(facts) || typeof decaf !== "string") {
    throw damaged('it needs "decaf", "values" and "facts"');
  }
  try {
    return {
      folder,
      recipe,
      values: settleRun(recipe, values),
      facts,
      weights,
    };
  } catch (error) {
    throw damaged((error as Error).message);
  }
}

/** Checks all settings of a run, those first that decide which others there are. */
function settleRun(
  recipe: Recipe,
  values: Readonly<Record<string, unknown>>,
): Values {
  const given = (table: Settings) => ({
    where: "there",
    write: (name: string) => name,
    values: Object.fromEntries(
      Object.entries(values).filter(([name]) => name in table),
    ),
  });
  const { model: choice } = pickSettings(recipe);
  const { model } = settle({ model: choice }, [given({ model: choice })]);
  const table = pickSettings(recipe, model as string);
  const picks = settle(table, [given(table)]) as unknown as Picks;
  const all = allSettings(recipe, picks);
  return settle(all, [{ ...given(all), values }]);
}

function isObject(x: unknown): x is Record<string, unknown> {
  return typeof x === "object" && x !== null && !Array.isArray(x);
}

/** The folder, and the best file with weights in it. */
async function locate(
  path: string,
): Promise<{ folder: string; weights: string }> {
  const isFile = await exists(path, "isFile");
  if (isFile) {
    const at = path.lastIndexOf("/");
    return { folder: at < 0 ? "." : path.slice(0, at), weights: path };
  }
  if (!await exists(path, "isDirectory")) {
    const near = nearest(path, await runsHere());
    throw new UsageError(
      `There is no run folder ${path}${
        near === undefined ? "" : `; did you mean ${near}?`
      }`,
    );
  }
  const folder = path.replace(/(?<=.)\/+$/, "");
  const { model, checkpoint } = runFiles(folder);
  return {
    folder,
    weights: await exists(model, "isFile") ? model : checkpoint,
  };
}

/** Whether a path is a file, or a folder. */
export async function exists(
  path: string,
  kind: "isFile" | "isDirectory",
): Promise<boolean> {
  try {
    return (await Deno.stat(path))[kind];
  } catch {
    return false;
  }
}

async function runsHere(): Promise<string[]> {
  if (!await exists("runs", "isDirectory")) return [];
  const entries = await Array.fromAsync(Deno.readDir("runs"));
  return entries.map((entry) => `runs/${entry.name}`);
}

/** The trained model of a run, ready to answer. */
export async function loadTrained(run: Run): Promise<Trained> {
  const { recipe, values, facts, weights } = run;
  if (!await exists(weights, "isFile")) {
    throw new Deno.errors.NotFound(
      `${run.folder} holds no weights yet: it was stopped before its first checkpoint; resume it first`,
    );
  }
  const model = recipe.models[values.model as string].build(values, facts);
  using _loading = new Scope();
  model.loadStateDict(await loadWeights(weights));
  model.eval();
  return { model, values, facts };
}
