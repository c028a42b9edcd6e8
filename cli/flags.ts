/**
 * Flags of the command line, read off tables of settings.
 *
 * @module
 */

// @ts-types="./parse_args.d.ts"
import { parseArgs } from "npm:deno-std@1.4.0/cli/parse_args.js";
import {
  count,
  countOrZero,
  fraction,
  nonNegative,
  positive,
  type Range,
  share,
} from "../optim/hyper.ts";
import {
  flagName,
  type Given,
  rangeText,
  type Setting,
  settingName,
  type Settings,
} from "../train/settings.ts";
import { UsageError } from "./failure.ts";
import { definitions } from "./terminal.ts";

/** What stood on the command line. */
export interface Flags {
  /** Flags by the name of their setting; unknown ones too. */
  readonly values: Readonly<Record<string, unknown>>;
  /** What stood without a flag. */
  readonly rest: readonly string[];
  /** Whether help was asked for. */
  readonly help: boolean;
}

/** Reads flags; texts are left as they are, for `settle` to check. */
export function readFlags(
  args: readonly string[],
  settings: Settings,
): Flags {
  const names = Object.keys(settings);
  const written = (name: string) => flagName(name).slice(2);
  const switches = names.filter((n) => settings[n].kind === "switch");
  const values: Record<string, unknown> = {};
  const rest: string[] = [];
  const parsed = parseArgs([...args], {
    string: names.filter((n) => !switches.includes(n)).map(written),
    boolean: [...switches.map(written), "help"],
    negatable: switches.map(written),
    alias: { h: "help" },
    unknown: (arg, key, value) => {
      if (key === undefined) rest.push(arg);
      else values[settingName(key)] = value;
      return false;
    },
  });
  for (const name of names) {
    const flag = flagName(name), no = `--no-${written(name)}`;
    const given = args.some((arg) =>
      arg === flag || arg.startsWith(`${flag}=`) || arg === no
    );
    if (!given) continue;
    const value = parsed[written(name)];
    if (value === "" && !args.some((arg) => arg === `${flag}=`)) {
      throw new UsageError(
        `The flag ${flag} needs a value: ${valueText(settings[name])}`,
      );
    }
    values[name] = value;
  }
  return { values, rest, help: parsed.help === true };
}

/** Flags as a place that settings were given in. */
export function fromFlags({ values }: Flags): Given {
  return { where: "on the command line", write: flagName, values };
}

/** A page of help for groups of settings. */
export function settingsHelp(
  groups: Readonly<Record<string, Settings>>,
): string {
  return Object.entries(groups).filter(([, table]) =>
    Object.keys(table).length > 0
  ).map(([heading, table]) => {
    const rows = Object.entries(table).map(([name, setting]) =>
      [
        `${shownFlag(name, setting)}${placeholder(setting)}`,
        `${setting.help}${facts(setting)}`,
      ] as const
    );
    return `${heading}:\n${definitions(rows)}`;
  }).join("\n\n");
}

function shownFlag(name: string, setting: Setting): string {
  const flag = flagName(name);
  const on = setting.kind === "switch" && setting.default;
  return on ? `--[no-]${flag.slice(2)}` : flag;
}

/** Ranges as short as help pages need them; no line breaks within them. */
const shortRanges: ReadonlyMap<Range, string> = new Map([
  [count, "whole, ≥\u00a01"],
  [countOrZero, "whole, ≥\u00a00"],
  [nonNegative, "≥\u00a00"],
  [positive, ">\u00a00"],
  [fraction, "from 0 to below 1"],
  [share, "above 0 to 1"],
]);

/** Default, unit and range in brackets. */
function facts(setting: Setting): string {
  switch (setting.kind) {
    case "number": {
      const { default: value, unit, range } = setting;
      const amount = unit === undefined ? `${value}` : `${value} ${unit}`;
      return ` [${amount}; ${shortRanges.get(range) ?? range.text}]`;
    }
    case "choice":
      return ` [${setting.default}; ${setting.choices.join(", ")}]`;
    case "switch":
      return ` [${setting.default ? "on" : "off"}]`;
    case "text":
      return setting.default === "" ? "" : ` [${setting.default}]`;
    default:
      return setting satisfies never;
  }
}

function placeholder(setting: Setting): string {
  switch (setting.kind) {
    case "number":
      return " N";
    case "choice":
      return " NAME";
    case "text":
      return ` ${setting.placeholder}`;
    case "switch":
      return "";
    default:
      return setting satisfies never;
  }
}

/** What a setting may be, in words. */
function valueText(setting: Setting): string {
  switch (setting.kind) {
    case "number":
      return rangeText(setting);
    case "choice":
      return setting.choices.join(", ");
    case "text":
      return setting.placeholder;
    case "switch":
      return "true or false";
    default:
      return setting satisfies never;
  }
}
