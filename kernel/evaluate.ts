/**
 * The meaning of each operation on plain numbers. Constant folding uses it,
 * and the tests use it as the reference that renderers are compared with.
 *
 * @module
 */

import {
  fromBf16Bits,
  fromF16Bits,
  toBf16Bits,
  toF16Bits,
} from "../core/dtype.ts";
import type { Expr, ExprOp, ScalarType } from "./expr.ts";
import { specialFunctions as special } from "./special.ts";

/** A number of any scalar type; i64 as a bigint, truth values as 1 and 0. */
export type Value = number | bigint;
type Evaluator = (e: Expr, a: Value, b: Value, c: Value) => Value;

const view = new DataView(new ArrayBuffer(8));

function leaf(e: Expr): Value {
  throw new TypeError(`Cannot evaluate ${e.op}: it has no value by itself`);
}

/** Lifts a function on floats to an evaluator. */
function float(f: (a: number, b: number) => number): Evaluator {
  return (_, a, b) => f(Number(a), Number(b));
}

/** Lifts an operation that numbers and bigints share. */
function either(
  n: (a: number, b: number) => number,
  i: (a: bigint, b: bigint) => bigint,
): Evaluator {
  return (e, a, b) =>
    e.type === "i64" ? i(a as bigint, b as bigint) : n(Number(a), Number(b));
}

function comparison(f: (a: Value, b: Value) => boolean): Evaluator {
  return (_, a, b) => f(a, b) ? 1 : 0;
}

function roundEven(x: number): number {
  const r = Math.round(x);
  return Math.abs(x - Math.trunc(x)) === 0.5 && r % 2 !== 0 ? r - 1 : r;
}

const evaluators: Record<ExprOp, Evaluator> = {
  const: (e) => e.value,
  input: leaf,
  scalar: leaf,
  coord: leaf,
  linear: leaf,
  stage: leaf,
  load: leaf,
  neg: either((a) => -a, (a) => -a),
  abs: either(Math.abs, (a) => a < 0n ? -a : a),
  add: either((a, b) => a + b, (a, b) => a + b),
  sub: either((a, b) => a - b, (a, b) => a - b),
  mul: (e, a, b) =>
    e.type === "i64"
      ? (a as bigint) * (b as bigint)
      : e.type === "i32"
      ? Math.imul(Number(a), Number(b))
      : Number(a) * Number(b),
  div: (e, a, b) => {
    if (e.type === "i64") return b === 0n ? 0n : (a as bigint) / (b as bigint);
    if (e.type === "i32") {
      return b === 0 ? 0 : Math.trunc(Number(a) / Number(b));
    }
    return Number(a) / Number(b);
  },
  min: either(Math.min, (a, b) => a < b ? a : b),
  max: either(Math.max, (a, b) => a > b ? a : b),
  pow: float((a, b) =>
    a === 1
      ? 1
      : Math.abs(a) === 1 && !Number.isFinite(b) && !Number.isNaN(b)
      ? 1
      : a ** b
  ),
  atan2: float(Math.atan2),
  rem: (e, a, b) => {
    if (e.type === "i64") return b === 0n ? 0n : (a as bigint) % (b as bigint);
    if (e.type === "i32" && b === 0) return 0;
    return Number(a) % Number(b);
  },
  fma: (e, a, b, c) =>
    e.type === "i64"
      ? (a as bigint) * (b as bigint) + (c as bigint)
      : e.type === "i32"
      ? Math.imul(Number(a), Number(b)) + Number(c)
      : Number(a) * Number(b) + Number(c),
  lt: comparison((a, b) => a < b),
  le: comparison((a, b) => a <= b),
  eq: comparison((a, b) => a === b),
  ne: comparison((a, b) => a !== b),
  and: either((a, b) => a & b, (a, b) => a & b),
  or: either((a, b) => a | b, (a, b) => a | b),
  xor: either((a, b) => a ^ b, (a, b) => a ^ b),
  not: (e, a) =>
    e.type === "bool"
      ? (a ? 0 : 1)
      : e.type === "i64"
      ? ~(a as bigint)
      : ~Number(a),
  shl: (e, a) =>
    e.type === "i64"
      ? (a as bigint) << BigInt(e.value)
      : Number(a) << Number(e.value),
  shr: (e, a) =>
    e.type === "i64"
      ? (a as bigint) >> BigInt(e.value)
      : Number(a) >> Number(e.value),
  shru: (e, a) =>
    e.type === "i64"
      ? BigInt.asUintN(64, a as bigint) >> BigInt(e.value)
      : Number(a) >>> Number(e.value),
  mulhiu: (_, a, b) =>
    Number(
      BigInt.asIntN(
        32,
        (BigInt(Number(a) >>> 0) * BigInt(Number(b) >>> 0)) >> 32n,
      ),
    ),
  select: (_, a, b, c) => a ? b : c,
  cast: (e, a) => convert(a, e.args[0].type, e.type),
  bitcast: (e, a) => reinterpret(a, e.args[0].type, e.type),
  roundF16: (_, a) => fromF16Bits(toF16Bits(Number(a))),
  roundBf16: (_, a) => fromBf16Bits(toBf16Bits(Number(a))),
  wrapU8: (_, a) => Number(a) & 0xff,
  wrapI8: (_, a) => Number(a) << 24 >> 24,
  sqrt: float(Math.sqrt),
  exp: float(Math.exp),
  exp2: float((a) => 2 ** a),
  expm1: float(Math.expm1),
  log: float(Math.log),
  log2: float(Math.log2),
  log10: float(Math.log10),
  log1p: float(Math.log1p),
  sin: float(Math.sin),
  cos: float(Math.cos),
  tan: float(Math.tan),
  asin: float(Math.asin),
  acos: float(Math.acos),
  atan: float(Math.atan),
  sinh: float(Math.sinh),
  cosh: float(Math.cosh),
  tanh: float(Math.tanh),
  asinh: float(Math.asinh),
  acosh: float(Math.acosh),
  atanh: float(Math.atanh),
  erf: float(special.erf),
  erfc: float(special.erfc),
  erfinv: float(special.erfinv),
  lgamma: float(special.lgamma),
  digamma: float(special.digamma),
  trigamma: float(special.trigamma),
  floor: float(Math.floor),
  ceil: float(Math.ceil),
  trunc: float(Math.trunc),
  round: float(roundEven),
};

