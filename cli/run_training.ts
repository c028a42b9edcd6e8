/**
 * One training from start to end, in its run folder: what `train` and
 * `resume` do.
 *
 * @module
 */

import { defaultDevice, getDevice } from "../core/device.ts";
import { manualSeed } from "../core/random.ts";
import { setThreads } from "../devices/cpu/pool.ts";
import { DataLoader } from "../data/loader.ts";
import { dataParallel } from "../dist/mod.ts";
import type { AnyModule } from "../nn/mod.ts";
import { ema, type Optimizer, type ParameterAverage } from "../optim/mod.ts";
import {
  removeLeftovers,
  splitPath,
  writeFileAtomic,
} from "../train/atomic_file.ts";
import { loadProgress, saveWeights } from "../train/checkpoint.ts";
import { earlyStopping } from "../train/early_stopping.ts";
import { fit } from "../train/fit.ts";
import type { Callback, FitResult } from "../train/fit_options.ts";
import type { Model } from "../train/model.ts";
import { type CommonValues, makeOptimizer } from "../train/recipes/common.ts";
import type {
  Facts,
  Recipe,
  Screen,
  Source,
  Trained,
} from "../train/recipes/recipe.ts";
import { RunLog } from "../train/run_log.ts";
import { observes } from "../train/schedule.ts";
import { SettingError, type Values } from "../train/settings.ts";
import { logging, progressDisplay } from "../train/show.ts";
import { tracing } from "../train/tracing.ts";
import { useDevices, useGraph } from "./devices.ts";
import { exitCodes } from "./failure.ts";
import { exists, runFiles } from "./run_folder.ts";
import {
  announce,
  drawCurve,
  sayHowToGoOn,
  sayWhatWasMade,
} from "./summary.ts";
import { columns, hasAllColors } from "./terminal.ts";
import { version } from "./version.ts";

/** What to train, and where. */
export interface TrainingPlan {
  /** The recipe. */
  readonly recipe: Recipe;
  /** All settings. */
  readonly values: Values;
  /** The run folder. */
  readonly folder: string;
  /** Whether the folder is there and is to be gone on with. */
  readonly resume: boolean;
  /** What the model was made for, when it is resumed. */
  readonly facts?: Facts;
}

/** Trains, or goes on; returns the exit code. */
export async function runTraining(plan: TrainingPlan): Promise<number> {
  const { recipe, folder } = plan;
  const values = plan.values as Values & CommonValues & { model: string };
  if (values.threads > 0) setThreads(values.threads);
  manualSeed(values.seed);
  // What cannot be trained on is said before data are fetched.
  const devices = await useDevices(values);
  const graph = useGraph(values, devices, plan.resume);
  await checkTrace(values.trace);
  using source = await recipe.open(values, plan.facts);
  const { split, facts } = source;
  if (values.benchmark) {
    const named = devices.map((name) => getDevice(name));
    for (const { options } of named.length > 0 ? named : [defaultDevice()]) {
      if (options !== undefined) options.benchmark = true;
    }
  }
  const model = recipe.models[values.model].build(values, facts);
  const steps = stepsOf(source, values);
  using optimizer = makeOptimizer(model, values, steps);
  if (graph && !optimizer.capturable) {
    throw new SettingError(
      `Cannot set --graph with --optimizer ${optimizer.method.name}: it computes with numbers that change from step to step; set --optimizer adamW, or leave --graph out`,
    );
  }
  using parallel = devices.length > 1
    ? dataParallel(model, optimizer, devices)
    : undefined;
  using average = values.ema > 0
    ? ema(model, { decay: values.ema, warmup: true })
    : undefined;
  const from = plan.resume ? await savedStep(folder) : undefined;
  using log = await openLog(plan, facts, from);
  const measure = recipe.measure(values);
  const display = progressDisplay({
    unit: measure.unit,
    perExample: measure.perExample,
    words: measure.words,
  });
  const screen: Screen = {
    print: display.print,
    columns: columns(),
    color: hasAllColors(),
  };
  const trained: Trained = { model, values, facts };
  announce(plan, { source, model, steps, from });

  const stop = onInterrupt(() =>
    display.print(
      "Stopping after this step; Ctrl-C again ends at once.",
    )
  );
  const result = await fit(model, split, {
    optimizer,
    average,
    parallel,
    epochs: values.epochs,
    batchSize: values.batchSize,
    seed: values.seed,
    loss: measure.loss,
    metrics: measure.metrics,
    checkpoint: runFiles(folder).checkpoint,
    checkpointEvery: values.checkpointEvery,
    graph,
    precision: values.precision,
    resume: from !== undefined && from > 0,
    signal: stop.signal,
    callbacks: [
      display,
      logging(log, values.logEvery),
      ...recipe.watch?.(trained, screen) ?? [],
      ...watchers(optimizer, values),
      ...(values.trace === ""
        ? []
        : [tracing(values.trace, { table: display.print })]),
    ],
  }).finally(() => {
    stop[Symbol.dispose]();
    display.close();
  });
  if (result.interrupted) {
    sayHowToGoOn(folder, result);
    return exitCodes.interrupted;
  }
  await finish({ plan, source, trained, average, result });
  return exitCodes.done;
}

