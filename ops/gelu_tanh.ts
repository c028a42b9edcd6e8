/**
 * The tanh form of gelu, which GPT-2 and NVIDIA's epilogues compute.
 *
 * @module
 */

import * as k from "../kernel/expr.ts";

/** x · (1 + tanh(√(2/π) · (x + 0.044715 x³))) / 2; Hendrycks and Gimpel, 2016. */
export function geluTanh(x: k.Expr): k.Expr {
  const cube = k.mul(k.mul(x, x), x);
  const inner = k.add(x, k.mul(cube, 0.044715));
  const curve = k.tanh(k.mul(inner, Math.sqrt(2 / Math.PI)));
  return k.mul(k.mul(x, 0.5), k.add(1, curve));
}
