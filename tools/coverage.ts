/**
 * Line coverage of the CUDA device and of the bindings by their own tests, on the
 * stand-in libraries: per file, per folder and in all. The exit code is 1 when
 * less than 95 % of the lines are reached, or a test fails.
 *
 * Run: `deno task coverage`
 */

import { filesBelow, ROOT, runDeno } from "./files.ts";

const wanted = 0.95;
const folders = ["devices/cuda", "ffi"];

/** Lines of a file: how many can be reached, and which were not. */
interface Lines {
  readonly count: number;
  readonly missed: readonly number[];
}

/** Reads the lines of each file from a report in LCOV's form. */
function linesByFile(lcov: string): Map<string, Lines> {
  const files = new Map<string, Lines>();
  for (const record of lcov.split("end_of_record")) {
    const path = /^SF:(.*)$/m.exec(record)?.[1];
    if (path === undefined) continue;
    const lines = [...record.matchAll(/^DA:(\d+),(\d+)/gm)];
    const missed = lines.filter(([, , hits]) => hits === "0");
    files.set(path.replace(`${ROOT}/`, ""), {
      count: lines.length,
      missed: missed.map(([, line]) => Number(line)),
    });
  }
  return files;
}

/** Line numbers as ranges: `3, 7–9`. */
function ranges(lines: readonly number[]): string {
  const parts: [number, number][] = [];
  for (const line of lines) {
    const last = parts.at(-1);
    if (last !== undefined && last[1] === line - 1) last[1] = line;
    else parts.push([line, line]);
  }
  return parts.map(([a, b]) => a === b ? `${a}` : `${a}–${b}`).join(", ");
}

function share(files: readonly Lines[]): number {
  const count = files.reduce((sum, f) => sum + f.count, 0);
  const missed = files.reduce((sum, f) => sum + f.missed.length, 0);
  return count === 0 ? 1 : 1 - missed / count;
}

function percent(part: number): string {
  return `${(100 * part).toFixed(1)} %`.padStart(7);
}

function report(files: Map<string, Lines>): number {
  for (const folder of folders) {
    const own = [...files].filter(([path]) => path.startsWith(`${folder}/`));
    for (const [path, lines] of own.sort(([a], [b]) => a < b ? -1 : 1)) {
      const missed = ranges(lines.missed);
      console.log(`${percent(share([lines]))}  ${path}  ${missed}`.trimEnd());
    }
    console.log(`${percent(share(own.map(([, l]) => l)))}  ${folder} in all\n`);
  }
  const total = share([...files.values()]);
  console.log(
    `${percent(total)}  in all, ${percent(wanted).trim()} are wanted`,
  );
  return total;
}

async function main(): Promise<number> {
  const data = await Deno.makeTempDir();
  try {
    const tests = filesBelow("tests", ["_test.ts"]).filter((path) =>
      /^tests\/(cuda|cublaslt|cudnn|ffi|nccl)_/.test(path)
    );
    const code = await runDeno(
      ["test", "-A", "--no-check", `--coverage=${data}`, ...tests],
    );
    const { stdout } = await new Deno.Command(Deno.execPath(), {
      args: ["coverage", "--lcov", "--include=(devices/cuda|ffi)/", data],
      cwd: ROOT,
      stderr: "inherit",
    }).output();
    const total = report(linesByFile(new TextDecoder().decode(stdout)));
    return total < wanted || code !== 0 ? 1 : 0;
  } finally {
    await Deno.remove(data, { recursive: true });
  }
}

if (import.meta.main) Deno.exit(await main());
