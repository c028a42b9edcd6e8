/**
 * The precision of a training: what its forward pass runs in, and how its
 * gradients are scaled.
 *
 * @module
 */

import { autocast } from "../core/autocast.ts";
import { backward } from "../core/autograd.ts";
import { getDevice } from "../core/device.ts";
import type { Tensor } from "../core/tensor.ts";
import type { UpdateGate } from "../core/update_gate.ts";
import type { Optimizer } from "../optim/mod.ts";
import type { FitOptions, Parallel } from "./fit_options.ts";
import { GradScaler, type GradScalerState } from "./grad_scaler.ts";
import { BadLossError } from "./nan_guard.ts";

/** In what a training computes; parameters and optimizer state are f32 in any. */
export const precisions = ["f32", "tf32", "bf16", "f16"] as const;

/** In what a training computes: f32; f32 with products in TF32 where the device has it; or mixed with bf16 or f16. */
export type Precision = typeof precisions[number];

/** Runs a forward pass in a precision; f32 and TF32 are as the device is set. */
export function inPrecision<T>(precision: Precision, body: () => T): T {
  return precision === "bf16" || precision === "f16"
    ? autocast(precision, body)
    : body();
}

/** Below this scale, what overflows is not the scaled gradients: the training has diverged. */
const leastScale = 2 ** -10;

/** Runs the parts of a training step in a precision. */
export class TrainingPrecision implements Disposable {
  /** Scales losses in f16. */
  readonly scaler: GradScaler | undefined;
  readonly #undo: () => void;

  /**
   * Prepares the devices.
   *
   * @param precision In what to compute.
   * @param devices Names of the devices.
   * @throws {RangeError} for a precision that there is none.
   */
  constructor(readonly precision: Precision, devices: readonly string[]) {
    if (!precisions.includes(precision)) {
      throw new RangeError(
        `Cannot train in precision ${precision}: there is ${
          precisions.join(", ")
        }`,
      );
    }
    if (precision === "f16") this.scaler = new GradScaler();
    const undo = precision === "tf32" ? devices.map(useTf32) : [];
    this.#undo = () => undo.forEach((undoOne) => undoOne());
  }

  /** Runs a forward pass. */
  run<T>(body: () => T): T {
    return inPrecision(this.precision, body);
  }

  /** The backward pass and the update; answers whether the parameters have changed. */
  learn(loss: Tensor, optimizer: Optimizer): boolean {
    optimizer.zeroGrad();
    if (this.scaler !== undefined) {
      backward(this.scaler.scale(loss));
      return this.scaler.step(optimizer);
    }
    backward(loss);
    optimizer.step();
    return true;
  }

  /**
   * The backward pass and an update that happens where the gate is open when
   * the device comes to it; not in f16, where the host decides.
   */
  learnWhere(
    gate: UpdateGate,
    loss: Tensor,
    { optimizer, average }: Pick<FitOptions, "optimizer" | "average">,
  ): void {
    optimizer.zeroGrad();
    gate.watch(() => backward(loss));
    gate.require(loss);
    gate.during(() => {
      optimizer.step();
      average?.update();
    });
  }

  /** What gradients are to be multiplied by. */
  get scale(): number {
    return this.scaler?.factor ?? 1;
  }

  /** The update on several devices, whose gradients were scaled; answers whether the parameters have changed. */
  stepTogether(parallel: Parallel): boolean {
    if (this.scaler !== undefined) return this.scaler.step(parallel);
    parallel.step();
    return true;
  }

  /** Whether a loss that is no number may be passed over, because f16 has overflowed; the scale then falls. */
  forgives(): boolean {
    if (this.scaler === undefined || this.scaler.factor < leastScale) {
      return false;
    }
    this.scaler.update(false);
    return true;
  }

  /**
   * Ends a training whose steps are skipped though f16 cannot have overflowed any more.
   *
   * @param step Number of the step that was skipped.
   * @throws {BadLossError} when the scale has fallen that far.
   */
  refuseStuck(step: number): void {
    const scale = this.scaler?.factor ?? 1;
    if (scale >= leastScale) return;
    throw new BadLossError(
      `Cannot go on training: at step ${step} the loss is finite, but gradients are infinite or NaN however it is scaled (by ${scale} now); look for what has no finite derivative, such as a square root at 0`,
      step,
    );
  }

  /** What a checkpoint keeps. */
  state(): GradScalerState | undefined {
    return this.scaler?.state();
  }

  /** Goes on from what a checkpoint kept. */
  restore(state: GradScalerState | undefined): void {
    if (state !== undefined) this.scaler?.restore(state);
  }

  /** Leaves the device as it was. */
  [Symbol.dispose](): void {
    this.#undo();
  }
}

/** Lets products of the device round to TF32, where it can; returns what undoes it. */
function useTf32(device: string): () => void {
  const { options } = getDevice(device);
  if (options === undefined) return () => {};
  const before = options.tf32;
  options.tf32 = true;
  return () => {
    options.tf32 = before;
  };
}
