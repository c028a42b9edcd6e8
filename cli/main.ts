/**
 * The entry of the command line: finds the command and runs it.
 *
 * @module
 */

import { nearest } from "../core/errors.ts";
import type { Command } from "./command.ts";
import { exitCodes, fail, UsageError } from "./failure.ts";
import { invocation } from "./invocation.ts";
import { bold, definitions } from "./terminal.ts";

/** What a command does, and where it is; loaded when it is asked for. */
interface Entry {
  readonly summary: string;
  readonly load: () => Promise<{ command: Command }>;
}

const commands: Readonly<Record<string, Entry>> = {
  train: {
    summary: "train a model from a recipe: mnist, text or images",
    load: () => import("./train.ts"),
  },
  resume: {
    summary: "go on with a training that was stopped or killed",
    load: () => import("./resume.ts"),
  },
  eval: {
    summary: "measure a trained model on test data",
    load: () => import("./eval.ts"),
  },
  predict: {
    summary: "ask a trained model about pictures or a text",
    load: () => import("./predict.ts"),
  },
  models: {
    summary: "list the models, or show one with its parameters",
    load: () => import("./models.ts"),
  },
  ops: {
    summary: "list the operators, or show one",
    load: () => import("./ops.ts"),
  },
  explain: {
    summary: "show what computes an expression, and its times",
    load: () => import("./explain.ts"),
  },
  launch: {
    summary: "run a script in one process per device",
    load: () => import("./launch.ts"),
  },
  doctor: {
    summary: "check that Decaf can work here",
    load: () => import("./doctor.ts"),
  },
};

/** Runs the command line; returns the exit code. */
export async function main(args: readonly string[]): Promise<number> {
  const [name, ...rest] = args;
  const overview = ["help", "--help", "-h"].includes(name);
  if (overview || name === undefined) {
    (overview ? console.log : console.error)(help());
    return overview ? exitCodes.done : exitCodes.usage;
  }
  let page = `${invocation()} --help`;
  try {
    if (!Object.hasOwn(commands, name)) {
      const near = nearest(name, Object.keys(commands));
      throw new UsageError(
        `There is no command "${name}"${
          near === undefined ? "" : `; did you mean ${near}?`
        }`,
      );
    }
    page = `${invocation()} ${name} --help`;
    const { command } = await commands[name].load();
    return await command.run(rest);
  } catch (error) {
    return fail(error, page);
  }
}

function help(): string {
  const rows = Object.entries(commands).map(([name, { summary }]) =>
    [name, summary] as const
  );
  const me = invocation();
  return `${bold("Decaf")}: deep learning in TypeScript

${me} COMMAND [ARGUMENTS]

${definitions(rows)}

Help on a command: ${me} COMMAND --help
A first training:  ${me} train mnist`;
}
