/**
 * Run folders: what was trained (`config.json`), the numbers on the way
 * (`metrics.jsonl`, one JSON object per line, and an event file for
 * TensorBoard). After a crash the folder is read and continued as it is.
 *
 * @module
 */
import { checkOptions, type OptionNames } from "../core/options.ts";
import {
  describeWriteError,
  removeLeftovers,
  writeFileAtomic,
} from "./atomic_file.ts";
import { EventWriter } from "./tensorboard.ts";

/** One line of `metrics.jsonl`: numbers by name. */
export interface MetricsLine {
  /** The training step that the numbers belong to. */
  step: number;
  /** When they were written, in seconds since 1970. */
  time: number;
  /** The numbers, by names such as `train/loss`. */
  [name: string]: number;
}

/** How a run folder is opened. */
export interface RunLogOptions {
  /** Whether to write an event file for TensorBoard; `true` by default. */
  tensorboard?: boolean;
  /** The clock, in milliseconds since 1970. */
  now?: () => number;
}

const optionNames: OptionNames<RunLogOptions> = {
  tensorboard: true,
  now: true,
};

/** Any JSON object. */
export type RunConfig = Readonly<Record<string, unknown>>;

/**
 * A run folder that is being written. Close it, or open it with `using`.
 *
 * @example
 * ```ts
 * import { readMetrics, RunLog } from "./run_log.ts";
 * const folder = await Deno.makeTempDir();
 * {
 *   using log = await RunLog.create(folder, { model: "lenet", epochs: 1 });
 *   log.write(1, { "train/loss": 2.3 });
 * }
 * const [line] = await readMetrics(folder);
 * if (line["train/loss"] !== 2.3) throw new Error("metrics");
 * await Deno.remove(folder, { recursive: true });
 * ```
 */
export class RunLog implements Disposable {
  /** The folder's path. */
  readonly folder: string;
  /** What `config.json` says. */
  readonly config: RunConfig;
  #metrics: Deno.FsFile;
  #bytes: number;
  #events: EventWriter | undefined;
  #now: () => number;

  private constructor(
    folder: string,
    config: RunConfig,
    events: EventWriter | undefined,
    now: () => number,
  ) {
    this.folder = folder;
    this.config = config;
    this.#events = events;
    this.#now = now;
    const path = metricsPath(folder);
    try {
      this.#metrics = Deno.openSync(path, { append: true, create: true });
      this.#bytes = this.#metrics.statSync().size;
    } catch (error) {
      events?.[Symbol.dispose]();
      throw describeWriteError(error, path, 0);
    }
  }

  /**
   * Makes a run folder, with the folders above it, and writes its config.
   *
   * @throws {Error} when it already holds a run, or cannot be written.
   */
  static async create(
    folder: string,
    config: RunConfig,
    options: RunLogOptions = {},
  ): Promise<RunLog> {
    checkOptions("open a run folder", options, optionNames);
    const path = configPath(folder);
    if (await exists(path)) {
      throw new Deno.errors.AlreadyExists(
        `${folder} already holds a run; resume it, or choose another folder`,
      );
    }
    try {
      await Deno.mkdir(folder, { recursive: true });
    } catch (error) {
      if (error instanceof Deno.errors.AlreadyExists) {
        throw new Deno.errors.AlreadyExists(
          `Cannot make the run folder ${folder}: a file has that name; choose another folder`,
        );
      }
      throw describeWriteError(error, folder, 0);
    }
    await writeFileAtomic(path, JSON.stringify(config, null, 2) + "\n");
    return await RunLog.#open(folder, config, options);
  }

  /**
   * Continues a run after `step`: what was logged beyond it, between the last
   * checkpoint and the crash, is forgotten.
   *
   * @throws {Error} when the folder holds no run.
   */
  static async resume(
    folder: string,
    step: number,
    options: RunLogOptions = {},
  ): Promise<RunLog> {
    checkOptions("open a run folder", options, optionNames);
    const config = await readConfig(folder);
    await removeLeftovers(configPath(folder));
    await removeLeftovers(metricsPath(folder));
    const lines = await readMetrics(folder);
    const kept = lines.filter((line) => line.step <= step)
      .map((line) => `${plainJson(line)}\n`);
    await writeFileAtomic(metricsPath(folder), kept.join(""));
    return await RunLog.#open(folder, config, options, step + 1);
  }

