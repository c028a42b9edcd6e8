/**
 * Makes every operator whose first operand is a tensor a method of `Tensor`:
 * `add(x, y)` is also `x.add(y)`.
 *
 * @module
 */

import { Tensor } from "../core/tensor.ts";
import * as functions from "./functions.ts";

/** Functions that are no methods: their first parameter is no tensor. */
export type NotMethod =
  | "concat"
  | "einsum"
  | "gradEnabled"
  | "meshgrid"
  | "noGrad"
  | "padSequence"
  | "recurrentLayer"
  | "stack"
  | "withGrad";

const notMethods: Readonly<Record<NotMethod, true>> = {
  concat: true,
  einsum: true,
  gradEnabled: true,
  meshgrid: true,
  noGrad: true,
  padSequence: true,
  recurrentLayer: true,
  stack: true,
  withGrad: true,
};

/** A function without its first parameter. */
export type Method<F> = F extends
  (first: never, ...rest: infer R) => infer Result ? (...rest: R) => Result
  : never;

/** The operators as methods. */
export type TensorMethods = {
  [Name in Exclude<keyof typeof functions, NotMethod>]: Method<
    typeof functions[Name]
  >;
};

declare module "../core/tensor.ts" {
  interface Tensor extends TensorMethods {}
}

for (const [name, f] of Object.entries(functions)) {
  if (typeof f !== "function" || name in notMethods) continue;
  const operator = f as (first: Tensor, ...rest: unknown[]) => unknown;
  Object.defineProperty(Tensor.prototype, name, {
    configurable: true,
    writable: true,
    value: function (this: Tensor, ...rest: unknown[]): unknown {
      return operator(this, ...rest);
    },
  });
}
