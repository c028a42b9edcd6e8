/**
 * The check of options objects: a name that is none would be ignored in silence.
 *
 * @module
 */

import { showValue } from "./attributes.ts";
import { nearest } from "./errors.ts";

/** The names of the options `O`, all of them. */
export type OptionNames<O> = { readonly [Name in keyof Required<O>]: true };

/**
 * Refuses options that are no plain object, and names that are no option.
 *
 * @param doing What the options are for, as in "make a Linear".
 * @param given The options; undefined for none.
 * @param names What there is; a table, so that none is forgotten.
 * @throws {TypeError} naming the option, and the nearest that there is.
 *
 * @example
 * ```ts
 * import { assertThrows } from "@std/assert";
 * import { nn } from "@decaf/decaf";
 *
 * const options = { strid: 2 } as object;
 * assertThrows(
 *   () => nn.conv2d(1, 2, 3, options),
 *   TypeError,
 *   "did you mean stride?",
 * );
 * ```
 */
export function checkOptions<O extends object>(
  doing: string,
  given: O | undefined,
  names: OptionNames<O>,
): void {
  if (given === undefined) return;
  const known = Object.keys(names);
  checkPlain(doing, given, known);
  for (const name in given) {
    if (Object.hasOwn(names, name)) continue;
    const meant = nearest(name, known);
    throw new TypeError(
      `Cannot ${doing} with the option ${name}: there is ${known.join(", ")}${
        meant === undefined ? "" : `; did you mean ${meant}?`
      }`,
    );
  }
}

/** Refuses options that are no plain object. @throws {TypeError} */
export function checkPlain(
  doing: string,
  given: unknown,
  known: readonly string[] = [],
): void {
  const parent = typeof given === "object" && given !== null
    ? Object.getPrototypeOf(given)
    : undefined;
  if (parent === Object.prototype || parent === null) return;
  throw new TypeError(
    `Cannot ${doing} with ${
      showValue(given)
    } for options: they are given as an object${
      known.length === 0 ? "" : ` with ${known.join(", ")}`
    }`,
  );
}
