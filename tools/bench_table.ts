/**
 * Times Decaf and its peers one after the other on this machine, and prints one
 * table in Markdown. A peer that cannot be installed is listed with the reason.
 *
 * Run: `deno task bench:peers [--install] [--least] [--only=decaf,PyTorch,…]`
 * `--install` may put PyTorch (about 5 GB) into the user's cache folder;
 * `--least` shows the least times instead of the medians, for a busy machine.
 */

import { parseArgs } from "@std/cli";
import type { Absence, Measurement } from "../bench/peers/measure.ts";
import { type Row, rows } from "../bench/peers/rows.ts";
import { ROOT } from "./files.ts";
import { findTorch } from "./python.ts";

type Line = Measurement | Absence;

/** What one contestant measured, or why it is absent altogether. */
interface Column {
  name: string;
  lines: Map<string, Line>;
  absent?: string;
}

const DENO = ["run", "-A", "--no-lock", "--quiet", "--no-check"];
const PEERS = "bench/peers";

/** The commands of each contestant. */
async function commands(
  install: boolean,
): Promise<Record<string, string[][] | string>> {
  const deno = (...args: string[]) => [Deno.execPath(), ...DENO, ...args];
  const python = await findTorch({ install });
  return {
    Decaf: [deno("tools/bench_run.ts")],
    PyTorch: "path" in python
      ? [[python.path, `${PEERS}/torch_bench.py`]]
      : python.absent,
    "jax-js": [deno(`${PEERS}/jax_js.ts`)],
    "tfjs-wasm": [deno(`${PEERS}/tfjs_wasm.ts`)],
    "ort-web": [
      deno(`${PEERS}/ort_web.ts`, "1"),
      deno(`${PEERS}/ort_web.ts`, "2"),
    ],
  };
}

async function contest(name: string, runs: string[][]): Promise<Column> {
  const column: Column = { name, lines: new Map() };
  for (const [command, ...args] of runs) {
    console.error(`Timing ${name} …`);
    const { code, stdout, stderr } = await new Deno.Command(command, {
      args,
      cwd: ROOT,
      stdin: "null",
      env: { NO_COLOR: "1" },
    }).output();
    for (const text of new TextDecoder().decode(stdout).split("\n")) {
      if (!text.startsWith("{")) continue;
      const line: Line = JSON.parse(text);
      column.lines.set(line.name, line);
    }
    if (code !== 0) {
      const complaint = new TextDecoder().decode(stderr).trim().split("\n");
      column.absent = complaint.find((line) => /error/i.test(line)) ??
        complaint.at(-1) ?? `exit code ${code}`;
    }
  }
  return column;
}

/** A number with three digits that say something. */
function digits(value: number): string {
  return value >= 100 ? value.toFixed(0) : value.toPrecision(3);
}

/** Which of a line's times is shown. */
type Time = "ms_median" | "ms_min";

function cell(row: Row, column: Column, decaf: Column, shown: Time): string {
  const line = column.lines.get(row.name);
  if (!line || "absent" in line) return "–";
  const time = digits(line[shown]);
  if (column === decaf) {
    return row.flops === undefined
      ? time
      : `${time} (${(row.flops / line[shown] / 1e6).toFixed(0)} GFLOP/s)`;
  }
  const own = decaf.lines.get(row.name);
  if (!own || "absent" in own) return time;
  return `${time} (${digits(line[shown] / own[shown])}×)`;
}

function table(columns: Column[], shown: Time): string {
  const decaf = columns.find(({ name }) => name === "Decaf") ?? columns[0];
  const unit = shown === "ms_min" ? "ms, least" : "ms, median";
  const head = [unit, "must", "aim", ...columns.map((c) => c.name)];
  const text = [head, head.map((_, i) => i === 0 ? "---" : "--:")];
  for (const row of rows) {
    const cells = columns.map((column) => cell(row, column, decaf, shown));
    text.push([row.name, digits(row.must), digits(row.aim), ...cells]);
  }
  return text.map((cells) => `| ${cells.join(" | ")} |`).join("\n");
}

async function main(): Promise<void> {
  const flags = parseArgs(Deno.args, {
    boolean: ["install", "least"],
    string: ["only"],
  });
  const only: string[] | undefined = flags.only?.toLowerCase().split(",");
  const contestants = await commands(flags.install);
  const names = Object.keys(contestants);
  const unknown = only?.find((given) =>
    !names.some((name) => name.toLowerCase() === given)
  );
  if (unknown !== undefined) {
    console.error(`There is no peer ${unknown}: there is ${names.join(", ")}.`);
    Deno.exit(2);
  }
  const columns: Column[] = [];
  for (const [name, runs] of Object.entries(contestants)) {
    if (only && !only.includes(name.toLowerCase())) continue;
    columns.push(
      typeof runs === "string"
        ? { name, lines: new Map(), absent: runs }
        : await contest(name, runs),
    );
  }

  const cores = navigator.hardwareConcurrency;
  console.log(
    `Deno ${Deno.version.deno}, ${Deno.build.target}, ${cores} cores.`,
    "In brackets: how many times as fast as the peer Decaf is.\n",
  );
  console.log(table(columns, flags.least ? "ms_min" : "ms_median"));
  const notes = columns.flatMap(({ name, lines, absent }) => [
    ...(absent ? [`${name}: ${absent}`] : []),
    ...[...lines.values()].flatMap((line) =>
      "absent" in line ? [`${name}, ${line.name}: ${line.absent}`] : []
    ),
  ]);
  if (notes.length > 0) console.log("\nAbsent:\n- " + notes.join("\n- "));
}

if (import.meta.main) await main();
