/** Pending expressions: how long they grow, and what looking at them changes. */

import { assertAlmostEquals, assertEquals } from "@std/assert";
import { add, exp, explain, ones, tensor } from "../mod.ts";

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
