/** The report of a run on a GPU: what was measured so far, as JSON and as Markdown. */

import type { GpuRow } from "../bench/gpu/rows.ts";

/** What one side measured of a row. */
export interface Measured {
  /** Median milliseconds. */
  readonly ms?: number;
  /** Milliseconds until the host had asked for everything. */
  readonly ms_host?: number;
  /** Why there is no time. */
  readonly absent?: string;
}

/** A part of the tests. */
export interface Suite {
  readonly name: string;
  readonly seconds: number;
  readonly passed: number;
  readonly failed: number;
  readonly ignored: number;
  /** Names of what failed, with the first line of the error. */
  readonly failures: readonly string[];
  /** Set when the part was ended before it was done. */
  readonly unfinished?: string;
}

/** Everything that is known. */
export interface Report {
  readonly command: string;
  readonly date: string;
  readonly device: string;
  /** Versions and names, as the two sides say them. */
  readonly about: Record<string, unknown>;
  readonly suites: Suite[];
  readonly decaf: Record<string, Measured>;
  readonly torch: Record<string, Measured>;
  /** What could not be done, in sentences. */
  readonly remarks: string[];
  /** Set when everything was run. */
  finished: boolean;
}

/** One comparison: a row of Decaf's with one of PyTorch's. */
export interface Comparison {
  readonly row: GpuRow;
  readonly against: string;
  readonly target: number;
  /** How many times as fast Decaf is; undefined where a side is missing. */
  readonly ratio: number | undefined;
}

/** All comparisons that the rows ask for. */
export function comparisons(
  rows: readonly GpuRow[],
  { decaf, torch }: Pick<Report, "decaf" | "torch">,
): Comparison[] {
  return rows.flatMap((row) => {
    const pairs = row.against ?? [{ row: row.name, target: row.target }];
    return pairs.map(({ row: against, target }) => {
      const own = decaf[row.name]?.ms, other = torch[against]?.ms;
      const ratio = own && other ? other / own : undefined;
      return { row, against, target, ratio };
    });
  });
}

function digits(x: number): string {
  return x >= 100 ? x.toFixed(0) : x.toPrecision(3);
}

/** What a time means in the units of the row. */
function meaning(row: GpuRow, ms: number, copy: number | undefined): string {
  if (row.hostMicroseconds !== undefined) return "";
  if (row.bytes !== undefined) {
    const rate = row.bytes / ms / 1e6;
    const share = copy === undefined
      ? ""
      : `, ${(100 * rate / copy).toFixed(0)} % of copying`;
    return `${digits(rate)} GB/s${share}`;
  }
  if (row.flops !== undefined) {
    return `${digits(row.flops / ms / 1e9)} TFLOP/s`;
  }
  if (row.items !== undefined) {
    return `${digits(row.items.count / ms * 1e3)} ${row.items.unit}`;
  }
  return "";
}

function side(
  row: GpuRow,
  measured: Measured | undefined,
  copy: number | undefined,
): string {
  if (measured?.ms === undefined) return "–";
  const what = meaning(row, measured.ms, copy);
  return `${digits(measured.ms)}${what === "" ? "" : ` (${what})`}`;
}

/** The report as a page. */
export function reportPage(report: Report, rows: readonly GpuRow[]): string {
  const { decaf, torch, about, suites } = report;
  const remarks = [...report.remarks];
  const chain = rows.find((row) => row.hostMicroseconds !== undefined);
  const copyRow = rows.find((row) => row.name === "copy");
  const best = Math.min(
    decaf.copy?.ms ?? Infinity,
    torch.copy?.ms ?? Infinity,
  );
  const copy = copyRow?.bytes !== undefined && best < Infinity
    ? copyRow.bytes / best / 1e6
    : undefined;
  const lines = [
    `# Decaf on ${about.gpu ?? report.device}, ${report.date}`,
    "",
    `Made by \`${report.command}\`${
      report.finished ? "" : "; **it was ended before it was done**"
    }.`,
    "",
    ...Object.entries(about).map(([key, value]) =>
      `- ${key}: ${typeof value === "string" ? value : JSON.stringify(value)}`
    ),
    "",
    "## Tests",
    "",
    "| part | passed | failed | ignored | seconds |",
    "| --- | --: | --: | --: | --: |",
    ...suites.map((s) =>
      `| ${s.name}${
        s.unfinished === undefined ? "" : ` (${s.unfinished})`
      } | ${s.passed} | ${s.failed} | ${s.ignored} | ${s.seconds.toFixed(0)} |`
    ),
    "",
    ...suites.flatMap((s) => s.failures).map((name) => `- FAILED ${name}`),
    "",
    "## Next to PyTorch",
    "",
    "Milliseconds, medians. The ratio says how many times as fast Decaf is.",
    "",
    "| row | Decaf | PyTorch | ratio | target |",
    "| --- | --: | --: | --: | --: |",
    ...comparisons(rows, report).map(({ row, against, target, ratio }) => {
      const other = against === row.name ? "" : ` against ${against}`;
      const met = ratio === undefined
        ? "–"
        : `${digits(ratio)}${ratio >= target ? "" : " ✗"}`;
      return `| ${row.name}${other} | ${side(row, decaf[row.name], copy)} | ${
        side(row, torch[against], copy)
      } | ${met} | ${target} |`;
    }),
    "",
  ];
  const host = chain && decaf[chain.name]?.ms_host;
  if (chain !== undefined && host !== undefined) {
    const count = Number(/\d+/.exec(chain.doc)?.[0]);
    lines.push(
      `Host time per eager operator: ${
        digits(1000 * host / count)
      } µs (target ${chain.hostMicroseconds} µs).`,
      "",
    );
  }
  lines.push("What is computed in each row:", "");
  for (const { name, doc } of rows) lines.push(`- ${name}: ${doc}`);
  const missing = [["Decaf", decaf], ["PyTorch", torch]] as const;
  for (const [who, measured] of missing) {
    for (const [name, { absent }] of Object.entries(measured)) {
      if (absent !== undefined) remarks.push(`${who}, ${name}: ${absent}`);
    }
  }
  if (remarks.length > 0) {
    lines.push("", "## Remarks", "", ...remarks.map((r) => `- ${r}`));
  }
  return lines.join("\n") + "\n";
}
