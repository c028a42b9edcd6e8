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
  abs: (_, x) => {
    const positive = k.constant(1, x.type);
    const upper = k.select(k.gt(x, 0), positive, 0);
    return [k.select(k.lt(x, 0), k.constant(-1, x.type), upper)];
  },
  add: (e) => [k.constant(1, e.type), k.constant(1, e.type)],
  sub: (e) => [k.constant(1, e.type), k.constant(-1, e.type)],
  mul: (_, a, b) => [b, a],
  div: (e, _, b) => [k.div(1, b), k.neg(k.div(e, b))],
  // ties share the gradient and NaN passes it on, as in PyTorch's minimum and maximum
  min: (_, a, b) => [
    share(k.lt(b, a), k.eq(a, b)),
    share(k.lt(a, b), k.eq(a, b)),
  ],
  max: (_, a, b) => [
    share(k.lt(a, b), k.eq(a, b)),
    share(k.lt(b, a), k.eq(a, b)),
  ],
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
  // 0 at the origin, where there is none, as in PyTorch
  atan2: (_, y, x) => {
    const square = k.add(k.mul(x, x), k.mul(y, y));
    const reciprocal = k.select(k.eq(square, 0), 0, k.div(1, square));
    return [k.mul(x, reciprocal), k.neg(k.mul(y, reciprocal))];
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
  // differentiated branch by branch, see tangentOf
  select: none,
  cast: (e, x) =>
    k.isFloatType(e.type) && k.isFloatType(x.type)
      ? [k.constant(1, e.type)]
      : [],
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
  erfc: (_, x) => [k.mul(-twoOverSqrtPi, k.exp(k.neg(k.mul(x, x))))],
  // erfinv′ = √π/2 · e^(erfinv²)
  erfinv: (e) => [k.mul(1 / twoOverSqrtPi, k.exp(k.mul(e, e)))],
  lgamma: (_, x) => [k.call("digamma", x)],
  digamma: (_, x) => [k.call("trigamma", x)],
  trigamma: (_, x) => [tetragamma(x)],
  floor: none,
  ceil: none,
  trunc: none,
  round: none,
};

/**
 * ψ″: ψ″(x) = ψ″(x + 1) − 2/x³ up to 8 and the asymptotic series there (DLMF
 * 5.15.8), ψ″(x) = ψ″(1 − x) − 2π³ cos πx / sin³ πx below 0.
 */
function tetragamma(x: Expr): Expr {
  const below = k.lt(x, 0);
  let y = k.select(below, k.sub(1, x), x);
  let sum = k.constant(0, x.type);
  const cube = (a: Expr) => k.mul(a, k.mul(a, a));
  for (let i = 0; i < 8; i++) {
    sum = k.sub(sum, k.div(2, cube(y)));
    y = k.add(y, 1);
  }
  const r = k.div(1, y), q = k.mul(r, r);
  let series = k.constant(5 / 6, x.type);
  for (const c of [-3 / 10, 1 / 6, -1 / 6, 1 / 2, 1]) {
    series = k.add(k.mul(series, q), c);
  }
  sum = k.sub(sum, k.add(k.mul(series, q), cube(r)));
  const angle = k.mul(x, Math.PI);
  const reflected = k.div(
    k.mul(2 * Math.PI ** 3, k.call("cos", angle)),
    cube(k.call("sin", angle)),
  );
  return k.select(below, k.sub(sum, reflected), sum);
}

/** A derivative that is given, times the gradient that arrives; one that chooses among literals chooses it or 0. */
export function scaled(slope: Expr, seed: Expr): Expr {
  const gradient = k.cast(seed, slope.type);
  return simplify(
    isSwitch(slope) ? times(slope, gradient) : k.mul(gradient, slope),
  );
}

function share(loses: Expr, ties: Expr): Expr {
  const type = loses.args[0].type;
  return k.select(
    loses,
    k.constant(0, type),
    k.select(ties, k.constant(0.5, type), k.constant(1, type)),
  );
}

