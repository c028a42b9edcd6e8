/** Commands as processes that refuse their input in one sentence. */

import { assert, assertEquals, assertMatch } from "@std/assert";
import { decaf, writeDigits } from "./cli_helpers.ts";

/** Refused with this exit code and sentence. */
export async function refused(
  args: readonly string[],
  code: number,
  sentence: RegExp,
  options: { cwd?: string; env?: Record<string, string> } = {},
): Promise<void> {
  const said = await decaf(args, options);
  const line = `${args.join(" ")}: ${said.stderr}`;
  assertEquals(said.code, code, line);
  assertMatch(said.stderr, sentence, line);
  const lines = said.stderr.trimEnd().split("\n");
  const [error, ...rest] = lines.slice(
    lines.findIndex((l) => l.startsWith("error: ")),
  );
  assertMatch(error, /^error: .*[.!?]$/, line);
  // A usage error says where help is; nothing else follows.
  assertEquals(rest.length, code === 2 ? 1 : 0, line);
  if (code === 2) assertMatch(rest[0], /^See .* --help$/, line);
  assert(!/^\s+at /m.test(said.stderr), `a stack: ${line}`);
}

/** Whether there is such a file or folder. */
export async function exists(path: string): Promise<boolean> {
  return await Deno.stat(path).then(() => true, () => false);
}

/** Trains a small run. */
export async function smallRun(cwd: string, ...flags: string[]): Promise<void> {
  await writeDigits(`${cwd}/digits`);
  const trained = await decaf([
    ...["train", "mnist", "digits", "--model", "mlp", "--epochs", "1"],
    ...["--hidden", "8", "--run", "run", "--no-curve", ...flags],
  ], { cwd });
  assertEquals(trained.code, 0, trained.stderr);
}
