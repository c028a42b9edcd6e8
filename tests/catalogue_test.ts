/** docs/operators.md is what the declarations say now; the tool refuses an operator without documentation. */

import { assertEquals, assertThrows } from "@std/assert";
import { operator, operators } from "../core/op.ts";
import "../mod.ts";
import { ROOT } from "../tools/files.ts";

Deno.test("the catalogue of operators is up to date", async () => {
  const { code, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--no-check", "tools/catalogue.ts", "--check"],
    cwd: ROOT,
    stdin: "null",
  }).output();
  assertEquals(code, 0, new TextDecoder().decode(stderr));
});

Deno.test("the catalogue describes operators, and not helpers that share their names", async () => {
  const page = await Deno.readTextFile(`${ROOT}/docs/operators.md`);
  const rows = page.split("\n").filter((line) => line.startsWith("| `"));
  const row = rows.find((line) => line.startsWith("| `maximum("));
  assertEquals(row?.includes("The larger of a and b"), true, row);
});

Deno.test("an operator without a formula is refused", () => {
  assertThrows(
    () =>
      operator<() => unknown>({
        name: "formless",
        family: "self",
        inputs: [],
        formula: " ",
        run: () => [],
        samples: [],
      }),
    TypeError,
    "Cannot declare operator formless without a formula",
  );
  assertEquals(operators().has("formless"), false);
});

Deno.test("every row of the catalogue has a formula", async () => {
  const page = await Deno.readTextFile(`${ROOT}/docs/operators.md`);
  const rows = page.split("\n").filter((line) => line.startsWith("| `"));
  const cells = rows.map((row) => row.split(/(?<!\\)\|/).map((c) => c.trim()));
  assertEquals(rows.length, operators().size);
  assertEquals(cells.filter((c) => !/^`.+`$/.test(c[4])).map((c) => c[1]), []);
});
