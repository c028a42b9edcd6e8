/**
 * The check of the options of learning-rate policies.
 *
 * @module
 */

import { showValue } from "../core/attributes.ts";
import { checkOptions, type OptionNames } from "../core/options.ts";
import { checkNumber, type Range } from "./hyper.ts";

/**
 * What an option may be: a number in a range, one of some words, true or false,
 * or what the policy checks itself.
 */
export type OptionRule =
  | Range
  | readonly string[]
  | "true or false"
  | "its own";

/** What each of the options `O` may be. */
export type OptionRules<O> = {
  readonly [Name in keyof Required<O>]: OptionRule;
};

/**
 * The options with defaults filled in.
 *
 * @throws {TypeError} for an unknown name, word or truth value.
 * @throws {RangeError} for a number out of its range.
 */
export function settle<O extends object>(
  policy: string,
  given: O,
  rules: OptionRules<O>,
  defaults: Partial<O> = {},
): Required<O> {
  const names = Object.keys(rules) as (keyof O & string)[];
  checkOptions(
    `make policy ${policy}`,
    given,
    Object.fromEntries(names.map((name) => [name, true])) as OptionNames<O>,
  );
  const settled: Partial<O> = {};
  for (const name of names) {
    const value = given?.[name] ?? defaults[name];
    check(policy, name, value, rules[name]);
    settled[name] = value;
  }
  return settled as Required<O>;
}

/** Refuses what is no list of so many numbers in a range. @throws {RangeError} */
export function checkNumbers(
  policy: string,
  name: string,
  values: unknown,
  length: number,
  range: Range,
): void {
  const fits = Array.isArray(values) && values.length === length &&
    values.every((x) => typeof x === "number" && range.holds(x));
  if (fits) return;
  throw new RangeError(
    `Cannot make policy ${policy} with ${name} ${
      showValue(values)
    }: it must be a list of ${length}, each ${range.text}`,
  );
}

function check(
  policy: string,
  name: string,
  value: unknown,
  rule: OptionRule,
): void {
  if (rule === "its own") return;
  if (typeof rule === "object" && "holds" in rule) {
    checkNumber(`policy ${policy}`, name, value, rule);
    return;
  }
  const allowed: readonly unknown[] = rule === "true or false"
    ? [true, false]
    : rule;
  if (allowed.includes(value)) return;
  const shown = allowed.map((x) => JSON.stringify(x)).join(" or ");
  throw new TypeError(
    `Cannot make policy ${policy} with ${name} ${
      showValue(value)
    }: ${name} must be ${shown}`,
  );
}
