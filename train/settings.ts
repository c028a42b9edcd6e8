/**
 * Settings: a flat table of everything that can be chosen about a training,
 * each with its type, default, range, unit and meaning. Command-line flags,
 * help pages and configuration files are all read off such a table.
 *
 * @module
 */

import { nearest } from "../core/errors.ts";
import { count, type Range } from "../optim/hyper.ts";

/** A number. */
export interface NumberSetting {
  /** Tells settings apart. */
  readonly kind: "number";
  /** What it is when nothing is said. */
  readonly default: number;
  /** What it may be. */
  readonly range: Range;
  /** What is counted or measured, in the plural. */
  readonly unit?: string;
  /** What it means. */
  readonly help: string;
}

/** One of a few words. */
export interface ChoiceSetting<C extends string = string> {
  /** Tells settings apart. */
  readonly kind: "choice";
  /** What it is when nothing is said. */
  readonly default: C;
  /** What it may be. */
  readonly choices: readonly C[];
  /** What it means. */
  readonly help: string;
}

/** Yes or no. */
export interface SwitchSetting {
  /** Tells settings apart. */
  readonly kind: "switch";
  /** What it is when nothing is said. */
  readonly default: boolean;
  /** What it means. */
  readonly help: string;
}

/** Any text, such as a path; the empty one means that none was given. */
export interface TextSetting {
  /** Tells settings apart. */
  readonly kind: "text";
  /** What it is when nothing is said. */
  readonly default: string;
  /** What the text is, such as `FOLDER`. */
  readonly placeholder: string;
  /** What it means. */
  readonly help: string;
}

/** Anything that can be chosen. */
export type Setting =
  | NumberSetting
  | ChoiceSetting
  | SwitchSetting
  | TextSetting;

/** A table of settings by name. */
export type Settings = Readonly<Record<string, Setting>>;

/** What a setting can be set to. */
export type SettingValue = number | string | boolean;

/** What one setting is set to. */
export type ValueOf<T> = T extends NumberSetting ? number
  : T extends SwitchSetting ? boolean
  : T extends ChoiceSetting<infer C> ? C
  : string;

/** Every setting of a table with its value. */
export type Values<S extends Settings = Settings> = {
  readonly [Name in keyof S]: ValueOf<S[Name]>;
};

/** A setting has no such name, or cannot have the value that was given. */
export class SettingError extends TypeError {
  /** Name of the class, as shown in stack traces. */
  override name = "SettingError";
}

/** A number; a whole one of at least 1 when no range is given. */
export function numberSetting(
  value: number,
  help: string,
  options: Partial<Pick<NumberSetting, "range" | "unit">> = {},
): NumberSetting {
  return { kind: "number", default: value, help, range: count, ...options };
}

/** A text, empty when nothing is said. */
export function textSetting(placeholder: string, help: string): TextSetting {
  return { kind: "text", default: "", placeholder, help };
}

/** Yes or no, no when nothing is said. */
export function switchSetting(help: string, on = false): SwitchSetting {
  return { kind: "switch", default: on, help };
}

/** Values that were given in one place. */
export interface Given {
  /** The place, as in "on the command line". */
  readonly where: string;
  /** How a name is written there. */
  readonly write: (name: string) => string;
  /** The values; texts of numbers and of `true` and `false` are understood. */
  readonly values: Readonly<Record<string, unknown>>;
}

/** `batch-size` and `batch_size` as the tables write them: `batchSize`. */
export function settingName(written: string): string {
  return written.replace(/[-_]+(.)/g, (_, letter) => letter.toUpperCase());
}

/** `batchSize` as flags write it: `--batch-size`. */
export function flagName(name: string): string {
  const kebab = name.replace(
    /([a-z0-9])([A-Z])/g,
    (_, before, letter) => `${before}-${letter.toLowerCase()}`,
  );
  return `--${kebab.toLowerCase()}`;
}

/**
 * All settings with their values: what was given, the later places before the
 * earlier ones, and defaults for the rest.
 *
 * @param table The settings.
 * @param given Values by place, the strongest last.
 * @param elsewhere What a name that is not in the table would need, for the error.
 * @throws {SettingError} for an unknown name, with the nearest known one, and
 *   for a value that is out of range.
 */
export function settle<S extends Settings>(
  table: S,
  given: readonly Given[],
  elsewhere: (name: string) => string | undefined = () => undefined,
): Values<S> {
  const values: Record<string, SettingValue> = {};
  for (const [name, setting] of Object.entries(table)) {
    values[name] = setting.default;
  }
  for (const place of given) {
    for (const [written, value] of Object.entries(place.values)) {
      const name = settingName(written);
      if (!Object.hasOwn(table, name)) {
        throw unknownSetting(table, place, written, elsewhere(name));
      }
      values[name] = settingValue(table[name], value, (why) =>
        new SettingError(
          `Cannot set ${place.write(name)} to ${
            JSON.stringify(value)
          } ${place.where}: ${why}`,
        ));
    }
  }
  return values as Values<S>;
}

function unknownSetting(
  table: Settings,
  { where, write }: Given,
  written: string,
  elsewhere: string | undefined,
): SettingError {
  const near = nearest(settingName(written), Object.keys(table));
  const help = elsewhere ??
    (near === undefined
      ? "--help lists what there is"
      : `did you mean ${write(near)}?`);
  return new SettingError(
    `Unknown setting ${write(settingName(written))} ${where}: ${help}`,
  );
}

/** A value that was given, as the setting needs it. */
function settingValue(
  setting: Setting,
  value: unknown,
  refuse: (why: string) => SettingError,
): SettingValue {
  switch (setting.kind) {
    case "number": {
      const number = typeof value === "string" && value.trim() !== ""
        ? Number(value)
        : value;
      if (typeof number !== "number" || !setting.range.holds(number)) {
        throw refuse(`it must be ${rangeText(setting)}`);
      }
      return number;
    }
    case "choice": {
      const wanted = typeof value === "string" ? settingName(value) : "";
      const choice = setting.choices.find((c) =>
        settingName(c).toLowerCase() === wanted.toLowerCase()
      );
      if (choice !== undefined) return choice;
      const near = nearest(wanted, setting.choices);
      throw refuse(
        `it must be ${oneOf(setting.choices)}${
          near === undefined ? "" : `; did you mean ${near}?`
        }`,
      );
    }
    case "switch": {
      if (value === true || value === "true") return true;
      if (value === false || value === "false") return false;
      throw refuse("it must be true or false");
    }
    case "text": {
      if (typeof value === "string") return value;
      throw refuse("it must be a text");
    }
    default:
      return setting satisfies never;
  }
}

/** What a number may be, with its unit. */
export function rangeText({ range, unit }: NumberSetting): string {
  return unit === undefined ? range.text : `${range.text} (${unit})`;
}

function oneOf(words: readonly string[]): string {
  if (words.length < 2) return words.join("");
  return `${words.slice(0, -1).join(", ")} or ${words.at(-1)}`;
}
