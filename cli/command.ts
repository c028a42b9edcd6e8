/**
 * What a command is.
 *
 * @module
 */

/** A command of the command line. */
export interface Command {
  /** What it does, in a few words. */
  readonly summary: string;
  /** Its arguments, after the program's and its own name. */
  readonly usage: string;
  /** Runs it; returns the exit code. */
  readonly run: (args: readonly string[]) => Promise<number>;
}
