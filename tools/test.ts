/**
 * Runs the tests: first fetches what they import, then `deno test`. At its end
 * it lists the ignored tests with their reasons, the slowest files, and the
 * counts on a line of their own: `N passed, N failed, N skipped`.
 *
 * An ignored test says why in brackets at the end of its name, as in
 * `matmul on CUDA (libcuda.so.1 was not found)`; one that does not is a failure,
 * because nobody would see what is missing.
 *
 * Run: `deno task test [file…] [flags of deno test]`
 */

import { filesBelow, runDeno } from "./files.ts";
import { parseJunit, type TestCase } from "./junit.ts";

const FETCH_ATTEMPTS = 3;
const PAUSE_MS = 2000;

/** Fetches the packages that the tests import; a network may fail once or twice. */
async function fetchImports(files: string[]): Promise<number> {
  let code = 0;
  for (let attempt = 1; attempt <= FETCH_ATTEMPTS; attempt++) {
    if (attempt > 1) {
      await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
    }
    code = await runDeno(["cache", "--quiet", ...files]);
    if (code === 0) return 0;
    console.error(
      `Fetching what the tests import failed (attempt ${attempt} of ${FETCH_ATTEMPTS}).`,
    );
  }
  return code;
}

function slowest(cases: TestCase[], count: number): [string, number][] {
  const seconds = new Map<string, number>();
  for (const test of cases) {
    if (test.step) continue;
    seconds.set(test.file, (seconds.get(test.file) ?? 0) + test.seconds);
  }
  return [...seconds].sort((a, b) => b[1] - a[1]).slice(0, count);
}

function report(cases: TestCase[], exitCode: number): number {
  const count = (outcome: TestCase["outcome"]) =>
    cases.filter((test) => test.outcome === outcome).length;
  const skipped = cases.filter((test) => test.outcome === "skipped");
  const unexplained = skipped.filter((test) => !test.name.endsWith(")"));
  let failed = count("failed") + unexplained.length;
  // A module that throws while it loads is in no test, but is a failure.
  if (exitCode !== 0 && failed === 0) failed = 1;

  const slow = slowest(cases, 5).filter(([, seconds]) => seconds >= 1);
  if (slow.length > 0) {
    console.log(
      "Slowest: " +
        slow.map(([file, s]) => `${file} ${s.toFixed(1)} s`).join(", "),
    );
  }
  if (skipped.length > 0) {
    console.log("Skipped:");
    for (const test of skipped) console.log(`  ${test.file}: ${test.name}`);
  }
  for (const test of unexplained) {
    console.log(
      `FAILED ${test.file}: "${test.name}" is ignored and does not say why; ` +
        `put the reason in brackets at the end of its name.`,
    );
  }
  const shown = skipped.length - unexplained.length;
  console.log(`${count("passed")} passed, ${failed} failed, ${shown} skipped`);
  return failed > 0 ? exitCode || 1 : exitCode;
}

async function main(): Promise<number> {
  const named = Deno.args.filter((arg) => !arg.startsWith("-"));
  const flags = Deno.args.filter((arg) => arg.startsWith("-"));
  const files = named.length > 0 ? named : filesBelow("tests", ["_test.ts"]);
  const fetched = await fetchImports(files);
  if (fetched !== 0) return report([], fetched);

  const results = await Deno.makeTempFile({ suffix: ".xml" });
  try {
    const code = await runDeno(
      ["test", "-A", `--junit-path=${results}`, ...flags, ...files],
    );
    return report(parseJunit(await Deno.readTextFile(results)), code);
  } finally {
    await Deno.remove(results);
  }
}

if (import.meta.main) Deno.exit(await main());