function convert(a: Value, from: ScalarType, to: ScalarType): Value {
  switch (to) {
    case "f32":
      return Math.fround(Number(a));
    case "f64":
      return Number(a);
    case "bool":
      return Number(a) !== 0 ? 1 : 0;
    case "i32":
      if (from === "i64") return Number(BigInt.asIntN(32, a as bigint));
      return saturate(Number(a), -(2 ** 31), 2 ** 31 - 1);
    case "i64":
      if (typeof a === "bigint") return a;
      if (Number.isNaN(a)) return 0n;
      if (a >= 2 ** 63) return 2n ** 63n - 1n;
      if (a < -(2 ** 63)) return -(2n ** 63n);
      return BigInt(Math.trunc(a));
    default:
      return to satisfies never;
  }
}

function saturate(a: number, low: number, high: number): number {
  return Number.isNaN(a) ? 0 : Math.min(high, Math.max(low, Math.trunc(a)));
}

function reinterpret(a: Value, from: ScalarType, to: ScalarType): Value {
  if (from === "f32") view.setFloat32(0, Number(a));
  else if (from === "f64") view.setFloat64(0, Number(a));
  else if (from === "i64") view.setBigInt64(0, a as bigint);
  else view.setInt32(0, Number(a));
  if (to === "f32") return view.getFloat32(0);
  if (to === "f64") return view.getFloat64(0);
  if (to === "i64") return view.getBigInt64(0);
  return view.getInt32(0);
}

/** The value of node `e` for the values of its arguments, rounded to the node's type. */
export function evaluateNode(e: Expr, args: readonly Value[]): Value {
  const value = evaluators[e.op](e, args[0], args[1], args[2]);
  if (e.type === "f32") return Math.fround(Number(value));
  if (e.type === "i32") return Number(value) | 0;
  if (e.type === "i64") return BigInt.asIntN(64, BigInt(value));
  return value;
}

/** Values of the leaves when an expression is evaluated. */
export type LeafValues = (leaf: Expr, args: readonly Value[]) => Value;

/** The value of a whole expression; `leaves` gives those of inputs, scalars, coordinates, stages and loads. */
export function evaluate(root: Expr, leaves: LeafValues): Value {
  const done = new Map<Expr, Value>();
  function walk(e: Expr): Value {
    let value = done.get(e);
    if (value === undefined) {
      const args = e.args.map(walk);
      const external = e.op === "load" ||
        (e.args.length === 0 && e.op !== "const");
      value = external ? leaves(e, args) : evaluateNode(e, args);
      done.set(e, value);
    }
    return value;
  }
  return walk(root);
}
