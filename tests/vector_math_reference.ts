/**
 * Compiles f32 expressions to plain JavaScript, so that tests can sweep them
 * quickly and with fma fused or not.
 *
 * @module
 */

import { type Expr, traverse } from "../kernel/expr.ts";
import { specialFunctions } from "../kernel/special.ts";

const floats = new Float32Array(1), ints = new Int32Array(floats.buffer);

/** What compiled code calls. */
const library = {
  erfinv: specialFunctions.erfinv,
  /** Bits of an f32. */
  bits(x: number): number {
    floats[0] = x;
    return ints[0];
  },
  /** f32 of bits. */
  float(bits: number): number {
    ints[0] = bits;
    return floats[0];
  },
};

function code(e: Expr, name: (arg: Expr) => string, fused: boolean): string {
  const [a, b, c] = e.args.map(name);
  const single = (text: string) => e.type === "f32" ? `f(${text})` : text;
  switch (e.op) {
    case "const":
      return Object.is(e.value, -0) ? "-0" : `${e.value}`;
    case "input":
      return `x${e.value}`;
    case "add":
      return e.type === "i32" ? `(${a} + ${b} | 0)` : single(`${a} + ${b}`);
    case "sub":
      return e.type === "i32" ? `(${a} - ${b} | 0)` : single(`${a} - ${b}`);
    case "mul":
      return single(`${a} * ${b}`);
    case "div":
      return single(`${a} / ${b}`);
    case "fma":
      // The product of two f32 is exact in f64.
      return fused ? `f(${a} * ${b} + ${c})` : `f(f(${a} * ${b}) + ${c})`;
    case "neg":
      return `(-${a})`;
    case "abs":
    case "sqrt":
    case "trunc":
    case "floor":
    case "ceil":
      return single(`Math.${e.op}(${a})`);
    case "lt":
      return `(${a} < ${b})`;
    case "le":
      return `(${a} <= ${b})`;
    case "eq":
      return `(${a} === ${b})`;
    case "ne":
      return `(${a} !== ${b})`;
    case "and":
      return `(${a} & ${b})`;
    case "or":
      return `(${a} | ${b})`;
    case "xor":
      return `(${a} ^ ${b})`;
    case "not":
      return e.type === "bool" ? `!${a}` : `(~${a})`;
    case "shl":
      return `(${a} << ${e.value})`;
    case "shr":
      return `(${a} >> ${e.value})`;
    case "select":
      return `(${a} ? ${b} : ${c})`;
    case "sin":
    case "cos":
    case "tan":
      // The rare branch: the float64 function.
      return single(`Math.${e.op}(${a})`);
    case "erfinv":
      return single(`m.erfinv(${a})`);
    case "cast":
      return single(a);
    case "bitcast":
      return e.type === "f32" ? `m.float(${a})` : `m.bits(${a})`;
    default:
      throw new TypeError(
        `Cannot compile ${e.op}: vector functions are built without it`,
      );
  }
}

/**
 * A function of up to two f32 numbers (operands 0 and 1) that computes `e` in
 * f32 steps; with `fused` false, fma rounds the product first.
 */
export function compile(
  e: Expr,
  fused: boolean,
): (x0: number, x1?: number) => number {
  const lines: string[] = [], names = new Map<Expr, string>();
  traverse([e], (at) => {
    const text = code(at, (arg) => names.get(arg)!, fused);
    if (at.args.length === 0) names.set(at, text);
    else {
      names.set(at, `v${lines.length}`);
      lines.push(`const v${lines.length} = ${text};`);
    }
  });
  const body = `const f = Math.fround; return (x0, x1) => {\n${
    lines.join("\n")
  }\nreturn ${names.get(e)};\n};`;
  return new Function("m", body)(library);
}

/** Nodes of an expression that a renderer makes instructions of: all but leaves and bit casts. */
export function operationCount(e: Expr): number {
  let count = 0;
  traverse([e], (at) => {
    if (at.args.length > 0 && at.op !== "bitcast") count++;
  });
  return count;
}

/**
 * Distance of `actual` from the true value in units of the last place that an
 * f32 has at the true value (2⁻¹⁴⁹ at least); 0 if both are NaN, or the same infinity.
 */
export function ulpError(actual: number, truth: number): number {
  if (Number.isNaN(truth)) return Number.isNaN(actual) ? 0 : Infinity;
  const rounded = Math.fround(truth);
  if (Math.abs(rounded) === Infinity) return actual === rounded ? 0 : Infinity;
  if (!Number.isFinite(actual)) return Infinity;
  const size = Math.abs(truth);
  const exponent = size === 0
    ? -126
    : Math.max(-126, Math.floor(Math.log2(size)));
  return Math.abs(actual - truth) / 2 ** (exponent - 23);
}
