/**
 * Checks of what modules are made with.
 *
 * @module
 */

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

/** Refuses extents that are no positive whole numbers. */
export function checkExtents(
  who: string,
  extents: Readonly<Record<string, number>>,
): void {
  for (const [name, value] of Object.entries(extents)) {
    if (!Number.isSafeInteger(value) || value < 1) {
      throw new RangeError(
        `Cannot make ${who} with ${name} ${value}: it must be a whole number of at least 1`,
      );
    }
  }
}

/** Refuses a probability outside of [0, 1]. */
export function checkProbability(who: string, p: number): void {
  if (!(p >= 0 && p <= 1)) {
    throw new RangeError(
      `Cannot make ${who} with probability ${p}: it must be a number from 0 to 1`,
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
