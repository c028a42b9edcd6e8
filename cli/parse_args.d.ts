/** Types of the flag parser of `@std/cli`, as far as they are used here. */

/** How flags are read. */
export interface ParseOptions {
  /** Flags with text values. */
  string?: readonly string[];
  /** Flags without values. */
  boolean?: readonly string[];
  /** Flags that `--no-` switches off. */
  negatable?: readonly string[];
  /** Other names of flags. */
  alias?: Record<string, string>;
  /** Called for a flag that is not named; false drops it. */
  unknown?: (arg: string, key?: string, value?: unknown) => unknown;
}

/** What was read. */
export interface Args {
  /** Arguments that are no flags. */
  _: (string | number)[];
  /** Values by flag. */
  [flag: string]: unknown;
}

/** Reads flags from arguments. */
export function parseArgs(args: string[], options?: ParseOptions): Args;