/**
 * The derivative of `root` with respect to the leaf `variable`, times the
 * leaf `seed` (the gradient that arrives from above): seed · ∂root/∂variable,
 * or undefined when `root` does not depend on `variable` differentiably.
 *
 * Derivatives are carried from the leaf to the root. That of a select is the
 * select of its branches' derivatives, and factors are multiplied into the
 * branches: what the branch that was not taken would give, infinite or NaN,
 * never meets the result.
 */
export function differentiate(
  root: Expr,
  variable: Expr,
  seed: Expr,
): Expr | undefined {
  const tangents = new Map<Expr, Expr>();
  k.traverse([root], (e) => {
    const tangent = e === variable
      ? k.constant(1, e.type)
      : tangentOf(e, (arg) => tangents.get(arg));
    if (tangent !== undefined) tangents.set(e, tangent);
  });
  const result = tangents.get(root);
  return result === undefined
    ? undefined
    : simplify(times(result, k.cast(seed, root.type)));
}

/** The derivative of a node from those of its arguments. */
function tangentOf(
  e: Expr,
  of: (arg: Expr) => Expr | undefined,
): Expr | undefined {
  const tangents = e.args.map(of);
  if (tangents.every((tangent) => tangent === undefined)) return undefined;
  const zero = k.constant(0, e.type);
  if (e.op === "select") {
    return choose(e.args[0], tangents[1] ?? zero, tangents[2] ?? zero);
  }
  let total: Expr | undefined;
  rules[e.op](e, ...e.args).forEach((partial, i) => {
    const tangent = tangents[i];
    if (tangent === undefined || partial === undefined) return;
    const here = eachBranch(tangent, (t) => k.cast(t, e.type));
    const term = times(here, k.cast(partial, e.type));
    total = total === undefined ? term : plus(total, term);
  });
  return total;
}

function isLiteral(e: Expr, value: number): boolean {
  return e.op === "const" && e.value === value;
}

function eachBranch(e: Expr, f: (branch: Expr) => Expr): Expr {
  if (e.op !== "select") return f(e);
  const [condition, a, b] = e.args;
  return choose(condition, eachBranch(a, f), eachBranch(b, f));
}

/** `condition ? a : b`, where a branch that asks the same again is known to be decided. */
function choose(condition: Expr, a: Expr, b: Expr): Expr {
  if (a.op === "select" && a.args[0] === condition) a = a.args[1];
  if (b.op === "select" && b.args[0] === condition) b = b.args[2];
  return a === b ? a : k.select(condition, a, b);
}

/** The product of a derivative and a factor; a literal 0 stays 0 whatever the factor. */
function times(tangent: Expr, factor: Expr): Expr {
  if (tangent.op === "select") {
    return eachBranch(tangent, (branch) => times(branch, factor));
  }
  if (isLiteral(tangent, 0)) return tangent;
  if (isLiteral(tangent, 1)) return factor;
  if (isLiteral(tangent, -1)) return k.neg(factor);
  if (factor.op === "select" && isSwitch(factor)) {
    return eachBranch(factor, (branch) => times(branch, tangent));
  }
  return k.mul(factor, tangent);
}

/** Whether the expression chooses among literals only. */
function isSwitch(e: Expr): boolean {
  return e.op === "const" ||
    (e.op === "select" && isSwitch(e.args[1]) && isSwitch(e.args[2]));
}

function plus(a: Expr, b: Expr): Expr {
  if (isLiteral(a, 0)) return b;
  if (isLiteral(b, 0)) return a;
  if (a.op === "select" && b.op === "select" && a.args[0] === b.args[0]) {
    return choose(
      a.args[0],
      plus(a.args[1], b.args[1]),
      plus(a.args[2], b.args[2]),
    );
  }
  return k.add(a, b);
}
