/**
 * Lowering: replaces operations that WebAssembly SIMD lacks by expressions of
 * those it has.
 *
 * @module
 */

import { type Expr, transform } from "../expr.ts";
import { simplify } from "../simplify.ts";
import { fromBf16, fromF16, toBf16, toF16 } from "./halves.ts";
import { lowerMath } from "./vector_math.ts";

function lowerNode(e: Expr): Expr {
  switch (e.op) {
    case "roundF16":
      return fromF16(toF16(e.args[0]));
    case "roundBf16":
      return fromBf16(toBf16(e.args[0]));
    default: {
      const lowered = e.type === "f32" ? lowerMath(e) : undefined;
      return lowered === undefined ? e : lower(lowered);
    }
  }
}

/** An equal expression whose operations the SIMD emitter maps to instructions or lane-wise calls. */
export function lower(root: Expr): Expr {
  return simplify(transform(root, lowerNode));
}
