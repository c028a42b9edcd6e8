/**
 * Every declared operator through the harness. An operator without samples fails.
 */

import "../mod.ts";
import { assertEquals } from "@std/assert";
import { dtypes } from "../core/dtype.ts";
import { operators } from "../core/op.ts";
import { checkOperator, tolerance } from "./operator_harness.ts";

for (const info of operators().values()) {
  Deno.test(`operator ${info.name}`, () =>
    checkOperator(info, { golden: true }));
}

Deno.test("operators: every dtype is known to the harness", () => {
  assertEquals(Object.keys(tolerance).sort(), Object.keys(dtypes).sort());
});