/** Refuses a trace in a folder that is not there, which would be seen only after its steps. */
async function checkTrace(path: string): Promise<void> {
  const { folder } = splitPath(path);
  if (path === "" || await exists(folder, "isDirectory")) return;
  throw new SettingError(
    `Cannot set --trace to "${path}": there is no folder ${folder}; create it, or name another one`,
  );
}

/** Steps of the whole training; refuses batches that are larger than the data. */
function stepsOf({ split }: Source, { batchSize, epochs }: CommonValues) {
  const loader = new DataLoader(split.train, { batchSize, dropLast: true });
  return loader.batchesPerEpoch * epochs;
}

/** Steps in the last checkpoint of a run; 0 where there is none yet. */
async function savedStep(folder: string): Promise<number> {
  const { checkpoint } = runFiles(folder);
  return await exists(checkpoint, "isFile")
    ? (await loadProgress(checkpoint)).step
    : 0;
}

/** Makes the run folder, or goes on with its logs after step `from`. */
async function openLog(
  { recipe, values, folder }: TrainingPlan,
  facts: Facts,
  from: number | undefined,
): Promise<RunLog> {
  const config = { decaf: version, recipe: recipe.name, values, facts };
  if (from === undefined) return await RunLog.create(folder, config);
  const { checkpoint, model, config: path } = runFiles(folder);
  await writeFileAtomic(path, `${JSON.stringify(config, null, 2)}\n`);
  // A killed process leaves the file it was writing, under another name.
  await removeLeftovers(checkpoint);
  await removeLeftovers(model);
  // Weights of an earlier end would be taken for those of this one.
  if (await exists(model, "isFile")) await Deno.remove(model);
  return await RunLog.resume(folder, from);
}

function watchers(optimizer: Optimizer, values: CommonValues): Callback[] {
  const { policy } = optimizer.groups[0];
  return [
    ...(observes(policy)
      ? [
        {
          epoch: ({ test, train }) => policy.observe((test ?? train).loss),
        } satisfies Callback,
      ]
      : []),
    ...(values.patience > 0
      ? [earlyStopping({ patience: values.patience })]
      : []),
  ];
}

/** Ctrl-C and a request to end as a signal; the second one ends the process. */
function onInterrupt(first: () => void): Disposable & { signal: AbortSignal } {
  const controller = new AbortController();
  const names: Deno.Signal[] = Deno.build.os === "windows"
    ? ["SIGINT"]
    : ["SIGINT", "SIGTERM"];
  const listener = () => {
    if (controller.signal.aborted) Deno.exit(exitCodes.interrupted);
    controller.abort();
    first();
  };
  for (const name of names) Deno.addSignalListener(name, listener);
  return {
    signal: controller.signal,
    [Symbol.dispose]() {
      for (const name of names) Deno.removeSignalListener(name, listener);
    },
  };
}

interface Finished {
  readonly plan: TrainingPlan;
  readonly source: Source;
  readonly trained: Trained & { readonly model: AnyModule & Model };
  readonly average: ParameterAverage | undefined;
  readonly result: FitResult;
}

/** Writes the weights and the curve, and shows what the model does. */
async function finish(finished: Finished): Promise<void> {
  const { plan, source, trained, average, result } = finished;
  const { recipe, values, folder } = plan;
  // From here on the average, where there is one, is the model.
  average?.swap();
  trained.model.eval();
  await saveWeights(runFiles(folder).model, trained.model.stateDict());
  const drawn = values.curve === true && await drawCurve(plan);
  const { words } = recipe.measure(values);
  const screen: Screen = {
    print: console.log,
    columns: columns(),
    color: hasAllColors(),
  };
  console.log();
  await recipe.show?.(trained, source, screen);
  sayWhatWasMade({ plan, result, words, drawn });
}
