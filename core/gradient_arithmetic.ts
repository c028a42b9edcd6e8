/**
 * The operators that differentiation itself needs, and sums of gradients.
 *
 * @module
 */

import type { DType } from "./dtype.ts";
import { handle } from "./tape.ts";
import type { Tensor } from "./tensor.ts";

/** Operators that differentiation itself needs; `ops/` provides them. */
export interface Arithmetic {
  /** Sum of two tensors of one shape. */
  add(a: Tensor, b: Tensor): Tensor;
  /** Product of two tensors of one shape. */
  mul(a: Tensor, b: Tensor): Tensor;
  /** Sum of all elements. */
  sum(x: Tensor): Tensor;
  /** Ones like the tensor. */
  onesLike(x: Tensor): Tensor;
  /** The tensor in another dtype. */
  cast(x: Tensor, dtype: DType): Tensor;
}

let arithmetic: Arithmetic | undefined;

/** Gives differentiation its operators. */
export function provideArithmetic(provided: Arithmetic): void {
  arithmetic = provided;
}

/** The operators that differentiation was given. */
export function arithmeticOperators(): Arithmetic {
  return arithmetic!;
}

/** A sum of gradients with one more; the sum so far is freed. */
export function total(sum: Tensor | undefined, grad: Tensor): Tensor {
  if (sum === undefined) return handle(grad);
  const result = arithmetic!.add(sum, grad);
  sum.dispose();
  return result;
}
