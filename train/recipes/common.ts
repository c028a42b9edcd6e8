/**
 * Settings that every recipe has, and the optimizer made of them.
 *
 * @module
 */

import type { AnyModule } from "../../nn/mod.ts";
import { countOrZero, fraction, nonNegative } from "../../optim/hyper.ts";
import {
  type AnyHyper,
  create,
  methods,
  type Optimizer,
} from "../../optim/mod.ts";
import { makePolicy, type ScheduleName, schedules } from "../schedule.ts";
import { type Precision, precisions } from "../precision.ts";
import {
  type ChoiceSetting,
  numberSetting,
  type Setting,
  type Settings,
  type SettingValue,
  switchSetting,
  textSetting,
  type Values,
} from "../settings.ts";
import type { Recipe } from "./recipe.ts";

/** Settings of the training itself. */
export const commonSettings = {
  epochs: numberSetting(1, "passes over the data", { unit: "epochs" }),
  batchSize: numberSetting(64, "examples per step", { unit: "examples" }),
  lr: numberSetting(0.001, "learning rate, before the policy", {
    range: nonNegative,
  }),
  optimizer: {
    kind: "choice",
    default: "adam",
    choices: [...methods.keys()],
    help: "how parameters are updated",
  } as ChoiceSetting,
  policy: {
    kind: "choice",
    default: "fixed",
    choices: Object.keys(schedules) as ScheduleName[],
    help: "how the learning rate changes",
  } as ChoiceSetting<ScheduleName>,
  warmup: numberSetting(0, "steps in which the learning rate rises at first", {
    range: countOrZero,
    unit: "steps",
  }),
  weightDecay: numberSetting(0, "λ: adds λ·w to each gradient", {
    range: nonNegative,
  }),
  clipNorm: numberSetting(
    0,
    "largest norm of all gradients together; 0: any",
    { range: nonNegative },
  ),
  clipValue: numberSetting(0, "largest element of a gradient; 0: any", {
    range: nonNegative,
  }),
  ema: numberSetting(
    0,
    "decay of an average of the parameters that is tested and kept; 0: none",
    { range: fraction },
  ),
  patience: numberSetting(
    0,
    "ends when the test loss has not fallen for more epochs than this; 0: never",
    { range: countOrZero, unit: "epochs" },
  ),
  seed: numberSetting(1, "chooses all random numbers", { range: countOrZero }),
  checkpointEvery: numberSetting(
    200,
    "steps between checkpoints; each epoch ends with one too",
    { unit: "steps" },
  ),
  logEvery: numberSetting(10, "steps between lines of metrics.jsonl", {
    unit: "steps",
  }),
  threads: numberSetting(0, "threads that compute; 0: one per core", {
    range: countOrZero,
    unit: "threads",
  }),
  precision: {
    kind: "choice",
    default: "f32",
    choices: [...precisions],
    help:
      "in what steps compute: tf32 rounds products where the GPU can, bf16 and f16 are mixed (parameters stay f32)",
  } as ChoiceSetting<Precision>,
  graph: switchSetting(
    "runs steps as a CUDA graph, which saves the host's part of them",
  ),
  benchmark: switchSetting(
    "has NVIDIA's libraries time their algorithms, and keeps the fastest",
  ),
  device: textSetting(
    "NAME",
    "where to compute: cpu by default; cuda, cuda:1, or auto",
  ),
  devices: textSetting(
    "LIST",
    "devices that share each batch: 0,1 are cuda:0 and cuda:1",
  ),
  trace: textSetting(
    "FILE",
    "a trace of steps 11 to 15, which Perfetto opens; none by default",
  ),
  curve: switchSetting("draws curve.svg and curve.png at the end", true),
  run: textSetting("FOLDER", "the run folder; runs/<time>_<model> by default"),
} as const satisfies Settings;

/** Values of the settings that every recipe has. */
export type CommonValues = Values<typeof commonSettings>;

/** What decides which further settings there are. */
export interface Picks {
  /** Name of a model of the recipe. */
  readonly model: string;
  /** Name of an optimizer. */
  readonly optimizer: string;
  /** Name of a policy. */
  readonly policy: string;
}

