/**
 * STORM: momentum that reduces the variance of gradients, with a rate that
 * falls with the gradients seen.
 *
 * @module
 */

import { update } from "../core/update.ts";
import * as k from "../kernel/expr.ts";
import { formula, squaredNorm } from "./formula.ts";
import { nonNegative, positive } from "./hyper.ts";
import type { CommonOptions, GroupOptions, Method } from "./method.ts";
import { Optimizer } from "./optimizer.ts";
import type { Parameters } from "./parameters.ts";

const { add, mul, pow, sub } = k;

/** Hyper-parameters of {@linkcode storm}. */
export interface StormHyper {
  /** c: how fast the velocity forgets, times the square of the rate. */
  momentum?: number;
  /** β, added to the sum of squares. */
  beta?: number;
  /** First value of the sum of squares. */
  initialAccumulator?: number;
}

// η · (β + S)^(−1/3)
const rateOf = formula(
  "storm rate",
  3,
  ([s, lr, beta]) => mul(lr, pow(add(beta, s), k.constant(-1 / 3, s.type))),
);

/** STORM as a method. */
export const stormMethod: Method<StormHyper> = {
  name: "storm",
  computes: true,
  lr: 0.1,
  hyper: {
    momentum: { default: 10, range: nonNegative, what: "momentum" },
    beta: { default: 0.1, range: positive, what: "β" },
    initialAccumulator: {
      default: 0.01,
      range: nonNegative,
      what: "first sum of squares",
    },
  },
  shapes: () => ({ sum: [] }),
  update(place) {
    const { lr, options: { momentum, beta, initialAccumulator } } = place;
    const sum = place.state("sum", initialAccumulator);
    update({
      name: "storm sum",
      targets: [sum],
      operands: [squaredNorm(place.gradient())],
      scalars: [],
      // S ← S + ‖g‖²
      define: ([sum], [squares]) => [add(sum, squares)],
    });
    place.apply({
      name: "storm",
      state: { momentum: 0 },
      scalars: { c: momentum },
      tensors: { rate: rateOf(sum, lr, beta).materialize() },
      // r = η·(β + S)^(−1/3);  m ← g + (1 − c·r²)·(m − g);  w ← w − r·m
      formula({ w, g, momentum: m, c, rate: r }) {
        const keep = sub(1, mul(c, mul(r, r)));
        const next = add(g, mul(keep, sub(m, g)));
        return { w: sub(w, mul(r, next)), momentum: next };
      },
    });
  },
};

/**
 * STORM (Cutkosky and Orabona, 2019), as in Caffe2: S ← S + ‖g‖²,
 * r = η·(β + S)^(−1/3), m ← g + (1 − c·r²)·(m − g), w ← w − r·m, with one S
 * per parameter. The paper has the gradient of the same batch at the weights
 * before in the brackets; Caffe2 takes g for it, and so does this.
 *
 * @throws {RangeError} for a hyper-parameter out of its range.
 * @throws {TypeError} for an unknown option or parameters that cannot be optimised.
 */
export function storm(
  parameters: Parameters<GroupOptions & StormHyper>,
  options: CommonOptions & StormHyper = {},
): Optimizer<StormHyper> {
  return new Optimizer(stormMethod, parameters, options);
}
