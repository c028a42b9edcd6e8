/** Values that tests/golden/optim/make.py made with PyTorch. */

interface Row {
  kind: "optimizer" | "schedule";
  name: string;
  values: unknown;
}

const lines = Deno.readTextFileSync(
  new URL("./golden/optim/values.jsonl", import.meta.url),
).trim().split("\n").map((line) => JSON.parse(line));

const [header, ...rows]: [{ kept: number[]; metrics: number[] }, ...Row[]] =
  lines as never;

/** Steps after which parameters were kept. */
export const kept: number[] = header.kept;

/** Metrics shown to the plateau schedulers. */
export const metrics: number[] = header.metrics;

function find(kind: Row["kind"], name: string): unknown {
  const row = rows.find((r) => r.kind === kind && r.name === name);
  if (row === undefined) {
    throw new Error(`There is no golden ${kind} "${name}": run make.py`);
  }
  return row.values;
}

/** Both parameters, flat, after each kept step. */
export function goldenOptimizer(name: string): number[][] {
  return find("optimizer", name) as number[][];
}

/** The factors of the first iterations. */
export function goldenSchedule(name: string): number[] {
  return find("schedule", name) as number[];
}

/** Names of all golden cases of a kind. */
export function goldenNames(kind: Row["kind"]): string[] {
  return rows.filter((r) => r.kind === kind).map((r) => r.name);
}
