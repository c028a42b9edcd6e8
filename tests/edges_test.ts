/** The rules of `deno task edges`: what they let pass, what they do not, and the page that is made of them. */

import { assert, assertEquals } from "@std/assert";
import { operators } from "../mod.ts";
import { t } from "../ops/samples.ts";
import type { Finding, Judged } from "../tools/edges/examine.ts";
import { PAGE, page, rules } from "../tools/edges/page.ts";
import { explain, unseen } from "../tools/edges/rules.ts";
import { formatted } from "../tools/files.ts";

const element: Judged = {
  place: "result 0",
  dtype: "f32",
  index: 0,
  ours: Infinity,
  theirs: NaN,
  seen: { plain: Infinity, double: Infinity, reals: Infinity },
};

function finding(name: string, e: Partial<Judged> = {}): Finding {
  const info = operators().get(name)!;
  const elements = [{ ...element, ...e }];
  return {
    info,
    sample: [t([2])],
    difference: { kind: "elements", elements },
  };
}

function explained(f: Finding): boolean {
  return "by" in explain(f, rules);
}

Deno.test("edges: a rule names operator, place, dtype and both values", () => {
  assert(explained(finding("gelu")));
  assert(!explained(finding("silu")), "another operator");
  assert(!explained(finding("gelu", { dtype: "f64" })), "another dtype");
  assert(!explained(finding("gelu", { place: "gradient of x" })));
  assert(!explained(finding("gelu", { ours: 3 })), "a third answer of Decaf");
  assert(!explained(finding("gelu", { theirs: 3 })), "a third of PyTorch");
});

Deno.test("edges: a rule with a condition holds of no other call", () => {
  const place = "gradient of a";
  const f = finding("bilinear", { place, theirs: 1 / 0, ours: NaN, seen: {} });
  assert(!explained(f), "no operand is infinite");
  assert(explained({ ...f, sample: [t([1], { data: [Infinity] })] }));
});

Deno.test("edges: two zeros are explained by their signs only", () => {
  const zeros = { ours: 0, theirs: -0, seen: { plain: 0, double: 0 } };
  assert(explained(finding("clamp", zeros)));
  assert(!explained(finding("clamp", { ...zeros, ours: -0, theirs: 0 })));
  assert(!explained(finding("prod", zeros)));
});

Deno.test("edges: refusals and raw errors are explained by their sentences", () => {
  const info = operators().get("localResponseNorm")!;
  const refused = (message: string): Finding => ({
    info,
    sample: [],
    difference: { kind: "refusedHere", message },
  });
  assert(explained(refused(
    "Cannot take the norm of a tensor of dtype i64: it takes f32; convert it",
  )));
  assert(!explained(refused("Cannot square this")));
  const fault: Finding = {
    info,
    sample: [],
    difference: { kind: "fault", message: "TypeError: x" },
  };
  assert(!explained(fault));
});

Deno.test("edges: conditions look at the element that differs", () => {
  const place = "gradient of x";
  const f = finding("relu6", { place, dtype: "f64", ours: 1, theirs: 0 });
  assert(explained({ ...f, sample: [t([2], { data: [NaN, 1] })] }));
  assert(!explained({ ...f, sample: [t([2], { data: [1, NaN] })] }));
});

Deno.test("edges: a case that no call shows is named", () => {
  const seen = new Set<string>();
  const key = "vectors: result plain, PyTorch NaN, of dtype f32 of gelu";
  assert(unseen(rules, seen).includes(key));
  explain(finding("gelu"), rules, seen);
  assert(!unseen(rules, seen).includes(key));
});

Deno.test("edges: rules name operators that there are, each rule once", () => {
  const lists = [
    ...rules.elements.flatMap(({ cases }) => cases.map((c) => c[3])),
    ...[...rules.forms, ...rules.refusals].map((rule) => rule.operators),
  ];
  for (const name of new Set(lists.flatMap((list) => list.split(" ")))) {
    assert(operators().has(name), name);
  }
  const names = rules.elements.map(({ name }) => name);
  assertEquals(new Set(names).size, names.length);
});

Deno.test("edges: the page is made of the rules", async () => {
  assertEquals(await Deno.readTextFile(PAGE), await formatted(page(rules)));
});
