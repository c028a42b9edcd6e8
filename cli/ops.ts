/**
 * `ops`: lists the operators, or shows one.
 *
 * @module
 */

import { nearest } from "../core/errors.ts";
import { operators, type OpInfo } from "../core/op.ts";
import "../ops/methods.ts";
import {
  type Settings,
  settle,
  switchSetting,
  textSetting,
} from "../train/settings.ts";
import type { Command } from "./command.ts";
import { exitCodes, UsageError } from "./failure.ts";
import { fromFlags, readFlags, settingsHelp } from "./flags.ts";
import { invocation } from "./invocation.ts";
import { bold, columns, definitions, wrap } from "./terminal.ts";

const settings = {
  family: textSetting("NAME", "only the operators of one family"),
  json: switchSetting("prints JSON"),
} satisfies Settings;

/** The `ops` command. */
export const command: Command = {
  summary: "list the operators, or show one",
  usage: "[NAME] [FLAGS]",
  run(args) {
    const flags = readFlags(args, settings);
    if (flags.help) {
      console.log(`${bold("ops")}: ${command.summary}

${invocation()} ops ${command.usage}

${settingsHelp({ Flags: settings })}`);
      return Promise.resolve(exitCodes.done);
    }
    const { family, json } = settle(settings, [fromFlags(flags)]);
    const [name, ...more] = flags.rest;
    if (more.length > 0) {
      throw new UsageError(`ops shows one operator, and not also "${more[0]}"`);
    }
    const all = [...operators().values()];
    const found = name === undefined
      ? inFamily(all, family)
      : [findOperator(name)];
    if (json) console.log(JSON.stringify(found.map(plain)));
    else console.log(name === undefined ? list(found) : page(found[0]));
    return Promise.resolve(exitCodes.done);
  },
};

/** The operator of a name. @throws {UsageError} with the nearest name. */
export function findOperator(name: string): OpInfo {
  const operator = operators().get(name);
  if (operator !== undefined) return operator;
  const near = nearest(name, operators().keys());
  throw new UsageError(
    `There is no operator "${name}"${
      near === undefined ? "" : `; did you mean ${near}?`
    }`,
  );
}

function inFamily(all: readonly OpInfo[], family: string): readonly OpInfo[] {
  if (family === "") return all;
  const found = all.filter((op) => op.family === family);
  if (found.length > 0) return found;
  const families = [...new Set(all.map((op) => op.family))];
  throw new UsageError(
    `There is no family "${family}" of operators (there are ${
      families.join(", ")
    })`,
  );
}

function list(found: readonly OpInfo[]): string {
  const families = Map.groupBy(found, (op) => op.family);
  const parts = [...families].map(([family, ops]) => {
    const names = ops.map((op) => op.name).join(", ");
    const lines = wrap(names, columns() - 2).map((line) => `  ${line}`);
    return `${bold(family)}\n${lines.join("\n")}`;
  });
  return `${parts.join("\n\n")}

${found.length} operators. One of them: ${invocation()} ops NAME`;
}

function page(op: OpInfo): string {
  const attrs = Object.entries(op.attrs).map(([name, value]) =>
    `${name} (${JSON.stringify(value) ?? "none"})`
  );
  const rows: [string, string | undefined][] = [
    ["family", op.family],
    ["operands", op.inputs.join(", ")],
    ["options", attrs.join(", ")],
    ["formula", op.formula],
    ["gradient", op.differentiable ? "yes" : "none"],
    ["PyTorch", op.torch],
    ["ONNX", op.onnx],
    ["Caffe2", op.caffe2],
  ];
  const said = rows.filter((row): row is [string, string] =>
    row[1] !== undefined && row[1] !== ""
  );
  return `${bold(op.name)}\n${definitions(said)}

Its kernels: ${invocation()} explain ${op.name}`;
}

/** What can be told about an operator as JSON. */
function plain(op: OpInfo): Record<string, unknown> {
  const { name, family, inputs, attrs, formula, differentiable } = op;
  const { torch, onnx, caffe2 } = op;
  return {
    name,
    family,
    inputs,
    attrs,
    formula,
    differentiable,
    torch,
    onnx,
    caffe2,
  };
}
