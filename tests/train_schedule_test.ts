/** Schedules of the learning rate by name, with their warm-up. */

import { assert, assertEquals, assertThrows } from "@std/assert";
import "../mod.ts";
import { makePolicy, observes, schedules } from "../train/schedule.ts";

Deno.test("schedules: every policy by name gives finite factors, a warm-up before it", () => {
  for (const [name, { settings }] of Object.entries(schedules)) {
    const values = Object.fromEntries(
      Object.entries(settings).map(([key, s]) => [key, s.default]),
    );
    const policy = makePolicy(name as keyof typeof schedules, values, 100, 10);
    assertEquals(policy(0), 1 / 11, name);
    for (let i = 0; i < 120; i++) {
      assert(policy(i) >= 0 && policy(i) < 10, `${name} at ${i}: ${policy(i)}`);
    }
  }
  assertThrows(
    () => makePolicy("fixed", {}, 10, 10),
    RangeError,
    "Cannot warm up for 10 of 10 steps",
  );
});

Deno.test("schedules: what a plateau policy saw is kept through its warm-up", () => {
  const make = () => {
    const policy = makePolicy(
      "reduceOnPlateau",
      { policyFactor: 0.5, policyPatience: 0 },
      100,
      5,
    );
    assert(observes(policy));
    return policy;
  };
  const first = make();
  for (const loss of [1, 1, 1]) first.observe(loss);
  assertEquals(first(50), 0.25);
  const second = make();
  second.state = structuredClone(first.state);
  assertEquals(second(50), 0.25);
});
