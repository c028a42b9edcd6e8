/** Types of the flag parser of `@std/cli`, as far as they are used here. */

export interface ParseOptions {
  string?: readonly string[];
  boolean?: readonly string[];
  negatable?: readonly string[];
  alias?: Record<string, string>;
  unknown?: (arg: string, key?: string, value?: unknown) => unknown;
}

export interface Args {
  _: (string | number)[];
  [flag: string]: unknown;
}

export function parseArgs(args: string[], options?: ParseOptions): Args;
