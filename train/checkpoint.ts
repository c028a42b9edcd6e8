/**
 * Checkpoints: everything a training run needs to go on to the bit, in one
 * safetensors file. Model tensors stand under `model.`, optimizer state under
 * `optimizer.`, averages of parameters under `average.`; the rest is JSON in
 * the metadata.
 *
 * @module
 */

import type { RandomState } from "../core/random.ts";
import type { Tensor } from "../core/tensor.ts";
import type { ArrayRecord } from "../formats/array_record.ts";
import {
  decodeSafetensors,
  safetensorsChunks,
} from "../formats/safetensors.ts";
import type { LoaderState } from "../data/loader.ts";
import type { AverageState, OptimizerState } from "../optim/mod.ts";
import { toRecord, toTensor } from "./arrays.ts";
import { writeFileAtomic } from "./atomic_file.ts";
import type { Numbers } from "./fit_options.ts";
import type { GradScalerState } from "./grad_scaler.ts";

/** The part of a training's state that is no tensor. */
export interface Progress {
  /** Optimizer steps taken. */
  readonly step: number;
  /** Whether a callback has ended the training. */
  readonly stopped: boolean;
  /** Where the data loader stands. */
  readonly loader: LoaderState;
  /** State of the default random generator. */
  readonly random: RandomState;
  /** State of the loss scaling of a training in f16. */
  readonly scaler?: GradScalerState;
  /** What metrics have seen of the current epoch, and what callbacks remember. */
  readonly memory: Readonly<Record<string, unknown>>;
  /** Metrics over the last finished epoch. */
  readonly train: Numbers;
  /** Metrics of the test after it. */
  readonly test?: Numbers;
}

/** A checkpoint in memory. */
export interface Checkpoint {
  /** Model tensors by name. */
  readonly model: Readonly<Record<string, Tensor>>;
  /** Optimizer state. */
  readonly optimizer: OptimizerState;
  /** Averages of the parameters, if there are any. */
  readonly average?: AverageState;
  /** The rest. */
  readonly progress: Progress;
}

/** Where the parts stand in the file. */
const prefixes = {
  model: "model.",
  optimizer: "optimizer.",
  average: "average.",
} as const;
const format = "decaf checkpoint 1";

type Tensors = Readonly<Record<string, Tensor>>;

/**
 * Writes a checkpoint to a temporary file, then renames it.
 *
 * @throws {Error} saying what would help when the file cannot be written; the
 *   checkpoint before is then unchanged.
 */
export async function saveCheckpoint(
  path: string,
  checkpoint: Checkpoint,
): Promise<void> {
  const { model, average, progress } = checkpoint;
  const { tensors, ...optimizer } = checkpoint.optimizer;
  const records = [
    ...recordsOf(prefixes.model, model),
    ...recordsOf(prefixes.optimizer, tensors),
    ...recordsOf(prefixes.average, average?.tensors ?? {}),
  ];
  const metadata = {
    format,
    optimizer: exactJson(optimizer),
    ...(average && { average: exactJson(average.updates) }),
    progress: exactJson(progress),
  };
  await writeFileAtomic(path, safetensorsChunks(records, metadata));
}

function recordsOf(prefix: string, tensors: Tensors): [string, ArrayRecord][] {
  return Object.entries(tensors).map(([name, tensor]) => [
    prefix + name,
    toRecord(tensor),
  ]);
}

/**
 * Reads a checkpoint.
 *
 * @param path File that {@linkcode saveCheckpoint} wrote.
 * @param device Where the tensors go.
 * @throws {Error} naming the file when it is missing, truncated, or no checkpoint.
 */
export async function loadCheckpoint(
  path: string,
  device?: string,
): Promise<Checkpoint> {
  const { tensors, metadata } = await readFile(path);
  requireCheckpoint(path, metadata);
  const part = (prefix: string) => withPrefix(tensors, prefix, device);
  return {
    model: part(prefixes.model),
    optimizer: {
      ...json<OptimizerState>(path, metadata, "optimizer"),
      tensors: part(prefixes.optimizer),
    },
    ...("average" in metadata && {
      average: {
        updates: json<number>(path, metadata, "average"),
        tensors: part(prefixes.average),
      },
    }),
    progress: json<Progress>(path, metadata, "progress"),
  };
}

function withPrefix(
  tensors: ReadonlyMap<string, ArrayRecord>,
  prefix: string,
  device: string | undefined,
): Record<string, Tensor> {
  return Object.fromEntries(
    [...tensors].filter(([name]) => name.startsWith(prefix)).map((
      [name, record],
    ) => [name.slice(prefix.length), toTensor(record, device)]),
  );
}

/** How far the training of a checkpoint had come. */
export async function loadProgress(path: string): Promise<Progress> {
  const { metadata } = await readFile(path);
  requireCheckpoint(path, metadata);
  return json<Progress>(path, metadata, "progress");
}

function requireCheckpoint(
  path: string,
  metadata: Readonly<Record<string, string>>,
): void {
  if (metadata.format === format) return;
  throw new SyntaxError(
    `${path} is no checkpoint: its metadata says format "${
      metadata.format ?? ""
    }", and "${format}" is needed`,
  );
}

/** The model's tensors of a checkpoint or of a plain safetensors file. */
export async function loadWeights(
  path: string,
  device?: string,
): Promise<Record<string, Tensor>> {
  const { tensors, metadata } = await readFile(path);
  const prefix = metadata.format === format ? prefixes.model : "";
  return withPrefix(tensors, prefix, device);
}

/** Writes tensors under their plain names, as PyTorch reads them. */
export async function saveWeights(
  path: string,
  model: Readonly<Record<string, Tensor>>,
): Promise<void> {
  await writeFileAtomic(path, safetensorsChunks(recordsOf("", model)));
}

async function readFile(
  path: string,
): Promise<ReturnType<typeof decodeSafetensors>> {
  let bytes: Uint8Array<ArrayBuffer>;
  try {
    bytes = await Deno.readFile(path);
  } catch (error) {
    throw new Error(
      `Cannot read ${path}: ${
        error instanceof Deno.errors.NotFound
          ? "there is no such file"
          : (error as Error).message
      }`,
      { cause: error },
    );
  }
  return decodeSafetensors(bytes, path);
}

/** JSON in which NaN, infinities and −0 are kept, as `{ "$number": "NaN" }`. */
function exactJson(value: unknown): string {
  return JSON.stringify(value, (_, x) => {
    if (typeof x !== "number") return x;
    if (Number.isFinite(x) && !Object.is(x, -0)) return x;
    return { $number: Object.is(x, -0) ? "-0" : String(x) };
  });
}

/** Reads back what {@linkcode exactJson} writes. */
function exactNumber(_: string, x: unknown): unknown {
  const text = (x as { $number?: unknown } | null)?.$number;
  return typeof text === "string" ? Number(text) : x;
}

function json<T>(
  path: string,
  metadata: Readonly<Record<string, string>>,
  key: string,
): T {
  try {
    return JSON.parse(metadata[key], exactNumber) as T;
  } catch (error) {
    throw new SyntaxError(
      `${path} is damaged: its metadata "${key}" is no JSON; restore it from a copy, or train again`,
      { cause: error },
    );
  }
}
