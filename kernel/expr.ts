/**
 * Scalar expressions: the vocabulary in which kernels, and through them most
 * operators, are written. An expression is an immutable, hash-consed DAG, so
 * equal expressions are the same object and sharing is visible to renderers.
 *
 * @module
 */

import type { DType } from "../core/dtype.ts";

/** Types in which kernels compute; narrower storage types are widened on load. */
export type ScalarType = "f32" | "f64" | "i32" | "i64" | "bool";

/** Whether values of a type are floats. */
export function isFloatType(type: ScalarType): boolean {
  return type === "f32" || type === "f64";
}

/** The type in which elements of a storage dtype are computed. */
export function computeType(dtype: DType): ScalarType {
  switch (dtype) {
    case "f16":
    case "bf16":
      return "f32";
    case "u8":
    case "i8":
      return "i32";
    default:
      return dtype;
  }
}

/** Functions of one float argument with a float result. */
export const floatFunctions = [
  "sqrt",
  "exp",
  "exp2",
  "expm1",
  "log",
  "log2",
  "log10",
  "log1p",
  "sin",
  "cos",
  "tan",
  "asin",
  "acos",
  "atan",
  "sinh",
  "cosh",
  "tanh",
  "asinh",
  "acosh",
  "atanh",
  "erf",
  "erfc",
  "erfinv",
  "lgamma",
  "digamma",
  "trigamma",
  "floor",
  "ceil",
  "trunc",
  "round",
] as const;

/** Name of a function of one float argument. */
export type FloatFunction = typeof floatFunctions[number];

/** Operations of the expression algebra. */
export type ExprOp =
  // Leaves: literal, operand k, run-time scalar k, coordinate along axis k, linear index, reduction k.
  | "const"
  | "input"
  | "scalar"
  | "coord"
  | "linear"
  | "stage"
  // Element of operand k at a computed offset (clamped into the operand).
  | "load"
  | FloatFunction
  | "neg"
  | "abs"
  | "add"
  | "sub"
  | "mul"
  | "div"
  | "min"
  | "max"
  | "pow"
  | "atan2"
  // Remainder with the sign of the dividend; integers and floats.
  | "rem"
  | "fma"
  // a·b + c rounded once where the machine can
  | "lt"
  | "le"
  | "eq"
  | "ne"
  | "and"
  | "or"
  | "xor"
  | "not"
  | "shl"
  | "shr"
  | "shru"
  // High 32 bits of the unsigned product of two i32.
  | "mulhiu"
  | "select"
  // Conversion of the value; reinterpretation of the bits.
  | "cast"
  | "bitcast"
  // Rounds an f32 to the nearest f16 or bf16; wraps an i32 to 8 bits.
  | "roundF16"
  | "roundBf16"
  | "wrapU8"
  | "wrapI8";

/** A node of an expression. Build with the functions of this module. */
export interface Expr {
  /** Operation. */
  readonly op: ExprOp;
  /** Type of the result. */
  readonly type: ScalarType;
  /** Operands. */
  readonly args: readonly Expr[];
  /** Literal for `const`; number of the operand, scalar, axis or stage for other leaves. */
  readonly value: number | bigint;
  /** Unique number of this structure. */
  readonly id: number;
}

const interned = new Map<string, Expr>();

function literalKey(value: number | bigint): string {
  return Object.is(value, -0) ? "-0" : `${value}`;
}

/** Returns the one node with this structure. */
export function node(
  op: ExprOp,
  type: ScalarType,
  args: readonly Expr[],
  value: number | bigint = 0,
): Expr {
  let key = `${op}:${type}:${literalKey(value)}`;
  for (const arg of args) key += `,${arg.id}`;
  let found = interned.get(key);
  if (found === undefined) {
    found = { op, type, args, value, id: interned.size };
    interned.set(key, found);
  }
  return found;
}

/** An argument of the builder functions: numbers become constants of the other operand's type. */
export type Operand = Expr | number;

/** A literal. */
export function constant(value: number | bigint, type: ScalarType): Expr {
  if (type === "f32" && typeof value === "number") value = Math.fround(value);
  if (type === "i64") value = BigInt(value);
  if (type === "bool") value = value ? 1 : 0;
  return node("const", type, [], value);
}

/** Element of operand `k` at the current position. */
export function input(k: number, type: ScalarType): Expr {
  return node("input", type, [], k);
}

/** Scalar `k` given at launch. */
export function scalar(k: number, type: ScalarType): Expr {
  return node("scalar", type, [], k);
}

/** Coordinate of the current position along axis `k` of the launch, as i32. */
export function coord(k: number): Expr {
  return node("coord", "i32", [], k);
}

/** Row-major number of the current position among all, as i32. */
export function linear(): Expr {
  return node("linear", "i32", []);
}

