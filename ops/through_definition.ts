/**
 * Gradients of an operator by way of its composed definition: for derivatives
 * of derivatives, and where a device computed the results but not the gradient.
 *
 * @module
 */

import { gradEnabled, innerGradients } from "../core/autograd.ts";
import { nextSequence, withGrad } from "../core/tape.ts";
import { Tensor } from "../core/tensor.ts";
import { add, mul } from "./arithmetic.ts";
import { sum } from "./foundation.ts";

/** The sum of all results times their gradients; undefined when no gradient arrived. */
function weighted(
  results: readonly Tensor[],
  grads: readonly (Tensor | undefined)[],
): Tensor | undefined {
  let total: Tensor | undefined;
  results.forEach((result, i) => {
    const grad = grads[i];
    if (grad === undefined) return;
    const part = sum(mul(result, grad));
    total = total === undefined ? part : add(total, part);
  });
  return total;
}

/**
 * Computes the results again, by operators, and differentiates that.
 *
 * @param compute The composed definition.
 * @param inputs Operands of the operator.
 * @param grads Gradients of its results.
 * @returns Gradients of the operands, which can be differentiated where gradients are recorded.
 */
export function throughDefinition(
  compute: (inputs: readonly Tensor[]) => readonly Tensor[],
  inputs: readonly Tensor[],
  grads: readonly (Tensor | undefined)[],
): (Tensor | undefined)[] {
  const createGraph = gradEnabled();
  const again = inputs.map((x) => {
    // Recorded again, the operands keep their place on the outer tape.
    if (createGraph || x === undefined) return x;
    const leaf = new Tensor(x.value.retain());
    leaf.requiresGrad = x.requiresGrad;
    return leaf;
  });
  const since = nextSequence();
  const total = withGrad(true, () => weighted(compute(again), grads));
  if (total === undefined || !total.requiresGrad) return [];
  const wanted = again.filter((x) => x?.requiresGrad);
  // The arriving gradients have a past of their own, in which the walk must not get lost.
  const arriving = grads.filter((g) => g !== undefined);
  const found = innerGradients(total, [...wanted, ...arriving], {
    createGraph,
    since,
  });
  return again.map((x) =>
    x?.requiresGrad ? found[wanted.indexOf(x)] : undefined
  );
}
