/** The worked example of docs/adding_an_operator.md, executed as it stands. */

import { assert, assertEquals } from "@std/assert";
import "../mod.ts";
import { operators } from "../core/op.ts";
import { checkOperator } from "./operator_harness.ts";

const page = await Deno.readTextFile(
  new URL("../docs/adding_an_operator.md", import.meta.url),
);
const blocks = [...page.matchAll(/```ts ignore\n(\/\/ ops\/.*?)```/gs)].map((
  m,
) => m[1]);

/** Lines of a block's declaration: from `export` on. */
function declarationLines(block: string): number {
  const lines = block.trimEnd().split("\n");
  return lines.length - lines.findIndex((line) => line.startsWith("export"));
}

for (const [name, limit] of [["snake", 3], ["sharpen", 40]] as const) {
  Deno.test(`adding an operator: ${name} as the page declares it`, async () => {
    const block = blocks.find((b) => b.includes(`name: "${name}"`));
    assert(block !== undefined, `the page declares no ${name}`);
    assert(
      declarationLines(block) <= limit,
      `${name} takes more than ${limit} lines`,
    );
    const folder = new URL("../ops/", import.meta.url);
    const source = block.replaceAll(
      /from "(\.[^"]+)"/g,
      (_, path) => `from "${new URL(path, folder)}"`,
    );
    const file = await Deno.makeTempFile({ suffix: ".ts" });
    try {
      await Deno.writeTextFile(file, source);
      await import(`file://${file}`);
      const info = operators().get(name);
      assert(info !== undefined && info.differentiable);
      checkOperator(info, { golden: false });
    } finally {
      await Deno.remove(file);
    }
  });
}

Deno.test("adding an operator: the page has two worked examples", () => {
  assertEquals(blocks.length, 2);
});
