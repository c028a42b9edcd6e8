import { assert, assertEquals } from "@std/assert";
import { fromHost, Scope, type Tensor } from "../mod.ts";
import { update, updateAll } from "../core/update.ts";
import type { DType } from "../core/dtype.ts";
import { persist } from "../core/scope.ts";
import * as k from "../kernel/expr.ts";

function kept(data: readonly number[], dtype: DType = "f32"): Tensor {
  const host = dtype === "f64"
    ? Float64Array.from(data)
    : Float32Array.from(data);
  return persist(fromHost(host, dtype, [data.length]));
}

function numbers(size: number, step: number): number[] {
  return Array.from({ length: size }, (_, i) => i * step - 3);
}

for (const dtype of ["f32", "f64"] as const) {
  for (const size of [1, 3, 4, 17, 64, 1001, 300_000]) {
    Deno.test(`update: ${size} elements of ${dtype} trade places in place`, () => {
      const first = numbers(size, 1), second = numbers(size, -0.5);
      const x = kept(first, dtype), y = kept(second, dtype);
      const memory = [x, y].map((t) => t.value.storage.address);
      for (let turn = 0; turn < 3; turn++) {
        update({
          name: "test trade",
          targets: [x, y],
          operands: [],
          scalars: [],
          define: ([a, b]) => [b, a],
        });
      }
      assertEquals([x, y].map((t) => t.value.storage.address), memory);
      assert(x.data().every((value, i) => value === second[i]));
      assert(y.data().every((value, i) => value === first[i]));
      x.dispose();
      y.dispose();
    });
  }
}

Deno.test("update: each result reads the targets as they were before", () => {
  using _scope = new Scope();
  const size = 100;
  const [a, b, c] = [1, 2, 3].map((s) => numbers(size, s));
  const [x, y, z] = [a, b, c].map((data) => kept(data));
  const g = fromHost(new Float32Array(size).fill(2), "f32", [size]);
  for (const rate of [0.5, 0.25]) {
    update({
      name: "test rotation",
      targets: [x, y, z],
      operands: [g],
      scalars: [rate],
      define: ([x, y, z], [g], [rate]) => [
        k.add(y, k.mul(g, rate)),
        k.sub(z, x),
        k.add(x, y),
      ],
    });
    for (let i = 0; i < size; i++) {
      [a[i], b[i], c[i]] = [b[i] + 2 * rate, c[i] - a[i], a[i] + b[i]];
    }
  }
  assertEquals([...x.data()].map(Number), a);
  assertEquals([...y.data()].map(Number), b);
  assertEquals([...z.data()].map(Number), c);
});

Deno.test("update: what was computed from a target keeps its old elements", () => {
  using _scope = new Scope();
  const x = kept([1, 2, 3]);
  const before = x.mul(10), view = x.reshape([3, 1]);
  const set = (name: string, operand: Tensor) =>
    update({
      name,
      targets: [x],
      operands: [operand],
      scalars: [],
      define: ([x], [o]) => [k.add(x, o)],
    });
  set("test add", before);
  assertEquals(x.toArray(), [11, 22, 33]);
  assertEquals(before.toArray(), [10, 20, 30]);
  assertEquals(view.toArray(), [[1], [2], [3]]);
  set("test add", fromHost(new Float32Array([1]), "f32", [1]));
  assertEquals(x.toArray(), [12, 23, 34]);
});

Deno.test("updates together: what one reads stays, though another one frees it", () => {
  using _scope = new Scope();
  const size = 1000;
  const numbersOf = (step: number) => numbers(size, step);
  const a = kept(numbersOf(1)), b = kept(numbersOf(2));
  const left = kept(numbersOf(3)), right = kept(numbersOf(-4));
  // Only what is pending refers to its operands.
  const pending = left.sub(right);
  left.dispose();
  right.dispose();
  const other = b.mul(2);
  const add = (target: Tensor) => ({
    name: "test add pending",
    targets: [target],
    operands: [pending],
    scalars: [],
    define: ([x]: readonly k.Expr[], [o]: readonly k.Expr[]) => [k.add(x, o)],
  });
  // The second target is shared, so what is pending is computed for it: its
  // operands are free then, and their memory is what the target moves to.
  updateAll([add(a), add(b)]);
  const difference = numbersOf(3).map((x, i) => x - numbersOf(-4)[i]);
  for (const [tensor, step] of [[a, 1], [b, 2]] as const) {
    assertEquals(
      [...tensor.data()].map(Number),
      numbersOf(step).map((x, i) => x + difference[i]),
    );
  }
  assertEquals([...other.data()].map(Number), numbersOf(2).map((x) => 2 * x));
});
