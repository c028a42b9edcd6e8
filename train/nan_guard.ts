/**
 * When the loss is no number any more: says at which step, and which tensor
 * went bad first.
 *
 * @module
 */

import { noGrad } from "../core/autograd.ts";
import { isFloat } from "../core/dtype.ts";
import { shapeText } from "../core/errors.ts";
import { intercept } from "../core/op.ts";
import { Scope } from "../core/scope.ts";
import { Tensor } from "../core/tensor.ts";
import type { Model } from "./model.ts";

/** The loss or a parameter is NaN or infinite, so training cannot go on. */
export class BadLossError extends Error {
  /** Name of the class, as shown in stack traces. */
  override name = "BadLossError";

  /**
   * Makes the error of a step.
   *
   * @param message Sentence for the user.
   * @param step Step at which it happened, from 1.
   */
  constructor(message: string, readonly step: number) {
    super(message);
  }
}

/** A step whose loss is bad. */
export interface BadStep {
  /** The loss. */
  readonly loss: number;
  /** Number of the step, from 1. */
  readonly step: number;
  /** What was to learn. */
  readonly model: Model;
  /** What it was given. */
  readonly inputs: Tensor;
  /** What it answered. */
  readonly output: Tensor;
}

const advice =
  "A lower learning rate, gradient clipping or cleaner data may help";

type Bad = (value: number) => boolean;

/** "element 3 is NaN", or undefined for a tensor without bad elements. */
function firstBad(tensor: Tensor, bad: Bad): string | undefined {
  if (!isFloat(tensor.dtype)) return undefined;
  const data = tensor.data() as Float32Array;
  const at = data.findIndex(bad);
  return at < 0 ? undefined : `whose element ${at} is ${data[at]}`;
}

/**
 * Throws, naming the first tensor that is not finite: a parameter, the input,
 * or the result of the first operator of the forward pass that made one.
 */
export function refuseBadLoss(failed: BadStep): never {
  const { loss, step, model, inputs } = failed;
  // Masks are made of −∞, so NaN is looked for first where there is one.
  const bad: Bad = Number.isNaN(loss) ? Number.isNaN : isInfinite;
  const found = firstBadParameter(model, (x) => !Number.isFinite(x)) ??
    describe("the input", inputs, (x) => !Number.isFinite(x)) ??
    firstBadResult(failed, bad) ?? firstBadResult(failed, isInfinite);
  const start = `Cannot go on training: the loss is ${loss} at step ${step}`;
  throw new BadLossError(
    found === undefined
      ? `${start}, while parameters, input and output are finite; look at the loss function and the targets`
      : `${start}; the first tensor that went bad is ${found}. ${advice}`,
    step,
  );
}

/** Throws because of what another process has computed. */
export function refuseOthersLoss(step: number): never {
  throw new BadLossError(
    `Cannot go on training: the loss of another process is no finite number at step ${step}; that process says which tensor went bad first`,
    step,
  );
}

/** Throws when a parameter is not finite, so that no good checkpoint is overwritten. */
export function refuseBadParameters(step: number, model: Model): void {
  const found = firstBadParameter(model, (x) => !Number.isFinite(x));
  if (found === undefined) return;
  throw new BadLossError(
    `Cannot go on training after step ${step}: the first tensor that went bad is ${found}. ${advice}`,
    step,
  );
}

function isInfinite(value: number): boolean {
  return value === Infinity;
}

function describe(
  name: string,
  tensor: Tensor,
  bad: Bad,
): string | undefined {
  const element = firstBad(tensor, bad);
  return element === undefined ? undefined : `${name}, ${element}`;
}

function firstBadParameter(model: Model, bad: Bad): string | undefined {
  for (const [name, tensor] of Object.entries(model.stateDict())) {
    const found = describe(`parameter ${name}`, tensor, bad);
    if (found !== undefined) return found;
  }
  return undefined;
}

/** Goes through the forward pass again and looks at each operator's results. */
function firstBadResult(
  { model, inputs, output }: BadStep,
  bad: Bad,
): string | undefined {
  let found: string | undefined;
  let call = 0, depth = 0;
  const stop = intercept((name, given, _, next) => {
    depth++;
    const result = next(given);
    // Operators that others are made of would not tell the reader anything.
    if (--depth > 0) return result;
    call++;
    for (const tensor of [result].flat()) {
      if (found !== undefined || !(tensor instanceof Tensor)) break;
      const what = `the result of operator ${name} (call ${call} of the ` +
        `forward pass, shape ${shapeText(tensor.shape)})`;
      found = describe(what, tensor, bad);
    }
    return result;
  });
  try {
    using _again = new Scope();
    noGrad(() => model.forward(inputs));
  } finally {
    stop();
  }
  return found ?? describe("the output", output, bad);
}
