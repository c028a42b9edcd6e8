/** Values that tests/golden/optim/make.py made with PyTorch, and caffe2.py of Caffe2's formulas. */

interface Row {
  kind: "optimizer" | "schedule" | "caffe2";
  name: string;
  values: unknown;
}

function lines(file: string): unknown[] {
  const url = new URL(`./golden/optim/${file}`, import.meta.url);
  return Deno.readTextFileSync(url).trim().split("\n").map((line) =>
    JSON.parse(line)
  );
}

const [header, ...made] = lines("values.jsonl") as [
  { kept: number[]; metrics: number[] },
  ...Row[],
];

const rows = [...made, ...lines("caffe2.jsonl") as Row[]];

/** Steps after which parameters were kept. */
export const kept: number[] = header.kept;

/** Metrics shown to the plateau schedulers. */
export const metrics: number[] = header.metrics;

function find(kind: Row["kind"], name: string): unknown {
  const row = rows.find((r) => r.kind === kind && r.name === name);
  if (row === undefined) {
    throw new Error(
      `There is no golden ${kind} "${name}": run make.py or caffe2.py`,
    );
  }
  return row.values;
}

/** Both parameters, flat, after each kept step. */
export function goldenOptimizer(
  kind: "optimizer" | "caffe2",
  name: string,
): number[][] {
  return find(kind, name) as number[][];
}

/** The factors of the first iterations. */
export function goldenSchedule(name: string): number[] {
  return find("schedule", name) as number[];
}

/** Names of all golden cases of a kind. */
export function goldenNames(kind: Row["kind"]): string[] {
  return rows.filter((r) => r.kind === kind).map((r) => r.name);
}
