/**
 * What each operation is in CUDA C: one total table.
 *
 * The meaning is that of `kernel/evaluate.ts`. Integers wrap around, which C
 * promises for unsigned types only, so sums and products go through those.
 * Float sums and products are rounded one by one: kernels are compiled without
 * contraction (`--fmad=false`), and `fma` is the only operation that rounds
 * once. So a fused kernel and its operators one by one give the same bits, and
 * x·y − x·y is 0.
 *
 * @module
 */

import {
  type Expr,
  type ExprOp,
  isFloatType,
  type ScalarType,
} from "../expr.ts";
import { valueTypes } from "./types.ts";

/** Writes a node whose arguments are given as text: names or literals. */
export type Rule = (e: Expr, args: readonly string[]) => string;

function leaf(e: Expr): string {
  throw new TypeError(`Cannot write ${e.op} by itself: a kernel gives it`);
}

/** Sums, differences and products. */
function arithmetic(symbol: string): Rule {
  return (e, [a, b]) => {
    if (isFloatType(e.type)) return `${a} ${symbol} ${b}`;
    const type = valueTypes[e.type];
    return `(${type})((unsigned ${type})${a} ${symbol} (unsigned ${type})${b})`;
  };
}

/** A function of CUDA's mathematical library, which has an f at the end for float. */
function math(name: string): Rule {
  return (e, args) => `${name}${e.type === "f32" ? "f" : ""}(${args})`;
}

/** A function of the prelude, of one name per type. */
function own(name: string): Rule {
  return (e, args) => `${e.type}_${name}(${args})`;
}

function infix(symbol: string): Rule {
  return (_, [a, b]) => `${a} ${symbol} ${b}`;
}

/** Bitwise operations, logical ones on truth values. */
function bits(symbol: string): Rule {
  return (e, [a, b]) =>
    e.type === "bool" ? `(bool)(${a} ${symbol} ${b})` : `${a} ${symbol} ${b}`;
}

function extremum(name: "min" | "max"): Rule {
  return (e, [a, b]) =>
    isFloatType(e.type)
      ? `${e.type}_${name}(${a}, ${b})`
      : `${a} ${name === "min" ? "<" : ">"} ${b} ? ${a} : ${b}`;
}

/** How each operation is written. */
export const rules = {
  const: leaf,
  input: leaf,
  scalar: leaf,
  coord: leaf,
  linear: leaf,
  stage: leaf,
  load: leaf,
  neg: (e, [a]) =>
    isFloatType(e.type)
      ? `-${a}`
      : `(${valueTypes[e.type]})(0 - (unsigned ${valueTypes[e.type]})${a})`,
  abs: (e, [a]) =>
    e.type === "f32"
      ? `fabsf(${a})`
      : e.type === "f64"
      ? `fabs(${a})`
      : `${a} < 0 ? (${valueTypes[e.type]})(0 - (unsigned ${
        valueTypes[e.type]
      })${a}) : ${a}`,
  add: arithmetic("+"),
  sub: arithmetic("-"),
  mul: arithmetic("*"),
  div: (e, [a, b]) =>
    isFloatType(e.type) ? `${a} / ${b}` : `${e.type}_div(${a}, ${b})`,
  min: extremum("min"),
  max: extremum("max"),
  pow: math("pow"),
  atan2: math("atan2"),
  rem: (e, [a, b]) =>
    e.type === "f32"
      ? `fmodf(${a}, ${b})`
      : e.type === "f64"
      ? `fmod(${a}, ${b})`
      : `${e.type}_rem(${a}, ${b})`,
  fma: (e, [a, b, c]) => {
    if (isFloatType(e.type)) return math("fma")(e, [a, b, c]);
    const type = valueTypes[e.type], unsigned = `(unsigned ${type})`;
    return `(${type})(${unsigned}${a} * ${unsigned}${b} + ${unsigned}${c})`;
  },
  lt: infix("<"),
  le: infix("<="),
  eq: infix("=="),
  ne: infix("!="),
  and: bits("&"),
  or: bits("|"),
  xor: bits("^"),
  not: (e, [a]) => e.type === "bool" ? `!${a}` : `~${a}`,
  shl: (e, [a]) => {
    const type = valueTypes[e.type];
    return `(${type})((unsigned ${type})${a} << ${e.value})`;
  },
  shr: (e, [a]) => `${a} >> ${e.value}`,
  shru: (e, [a]) => {
    const type = valueTypes[e.type];
    return `(${type})((unsigned ${type})${a} >> ${e.value})`;
  },
  mulhiu: (_, [a, b]) => `(int)__umulhi((unsigned)${a}, (unsigned)${b})`,
  select: (_, [c, a, b]) => `${c} ? ${a} : ${b}`,
  cast: (e, [a]) => cast(a, e.args[0].type, e.type),
  bitcast: (e, [a]) => reinterpret(a, e.args[0].type, e.type),
  roundF16: (_, [a]) => `f16_to_f32(f32_to_f16(${a}))`,
  roundBf16: (_, [a]) => `bf16_to_f32(f32_to_bf16(${a}))`,
  wrapU8: (_, [a]) => `${a} & 255`,
  wrapI8: (_, [a]) => `(int)(signed char)${a}`,
  sqrt: math("sqrt"),
  exp: math("exp"),
  exp2: math("exp2"),
  expm1: math("expm1"),
  log: math("log"),
  log2: math("log2"),
  log10: math("log10"),
  log1p: math("log1p"),
  sin: math("sin"),
  cos: math("cos"),
  tan: math("tan"),
  asin: math("asin"),
  acos: math("acos"),
  atan: math("atan"),
  sinh: math("sinh"),
  cosh: math("cosh"),
  tanh: math("tanh"),
  asinh: math("asinh"),
  acosh: math("acosh"),
  atanh: math("atanh"),
  erf: math("erf"),
  erfc: math("erfc"),
  erfinv: own("erfinv"),
  lgamma: own("lgamma"),
  digamma: own("digamma"),
  trigamma: own("trigamma"),
  floor: math("floor"),
  ceil: math("ceil"),
  trunc: math("trunc"),
  round: math("rint"),
} as const satisfies Record<ExprOp, Rule>;

function cast(a: string, from: ScalarType, to: ScalarType): string {
  if (to === "bool") return `${a} != 0`;
  if (isFloatType(from) && (to === "i32" || to === "i64")) {
    return `${from}_to_${to}(${a})`;
  }
  return `(${valueTypes[to]})${a}`;
}

const reinterpretations: Readonly<Record<string, string | undefined>> = {
  "f32>i32": "__float_as_int",
  "i32>f32": "__int_as_float",
  "f64>i64": "__double_as_longlong",
  "i64>f64": "__longlong_as_double",
};

function reinterpret(a: string, from: ScalarType, to: ScalarType): string {
  const name = reinterpretations[`${from}>${to}`];
  if (name !== undefined) return `${name}(${a})`;
  if (from === "bool" && to === "i32") return `(int)${a}`;
  throw new TypeError(
    `Cannot write the bits of a ${from} as a ${to}: both must be equally wide`,
  );
}
