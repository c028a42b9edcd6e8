/** How every row is timed, Decaf's and the peers' alike. */

const WARM_UPS = 5;
const MILLISECONDS = 1200;
const LEAST_RUNS = 5;
/** No row may take longer than this, however slow a peer is. */
const PATIENCE = 20_000;

/** One measured row, printed as a line of JSON. */
export interface Measurement {
  name: string;
  ms_median: number;
  ms_min: number;
  threads: number;
}

/** A row that a peer cannot do, with the reason. */
export interface Absence {
  name: string;
  absent: string;
}

/** Runs once and resolves to the milliseconds it took. */
export type TimedRun = () => Promise<number>;

/** A run that times the whole of `work`, awaited. */
function timed(work: () => unknown): TimedRun {
  return async () => {
    const start = performance.now();
    await work();
    return performance.now() - start;
  };
}

/** The middle value; the mean of the two middle ones for an even count. */
export function median(values: number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const half = sorted.length >> 1;
  return sorted.length % 2 === 1
    ? sorted[half]
    : (sorted[half - 1] + sorted[half]) / 2;
}

/** Warms up, then runs for about 1.2 s; a slow run at least five times if patience allows. */
export async function measure(run: TimedRun): Promise<[number, number]> {
  const begin = performance.now();
  const spent = () => performance.now() - begin;
  for (let i = 0; i < WARM_UPS && spent() < PATIENCE / 4; i++) await run();
  const times: number[] = [];
  const start = performance.now();
  do {
    times.push(await run());
  } while (
    performance.now() - start < MILLISECONDS ||
    (times.length < LEAST_RUNS && spent() < PATIENCE)
  );
  return [median(times), Math.min(...times)];
}

/** Measures one row and prints its line, or why it could not be done. */
export async function report(
  name: string,
  threads: number,
  prepare: () => (() => unknown) | Promise<() => unknown>,
): Promise<void> {
  let line: Measurement | Absence;
  try {
    const [ms_median, ms_min] = await measure(timed(await prepare()));
    line = { name, ms_median, ms_min, threads };
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    line = { name, absent: reason.split("\n")[0] };
  }
  console.log(JSON.stringify(line));
}

/** Numbers in (-1, 1), the same in each run. */
export function noise(length: number): Float32Array {
  let state = 1;
  return Float32Array.from({ length }, () => {
    state = Math.imul(state, 1664525) + 1013904223 | 0;
    return state / 2 ** 31;
  });
}
