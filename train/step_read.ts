/**
 * What the host wants to know of a step that a device is still at: the loss,
 * whether all went well, and the outputs where a metric looks at them.
 *
 * @module
 */

import { bytesOf, type DType } from "../core/dtype.ts";
import type { LaterRead } from "../core/device.ts";
import { readLater } from "../core/read_later.ts";
import type { Shape } from "../core/shape.ts";
import { hostElements, type Tensor } from "../core/tensor.ts";
import { viewBytes } from "../formats/array_record.ts";
import { toTensor } from "./arrays.ts";
import type { Measured } from "./measured.ts";

/** Outputs and targets of more bytes than these are looked at before the next step, not copied beside it. */
const mostBytes = 4 << 20;

/** What a step has computed. */
export interface StepTensors {
  /** What the model gave. */
  readonly output: Tensor;
  /** What it should have given. */
  readonly targets: Tensor;
  /** The loss, one element. */
  readonly loss: Tensor;
}

function hostTensor(bytes: Uint8Array, dtype: DType, shape: Shape): Tensor {
  const data = viewBytes(bytes, dtype);
  return toTensor({ data, dtype, shape: [...shape] }, "cpu");
}

/** The numbers of a step on their way to the host. */
export class StepRead implements Disposable {
  /** Whether the step's tensors are no longer needed. */
  readonly apart: boolean;
  readonly #read: LaterRead;
  readonly #lossType: DType;
  readonly #gated: boolean;
  readonly #examples: number;
  /** What metrics look at. */
  readonly #looked: readonly {
    readonly dtype: DType;
    readonly shape: Shape;
    readonly tensor: Tensor | undefined;
  }[];

  /**
   * Asks for the numbers.
   *
   * @param step What the step has computed.
   * @param looks Whether a metric looks at outputs and targets.
   * @param open One element, 1 while all went well; all does when omitted.
   */
  constructor(step: StepTensors, looks: boolean, open?: Tensor) {
    const { output, targets, loss } = step;
    const looked = looks ? [output, targets] : [];
    const bytes = looked.reduce((n, t) => n + t.size * bytesOf(t.dtype), 0);
    this.apart = bytes <= mostBytes && loss.device.readLater !== undefined;
    this.#lossType = loss.dtype;
    this.#examples = output.shape[0];
    this.#looked = looked.map((tensor) => ({
      dtype: tensor.dtype,
      shape: tensor.shape,
      tensor: this.apart ? undefined : tensor,
    }));
    this.#gated = open !== undefined;
    this.#read = readLater([
      loss,
      ...(open === undefined ? [] : [open]),
      ...(this.apart ? looked : []),
    ]);
  }

  /** Waits for the numbers; tensors are the caller's, or the step's where they are not apart. */
  wait(): { good: boolean; measured: Measured } {
    const [loss, ...copies] = this.#read.wait();
    const good = !this.#gated || hostElements(copies.shift()!, "f32")[0] === 1;
    const [output, targets] = this.#looked.map(({ dtype, shape, tensor }, i) =>
      tensor ?? hostTensor(copies[i], dtype, shape)
    );
    return {
      good,
      measured: {
        examples: this.#examples,
        loss: Number(hostElements(loss, this.#lossType)[0]),
        output,
        targets,
      },
    };
  }

  /** Lets go of them without a look. */
  [Symbol.dispose](): void {
    this.#read[Symbol.dispose]();
  }
}
