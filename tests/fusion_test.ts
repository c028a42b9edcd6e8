/** Pending expressions: how long they grow, and what looking at them changes. */

import { assertAlmostEquals, assertEquals, assertThrows } from "@std/assert";
import { add, exp, expand, explain, ones, sum, tensor } from "../mod.ts";

Deno.test("a long chain of constants is computed on the way", () => {
  let x = ones([2]);
  for (let i = 0; i < 20000; i++) x = add(x, 1);
  assertEquals(x.toArray(), [20001, 20001]);
});

Deno.test("explaining a pending tensor does not change what is computed", () => {
  const x = tensor([0.5, 1.5]);
  const inner = exp(x);
  const outer = exp(add(inner, 1));
  add(outer, 1).data();
  add(outer, 2).data();
  explain(inner);
  add(inner, 1).data();
  const both = add(inner, outer).data() as Float32Array;
  assertAlmostEquals(
    both[0],
    Math.exp(0.5) + Math.exp(Math.exp(0.5) + 1),
    1e-4,
  );
  assertAlmostEquals(
    both[1],
    Math.exp(1.5) + Math.exp(Math.exp(1.5) + 1),
    1e-2,
  );
});

Deno.test("more elements than a kernel can count are refused, not passed over", () => {
  const row = ones([1, 2 ** 16], { dtype: "u8" }).materialize();
  assertThrows(
    () => sum(expand(row, [2 ** 15, 2 ** 16])).item(),
    RangeError,
    "Cannot run a kernel over 2147483648 elements on the CPU: it takes at most 2147483647",
  );
});
