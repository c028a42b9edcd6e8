/**
 * Algebraic simplification of scalar expressions: constant folding and the
 * identities that hold for every float, NaN, infinity and signed zero included.
 *
 * @module
 */

import { constant, type Expr, neg, not, transform } from "./expr.ts";
import { evaluateNode } from "./evaluate.ts";

function isConst(e: Expr, value: number): boolean {
  return e.op === "const" && e.type !== "bool" && Number(e.value) === value &&
    !Object.is(e.value, -0);
}

/** The condition c, where c is compared with false, or c as a number with 0. */
function truth(a: Expr, b: Expr): Expr | undefined {
  if (b.op !== "const" || Number(b.value) !== 0) return undefined;
  if (a.type === "bool") return a;
  return a.op === "cast" && a.args[0].type === "bool" ? a.args[0] : undefined;
}

function rewrite(e: Expr): Expr {
  if (
    e.args.length > 0 && e.op !== "load" &&
    e.args.every((arg) => arg.op === "const")
  ) {
    return constant(evaluateNode(e, e.args.map((arg) => arg.value)), e.type);
  }
  const [a, b] = e.args;
  switch (e.op) {
    case "mul":
      if (isConst(a, 1)) return b;
      if (isConst(b, 1)) return a;
      if (isConst(a, -1)) return rewrite(neg(b));
      if (isConst(b, -1)) return rewrite(neg(a));
      return e;
    case "div":
      return isConst(b, 1) ? a : e;
    case "sub":
      return isConst(b, 0) ? a : e;
    case "neg":
      return a.op === "neg" ? a.args[0] : e;
    case "not":
      return a.op === "not" ? a.args[0] : e;
    case "ne":
      return truth(a, b) ?? e;
    case "eq": {
      const condition = truth(a, b);
      return condition === undefined ? e : rewrite(not(condition));
    }
    case "select":
      if (e.args[1] === e.args[2]) return e.args[1];
      if (a.op === "const") return e.args[a.value ? 1 : 2];
      return e;
    case "roundF16":
    case "roundBf16":
    case "wrapU8":
    case "wrapI8":
      return a.op === e.op ? a : e;
    default:
      return e;
  }
}

/** Returns an equal, not larger expression. */
export function simplify(e: Expr): Expr {
  return transform(e, rewrite);
}
