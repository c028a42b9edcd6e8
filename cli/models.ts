/**
 * `models`: lists the models, or shows one.
 *
 * @module
 */

import "../devices/cpu/device.ts";
import { nearest } from "../core/errors.ts";
import {
  charRnn,
  gpt,
  lenet,
  mlp,
  resnet18,
  resnet34,
  resnet50,
} from "../models/mod.ts";
import type { AnyModule } from "../nn/mod.ts";
import { type Settings, settle, switchSetting } from "../train/settings.ts";
import type { Command } from "./command.ts";
import { exitCodes, UsageError } from "./failure.ts";
import { fromFlags, readFlags, settingsHelp } from "./flags.ts";
import { invocation } from "./invocation.ts";
import { bold, definitions } from "./terminal.ts";

interface Entry {
  readonly about: string;
  readonly make: () => AnyModule;
}

const models: Readonly<Record<string, Entry>> = {
  mlp: { about: "784 → 256 → 10 for MNIST", make: () => mlp() },
  lenet: { about: "Caffe's LeNet for MNIST", make: () => lenet() },
  resnet18: {
    about: "18 layers, 1000 classes of ImageNet",
    make: () => resnet18(),
  },
  resnet34: {
    about: "34 layers, 1000 classes of ImageNet",
    make: () => resnet34(),
  },
  resnet50: {
    about: "50 layers with bottlenecks, 1000 classes of ImageNet",
    make: () => resnet50(),
  },
  char_rnn: {
    about: "an LSTM over 65 characters",
    make: () => charRnn({ vocabulary: 65 }),
  },
  gpt: {
    about: "nanoGPT's transformer over 65 characters, context 64",
    make: () => gpt({ vocabulary: 65, context: 64 }),
  },
};

const settings = {
  json: switchSetting("prints JSON"),
} satisfies Settings;

/** The `models` command. */
export const command: Command = {
  summary: "list the models, or show one with its parameters",
  usage: "[NAME] [--json]",
  run(args) {
    const flags = readFlags(args, settings);
    if (flags.help) {
      console.log(`${bold("models")}: ${command.summary}

${invocation()} models ${command.usage}

${settingsHelp({ Flags: settings })}`);
      return Promise.resolve(exitCodes.done);
    }
    const { json } = settle(settings, [fromFlags(flags)]);
    const [name, ...more] = flags.rest;
    if (more.length > 0) {
      throw new UsageError(`models shows one model, and not also "${more[0]}"`);
    }
    if (name === undefined) list(json);
    else show(name, json);
    return Promise.resolve(exitCodes.done);
  },
};

function list(json: boolean): void {
  const rows = Object.entries(models).map(([name, { about, make }]) => {
    using model = make();
    return { name, about, parameters: model.parameterCount() };
  });
  if (json) {
    console.log(JSON.stringify(rows));
    return;
  }
  console.log(definitions(
    rows.map(({ name, about, parameters }) => [
      name,
      `${about}; ${parameters.toLocaleString("en-US")} parameters`,
    ]),
    0,
  ));
}

function show(name: string, json: boolean): void {
  if (!Object.hasOwn(models, name)) {
    const near = nearest(name, Object.keys(models));
    throw new UsageError(
      `There is no model "${name}"${
        near === undefined ? "" : `; did you mean ${near}?`
      } (there are ${Object.keys(models).join(", ")})`,
    );
  }
  using model = models[name].make();
  const state = Object.entries(model.stateDict());
  if (json) {
    const tensors = state.map(([name, { shape, dtype }]) => ({
      name,
      shape,
      dtype,
    }));
    const parameters = model.parameterCount();
    console.log(JSON.stringify({ name, parameters, tensors }));
    return;
  }
  console.log(`${bold(name)}: ${models[name].about}

${model}

${
    definitions(
      state.map(([key, t]) => [key, `${t.dtype} [${t.shape.join(", ")}]`]),
      0,
    )
  }

${model.parameterCount().toLocaleString("en-US")} parameters`);
}
