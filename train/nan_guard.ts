/**
 * When the loss is no number any more: says at which step, and which tensor
 * went bad first.
 *
 * @module
 */

import type { Tensor } from "../core/tensor.ts";
import type { Model } from "./model.ts";

/** The loss is NaN or infinite, so training cannot go on. */
export class BadLossError extends Error {
  /** Name of the class, as shown in stack traces. */
  override name = "BadLossError";

  /**
   * @param message Sentence for the user.
   * @param step Step at which it happened, from 0.
   */
  constructor(message: string, readonly step: number) {
    super(message);
  }
}

function firstBad(tensor: Tensor): { value: number; at: number } | undefined {
  const data = tensor.data();
  for (let i = 0; i < data.length; i++) {
    const value = Number(data[i]);
    if (!Number.isFinite(value)) return { value, at: i };
  }
  return undefined;
}

/** Throws, naming the first of parameters, input and output that is not finite. */
export function refuseBadLoss(
  loss: number,
  step: number,
  model: Model,
  input: Tensor,
  output: Tensor,
): never {
  const suspects: [string, Tensor][] = [
    ...Object.entries(model.stateDict()).map((
      [name, t],
    ): [string, Tensor] => [`parameter ${name}`, t]),
    ["the input", input],
    ["the output", output],
  ];
  for (const [name, tensor] of suspects) {
    const bad = firstBad(tensor);
    if (bad !== undefined) {
      throw new BadLossError(
        `Cannot go on training: the loss is ${loss} at step ${step}; the first tensor that went bad is ${name}, whose element ${bad.at} is ${bad.value}. A lower learning rate, gradient clipping or cleaner data may help`,
        step,
      );
    }
  }
  throw new BadLossError(
    `Cannot go on training: the loss is ${loss} at step ${step}, while parameters, input and output are finite; look at the loss function and the targets`,
    step,
  );
}
