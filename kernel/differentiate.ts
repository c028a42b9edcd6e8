/**
 * Symbolic derivatives of scalar expressions. The elementwise operators'
 * gradients come from here: none is written by hand.
 *
 * @module
 */

import * as k from "./expr.ts";
import type { Expr, ExprOp } from "./expr.ts";
import { simplify } from "./simplify.ts";

/** Derivatives of a node with respect to its arguments; undefined where the derivative is zero. */
type Rule = (e: Expr, ...args: Expr[]) => (Expr | undefined)[];

const none: Rule = () => [];
const twoOverSqrtPi = 2 / Math.sqrt(Math.PI);

// A table row per operation: the calculus table of the library.
const rules: Record<ExprOp, Rule> = {
  const: none,
  input: none,
  scalar: none,
  coord: none,
  linear: none,
  stage: none,
  load: none,
  neg: (e) => [k.constant(-1, e.type)],
  // d|x| = sign x, 0 at 0
  abs: (
    _,
    x,
  ) => [
    k.select(
      k.lt(x, 0),
      k.constant(-1, x.type),
      k.select(k.gt(x, 0), k.constant(1, x.type), k.constant(0, x.type)),
    ),
  ],
  add: (e) => [k.constant(1, e.type), k.constant(1, e.type)],
  sub: (e) => [k.constant(1, e.type), k.constant(-1, e.type)],
  mul: (_, a, b) => [b, a],
  div: (e, _, b) => [k.div(1, b), k.neg(k.div(e, b))],
  // ties share the gradient, as PyTorch's minimum and maximum do
  min: (
    _,
    a,
    b,
  ) => [share(k.lt(a, b), k.eq(a, b)), share(k.lt(b, a), k.eq(a, b))],
  max: (
    _,
    a,
    b,
  ) => [share(k.lt(b, a), k.eq(a, b)), share(k.lt(a, b), k.eq(a, b))],
  // d(aᵇ) = b·aᵇ⁻¹ da + aᵇ·log a db; zero exponent and zero base as PyTorch has them
  pow: (e, a, b) => [
    k.select(
      k.eq(b, 0),
      k.constant(0, e.type),
      k.mul(b, k.pow(a, k.sub(b, 1))),
    ),
    k.select(
      k.and(k.eq(a, 0), k.ge(b, 0)),
      k.constant(0, e.type),
      k.mul(e, k.log(a)),
    ),
  ],
  atan2: (_, y, x) => {
    const square = k.add(k.mul(x, x), k.mul(y, y));
    return [k.div(x, square), k.neg(k.div(y, square))];
  },
  rem: (e, a, b) => [
    k.constant(1, e.type),
    k.neg(k.call("trunc", k.div(a, b))),
  ],
  fma: (e, a, b) => [b, a, k.constant(1, e.type)],
  lt: none,
  le: none,
  eq: none,
  ne: none,
  and: none,
  or: none,
  xor: none,
  not: none,
  shl: none,
  shr: none,
  shru: none,
  mulhiu: none,
  select: (e, c) => [
    undefined,
    k.select(c, k.constant(1, e.type), k.constant(0, e.type)),
    k.select(c, k.constant(0, e.type), k.constant(1, e.type)),
  ],
  cast: (e, x) =>
    isFloatType(e.type) && isFloatType(x.type) ? [k.constant(1, e.type)] : [],
  bitcast: none,
  roundF16: (e) => [k.constant(1, e.type)],
  roundBf16: (e) => [k.constant(1, e.type)],
  wrapU8: none,
  wrapI8: none,
  sqrt: (e) => [k.div(0.5, e)],
  exp: (e) => [e],
  exp2: (e) => [k.mul(e, Math.LN2)],
  expm1: (e) => [k.add(e, 1)],
  log: (_, x) => [k.div(1, x)],
  log2: (_, x) => [k.div(1 / Math.LN2, x)],
  log10: (_, x) => [k.div(1 / Math.LN10, x)],
  log1p: (_, x) => [k.div(1, k.add(x, 1))],
  sin: (_, x) => [k.call("cos", x)],
  cos: (_, x) => [k.neg(k.call("sin", x))],
  tan: (e) => [k.add(k.mul(e, e), 1)],
  asin: (_, x) => [k.div(1, k.sqrt(k.sub(1, k.mul(x, x))))],
  acos: (_, x) => [k.div(-1, k.sqrt(k.sub(1, k.mul(x, x))))],
  atan: (_, x) => [k.div(1, k.add(k.mul(x, x), 1))],
  sinh: (_, x) => [k.call("cosh", x)],
  cosh: (_, x) => [k.call("sinh", x)],
  tanh: (e) => [k.sub(1, k.mul(e, e))],
  asinh: (_, x) => [k.div(1, k.sqrt(k.add(k.mul(x, x), 1)))],
  acosh: (_, x) => [k.div(1, k.sqrt(k.sub(k.mul(x, x), 1)))],
  atanh: (_, x) => [k.div(1, k.sub(1, k.mul(x, x)))],
  // erf′ = 2/√π · e^(−x²)
  erf: (_, x) => [k.mul(twoOverSqrtPi, k.exp(k.neg(k.mul(x, x))))],
  // erfinv′ = √π/2 · e^(erfinv²)
  erfinv: (e) => [k.mul(1 / twoOverSqrtPi, k.exp(k.mul(e, e)))],
  lgamma: (_, x) => [k.call("digamma", x)],
  digamma: (_, x) => [k.call("trigamma", x)],
  trigamma: none,
  floor: none,
  ceil: none,
  trunc: none,
  round: none,
};

