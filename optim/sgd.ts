/**
 * Stochastic gradient descent, with momentum in PyTorch's and Caffe2's forms.
 *
 * @module
 */

import * as k from "../kernel/expr.ts";
import { finite, fraction, nonNegative } from "./hyper.ts";
import type { CommonOptions, GroupOptions, Method } from "./method.ts";
import { Optimizer } from "./optimizer.ts";
import type { Parameters } from "./parameters.ts";

const { add, mul, sub } = k;

/** Hyper-parameters of {@linkcode sgd}. */
export interface SgdHyper {
  /** μ: how much of the velocity stays. */
  momentum?: number;
  /** τ: how much of each gradient is kept out of the velocity. */
  dampening?: number;
  /** Whether to look ahead by one velocity. */
  nesterov?: boolean;
}

/** SGD as a method. */
export const sgdMethod: Method<SgdHyper> = {
  name: "sgd",
  lr: 0.01,
  hyper: {
    momentum: { default: 0, range: nonNegative, what: "momentum" },
    dampening: { default: 0, range: finite, what: "dampening" },
    nesterov: { default: false, what: "Nesterov's look-ahead" },
  },
  update(place) {
    const { lr, options: { momentum, dampening, nesterov } } = place;
    if (momentum === 0) {
      place.apply({
        name: "sgd",
        scalars: { lr },
        // w ← w − η·g
        formula: ({ w, g, lr }) => ({ w: sub(w, mul(lr, g)) }),
      });
      return;
    }
    place.apply({
      name: nesterov ? "sgd nesterov" : "sgd momentum",
      state: { momentum: 0 },
      scalars: { lr, mu: momentum, fresh: place.t === 1 ? 1 : 1 - dampening },
      // v ← μ·v + (1 − τ)·g (the first v is g);  w ← w − η·v, or w − η·(g + μ·v)
      formula({ w, g, momentum: v, lr, mu, fresh }) {
        const next = add(mul(mu, v), mul(fresh, g));
        const direction = nesterov ? add(g, mul(mu, next)) : next;
        return { w: sub(w, mul(lr, direction)), momentum: next };
      },
    });
  },
};

/**
 * Stochastic gradient descent as in `torch.optim.SGD`:
 * v ← μ·v + (1 − τ)·g, w ← w − η·v (with Nesterov: w − η·(g + μ·v)).
 *
 * @throws {RangeError} for a hyper-parameter out of its range, or Nesterov without plain momentum.
 * @throws {TypeError} for an unknown option or parameters that cannot be optimised.
 */
export function sgd(
  parameters: Parameters<GroupOptions & SgdHyper>,
  options: CommonOptions & SgdHyper = {},
): Optimizer<SgdHyper> {
  const optimizer = new Optimizer(sgdMethod, parameters, options);
  for (const { options } of optimizer.groups) {
    const { nesterov, momentum, dampening } = options;
    if (nesterov && (momentum === 0 || dampening !== 0)) {
      throw new RangeError(
        `Cannot make optimizer sgd with nesterov, momentum ${momentum} and dampening ${dampening}: Nesterov's look-ahead needs a momentum above 0 and no dampening`,
      );
    }
  }
  return optimizer;
}

/** Hyper-parameters of {@linkcode momentumSgd}. */
export interface MomentumSgdHyper {
  /** μ: how much of the velocity stays. */
  momentum?: number;
  /** Whether to look ahead by one velocity. */
  nesterov?: boolean;
}

/** Caffe2's momentum SGD as a method. */
export const momentumSgdMethod: Method<MomentumSgdHyper> = {
  name: "momentumSgd",
  lr: 0.01,
  hyper: {
    momentum: { default: 0.9, range: fraction, what: "momentum" },
    nesterov: { default: false, what: "Nesterov's look-ahead" },
  },
  update(place) {
    const { lr, options: { momentum, nesterov } } = place;
    place.apply({
      name: nesterov ? "momentumSgd nesterov" : "momentumSgd",
      state: { momentum: 0 },
      scalars: { lr, mu: momentum },
      // v' ← μ·v + η·g;  w ← w − v', or w − ((1 + μ)·v' − μ·v)
      formula({ w, g, momentum: v, lr, mu }) {
        const next = add(mul(mu, v), mul(lr, g));
        const delta = nesterov ? sub(mul(add(mu, 1), next), mul(mu, v)) : next;
        return { w: sub(w, delta), momentum: next };
      },
    });
  },
};

/**
 * Momentum SGD as in Caffe and Caffe2, with the learning rate inside the
 * velocity: v ← μ·v + η·g, w ← w − v. A change of η takes effect gradually.
 *
 * @throws {RangeError} for a hyper-parameter out of its range.
 * @throws {TypeError} for an unknown option or parameters that cannot be optimised.
 */
export function momentumSgd(
  parameters: Parameters<GroupOptions & MomentumSgdHyper>,
  options: CommonOptions & MomentumSgdHyper = {},
): Optimizer<MomentumSgdHyper> {
  return new Optimizer(momentumSgdMethod, parameters, options);
}

/**
 * {@linkcode momentumSgd} with Nesterov's look-ahead:
 * v' ← μ·v + η·g, w ← w − ((1 + μ)·v' − μ·v).
 *
 * @throws {RangeError} for a hyper-parameter out of its range.
 * @throws {TypeError} for an unknown option or parameters that cannot be optimised.
 */
export function nesterov(
  parameters: Parameters<GroupOptions & MomentumSgdHyper>,
  options: CommonOptions & Omit<MomentumSgdHyper, "nesterov"> = {},
): Optimizer<MomentumSgdHyper> {
  return momentumSgd(parameters, { ...options, nesterov: true });
}
