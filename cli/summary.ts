/**
 * What a training says before its first and after its last step.
 *
 * @module
 */

import type { AnyModule } from "../nn/mod.ts";
import { runChart, saveChart } from "../train/chart.ts";
import type { FitResult, Numbers } from "../train/fit_options.ts";
import type { CommonValues } from "../train/recipes/common.ts";
import type { Source } from "../train/recipes/recipe.ts";
import { readMetrics } from "../train/run_log.ts";
import { invocation } from "./invocation.ts";
import { runFiles } from "./run_folder.ts";
import type { TrainingPlan } from "./run_training.ts";
import { bold, definitions, dim } from "./terminal.ts";

function count(value: number): string {
  return value.toLocaleString("en-US");
}

function nameOf({ recipe, values }: TrainingPlan): string {
  const { title } = recipe.models[values.model as string];
  return `${title} on ${values.data || recipe.title}`;
}

/** Says what is about to be trained. */
export function announce(
  plan: TrainingPlan,
  { source, model, steps, from }: {
    source: Source;
    model: AnyModule;
    steps: number;
    /** The step to go on after, where a run is resumed. */
    from: number | undefined;
  },
): void {
  const v = plan.values as unknown as CommonValues;
  const parameters = count(model.parameterCount());
  console.log(`${bold(`Decaf: ${nameOf(plan)}`)}, ${parameters} parameters
${source.words}
${plural(v.epochs, "epoch")} of batches of ${v.batchSize}, ${
    plural(steps, "step")
  }; ${v.optimizer}, learning rate ${v.lr}, policy ${v.policy}
${from === undefined ? "" : `${goingOn(from)}\n`}${
    dim(`run folder ${plan.folder}; Ctrl-C stops and saves`)
  }
`);
}

function goingOn(from: number): string {
  return from > 0
    ? `goes on after step ${count(from)}`
    : "starts anew: it was stopped before its first checkpoint";
}

function plural(n: number, word: string): string {
  return `${count(n)} ${word}${n === 1 ? "" : "s"}`;
}

/** Draws the curve of a run; `false`, with a remark, where that is not possible. */
export async function drawCurve(plan: TrainingPlan): Promise<boolean> {
  const files = runFiles(plan.folder);
  const { epochs, optimizer, lr } = plan.values as unknown as CommonValues;
  const subtitle = `${
    plural(epochs, "epoch")
  }, ${optimizer}, learning rate ${lr}`;
  try {
    const lines = await readMetrics(plan.folder);
    await saveChart(files.curve, runChart(lines, nameOf(plan), subtitle));
    return true;
  } catch (error) {
    // The training is done and kept; a picture is no reason to fail.
    console.error(`The curve was not drawn: ${(error as Error).message}`);
    return false;
  }
}

/** Says how to go on after Ctrl-C. */
export function sayHowToGoOn(folder: string, { step }: FitResult): void {
  console.log(`
Stopped after step ${count(step)}; the checkpoint is saved. Go on with

  ${bold(`${invocation()} resume ${folder}`)}`);
}

/** Says how well the model does, what the run folder holds, and what to type next. */
export function sayWhatWasMade({ plan, result, words, drawn }: {
  plan: TrainingPlan;
  result: FitResult;
  words: (numbers: Numbers) => string;
  drawn: boolean;
}): void {
  const { folder, recipe, values } = plan;
  const { test, train, seconds } = result;
  const time = `${seconds.toFixed(1)} s of training`;
  const numbers = test === undefined
    ? `training ${words(train)}`
    : `test ${words(test)}`;
  const me = invocation();
  const more = (values.epochs as number) + 1;
  console.log(`${bold(numbers)}${seconds > 0 ? `, after ${time}` : ""}

${bold(folder)} holds
${
    definitions([
      ["config.json", "what was trained"],
      ["metrics.jsonl", "the numbers on the way, a JSON object per line"],
      ["events.out.tfevents.*", "the same for TensorBoard"],
      ["checkpoint.safetensors", "all that resume needs"],
      ["model.safetensors", "the weights, as PyTorch reads them"],
      ...(drawn
        ? [["curve.svg, curve.png", "the curves as pictures"] as const]
        : []),
    ])
  }

Ask it, measure it again, or train it longer:
  ${me} predict ${folder} ${recipe.input}
  ${me} eval ${folder}
  ${me} resume ${folder} --epochs ${more}`);
}
