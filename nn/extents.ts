/**
 * Checks of the numbers that modules are made with.
 *
 * @module
 */

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
