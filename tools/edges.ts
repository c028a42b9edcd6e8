/**
 * Feeds every operator the values where conventions show — NaN, ±∞, ±0, huge,
 * tiny, ties, no elements — in every dtype, and compares with PyTorch, live.
 * What differs must be what a rule of tools/edges/ says; prints the calls that
 * none explains, then the number of calls by rule. Ends with 1 where one is
 * unexplained, or where all was compared and a rule has a case that nothing shows.
 *
 * Run: `deno task edges [NAME…] [--gradients] [--refusals] [--zeros] [--all]`
 * `--gradients` compares gradients too, `--refusals` calls that only one side
 * takes, `--zeros` tells 0 from −0, `--all` is all three; `--page` writes
 * docs/pytorch_differences.md.
 */

import { examine, type Finding } from "./edges/examine.ts";
import { isSample } from "./edges/calls.ts";
import { PAGE, page, rules } from "./edges/page.ts";
import { explain, unseen } from "./edges/rules.ts";
import { formatted } from "./files.ts";
import { findTorch } from "./python.ts";

function describe({ info, sample }: Finding): string {
  const part = (x: unknown): string =>
    isSample(x)
      ? `${x.dtype}[${x.shape}](${
        x.data.slice(0, 40).map((n) => Object.is(n, -0) ? "-0" : `${n}`).join(
          " ",
        )
      })`
      : Array.isArray(x)
      ? `[${x.map(part)}]`
      : typeof x === "object" && x !== null
      ? `{${Object.entries(x).map(([k, v]) => `${k}: ${part(v)}`)}}`
      : `${x}`;
  return `${info.name}(${sample.map(part).join(", ")})`;
}

async function main(): Promise<number> {
  const flags = Deno.args.filter((arg) => arg.startsWith("--"));
  const names = Deno.args.filter((arg) => !arg.startsWith("--"));
  const known = ["--gradients", "--refusals", "--zeros", "--all", "--page"];
  const unknown = flags.find((flag) => !known.includes(flag));
  if (unknown !== undefined) {
    console.error(`Unknown option ${unknown}: there are ${known.join(", ")}.`);
    return 2;
  }
  if (flags.includes("--page")) {
    await Deno.writeTextFile(PAGE, await formatted(page(rules)));
    return 0;
  }
  const python = await findTorch({ install: false });
  if ("absent" in python) {
    console.error(`No Python with PyTorch: ${python.absent}.`);
    return 1;
  }
  const all = flags.includes("--all");
  const { calls, operators, findings } = await examine(python.path, names, {
    gradients: all || flags.includes("--gradients"),
    refusals: all || flags.includes("--refusals"),
    zeros: all || flags.includes("--zeros"),
  });
  const counts = new Map<string, number>();
  const seen = new Set<string>();
  let unexplained = 0;
  for (const finding of findings) {
    const found = explain(finding, rules, seen);
    if ("unexplained" in found) {
      unexplained++;
      console.log(`${describe(finding)}\n    ${found.unexplained}`);
    } else {
      for (const name of found.by) {
        counts.set(name, (counts.get(name) ?? 0) + 1);
      }
    }
  }
  for (const [name, count] of [...counts].sort((a, b) => b[1] - a[1])) {
    console.log(`${`${count}`.padStart(6)}  ${name}`);
  }
  console.log(
    `${calls} calls of ${operators} operators: ${findings.length} differ, ` +
      `${unexplained} unexplained differences`,
  );
  const stale = all && names.length === 0 ? unseen(rules, seen) : [];
  for (const key of stale) console.log(`No call shows: ${key}`);
  return unexplained + stale.length === 0 ? 0 : 1;
}

if (import.meta.main) Deno.exit(await main());
