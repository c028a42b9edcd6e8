/**
 * How commands fail: with a sentence, and an exit code.
 *
 * @module
 */

import { SettingError } from "../train/settings.ts";

/** Exit codes of the command line. */
export const exitCodes = {
  /** All went well. */
  done: 0,
  /** What was asked for could not be done. */
  failed: 1,
  /** What was asked for is not understood. */
  usage: 2,
  /** Ctrl-C ended it, as shells expect. */
  interrupted: 130,
} as const;

/** The command line is not understood. */
export class UsageError extends Error {
  /** Name of the class, as shown in stack traces. */
  override name = "UsageError";
}

/** Whether `DECAF_DEBUG` is set and may be read. */
function debugging(): boolean {
  const permission = { name: "env", variable: "DECAF_DEBUG" } as const;
  return Deno.permissions.querySync(permission).state === "granted" &&
    Deno.env.get("DECAF_DEBUG") !== undefined;
}

/** Prints what went wrong in one sentence, with the stack under `DECAF_DEBUG`; returns the exit code. */
export function fail(error: unknown, help: string): number {
  const usage = error instanceof UsageError || error instanceof SettingError;
  console.error(`error: ${sentence(error)}`);
  if (usage) console.error(`See ${help}`);
  if (debugging() && error instanceof Error) console.error(error.stack);
  return usage ? exitCodes.usage : exitCodes.failed;
}

/** The message of an error with a full stop, and what would help where Deno says it in its own words. */
function sentence(error: unknown): string {
  const { message } = error instanceof Error ? error : { message: `${error}` };
  const text = error instanceof Deno.errors.NotFound &&
      message.startsWith("No such file")
    ? message.replace(/^No such file or directory \(os error \d+\): /, "")
    : message;
  return /[.!?]$/.test(text) ? text : `${text}.`;
}
