/**
 * Launches: how operands are walked, one after the other or several together.
 *
 * @module
 */

import type { Device, Launch, Strided } from "./device.ts";
import type { Program } from "../kernel/program.ts";
import type { Value } from "./value.ts";

/** Called with each launch, when something wants to watch. */
export const observer: { launch?: (launch: Launch) => void } = {};

/** Runs a launch at once. */
export function run(device: Device, launch: Launch): void {
  observer.launch?.(launch);
  device.launch(launch);
}

/** The step of an operand whose elements follow each other. */
export const unit: readonly number[] = [1];
const zero: readonly number[] = [0];
/** No numbers. */
export const none: readonly number[] = [];

/** Axes from the largest step to the smallest. */
export function memoryOrder(strides: readonly number[]): number[] {
  return strides.map((_, d) => d).sort((a, b) => strides[b] - strides[a]);
}

/** Whether the first values are single elements, or dense in the memory order of `like`: then one axis is enough. */
export function allFlat(
  values: readonly Value[],
  count: number,
  size: number,
  like: Value,
): boolean {
  const rowMajor = like.contiguous;
  for (let i = 0; i < count; i++) {
    const value = values[i];
    if (value.size === 1) continue;
    if (value.size !== size) return false;
    if (!(rowMajor ? value.contiguous : sameLayout(value, like))) return false;
  }
  return true;
}

/** Whether images with their channels last have their elements in the same places. */
function sameLayout(a: Value, b: Value): boolean {
  if (a.shape.length !== b.shape.length) return false;
  for (let d = 0; d < a.shape.length; d++) {
    if (a.shape[d] !== b.shape[d]) return false;
    if (a.shape[d] !== 1 && a.strides[d] !== b.strides[d]) return false;
  }
  return b.channelsLast;
}

/** Operands over a single axis; those from `streamed` on are read by `load` only. */
export function flatOperands(
  values: readonly Value[],
  streamed: number,
  size: number,
): Strided[] {
  const operands = new Array<Strided>(values.length);
  for (let i = 0; i < values.length; i++) {
    const value = values[i];
    const still = i >= streamed || (value.size === 1 && size !== 1);
    operands[i] = strided(value, still ? zero : unit);
  }
  return operands;
}

/** A stored value as an operand with the given strides. */
export function strided(value: Value, strides: readonly number[]): Strided {
  return {
    storage: value.storage,
    dtype: value.dtype,
    offset: value.offset,
    strides,
  };
}

/** `values[order[from]]` to `values[order[to − 1]]`; for shapes better than `map`, whose arrays V8 tells from those of other shapes. */
export function pick(
  values: readonly number[],
  order: readonly number[],
  from: number,
  to: number,
): number[] {
  const picked = new Array<number>(to - from);
  for (let i = from; i < to; i++) picked[i - from] = values[order[i]];
  return picked;
}

/** Launches that are to be run together. */
export class LaunchQueue {
  #queued: { device: Device; launch: Launch }[] = [];
  #held: Value[] = [];

  /**
   * Adds a launch.
   *
   * @param device Where it will run.
   * @param launch What.
   * @param values What it reads and writes: kept until it has run, whoever else lets go of them.
   */
  add(device: Device, launch: Launch, values: readonly Value[]): void {
    for (const value of values) this.#held.push(value.retain());
    this.#queued.push({ device, launch });
  }

  /** Runs what was added: those of one program together, where the device can. */
  run(): void {
    try {
      this.#run();
    } finally {
      for (const value of this.#held) value.release();
      this.#held = [];
    }
  }

  #run(): void {
    const queued = this.#queued;
    this.#queued = [];
    const groups = new Map<Device, Map<Program, Launch[]>>();
    for (const { device, launch } of queued) {
      observer.launch?.(launch);
      if (device.launchAll === undefined) {
        device.launch(launch);
        continue;
      }
      let programs = groups.get(device);
      if (programs === undefined) groups.set(device, programs = new Map());
      const group = programs.get(launch.program);
      if (group === undefined) programs.set(launch.program, [launch]);
      else group.push(launch);
    }
    for (const [device, programs] of groups) {
      for (const launches of programs.values()) device.launchAll!(launches);
    }
  }
}
