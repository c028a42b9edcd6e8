/**
 * Functions with a gradient of their own, and functions that are computed
 * again in the backward pass instead of being kept.
 *
 * @module
 */

import {
  arithmeticOperators,
  detach,
  gradEnabled,
  innerGradients,
  noGrad,
  record,
  revive,
  save,
  type Saved,
  withGrad,
} from "./autograd.ts";
import { castState, withCastState } from "./cast_state.ts";
import { GradientError, shapeText } from "./errors.ts";
import { defaultGenerator, type RandomState } from "./random.ts";
import { scope } from "./scope.ts";
import { sameShape } from "./shape.ts";
import { nextSequence } from "./tape.ts";
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
    const result = unrecorded(() => definition.forward(...inputs));
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
      checkGradients(definition.name, found, revived.slice(0, inputs.length));
      return [...found];
    });
    for (const output of outputs) saved.push(save(output));
    return result;
  };
}

/** Runs a body off the tape; its results are tensors of their own even where it returns what it got. */
function unrecorded<Result extends Tensor | Tensor[]>(
  body: () => Result,
): Result {
  return noGrad(() =>
    scope(() => {
      const result = body();
      const fresh = Array.isArray(result) ? result.map(detach) : detach(result);
      return fresh as Result;
    })
  );
}

function checkGradients(
  name: string,
  grads: readonly (Tensor | undefined)[],
  inputs: readonly Tensor[],
): void {
  if (grads.length !== inputs.length) {
    throw new GradientError(
      `Cannot differentiate ${name}: its backward returned ${grads.length} gradients for ${inputs.length} inputs`,
    );
  }
  grads.forEach((grad, i) => {
    if (grad === undefined || sameShape(grad.shape, inputs[i].shape)) return;
    throw new GradientError(
      `Cannot differentiate ${name}: its backward returned a gradient of shape ${
        shapeText(grad.shape)
      } for input ${i} of shape ${
        shapeText(inputs[i].shape)
      }; the shapes must be equal`,
    );
  });
}

/**
 * Runs `body` without keeping what it computes on the way; the backward pass
 * runs it again. Memory for time: only the inputs are kept. What it draws from
 * the default generator is drawn again as it was.
 *
 * @param body Function of the inputs. It may use parameters, whose gradients
 *   are collected as usual; pass other tensors that require gradients as inputs.
 * @param inputs What `body` gets.
 *
 * @example
 * ```ts
 * import { recompute, tensor } from "@decaf/decaf";
 *
 * const x = tensor([2], { requiresGrad: true });
 * recompute((h) => h.mul(h).mul(h), x).sum().backward();
 * if (x.grad!.item() !== 12) throw new Error("d(x³) is 3x²");
 * ```
 */
export function recompute<Result extends Tensor | Tensor[]>(
  body: (...inputs: Tensor[]) => Result,
  ...inputs: Tensor[]
): Result {
  if (!gradEnabled()) return body(...inputs);
  const random = defaultGenerator().state();
  const casting = castState();
  const result = unrecorded(() => body(...inputs));
  const outputs: Tensor[] = Array.isArray(result) ? result : [result];
  const saved: Saved[] = inputs.map(save);
  record("recompute", inputs, outputs, saved, (grads) => {
    const createGraph = gradEnabled();
    const again = saved.map((s) => {
      // Recorded again, the inputs keep their place on the outer tape.
      if (createGraph) return revive(s);
      const tensor = new Tensor(s.value.retain());
      tensor.requiresGrad = s.node !== undefined || s.leaf !== undefined;
      return tensor;
    });
    const since = nextSequence();
    const total = withRandomState(random, () =>
      withGrad(true, () => {
        const results = withCastState(casting, () => body(...again));
        const list: Tensor[] = Array.isArray(results) ? results : [results];
        return weightedSum(list, grads);
      }));
    if (total === undefined || !total.requiresGrad) return [];
    // The arriving gradients have a past of their own, in which the walk must not get lost.
    const arriving = grads.filter((g) => g !== undefined);
    const found = innerGradients(total, [...again, ...arriving], {
      createGraph,
      since,
    });
    return found.slice(0, again.length);
  }, { reachesMore: true });
  return result;
}

/** Runs a body with the default generator at a state, and puts the generator back. */
function withRandomState<T>(state: RandomState, body: () => T): T {
  const generator = defaultGenerator();
  const now = generator.state();
  generator.restore(state);
  try {
    return body();
  } finally {
    generator.restore(now);
  }
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
