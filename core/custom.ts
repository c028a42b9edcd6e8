/**
 * Functions with a gradient of their own, and functions that are computed
 * again in the backward pass instead of being kept.
 *
 * @module
 */

import {
  arithmeticOperators,
  gradEnabled,
  innerGradients,
  noGrad,
  record,
  revive,
  save,
  type Saved,
  withGrad,
} from "./autograd.ts";
import { GradientError } from "./errors.ts";
import { defaultGenerator } from "./random.ts";
import { Scope } from "./scope.ts";
import { Tensor } from "./tensor.ts";

/** What a custom gradient gets. */
export interface CustomContext {
  /** The inputs of the call. */
  readonly inputs: readonly Tensor[];
  /** The results of the call. */
  readonly outputs: readonly Tensor[];
  /** Gradients of the results; undefined where nothing used one. */
  readonly grads: readonly (Tensor | undefined)[];
}

/** A function with a gradient of its own. */
export interface CustomFunction<Result extends Tensor | Tensor[]> {
  /** Name, for messages. */
  readonly name: string;
  /** Computes the result; not recorded. */
  forward(...inputs: Tensor[]): Result;
  /** Gradients of the inputs; write it in operators, and it can be differentiated again. */
  backward(context: CustomContext): readonly (Tensor | undefined)[];
}

/**
 * Makes a function whose gradient is `backward`, whatever `forward` does.
 *
 * @example
 * ```ts
 * import { customFunction, tensor } from "@decaf/decaf";
 *
 * const roundStraight = customFunction({
 *   name: "roundStraight",
 *   forward: (x) => x.round(),
 *   backward: ({ grads }) => [grads[0]], // as if it were the identity
 * });
 * const x = tensor([1.4], { requiresGrad: true });
 * roundStraight(x).mul(3).sum().backward();
 * if (x.grad!.item() !== 3) throw new Error("straight through");
 * ```
 */
export function customFunction<Result extends Tensor | Tensor[] = Tensor>(
  definition: CustomFunction<Result>,
): (...inputs: Tensor[]) => Result {
  return (...inputs) => {
    const result = noGrad(() => {
      using own = new Scope();
      return own.keep(definition.forward(...inputs));
    });
    if (!gradEnabled() || !inputs.some((x) => x.requiresGrad)) return result;
    const outputs: Tensor[] = Array.isArray(result) ? result : [result];
    const saved: Saved[] = inputs.map(save);
    record(definition.name, inputs, outputs, saved, (grads) => {
      const revived = saved.map(revive);
      const found = definition.backward({
        inputs: revived.slice(0, inputs.length),
        outputs: revived.slice(inputs.length),
        grads,
      });
      if (found.length !== inputs.length) {
        throw new GradientError(
          `Cannot differentiate ${definition.name}: its backward returned ${found.length} gradients for ${inputs.length} inputs`,
        );
      }
      return [...found];
    });
    for (const output of outputs) saved.push(save(output));
    return result;
  };
}

/**
 * Runs `body` without keeping what it computes on the way; the backward pass
 * runs it again. Memory for time: only the inputs are kept. Random numbers are
 * drawn again as they were.
 *
 * @param body Function of the inputs; it may use parameters, whose gradients are collected as usual.
 * @param inputs What `body` gets.
 */
export function recompute<Result extends Tensor | Tensor[]>(
  body: (...inputs: Tensor[]) => Result,
  ...inputs: Tensor[]
): Result {
  if (!gradEnabled()) return body(...inputs);
  const random = defaultGenerator().state();
  const result = noGrad(() => {
    using own = new Scope();
    return own.keep(body(...inputs));
  });
  const outputs: Tensor[] = Array.isArray(result) ? result : [result];
  const saved: Saved[] = inputs.map(save);
  record("recompute", inputs, outputs, saved, (grads) => {
    const again = saved.map((s) => {
      const tensor = new Tensor(s.value.retain());
      tensor.requiresGrad = s.node !== undefined || s.leaf !== undefined;
      // Recorded again, the inputs keep their place on the outer tape.
      return gradEnabled() ? revive(s) : tensor;
    });
    const createGraph = gradEnabled();
    const now = defaultGenerator().state();
    defaultGenerator().restore(random);
    const total = withGrad(true, () => {
      const results = body(...again);
      const list: Tensor[] = Array.isArray(results) ? results : [results];
      return weightedSum(list, grads);
    });
    defaultGenerator().restore(now);
    if (total === undefined || !total.requiresGrad) return [];
    // The arriving gradients have a past of their own, in which the walk must not get lost.
    const arriving = grads.filter((g) => g !== undefined);
    const found = innerGradients(total, [...again, ...arriving], {
      createGraph,
    });
    return found.slice(0, again.length);
  });
  return result;
}

function weightedSum(
  results: readonly Tensor[],
  grads: readonly (Tensor | undefined)[],
): Tensor | undefined {
  const { add, mul, sum } = arithmeticOperators();
  let total: Tensor | undefined;
  results.forEach((result, i) => {
    const grad = grads[i];
    if (grad === undefined || !result.requiresGrad) return;
    const part = sum(mul(result, grad));
    total = total === undefined ? part : add(total, part);
  });
  return total;
}
