/**
 * Lowering: replaces operations that WebAssembly SIMD lacks by expressions of
 * those it has, and literals that instructions imply by visible ones, which
 * kernels then load before their loops.
 *
 * @module
 */

import { and, constant, type Expr, node, select } from "../expr.ts";
import { simplify } from "../simplify.ts";
import { fromBf16, fromF16, toBf16, toF16 } from "./halves.ts";
import { lowerMath } from "./vector_math.ts";

/** The replacement of a node whose operands are lowered; undefined where it stays. */
function replacement(e: Expr): Expr | undefined {
  switch (e.op) {
    case "roundF16":
      return fromF16(toF16(e.args[0]));
    case "roundBf16":
      return fromBf16(toBf16(e.args[0]));
    case "wrapU8":
      return and(e.args[0], 255);
    case "cast":
      return e.args[0].type === "bool"
        ? select(e.args[0], constant(1, e.type), constant(0, e.type))
        : undefined;
    default:
      return lowerMath(e);
  }
}

// Nodes are interned, so what one kernel lowered serves all.
const lowered = new WeakMap<Expr, Expr>();

function lowerNode(e: Expr): Expr {
  const known = lowered.get(e);
  if (known !== undefined) return known;
  const args = e.args.map(lowerNode);
  const same = args.every((arg, i) => arg === e.args[i]);
  const rebuilt = same ? e : node(e.op, e.type, args, e.value);
  const other = replacement(rebuilt);
  const result = other === undefined ? rebuilt : lowerNode(other);
  lowered.set(e, result);
  lowered.set(result, result);
  return result;
}

/** An equal expression whose operations the SIMD emitter maps to instructions or lane-wise calls. */
export function lower(root: Expr): Expr {
  return simplify(lowerNode(root));
}