/** Result of reduction `k` of the same program. */
export function stage(k: number, type: ScalarType): Expr {
  return node("stage", type, [], k);
}

/** Element of operand `k` at offset `offset` (i32, in elements, clamped into the operand). */
export function load(k: number, type: ScalarType, offset: Expr): Expr {
  return node("load", type, [offset], k);
}

function pair(a: Operand, b: Operand): [Expr, Expr] {
  if (typeof a === "number") {
    if (typeof b === "number") return [constant(a, "f32"), constant(b, "f32")];
    return [constant(a, b.type), b];
  }
  return [a, typeof b === "number" ? constant(b, a.type) : b];
}

function binary(op: ExprOp, a: Operand, b: Operand): Expr {
  const [x, y] = pair(a, b);
  if (x.type !== y.type) {
    throw new TypeError(
      `Cannot build ${op} of a ${x.type} and a ${y.type}: cast one of them first`,
    );
  }
  return node(op, x.type, [x, y]);
}

function compare(op: ExprOp, a: Operand, b: Operand): Expr {
  return node(op, "bool", binary(op, a, b).args);
}

/** Applies a float function by name. */
export function call(name: FloatFunction, x: Expr): Expr {
  return node(name, x.type, [x]);
}

/** Sum. */
export function add(a: Operand, b: Operand): Expr {
  return binary("add", a, b);
}
/** Difference. */
export function sub(a: Operand, b: Operand): Expr {
  return binary("sub", a, b);
}
/** Product. */
export function mul(a: Operand, b: Operand): Expr {
  return binary("mul", a, b);
}
/** Quotient; integers truncate toward zero. */
export function div(a: Operand, b: Operand): Expr {
  return binary("div", a, b);
}
/** Smaller of two; NaN if either is. */
export function min(a: Operand, b: Operand): Expr {
  return binary("min", a, b);
}
/** Larger of two; NaN if either is. */
export function max(a: Operand, b: Operand): Expr {
  return binary("max", a, b);
}
/** Power. */
export function pow(a: Operand, b: Operand): Expr {
  return binary("pow", a, b);
}
/** Angle of the point (x, y). */
export function atan2(y: Operand, x: Operand): Expr {
  return binary("atan2", y, x);
}
/** Remainder with the sign of the dividend. */
export function rem(a: Operand, b: Operand): Expr {
  return binary("rem", a, b);
}
/** a·b + c. */
export function fma(a: Expr, b: Operand, c: Operand): Expr {
  return node("fma", a.type, [a, pair(a, b)[1], pair(a, c)[1]]);
}
/** a < b. */
export function lt(a: Operand, b: Operand): Expr {
  return compare("lt", a, b);
}
/** a ≤ b. */
export function le(a: Operand, b: Operand): Expr {
  return compare("le", a, b);
}
/** a > b. */
export function gt(a: Operand, b: Operand): Expr {
  return compare("lt", b, a);
}
/** a ≥ b. */
export function ge(a: Operand, b: Operand): Expr {
  return compare("le", b, a);
}
/** a = b. */
export function eq(a: Operand, b: Operand): Expr {
  return compare("eq", a, b);
}
/** a ≠ b; true when either is NaN. */
export function ne(a: Operand, b: Operand): Expr {
  return compare("ne", a, b);
}
/** Bitwise or logical and. */
export function and(a: Operand, b: Operand): Expr {
  return binary("and", a, b);
}
/** Bitwise or logical or. */
export function or(a: Operand, b: Operand): Expr {
  return binary("or", a, b);
}
/** Bitwise or logical exclusive or. */
export function xor(a: Operand, b: Operand): Expr {
  return binary("xor", a, b);
}
/** Bitwise or logical complement. */
export function not(a: Expr): Expr {
  return node("not", a.type, [a]);
}
/** Shift left by a constant number of bits. */
export function shl(a: Expr, bits: number): Expr {
  return node("shl", a.type, [a], bits);
}
/** Arithmetic shift right by a constant number of bits. */
export function shr(a: Expr, bits: number): Expr {
  return node("shr", a.type, [a], bits);
}
/** Logical shift right by a constant number of bits. */
export function shru(a: Expr, bits: number): Expr {
  return node("shru", a.type, [a], bits);
}
/** High 32 bits of the unsigned product of two i32. */
export function mulhiu(a: Operand, b: Operand): Expr {
  return binary("mulhiu", a, b);
}
/** `condition ? a : b`. */
export function select(condition: Expr, a: Operand, b: Operand): Expr {
  const [x, y] = pair(a, b);
  if (x.type !== y.type) {
    throw new TypeError(
      `Cannot select between a ${x.type} and a ${y.type}: cast one of them first`,
    );
  }
  return node("select", x.type, [condition, x, y]);
}
/** −a. */
export function neg(a: Expr): Expr {
  return node("neg", a.type, [a]);
}
/** |a|. */
export function abs(a: Expr): Expr {
  return node("abs", a.type, [a]);
}
/** Converts the value; floats truncate toward zero and saturate when made integers. */
export function cast(a: Expr, type: ScalarType): Expr {
  return a.type === type ? a : node("cast", type, [a]);
}
/** Reinterprets the bits as a type of the same width. */
export function bitcast(a: Expr, type: ScalarType): Expr {
  return a.type === type ? a : node("bitcast", type, [a]);
}
/** √a. */
export function sqrt(a: Expr): Expr {
  return call("sqrt", a);
}
/** eᵃ. */
export function exp(a: Expr): Expr {
  return call("exp", a);
}
/** Natural logarithm. */
export function log(a: Expr): Expr {
  return call("log", a);
}
/** log(1 + a). */
export function log1p(a: Expr): Expr {
  return call("log1p", a);
}
/** eᵃ − 1. */
export function expm1(a: Expr): Expr {
  return call("expm1", a);
}
/** Hyperbolic tangent. */
export function tanh(a: Expr): Expr {
  return call("tanh", a);
}
/** Error function. */
export function erf(a: Expr): Expr {
  return call("erf", a);
}
/** Logistic function 1 / (1 + e⁻ᵃ); nothing in it or its derivatives overflows. */
export function sigmoid(a: Expr): Expr {
  const below = lt(a, 0);
  const z = exp(select(below, a, neg(a)));
  return div(select(below, z, 1), add(z, 1));
}
/** The value of `a` without its derivative. */
export function detach(a: Expr): Expr {
  return bitcast(bitcast(a, a.type === "f64" ? "i64" : "i32"), a.type);
}

