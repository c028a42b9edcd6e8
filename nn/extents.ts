/**
 * Checks of what modules are made with.
 *
 * @module
 */

import { showValue } from "../core/attributes.ts";
import { operatorOf, type OpInfo } from "../core/op.ts";
import { checkOptions, type OptionNames } from "../core/options.ts";
import type { ModuleOptions } from "./module.ts";

/** The options of every module that has parameters. */
export const moduleNames: OptionNames<ModuleOptions> = {
  dtype: true,
  device: true,
};

/** Refuses options that are none; `who` is "a Linear". */
export function checkNames<O extends object>(
  who: string,
  options: O,
  names: OptionNames<O>,
): void {
  checkOptions(`make ${who}`, options, names);
}

/** What a module will call its operator with, besides tensors. */
export interface OperatorCall {
  /** The operator. */
  readonly operator: (...args: never[]) => unknown;
  /** How many tensors come first; 1 when omitted. */
  readonly operands?: number;
  /** Arguments that come next, by the names of attributes. */
  readonly args?: Readonly<Record<string, unknown>>;
  /** Options that come last. */
  readonly options?: object;
}

/**
 * Refuses, when a module of that name is made, what its operator would refuse
 * at the first input.
 *
 * @throws {TypeError} for an option that there is not, or of a wrong kind.
 */
export function checkCall(name: string, call: OperatorCall): void {
  const { operator, operands = 1, args = {}, options } = call;
  const info = operatorOf(operator)!;
  const tensors = new Array<undefined>(operands).fill(undefined);
  if (options !== undefined) {
    const names = optionNames(info, operands, args);
    checkOptions(`make ${withArticle(name)}`, options, names);
  }
  const bind = info.bind as (...args: unknown[]) => unknown;
  bind(...tensors, ...Object.values(args), options);
}

/** "a GELU", "an ELU", "an MSELoss". */
export function withArticle(name: string): string {
  const vowel = /^([AEIOU]|[FHLMNRSX][A-Z0-9])/.test(name);
  return `${vowel ? "an" : "a"} ${name}`;
}

/** Attributes and operands that are no arguments on their own. */
function optionNames(
  { inputs, attrs }: OpInfo,
  operands: number,
  args: Readonly<Record<string, unknown>>,
): Record<string, true> {
  const names = [...inputs.slice(operands), ...Object.keys(attrs)];
  return Object.fromEntries(
    names.filter((name) => !Object.hasOwn(args, name)).map((n) => [n, true]),
  );
}

/** Refuses extents that are no positive whole numbers. */
export function checkExtents(
  who: string,
  extents: Readonly<Record<string, number>>,
): void {
  for (const [name, value] of Object.entries(extents)) {
    if (!Number.isSafeInteger(value) || value < 1) {
      throw new RangeError(
        `Cannot make ${who} with ${name} ${
          showValue(value)
        }: it must be a whole number of at least 1`,
      );
    }
  }
}

/** Refuses a probability outside of [0, 1]. */
export function checkProbability(who: string, p: number): void {
  if (!(p >= 0 && p <= 1)) {
    throw new RangeError(
      `Cannot make ${who} with probability ${
        showValue(p)
      }: it must be a number from 0 to 1`,
    );
  }
}

/** Options as text, for the names of modules. */
export function show(options: Readonly<Record<string, unknown>>): string {
  return Object.entries(options)
    .filter(([, value]) => value !== undefined)
    .map(([name, value]) => `${name}=${JSON.stringify(value)}`)
    .join(", ");
}
