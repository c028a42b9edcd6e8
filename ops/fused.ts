/**
 * Composed operators with a fast path: a kernel computes the results together
 * with what their gradient will want, which no caller sees.
 *
 * @module
 */

import {
  gradEnabled,
  record,
  revive,
  save,
  type Saved,
} from "../core/autograd.ts";
import { anyRequiresGrad } from "../core/op.ts";
import type { Tensor } from "../core/tensor.ts";
import { unrecorded } from "../core/unrecorded.ts";

/** What a kernel computed. */
export interface FusedResults {
  /** What the caller gets. */
  readonly outputs: readonly Tensor[];
  /** What the gradient wants besides (constants to it). */
  readonly extras: readonly Tensor[];
}

/** What the gradient of a fused computation is made of. */
export interface FusedContext {
  /** The operands. */
  readonly inputs: readonly Tensor[];
  /** The kernel's extras. */
  readonly extras: readonly Tensor[];
  /** Gradient of the first result. */
  readonly grad: Tensor;
  /** Whether the gradient of operand `i` is wanted. */
  needs(i: number): boolean;
  /** Whether the gradient is to be differentiable: then it is written in operators of the operands, not of the extras. */
  readonly differentiable: boolean;
}

/** A computation by one kernel. */
export interface FusedCall {
  /** Name, for messages. */
  readonly name: string;
  /** Operands; undefined where one was left out. */
  readonly inputs: readonly (Tensor | undefined)[];
  /**
   * Computes the results; nothing in it is recorded.
   *
   * @param wanted Whether a gradient is: else nobody reads the extras.
   */
  compute(wanted: boolean): FusedResults;
  /** Gradients of the operands. */
  gradient(context: FusedContext): readonly (Tensor | undefined)[];
}

/** Computes and, when a gradient is wanted, records. */
export function fused(call: FusedCall): Tensor[] {
  const { name, inputs } = call;
  const wanted = gradEnabled() && anyRequiresGrad(inputs);
  const saved: Saved[] = [];
  let extraCount = 0;
  const outputs = unrecorded(() => {
    const results = call.compute(wanted);
    if (wanted) {
      for (const extra of results.extras) saved.push(save(extra));
      extraCount = results.extras.length;
    }
    return [...results.outputs];
  });
  if (!wanted) return outputs;
  const slots = inputs.map((input) =>
    input === undefined ? -1 : saved.push(save(input)) - 1
  );
  const needs = inputs.map((x) => x?.requiresGrad ?? false);
  record(name, inputs, outputs, saved, (grads) => {
    const grad = grads[0] ?? grads.find((g) => g !== undefined)!;
    return [
      ...call.gradient({
        inputs: slots.map((slot) =>
          slot < 0 ? undefined as unknown as Tensor : revive(saved[slot])
        ),
        extras: saved.slice(0, extraCount).map(revive),
        grad,
        needs: (i) => needs[i],
        differentiable: gradEnabled(),
      }),
    ];
  });
  return outputs;
}
