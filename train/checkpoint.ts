/**
 * Checkpoints: everything a training run needs to go on to the bit, in one
 * safetensors file. Model tensors stand under `model.`, optimizer state under
 * `optimizer.`; the rest is JSON in the metadata.
 *
 * @module
 */

import type { Tensor } from "../core/tensor.ts";
import type { ArrayRecord } from "../formats/array_record.ts";
import {
  decodeSafetensors,
  safetensorsChunks,
} from "../formats/safetensors.ts";
import type { LoaderState } from "../data/loader.ts";
import type { OptimizerState } from "../optim/mod.ts";
import { toRecord, toTensor } from "./arrays.ts";
import { writeFileAtomic } from "./atomic_file.ts";

/** The part of a training's state that is no tensor. */
export interface Progress {
  /** Optimizer steps taken. */
  readonly step: number;
  /** Where the data loader stands. */
  readonly loader: LoaderState;
  /** State of the random generator. */
  readonly random: unknown;
  /** What metrics have seen of the current epoch, and what callbacks remember. */
  readonly memory: Readonly<Record<string, unknown>>;
}

/** A checkpoint in memory. */
export interface Checkpoint {
  /** Model tensors by name. */
  readonly model: Readonly<Record<string, Tensor>>;
  /** Optimizer state. */
  readonly optimizer: OptimizerState;
  /** The rest. */
  readonly progress: Progress;
}

/** Where the parts stand in the file. */
const modelPrefix = "model.", optimizerPrefix = "optimizer.";
const format = "decaf checkpoint 1";

/** Writes a checkpoint to a temporary file, then renames it. */
export async function saveCheckpoint(
  path: string,
  checkpoint: Checkpoint,
): Promise<void> {
  const { tensors, ...optimizer } = checkpoint.optimizer;
  const records: [string, ArrayRecord][] = [];
  for (const [name, tensor] of Object.entries(checkpoint.model)) {
    records.push([modelPrefix + name, toRecord(tensor)]);
  }
  for (const [name, tensor] of Object.entries(tensors)) {
    records.push([optimizerPrefix + name, toRecord(tensor)]);
  }
  const metadata = {
    format,
    optimizer: JSON.stringify(optimizer),
    progress: JSON.stringify(checkpoint.progress),
  };
  await writeFileAtomic(path, safetensorsChunks(records, metadata));
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
  if (metadata.format !== format) {
    throw new SyntaxError(
      `${path} is no checkpoint: its metadata says format "${
        metadata.format ?? ""
      }", and "${format}" is needed`,
    );
  }
  const model: Record<string, Tensor> = {};
  const state: Record<string, Tensor> = {};
  for (const [name, record] of tensors) {
    if (name.startsWith(modelPrefix)) {
      model[name.slice(modelPrefix.length)] = toTensor(record, device);
    } else if (name.startsWith(optimizerPrefix)) {
      state[name.slice(optimizerPrefix.length)] = toTensor(record, device);
    }
  }
  return {
    model,
    optimizer: {
      ...json<OptimizerState>(path, metadata, "optimizer"),
      tensors: state,
    },
    progress: json<Progress>(path, metadata, "progress"),
  };
}

/** The model's tensors of a checkpoint or of a plain safetensors file. */
export async function loadWeights(
  path: string,
  device?: string,
): Promise<Record<string, Tensor>> {
  const { tensors, metadata } = await readFile(path);
  const prefix = metadata.format === format ? modelPrefix : "";
  const model: Record<string, Tensor> = {};
  for (const [name, record] of tensors) {
    if (name.startsWith(prefix)) {
      model[name.slice(prefix.length)] = toTensor(record, device);
    }
  }
  return model;
}

/** Writes tensors under their plain names, as PyTorch reads them. */
export async function saveWeights(
  path: string,
  model: Readonly<Record<string, Tensor>>,
): Promise<void> {
  const records = Object.entries(model).map((
    [name, t],
  ): [string, ArrayRecord] => [name, toRecord(t)]);
  await writeFileAtomic(path, safetensorsChunks(records));
}

async function readFile(
  path: string,
): Promise<ReturnType<typeof decodeSafetensors>> {
  let bytes: Uint8Array<ArrayBuffer>;
  try {
    bytes = await Deno.readFile(path);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    throw new Deno.errors.NotFound(
      `Cannot read ${path}: there is no such file`,
      { cause: error },
    );
  }
  return decodeSafetensors(bytes, path);
}

function json<T>(
  path: string,
  metadata: Readonly<Record<string, string>>,
  key: string,
): T {
  try {
    return JSON.parse(metadata[key]) as T;
  } catch (error) {
    throw new SyntaxError(
      `${path} is damaged: its metadata "${key}" is no JSON`,
      { cause: error },
    );
  }
}
