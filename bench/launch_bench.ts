/**
 * What calls on a few elements cost, that is, everything but the arithmetic:
 * `deno bench -A bench/launch_bench.ts`. Times are for 100 calls, or 1,000 where
 * the name says so.
 *
 * Floors: 32 or 64 elements take 0.01 µs of arithmetic and as much for their
 * bytes from the first-level cache; a call of a compiled kernel from
 * TypeScript takes 0.05 µs, an allocation and release of memory 0.1 µs. So a
 * launch cannot take less than about 0.2 µs; a pending operator call makes
 * three objects, about 0.1 µs.
 */

import {
  add,
  fromHost,
  mul,
  scope,
  softmax,
  sum,
  type Tensor,
} from "../mod.ts";
import { persist } from "../core/scope.ts";
import { update } from "../core/update.ts";
import * as k from "../kernel/expr.ts";

function wave(shape: readonly number[]): Tensor {
  const size = shape.reduce((a, b) => a * b, 1);
  const data = Float32Array.from({ length: size }, (_, i) => Math.sin(i));
  return fromHost(data, "f32", shape);
}

function hundred(name: string, call: () => unknown): void {
  Deno.bench(`${name}, ×100`, () => {
    scope(() => {
      for (let i = 0; i < 100; i++) call();
    });
  });
}

const x = wave([32]), y = wave([32]);
const grid = wave([4, 8]), line = wave([8]), rows = wave([8, 16]);

Deno.bench("add of 32, chained, ×1000", () => {
  scope(() => {
    let sum = x;
    for (let i = 0; i < 1000; i++) sum = add(sum, y);
    sum.data();
  });
});

Deno.bench("mul and add of numbers to 32, chained, ×1000", () => {
  scope(() => {
    let value = x;
    for (let i = 0; i < 500; i++) value = add(mul(value, 0.5), 1.5);
    value.data();
  });
});

hundred("add of 32, computed at once", () => add(x, y).materialize());
hundred("add of a row, computed at once", () => add(grid, line).materialize());
hundred("sum of rows, 8×16", () => sum(rows, 1));
hundred("softmax of rows, 8×16", () => softmax(rows, 1));

const weight = persist(wave([64])), slope = persist(wave([64]));
const first = persist(wave([64])), second = persist(wave([64]));

hundred("step of momentum, 64 parameters", () =>
  update({
    name: "bench momentum",
    targets: [weight, first],
    operands: [slope],
    scalars: [1e-3, 0.9],
    define: ([weight, mean], [slope], [rate, decay]) => {
      const next = k.add(k.mul(mean, decay), slope);
      return [k.sub(weight, k.mul(next, rate)), next];
    },
  }));

hundred("step with two moments, 64 parameters", () =>
  update({
    name: "bench moments",
    targets: [weight, first, second],
    operands: [slope],
    scalars: [1e-3, 0.9, 0.99, 1e-8],
    define: ([weight, mean, square], [slope], [rate, b1, b2, epsilon]) => {
      const m = k.add(k.mul(k.sub(mean, slope), b1), slope);
      const s = k.add(k.mul(square, b2), k.mul(slope, slope));
      const step = k.div(m, k.add(k.sqrt(k.abs(s)), epsilon));
      return [k.sub(weight, k.mul(step, rate)), m, s];
    },
  }));