function isFloatType(type: k.ScalarType): boolean {
  return type === "f32" || type === "f64";
}

function share(wins: Expr, ties: Expr): Expr {
  // The select's type is fixed up by the caller's chain rule: a multiplication.
  const type = wins.args[0].type;
  return k.select(
    wins,
    k.constant(1, type),
    k.select(ties, k.constant(0.5, type), k.constant(0, type)),
  );
}

/**
 * The derivative of `root` with respect to the leaf `variable`, times the
 * leaf `seed` (the gradient that arrives from above): seed · ∂root/∂variable,
 * or undefined when `root` does not depend on `variable` differentiably.
 */
export function differentiate(
  root: Expr,
  variable: Expr,
  seed: Expr,
): Expr | undefined {
  const dependent = new Map<Expr, boolean>();
  k.traverse([root], (e) => {
    dependent.set(e, e === variable || e.args.some((a) => dependent.get(a)));
  });
  if (!dependent.get(root)) return undefined;
  // Reverse accumulation over the DAG, users before operands.
  const order: Expr[] = [];
  k.traverse([root], (e) => order.push(e));
  const adjoint = new Map<Expr, Expr>([[root, k.cast(seed, root.type)]]);
  for (const e of order.reverse()) {
    const g = adjoint.get(e);
    if (g === undefined || e === variable) continue;
    const partials = rules[e.op](e, ...e.args);
    e.args.forEach((arg, i) => {
      const partial = partials[i];
      if (partial === undefined || !dependent.get(arg)) return;
      // Where a branch of a select is not taken, its gradient is zero even if the other factor is infinite.
      const term = chain(g, partial, arg.type);
      const before = adjoint.get(arg);
      adjoint.set(arg, before === undefined ? term : k.add(before, term));
    });
  }
  const result = adjoint.get(variable);
  return result === undefined ? undefined : simplify(result);
}

function chain(g: Expr, partial: Expr, type: k.ScalarType): Expr {
  const scaled = partial.op === "select"
    ? selectChain(g, partial)
    : k.mul(g, k.cast(partial, g.type));
  return k.cast(scaled, type);
}

// g · (c ? 1 : 0) as a select, so that NaN and infinity in g·0 do not leak.
function selectChain(g: Expr, partial: Expr): Expr {
  const [condition, a, b] = partial.args;
  const side = (value: Expr): Expr =>
    value.op === "select"
      ? selectChain(g, value)
      : value.op === "const" && Number(value.value) === 0
      ? k.constant(0, g.type)
      : k.mul(g, k.cast(value, g.type));
  return k.select(condition, side(a), side(b));
}
