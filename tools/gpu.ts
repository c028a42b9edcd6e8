/**
 * Everything that is to be learnt on a machine with an NVIDIA GPU, in one
 * command that needs no network and ends within nine minutes: the tests on the
 * real libraries, then the rows of bench/gpu/rows.ts next to PyTorch. The
 * report is on disk from the start and grows, so that it is there when the
 * command is killed.
 *
 *     deno task gpu [--out=FOLDER] [--minutes=9] [--device=cuda] [--tiny]
 *                   [--no-tests] [--no-benches]
 *
 * FOLDER is $OUT, or bench/results. PyTorch is the one of $PYTHON or python3.
 */

import { parseArgs } from "@std/cli";
import {
  convLayers,
  convName,
  full,
  gpuRows,
  tiny,
} from "../bench/gpu/rows.ts";
import {
  type CudaSuite,
  preload,
  suitesOnGpu,
  tryPreload,
} from "./cuda_suites.ts";
import { ROOT } from "./files.ts";
import { type Report, reportPage, type Suite } from "./gpu_report.ts";

import { findTorch } from "./python.ts";
import { TestOutput } from "./test_output.ts";

/** Part of the time left that a suite may take: more than a third of all remains for the benchmarks. */
const SUITE_SHARE = 0.4;

/** Rows that are timed together, Decaf's and then PyTorch's, the most telling first. */
const groups: readonly (readonly string[])[] = [
  [
    "chain of additions",
    "copy",
    "gelu(x*w+b)",
    "softmax",
    "layer norm",
    "matmul bf16",
    "matmul tf32",
    "matmul f32",
    "batched matmul bf16",
    "batched matmul f32",
    "attention",
    "attention f32",
  ],
  ["mlp step", "mlp step, graph", "lenet step", "lenet step, graph"],
  ["resnet50 training", "gpt2 training"],
  convLayers.map(convName),
  [
    "gelu(x*w+b), torch.compile",
    "softmax, torch.compile",
    "layer norm, torch.compile",
  ],
];

const given = parseArgs(Deno.args, {
  boolean: ["tiny", "tests", "benches"],
  string: ["out", "minutes", "device", "seconds"],
  negatable: ["tests", "benches"],
  default: {
    out: Deno.env.get("OUT") ?? `${ROOT}/bench/results`,
    minutes: "9",
    device: "cuda",
    seconds: "1",
    tests: true,
    benches: true,
  },
});
const started = performance.now();
const extents = given.tiny ? tiny : full;
const rows = gpuRows(extents);

const report: Report = {
  command: ["deno task gpu", ...Deno.args].join(" "),
  date: new Date().toISOString().slice(0, 10),
  device: given.device,
  about: { deno: Deno.version.deno },
  suites: [],
  decaf: {},
  torch: {},
  remarks: [],
  finished: false,
};

/** Milliseconds that are left, less what writing the end takes. */
function left(): number {
  return Number(given.minutes) * 60_000 - (performance.now() - started) - 3000;
}

function write(path: string, text: string): void {
  Deno.writeTextFileSync(`${path}.part`, text);
  Deno.renameSync(`${path}.part`, path);
}

/** Puts what is known so far on disk. */
function save(): void {
  const gpu = typeof report.about.gpu === "string" ? report.about.gpu : "none";
  const name = gpu.toLowerCase().replace(/[^a-z0-9]+/g, "-");
  const path = `${given.out}/${given.device === "cpu" ? "cpu" : name}`;
  write(`${path}-${report.date}.json`, JSON.stringify(report, null, 2) + "\n");
  write(`${path}-${report.date}.md`, reportPage(report, rows));
}

/** Runs a command for at most `limit` milliseconds, and hands each of its lines on. */
async function lines(
  command: string,
  args: string[],
  limit: number,
  each: (line: string) => void,
  env: Readonly<Record<string, string>> = {},
): Promise<string | undefined> {
  if (limit < 1000) return "there was no time left for it";
  const child = new Deno.Command(command, {
    args,
    cwd: ROOT,
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
    env: { NO_COLOR: "1", ...env },
  }).spawn();
  let late = false;
  const timer = setTimeout(() => {
    late = true;
    child.kill("SIGKILL");
  }, limit);
  let errors = "";
  const reading = child.stderr.pipeThrough(new TextDecoderStream()).pipeTo(
    new WritableStream({
      write(text) {
        errors = (errors + text).slice(-4000);
      },
    }),
  );
  let rest = "";
  for await (const text of child.stdout.pipeThrough(new TextDecoderStream())) {
    const parts = (rest + text).split("\n");
    rest = parts.pop()!;
    parts.forEach(each);
  }
  if (rest !== "") each(rest);
  await reading;
  const { code } = await child.status;
  clearTimeout(timer);
  if (late) return "it was ended after its time";
  if (code === 0) return undefined;
  return errors.trim().split("\n").at(-1) ?? `exit code ${code}`;
}

