/**
 * Clipping of gradients, without a round trip to the host.
 *
 * @module
 */

import { noGrad } from "../core/autograd.ts";
import { GradientError } from "../core/errors.ts";
import { checkOptions } from "../core/options.ts";
import { scope } from "../core/scope.ts";
import type { Tensor } from "../core/tensor.ts";
import { update } from "../core/update.ts";
import * as k from "../kernel/expr.ts";
import { add } from "../ops/arithmetic.ts";
import { runRows } from "../core/row_kernels.ts";
import { Tensor as TensorClass } from "../core/tensor.ts";
import { clampExpr, formula, squaredNorm } from "./formula.ts";
import { checkNumber, positive, type Range } from "./hyper.ts";
import { isSource, type ParameterSource } from "./parameters.ts";

const root = formula("gradient norm", 1, ([x]) => k.sqrt(x));

// c / max(‖g‖, c): 1 while the norm is within the bound
const factor = formula(
  "gradient clip factor",
  2,
  ([squared, bound]) => k.div(bound, k.max(k.sqrt(squared), bound)),
);

// PyTorch's form: min(1, c / (‖g‖ + 10⁻⁶))
const torchFactor = formula(
  "clipGradNorm factor",
  2,
  ([norm, bound]) => k.min(k.div(bound, k.add(norm, 1e-6)), 1),
);

function total(grads: readonly Tensor[]): Tensor {
  return grads.map(squaredNorm).reduce((a, b) => add(a, b));
}

/** By what to multiply gradients so that their global norm is at most `bound`; a pending scalar. */
export function clipFactor(grads: readonly Tensor[], bound: number): Tensor {
  return factor(total(grads), bound);
}

function gradients(
  what: string,
  parameters: Iterable<Tensor> | ParameterSource,
): Tensor[] {
  const tensors = isSource(parameters)
    ? Array.from(parameters.namedParameters(), ([, tensor]) => tensor)
    : [...parameters];
  const grads = tensors.flatMap((p) => p.grad === undefined ? [] : [p.grad]);
  if (grads.length === 0) {
    throw new GradientError(
      `Cannot ${what}: no parameter has a gradient; call backward first`,
    );
  }
  return grads;
}

function largest(x: Tensor): Tensor {
  const [value] = runRows(x.device, {
    name: "largest magnitude",
    space: x.shape,
    axes: x.shape.map((_, d) => d),
    streams: [x.value],
    passes: 1,
    build: ({ streams: [s] }) => ({
      stages: [{ op: "max", value: k.abs(s) }],
      outputs: [{
        dtype: x.dtype,
        per: "row",
        value: k.roundTo(k.stage(0, s.type), x.dtype),
      }],
    }),
  });
  return new TensorClass(value);
}

const larger = formula("larger norm", 2, ([a, b]) => k.max(a, b));

const normTypes: Range = {
  text: "2 or Infinity",
  holds: (x) => x === 2 || x === Infinity,
};

/** Options of {@linkcode clipGradNorm}. */
export interface ClipGradNormOptions {
  /** Which norm: 2 (default) or Infinity, the largest magnitude. */
  type?: number;
}

/**
 * Scales the gradients of all parameters together, in place, so that their
 * norm is at most `maxNorm`: g ← g · min(1, maxNorm / (‖g‖ + 10⁻⁶)).
 *
 * @returns The norm before, as a zero-dimensional tensor; nothing waits for it.
 * @throws {GradientError} when no parameter has a gradient.
 * @throws {RangeError} when `maxNorm` is not above 0.
 */
export function clipGradNorm(
  parameters: Iterable<Tensor> | ParameterSource,
  maxNorm: number,
  options: ClipGradNormOptions = {},
): Tensor {
  checkOptions("clip gradients", options, { type: true });
  checkNumber("a clip", "maxNorm", maxNorm, positive);
  const { type = 2 } = options;
  checkNumber("a clip", "type", type, normTypes);
  const grads = gradients("clip gradients", parameters);
  return noGrad(() =>
    scope(() => {
      const norm = type === 2
        ? root(total(grads))
        : grads.map(largest).reduce((a, b) => larger(a, b));
      const scale = torchFactor(norm, maxNorm);
      for (const grad of grads) {
        update({
          name: "scale gradient",
          targets: [grad],
          operands: [scale],
          scalars: [],
          define: ([g], [s]) => [k.mul(g, s)],
        });
      }
      return norm.materialize();
    })
  );
}

/**
 * Clamps every element of the gradients to [−bound, bound], in place.
 *
 * @throws {GradientError} when no parameter has a gradient.
 * @throws {RangeError} when `bound` is not above 0.
 */
export function clipGradValue(
  parameters: Iterable<Tensor> | ParameterSource,
  bound: number,
): void {
  checkNumber("a clip", "bound", bound, positive);
  noGrad(() => {
    for (const grad of gradients("clip gradients", parameters)) {
      update({
        name: "clamp gradient",
        targets: [grad],
        operands: [],
        scalars: [bound],
        define: ([g], _, [b]) => [clampExpr(g, b)],
      });
    }
  });
}
