/** Types of the flag parser of `@std/cli`. */

export interface ParseOptions {
  /** Keep what follows `--` apart, under the key `--`. */
  "--"?: boolean;
  alias?: Record<string, string | readonly string[]>;
  boolean?: boolean | string | readonly string[];
  collect?: string | readonly string[];
  default?: Record<string, unknown>;
  negatable?: string | readonly string[];
  stopEarly?: boolean;
  string?: string | readonly string[];
  unknown?: (arg: string, key?: string, value?: unknown) => unknown;
}

export interface Args {
  _: (string | number)[];
  // deno-lint-ignore no-explicit-any
  [flag: string]: any;
}

export function parseArgs(args: string[], options?: ParseOptions): Args;
