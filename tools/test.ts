/**
 * Runs the tests: first fetches what they import, then `deno test`, and beside
 * it the tests of the foundation once more with CUDA as the default device, on
 * the stand-in libraries (tests/cuda_host), where g++ can build them. At its end
 * it lists the ignored tests with their reasons, the slowest files, and the
 * counts on a line of their own: `N passed, N failed, N skipped`.
 *
 * An ignored test says why in brackets at the end of its name, as in
 * `matmul on CUDA (libcuda.so.1 was not found)`; one that does not is a failure,
 * because nobody would see what is missing.
 *
 * Run: `deno task test [file…] [flags of deno test]`
 */

import { foundationOnCuda, preload, tryPreload } from "./cuda_suites.ts";
import { filesBelow, ROOT, runDeno } from "./files.ts";
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

/** Runs `deno test`, with its output shown at once or kept; returns the cases, the exit code and what was kept. */
async function runTests(
  args: string[],
  kept: boolean,
): Promise<{ cases: TestCase[]; code: number; output: string }> {
  const results = await Deno.makeTempFile({ suffix: ".xml" });
  try {
    const all = ["test", "-A", `--junit-path=${results}`, ...args];
    const { code, output } = kept
      ? await outputOf(all)
      : { code: await runDeno(all), output: "" };
    const cases = parseJunit(await Deno.readTextFile(results));
    return { cases, code, output };
  } finally {
    await Deno.remove(results);
  }
}

async function outputOf(
  args: string[],
): Promise<{ code: number; output: string }> {
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args,
    cwd: ROOT,
    env: { NO_COLOR: "1" },
    stdin: "null",
  }).output();
  const decoder = new TextDecoder();
  return { code, output: decoder.decode(stdout) + decoder.decode(stderr) };
}

/** The foundation's tests on CUDA; where there is none, each file is one ignored test that says why. */
async function onCuda(flags: string[]): Promise<Run> {
  const missing = await tryPreload();
  if (missing?.absent) {
    const ignored = foundationOnCuda.map((file): TestCase => ({
      file,
      name: `everything on cuda (${missing.why})`,
      outcome: "skipped",
      seconds: 0,
      step: false,
    }));
    return { cases: ignored, code: 0, output: "" };
  }
  const { cases, code, output } = await runTests(
    [preload, ...flags, ...foundationOnCuda],
    true,
  );
  const named = cases.map((c) => ({ ...c, file: `${c.file} on cuda` }));
  return { cases: named, code, output };
}

interface Run {
  cases: TestCase[];
  code: number;
  output: string;
}

async function main(): Promise<number> {
  const named = Deno.args.filter((arg) => !arg.startsWith("-"));
  const flags = Deno.args.filter((arg) => arg.startsWith("-"));
  const files = named.length > 0 ? named : filesBelow("tests", ["_test.ts"]);
  const fetched = await fetchImports(files);
  if (fetched !== 0) return report([], fetched);
  if (named.length > 0) {
    const { cases, code } = await runTests([...flags, ...named], false);
    return report(cases, code);
  }
  const beside = onCuda(flags);
  const own = await runTests([...flags, ...files], false);
  const cuda = await beside;
  console.log(`\nThe foundation's tests on CUDA:\n${cuda.output}`);
  return report([...own.cases, ...cuda.cases], own.code || cuda.code);
}

if (import.meta.main) Deno.exit(await main());
