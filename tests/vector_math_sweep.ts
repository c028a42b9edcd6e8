/**
 * Measures the error of the vector functions over all magnitudes of f32.
 *
 * Run to print the rows of docs/accuracy.md: every `stride`-th number, the
 * neighbourhoods of special points, and as many random pairs for pow and atan2.
 *
 *     deno run tests/vector_math_sweep.ts [stride] [function,…]
 *
 * @module
 */

import * as k from "../kernel/expr.ts";
import type { Expr, ExprOp } from "../kernel/expr.ts";
import { simplify } from "../kernel/simplify.ts";
import { specialFunctions } from "../kernel/special.ts";
import { lowerMath } from "../kernel/wasm/vector_math.ts";
import { compile, operationCount, ulpError } from "./vector_math_reference.ts";

/** A row of the table: a function and the largest magnitude of its argument. */
export interface Row {
  readonly name: string;
  readonly limit: number;
}

/** References in f64 for functions of one argument. */
export const references: Readonly<Record<string, (x: number) => number>> = {
  exp: Math.exp,
  exp2: (x) => 2 ** x,
  expm1: Math.expm1,
  log: Math.log,
  log2: Math.log2,
  log10: Math.log10,
  log1p: Math.log1p,
  sin: Math.sin,
  cos: Math.cos,
  tan: Math.tan,
  asin: Math.asin,
  acos: Math.acos,
  atan: Math.atan,
  sinh: Math.sinh,
  cosh: Math.cosh,
  tanh: Math.tanh,
  asinh: Math.asinh,
  acosh: Math.acosh,
  atanh: Math.atanh,
  erf: specialFunctions.erf,
  erfc: specialFunctions.erfc,
  erfinv: specialFunctions.erfinv,
};

/** References in f64 for functions of two arguments. */
export const references2: Readonly<
  Record<string, (x: number, y: number) => number>
> = {
  // IEEE 754: one to any power, and anything to the power zero, is one.
  pow: (x, y) => x === 1 || (x === -1 && Math.abs(y) === Infinity) ? 1 : x ** y,
  atan2: Math.atan2,
};

/** The expression that renderers get for a function of operand 0, or of operands 0 and 1. */
export function lowered(name: string): Expr {
  const args = name in references2
    ? [k.input(0, "f32"), k.input(1, "f32")]
    : [k.input(0, "f32")];
  const e = lowerMath(k.node(name as ExprOp, "f32", args));
  if (e === undefined) throw new TypeError(`${name} has no vector form`);
  return simplify(e);
}

const float = new Float32Array(1), bits = new Uint32Array(float.buffer);

function bitsOf(x: number): number {
  float[0] = x;
  return bits[0];
}

/** Where functions change character: powers of two, thresholds, multiples of π/4. */
function specialPoints(): number[] {
  const points = [
    0,
    2 ** -126,
    88.7228,
    87.3365,
    103.972,
    89.416,
    104.5,
    17.33,
  ];
  points.push(
    9.0108,
    3.92,
    3.95,
    10.05,
    2 / 3,
    4 / 3,
    1 / 3,
    149.5,
    0.3466,
    0.17329,
  );
  for (let e = -126; e < 128; e++) points.push(2 ** e);
  for (let n = 1; n < 500; n++) points.push(n * Math.PI / 4);
  for (let n = 1e3; n < 6e5; n += 1013) points.push(n * Math.PI / 2);
  return points;
}

/** Calls `visit` for every `stride`-th f32 up to `limit` and near special points, both signs. */
export function sweep(
  limit: number,
  stride: number,
  visit: (x: number) => void,
): void {
  const last = limit === Infinity ? 0x7f800001 : bitsOf(limit);
  const both = (pattern: number) => {
    bits[0] = pattern;
    visit(float[0]);
    bits[0] = pattern + 0x80000000;
    visit(float[0]);
  };
  for (let pattern = 0; pattern <= last; pattern += stride) both(pattern);
  both(last);
  for (const point of specialPoints()) {
    const middle = bitsOf(point);
    for (let d = -4; d <= 4; d++) {
      if (middle + d >= 0 && middle + d <= last) both(middle + d);
    }
  }
}

/** Calls `visit` for `count` pairs: any bits, results over the whole range, and bases near 1. */
export function pairs(
  count: number,
  visit: (x: number, y: number) => void,
): void {
  let state = 1;
  const random = () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
  const anything = () => {
    bits[0] = Math.floor(random() * 65536) * 65536 +
      Math.floor(random() * 65536);
    return float[0];
  };
  for (let i = 0; i < count; i++) {
    const x = i % 4 === 0
      ? anything()
      : i % 4 === 1
      ? Math.fround(2 ** (254 * random() - 127))
      : i % 4 === 2
      ? Math.fround(1 + (random() - 0.5) * 2 ** -Math.floor(22 * random()))
      : Math.fround(8 * random() - 4);
    // Powers spread over the exponents that f32 has.
    const y = i % 4 === 0
      ? anything()
      : i % 4 === 3
      ? Math.round(40 * random() - 20)
      : Math.fround((300 * random() - 150) / Math.log2(x));
    visit(x, y);
  }
}

/** Largest errors in ULP of a function for |x| ≤ limit, with fma fused and with separate rounding. */
export function measure(
  row: Row,
  stride: number,
): { fused: number; separate: number } {
  const e = lowered(row.name);
  const fused = compile(e, true), separate = compile(e, false);
  const worst = { fused: 0, separate: 0 };
  const take = (a: number, b: number, truth: number) => {
    worst.fused = Math.max(worst.fused, ulpError(a, truth));
    worst.separate = Math.max(worst.separate, ulpError(b, truth));
  };
  if (row.name in references2) {
    const reference = references2[row.name];
    pairs(
      Math.ceil(2 ** 32 / stride),
      (x, y) => take(fused(x, y), separate(x, y), reference(x, y)),
    );
  } else {
    const reference = references[row.name];
    sweep(
      row.limit,
      stride,
      (x) => take(fused(x), separate(x), reference(x)),
    );
  }
  return worst;
}

/** The rows of the table in Markdown text: `| name | to limit | operations | fused | separate |`. */
export function parseRows(
  text: string,
): (Row & { fused: number; separate?: number; operations: number })[] {
  return [...text.matchAll(
    /^\| `(\w+)` +\| (all|to \S+) +\| (\d+) +\| ([\d.]+) +\| ([\d.]+|–) +\|$/gm,
  )].map(([, name, range, operations, fused, separate]) => ({
    name,
    limit: range === "all" ? Infinity : Number(range.slice(3)),
    operations: Number(operations),
    fused: Number(fused),
    separate: separate === "–" ? undefined : Number(separate),
  }));
}

if (import.meta.main) {
  const stride = Number(Deno.args[0] ?? 1021);
  const names = Deno.args[1]?.split(",") ??
    [...Object.keys(references), ...Object.keys(references2)];
  for (const name of names) {
    const limits = ["sin", "cos", "tan"].includes(name)
      ? [100, Infinity]
      : [Infinity];
    for (const limit of limits) {
      const { fused, separate } = measure({ name, limit }, stride);
      const up = (x: number) => (Math.ceil(x * 10) / 10).toFixed(1);
      const range = limit === Infinity ? "all" : `to ${limit}`;
      const cells = [
        `\`${name}\``,
        range,
        operationCount(lowered(name)),
        up(fused),
        up(separate),
      ];
      console.log(`| ${cells.join(" | ")} |`);
    }
  }
}
