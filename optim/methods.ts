/**
 * Every optimizer by name, for command lines and configuration files.
 *
 * @module
 */

import { nearest } from "../core/errors.ts";
import {
  adadeltaMethod,
  adagradMethod,
  decayAdagradMethod,
  rmsPropMethod,
} from "./adagrad.ts";
import {
  adamaxMethod,
  adamMethod,
  adamWMethod,
  nAdamMethod,
  rAdamMethod,
} from "./adam.ts";
import { ftrlMethod, gFtrlMethod, lionMethod } from "./ftrl.ts";
import { lambMethod, larsMethod, wnGradMethod } from "./layerwise.ts";
import type { AnyHyper } from "./hyper.ts";
import type { CommonOptions, GroupOptions, Method } from "./method.ts";
import { Optimizer } from "./optimizer.ts";
import type { Parameters } from "./parameters.ts";
import { rowWiseAdagradMethod, rowWiseAdamMethod } from "./row_wise.ts";
import { momentumSgdMethod, sgdMethod } from "./sgd.ts";
import { stormMethod } from "./storm.ts";
import { yellowFinMethod } from "./yellowfin.ts";

/** What a method says of itself. */
export interface MethodInfo {
  /** Name, as in `create(name, …)`. */
  readonly name: string;
  /** Default learning rate. */
  readonly lr: number;
  /** Default weight decay; 0 when omitted. */
  readonly weightDecay?: number;
  /** Whether a step of it cannot be captured as a graph. */
  readonly computes?: boolean;
  /** Hyper-parameters, besides those that every method has. */
  readonly hyper: Readonly<Record<string, AnyHyper>>;
}

const all: readonly MethodInfo[] = [
  sgdMethod,
  momentumSgdMethod,
  adagradMethod,
  rowWiseAdagradMethod,
  decayAdagradMethod,
  adadeltaMethod,
  rmsPropMethod,
  adamMethod,
  adamWMethod,
  adamaxMethod,
  nAdamMethod,
  rAdamMethod,
  rowWiseAdamMethod,
  ftrlMethod,
  gFtrlMethod,
  lionMethod,
  larsMethod,
  lambMethod,
  wnGradMethod,
  stormMethod,
  yellowFinMethod,
];

/** Every method by name, with its hyper-parameters, their defaults, ranges and meanings. */
export const methods: ReadonlyMap<string, MethodInfo> = new Map(
  all.map((method) => [method.name, method]),
);

/**
 * An optimizer by name: `optim.create("adam", model, { lr: 1e-3 })`.
 *
 * @throws {TypeError} for an unknown name or option, with the nearest known one.
 * @throws {RangeError} for a hyper-parameter out of its range.
 */
export function create(
  name: string,
  parameters: Parameters<GroupOptions & Record<string, unknown>>,
  options: CommonOptions & Record<string, unknown> = {},
): Optimizer<Record<string, unknown>> {
  const method = methods.get(name);
  if (method === undefined) {
    const near = nearest(name, methods.keys());
    throw new TypeError(
      `Cannot make optimizer "${name}": there is none of that name${
        near === undefined ? "" : `; did you mean "${near}"?`
      } (there are ${[...methods.keys()].join(", ")})`,
    );
  }
  // The options are checked against the method's own table.
  const erased = method as unknown as Method<Record<string, unknown>>;
  return new Optimizer(erased, parameters, options);
}
