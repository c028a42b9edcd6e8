/** Simplified expressions have the values of those they stand for, to the bit. */

import { assert } from "@std/assert";
import { evaluate, type Value } from "../kernel/evaluate.ts";
import * as k from "../kernel/expr.ts";
import { simplify } from "../kernel/simplify.ts";

const floats = [0, -0, 1, -1, 2, -0.5, NaN, Infinity, -Infinity, 1e-40, 3e38];
const integers = [0, 1, -1, 2, -7, 2 ** 31 - 1, -(2 ** 31)];

const values: Record<"f32" | "f64" | "i32" | "i64" | "bool", Value[]> = {
  f32: floats.map(Math.fround),
  f64: floats,
  i32: integers,
  i64: integers.map(BigInt),
  bool: [0, 1],
};

type Type = keyof typeof values;

/** Two operands in, one expression out. */
type Make = (a: k.Expr, b: k.Expr) => k.Expr;

const numeric: Make[] = [
  k.add,
  k.sub,
  k.mul,
  k.min,
  k.max,
  k.lt,
  k.le,
  k.eq,
  k.ne,
  (a, b) => k.neg(k.mul(a, b)),
  (a, b) => k.neg(k.neg(k.sub(a, b))),
  (a, b) => k.select(k.lt(a, b), a, a),
  (a, b) => k.select(k.ne(k.cast(k.lt(a, b), "i32"), 0), a, b),
  (a, b) => k.select(k.eq(k.cast(k.lt(a, b), "i32"), 0), a, b),
];

const makers: Record<Type, Make[]> = {
  f32: [
    ...numeric,
    k.div,
    (a, b) => k.fma(a, b, k.mul(a, 1)),
    (a, b) => k.roundTo(k.roundTo(k.add(a, b), "f16"), "f16"),
    (a, b) => k.roundTo(k.roundTo(k.add(a, b), "bf16"), "f16"),
  ],
  f64: [...numeric, k.div],
  i32: [
    ...numeric,
    (a, b) => k.roundTo(k.roundTo(k.add(a, b), "u8"), "u8"),
    (a, b) => k.roundTo(k.roundTo(k.add(a, b), "u8"), "i8"),
  ],
  i64: numeric,
  bool: [
    k.and,
    k.or,
    k.xor,
    (a, b) => k.not(k.not(k.and(a, b))),
    (a, b) => k.select(a, b, k.not(b)),
  ],
};

for (const type of Object.keys(makers) as Type[]) {
  Deno.test(`simplify keeps every value of ${type}`, () => {
    const x = k.input(0, type), y = k.input(1, type);
    const constants = values[type].map((v) => k.constant(Number(v), type));
    for (const make of makers[type]) {
      const pairs = constants.flatMap((c) => [[c, x], [x, c], [c, c]]);
      for (const [a, b] of [[x, y], [x, x], ...pairs]) {
        const whole = make(a, b), simple = simplify(whole);
        for (const first of values[type]) {
          for (const second of values[type]) {
            const leaves = (e: k.Expr) => e === x ? first : second;
            const is = evaluate(simple, leaves);
            const was = evaluate(whole, leaves);
            assert(
              Object.is(is, was),
              `${k.exprText(whole)} → ${
                k.exprText(simple)
              } at ${first}, ${second}: ${was} → ${is}`,
            );
          }
        }
      }
    }
  });
}

Deno.test("simplify removes what changes nothing", () => {
  const x = k.input(0, "f32"), c = k.lt(x, 1);
  const same: [k.Expr, k.Expr][] = [
    [k.mul(x, 1), x],
    [k.mul(k.constant(1, "f32"), x), x],
    [k.mul(x, -1), k.neg(x)],
    [k.div(x, 1), x],
    [k.sub(x, 0), x],
    [k.neg(k.neg(x)), x],
    [k.not(k.not(c)), c],
    [k.ne(k.cast(c, "f32"), 0), c],
    [k.select(c, x, x), x],
    [k.add(k.constant(2, "f32"), 3), k.constant(5, "f32")],
  ];
  for (const [whole, simple] of same) assert(simplify(whole) === simple);
});