/** Brings a computed value to what the storage dtype can hold, so that fused and stored values agree. */
export function roundTo(a: Expr, dtype: DType): Expr {
  const value = cast(a, computeType(dtype));
  switch (dtype) {
    case "f16":
      return node("roundF16", "f32", [value]);
    case "bf16":
      return node("roundBf16", "f32", [value]);
    case "u8":
      return node("wrapU8", "i32", [value]);
    case "i8":
      return node("wrapI8", "i32", [value]);
    default:
      return value;
  }
}

/** Rebuilds an expression with each node replaced by `visit` (called on leaves and rebuilt nodes, inputs first). */
export function transform(root: Expr, visit: (e: Expr) => Expr): Expr {
  const done = new Map<Expr, Expr>();
  function walk(e: Expr): Expr {
    let result = done.get(e);
    if (result === undefined) {
      const args = e.args.map(walk);
      const same = args.every((arg, i) => arg === e.args[i]);
      result = visit(same ? e : node(e.op, e.type, args, e.value));
      done.set(e, result);
    }
    return result;
  }
  return walk(root);
}

/** Calls `visit` once for every node, operands before users. */
export function traverse(
  roots: readonly Expr[],
  visit: (e: Expr) => void,
): void {
  const seen = new Set<Expr>();
  function walk(e: Expr): void {
    if (seen.has(e)) return;
    seen.add(e);
    e.args.forEach(walk);
    visit(e);
  }
  roots.forEach(walk);
}

const infix: Partial<Record<ExprOp, string>> = {
  add: "+",
  sub: "-",
  mul: "*",
  div: "/",
  rem: "%",
  lt: "<",
  le: "<=",
  eq: "==",
  ne: "!=",
  and: "&",
  or: "|",
  xor: "^",
};

/** Prints an expression as readable text, operand `k` by the name `names[k]`. */
export function exprText(e: Expr, names?: readonly string[]): string {
  const args = e.args.map((arg) => exprText(arg, names));
  switch (e.op) {
    case "const":
      return e.type === "bool" ? String(e.value !== 0) : `${e.value}`;
    case "input":
      return names?.[Number(e.value)] ?? `in${e.value}`;
    case "scalar":
    case "coord":
    case "stage":
      return `${e.op}${e.value}`;
    case "linear":
      return "linear";
    case "load":
      return `${names?.[Number(e.value)] ?? `in${e.value}`}[${args[0]}]`;
    case "select":
      return `(${args[0]} ? ${args[1]} : ${args[2]})`;
    case "cast":
    case "bitcast":
      return `${e.op === "cast" ? "" : "bits_"}${e.type}(${args[0]})`;
    case "shl":
    case "shr":
    case "shru":
      return `${e.op}(${args[0]}, ${e.value})`;
    default: {
      const symbol = infix[e.op];
      return symbol === undefined
        ? `${e.op}(${args.join(", ")})`
        : `(${args[0]} ${symbol} ${args[1]})`;
    }
  }
}
