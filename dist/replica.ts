/**
 * Copies of a model's tensors, which the model computes with for a while.
 *
 * @module
 */

import {
  defaultDevice,
  type Device,
  setDefaultDevice,
} from "../core/device.ts";
import { persist, Scope } from "../core/scope.ts";
import { Tensor } from "../core/tensor.ts";
import { Value } from "../core/value.ts";
import type { AnyModule } from "../nn/mod.ts";
import type { Optimizer } from "../optim/mod.ts";

/** The model's tensors on one device. */
export class Replica implements Disposable {
  /** Tensors of this device, in the order of the model's parameters. */
  readonly parameters: readonly Tensor[];
  /** Tensors of this device, in the order of the model's buffers. */
  readonly buffers: readonly Tensor[];
  /** Updates the parameters of this device. */
  readonly optimizer: Optimizer;
  readonly #own: readonly Tensor[];
  readonly #others: readonly Tensor[];

  /**
   * Makes copies with undefined elements; on the model's own device, the
   * replica is the model itself.
   */
  constructor(
    model: AnyModule,
    optimizer: Optimizer,
    readonly device: Device,
    readonly primary: boolean,
  ) {
    const parameters = model.parameters(), buffers = model.buffers();
    this.#others = primary ? [] : [...parameters, ...buffers];
    this.#own = copiesOf(this.#others, device);
    const own = primary ? [...parameters, ...buffers] : this.#own;
    this.parameters = own.slice(0, parameters.length);
    this.buffers = own.slice(parameters.length);
    const copies = new Map(this.#others.map((t, i) => [t, this.#own[i]]));
    this.optimizer = primary
      ? optimizer
      : optimizer.replicate((parameter) => copies.get(parameter) ?? parameter);
  }

  /** Runs `body` with the model's tensors, and new ones, on this device. */
  during<T>(body: () => T): T {
    const before = defaultDevice().name;
    setDefaultDevice(this.device.name);
    this.#swap();
    try {
      return body();
    } finally {
      this.#swap();
      setDefaultDevice(before);
    }
  }

  /** Exchanges elements and gradients with the model's tensors, without a copy. */
  #swap(): void {
    this.#others.forEach((other, i) => {
      const own = this.#own[i];
      const value = other.value.retain();
      other.setValue(own.value.retain());
      own.setValue(value);
      const { grad } = other;
      other.grad = own.grad;
      own.grad = grad;
    });
  }

  /** Drops the gradients. */
  zeroGrad(): void {
    for (const parameter of this.parameters) {
      parameter.grad?.dispose();
      parameter.grad = undefined;
    }
  }

  /** Frees the copies and the optimizer's state for them. */
  [Symbol.dispose](): void {
    if (this.primary) return;
    this.optimizer[Symbol.dispose]();
    for (const tensor of this.#own) tensor.dispose();
  }
}

/** Tensors like others on a device, with undefined elements. */
function copiesOf(tensors: readonly Tensor[], device: Device): Tensor[] {
  using own = new Scope();
  const copies = tensors.map((tensor) => {
    const { dtype, shape, value: { channelsLast, strides, madeBy } } = tensor;
    const order = channelsLast ? strides : undefined;
    const copy = new Tensor(Value.empty(device, dtype, shape, order));
    copy.value.madeBy = madeBy;
    copy.requiresGrad = tensor.requiresGrad;
    return copy;
  });
  // Only when none failed, they stay.
  for (const copy of copies) persist(copy);
  own.keep(copies);
  return copies;
}