  /** Adds a line of numbers for a step, to the metrics and the event file. */
  write(step: number, values: Readonly<Record<string, number>>): void {
    const line: MetricsLine = { step, time: this.#now() / 1000, ...values };
    const bytes = new TextEncoder().encode(`${plainJson(line)}\n`);
    try {
      let written = 0;
      while (written < bytes.length) {
        written += this.#metrics.writeSync(bytes.subarray(written));
      }
      this.#bytes += bytes.length;
    } catch (error) {
      this.#takeBack();
      const path = metricsPath(this.folder);
      throw describeWriteError(error, path, this.#bytes + bytes.length);
    }
    this.#events?.write(step, values);
  }

  /** Takes back the part of a line that was written. */
  #takeBack(): void {
    try {
      this.#metrics.truncateSync(this.#bytes);
    } catch {
      // No file on a disk; the first error is the one to tell.
    }
  }

  /** Closes the files. */
  [Symbol.dispose](): void {
    this.#metrics[Symbol.dispose]();
    this.#events?.[Symbol.dispose]();
  }

  /** Opens the files of a folder whose config is written. */
  static async #open(
    folder: string,
    config: RunConfig,
    options: RunLogOptions,
    purgeStep?: number,
  ): Promise<RunLog> {
    const { tensorboard = true, now = Date.now } = options;
    const events = tensorboard
      ? await EventWriter.open(folder, { purgeStep, now })
      : undefined;
    return new RunLog(folder, config, events, now);
  }
}

/**
 * A folder for a new run below `root`, named by the time and `name`, such as
 * `runs/2026-01-31_14-05-09_lenet`. Nothing is made yet.
 */
export function newRunFolder(
  root: string,
  name: string,
  now: Date = new Date(),
): string {
  const two = (value: number) => String(value).padStart(2, "0");
  const date = [now.getFullYear(), two(now.getMonth() + 1), two(now.getDate())];
  const time = [now.getHours(), now.getMinutes(), now.getSeconds()].map(two);
  return `${root}/${date.join("-")}_${time.join("-")}_${name}`;
}

/** What helps where a file of a run folder is damaged, at the end of a sentence. */
export const restore =
  "restore it from a copy, or train again into another folder";

/**
 * Reads `config.json` of a run folder.
 *
 * @throws {Error} when there is none, or it is damaged.
 */
export async function readConfig(folder: string): Promise<RunConfig> {
  const path = configPath(folder);
  let text: string;
  try {
    text = await Deno.readTextFile(path);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    throw new Deno.errors.NotFound(
      `${folder} is not a run folder: it has no config.json; name a folder that a training has written`,
      { cause: error },
    );
  }
  try {
    const config: unknown = JSON.parse(text);
    if (typeof config === "object" && config !== null) {
      return config as RunConfig;
    }
  } catch (error) {
    throw new SyntaxError(
      `${path} is damaged: ${(error as Error).message}; ${restore}`,
      { cause: error },
    );
  }
  throw new SyntaxError(
    `${path} is damaged: it is not a JSON object; ${restore}`,
  );
}

/**
 * Reads `metrics.jsonl` of a run folder; `[]` when there is none. A last line
 * that a crash cut off is left out.
 *
 * @throws {SyntaxError} naming the line when another one is damaged.
 */
export async function readMetrics(folder: string): Promise<MetricsLine[]> {
  const path = metricsPath(folder);
  let text: string;
  try {
    text = await Deno.readTextFile(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return [];
    throw error;
  }
  const lines = text.split("\n");
  // What follows the last line break is empty, or a line cut off.
  lines.pop();
  return lines.map((line, i) => {
    const parsed = parseLine(line);
    if (parsed !== undefined) return parsed;
    throw new SyntaxError(
      `${path}, line ${i + 1} is damaged: ${
        JSON.stringify(line.slice(0, 80))
      }; remove the line, or restore the file from a copy`,
    );
  });
}

function configPath(folder: string): string {
  return `${folder}/config.json`;
}

function metricsPath(folder: string): string {
  return `${folder}/metrics.jsonl`;
}

async function exists(path: string): Promise<boolean> {
  try {
    await Deno.stat(path);
    return true;
  } catch (error) {
    if (
      error instanceof Deno.errors.NotFound ||
      error instanceof Deno.errors.NotADirectory
    ) return false;
    throw error;
  }
}

/** A value as JSON, which has no NaN and no infinities: they are written as texts. */
export function plainJson(value: unknown): string {
  return JSON.stringify(
    value,
    (_, x) => typeof x === "number" && !Number.isFinite(x) ? String(x) : x,
  );
}

function parseLine(text: string): MetricsLine | undefined {
  try {
    const entries = Object.entries(JSON.parse(text));
    const line = Object.fromEntries(
      entries.map(([name, value]) => [name, Number(value)]),
    );
    return Number.isInteger(line.step) ? line as MetricsLine : undefined;
  } catch {
    return undefined;
  }
}