/** The three settings that decide which others there are, with a model's defaults. */
export function pickSettings(recipe: Recipe, model?: string): Settings {
  const names = Object.keys(recipe.models);
  const { optimizer, policy } = commonSettings;
  const { defaults } = recipe.models[model ?? names[0]];
  return withDefaults({
    model: {
      kind: "choice",
      default: names[0],
      choices: names,
      help: names.map((n) => `${n} is ${recipe.models[n].help}`).join(", "),
    },
    optimizer,
    policy,
  }, defaults);
}

/** Groups of settings under their headings, in the order of help pages. */
export type SettingGroups = Readonly<Record<string, Settings>>;

/** Every setting of a training, in groups. */
export function settingGroups(recipe: Recipe, picks: Picks): SettingGroups {
  const { model, optimizer, policy } = picks;
  const { settings, defaults } = recipe.models[model];
  const pick = pickSettings(recipe, model);
  const schedule = schedules[policy as ScheduleName];
  const own = defaultsOf(optimizer, pick.optimizer.default as string);
  return {
    "Data and model": withDefaults(
      { model: pick.model, ...recipe.settings, ...settings },
      defaults,
    ),
    "Training": withDefaults(
      { ...commonSettings, optimizer: pick.optimizer, policy: pick.policy },
      { ...defaults, ...own },
    ),
    [`Optimizer ${optimizer}`]: withDefaults(
      optimizerSettings(optimizer),
      defaults,
    ),
    [`Policy ${policy}: ${schedule.help}`]: withDefaults(
      schedule.settings,
      defaults,
    ),
  };
}

/** An optimizer that is not the usual one has a learning rate and a decay of its own. */
function defaultsOf(
  optimizer: string,
  usual: string,
): Record<string, SettingValue> {
  if (optimizer === usual) return {};
  const { lr, weightDecay = 0 } = methods.get(optimizer)!;
  return { lr, weightDecay };
}

/** Every setting of a training in one table. */
export function allSettings(recipe: Recipe, picks: Picks): Settings {
  return Object.assign({}, ...Object.values(settingGroups(recipe, picks)));
}

function withDefaults(
  table: Settings,
  defaults: Readonly<Record<string, SettingValue>>,
): Settings {
  return Object.fromEntries(
    Object.entries(table).map(([name, setting]) => [
      name,
      Object.hasOwn(defaults, name)
        ? { ...setting, default: defaults[name] } as Setting
        : setting,
    ]),
  );
}

/** The hyper-parameters of an optimizer as settings. */
function optimizerSettings(name: string): Settings {
  const { hyper } = methods.get(name)!;
  return Object.fromEntries(
    Object.entries(hyper).map(([key, h]) => [key, hyperSetting(h)]),
  );
}

function hyperSetting(hyper: AnyHyper): Setting {
  const { default: value, range, choices, what: help } = hyper;
  if (range !== undefined) {
    return { kind: "number", default: value as number, range, help };
  }
  if (choices !== undefined) {
    return { kind: "choice", default: value as string, choices, help };
  }
  return { kind: "switch", default: value as boolean, help };
}

/** Where a setting that a table lacks would belong, for error messages. */
export function settingElsewhere(
  recipe: Recipe,
  name: string,
): string | undefined {
  for (const [model, { settings }] of Object.entries(recipe.models)) {
    if (name in settings) return `it belongs to --model ${model}`;
  }
  const optimizers = [...methods.keys()].filter((m) =>
    name in methods.get(m)!.hyper
  );
  if (optimizers.length > 0) {
    return `it belongs to --optimizer ${optimizers.join(", ")}`;
  }
  const owners = Object.entries(schedules).filter(([, s]) =>
    name in s.settings
  );
  if (owners.length > 0) {
    return `it belongs to --policy ${owners.map(([n]) => n).join(", ")}`;
  }
  return undefined;
}

/** The optimizer that the settings describe, for a training of so many steps. */
export function makeOptimizer(
  model: AnyModule,
  values: Values,
  steps: number,
): Optimizer {
  const v = values as unknown as CommonValues;
  const own = Object.keys(optimizerSettings(v.optimizer));
  return create(v.optimizer, model, {
    ...Object.fromEntries(own.map((name) => [name, values[name]])),
    lr: v.lr,
    weightDecay: v.weightDecay,
    policy: makePolicy(v.policy, values, steps, v.warmup),
    ...(v.clipNorm > 0 && { maxGradientNorm: v.clipNorm }),
    ...(v.clipValue > 0 && { maxGradientValue: v.clipValue }),
  });
}