/** Runs test files on the device; what was not done in time is said. */
async function suite({ name, files, flags, env }: CudaSuite): Promise<void> {
  const begin = performance.now();
  const missing = flags.includes(preload) ? await tryPreload(env) : undefined;
  if (missing !== undefined) {
    const none = { seconds: 0, passed: 0, failed: 0, ignored: 0, failures: [] };
    report.suites.push({ name, ...none, unfinished: missing.why });
    save();
    console.log(`${name}: nothing was run: ${missing.why}`);
    return;
  }
  const args = [
    "test",
    "-A",
    "--no-check",
    "--cached-only",
    "--parallel",
    ...flags,
    ...files,
  ];
  // Tests are counted as they end, for a suite that is cut short.
  const output = new TestOutput();
  let shown = 0;
  const problem = await lines(
    Deno.execPath(),
    args,
    left() * SUITE_SHARE,
    (line) => {
      output.take(line);
      if (/FAILED|error:/.test(line) && shown++ < 50) console.log(line);
    },
    env,
  );
  const { passed, ignored, failures } = output;
  const made: Suite = {
    name,
    seconds: (performance.now() - begin) / 1000,
    passed,
    failed: failures.length,
    ignored,
    failures,
    // A suite whose tests failed ended by itself.
    unfinished: output.ended ? undefined : problem,
  };
  report.suites.push(made);
  save();
  console.log(
    `${name}: ${made.passed} passed, ${made.failed} failed, ${made.ignored} ignored`,
  );
}

/** Takes a line of a side's output into the report. */
function note(side: "decaf" | "torch"): (line: string) => void {
  return (line) => {
    if (!line.startsWith("{")) return;
    const { name, about, ...measured } = JSON.parse(line);
    if (about !== undefined) Object.assign(report.about, about);
    else report[side][name] = measured;
    save();
    console.log(`${side} ${line}`);
  };
}

async function benches(python: string | undefined): Promise<void> {
  const own = rows.map(({ name }) => name);
  const common = ["--device", given.device, "--seconds", given.seconds];
  const layers = convLayers.map((layer) => ({
    ...layer,
    name: convName(layer),
  }));
  for (const names of groups) {
    const mine = names.filter((name) => own.includes(name));
    if (mine.length > 0) {
      const args = ["run", "-A", "--no-check", "--cached-only"];
      const size = given.tiny ? ["--tiny"] : [];
      const problem = await lines(
        Deno.execPath(),
        [...args, "bench/gpu/run.ts", ...common, ...size, ...mine],
        left(),
        note("decaf"),
      );
      if (problem !== undefined) {
        report.remarks.push(`Decaf, ${mine[0]} and what follows: ${problem}`);
      }
    }
    if (python === undefined) continue;
    const problem = await lines(
      python,
      [
        "bench/gpu/torch_bench.py",
        ...common,
        "--extents",
        JSON.stringify(extents),
        "--layers",
        JSON.stringify(layers),
        ...names,
      ],
      left(),
      note("torch"),
    );
    if (problem !== undefined) {
      report.remarks.push(`PyTorch, ${names[0]} and what follows: ${problem}`);
    }
  }
}

async function main(): Promise<void> {
  await Deno.mkdir(given.out, { recursive: true });
  save();
  const python = await findTorch({ install: false });
  if ("absent" in python) report.remarks.push(`PyTorch: ${python.absent}`);
  const path = "path" in python ? python.path : undefined;
  await lines(
    Deno.execPath(),
    ["run", "-A", "--no-check", "--cached-only", "cli.ts", "doctor", "--json"],
    Math.min(left(), 60_000),
    (() => {
      let text = "";
      return (line: string) => {
        text += line;
        try {
          report.about.doctor = JSON.parse(text);
        } catch {
          // More lines follow.
        }
      };
    })(),
  );
  save();
  if (given.tests) {
    for (const each of suitesOnGpu()) await suite(each);
  }
  if (given.benches) await benches(path);
  report.finished = true;
  save();
  console.log(`The report is in ${given.out}.`);
}

await main();
