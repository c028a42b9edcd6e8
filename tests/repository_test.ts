/**
 * The house rules that can be read off the sources, and the development scripts
 * that others rely on.
 */

import { assertEquals } from "@std/assert";
import { filesBelow, libraryModules, ROOT } from "../tools/files.ts";
import { parseJunit } from "../tools/junit.ts";

const FILE_NAME = /^(?:[a-z0-9]+(?:_[a-z0-9]+)*|_[a-z0-9_]+)(?:\.d)?\.ts$/;

function read(path: string): string {
  return Deno.readTextFileSync(`${ROOT}/${path}`);
}

/** Lines of `path` that match, as `path:line: text`. */
function lines(path: string, pattern: RegExp): string[] {
  return read(path).split("\n").flatMap((text, i) =>
    pattern.test(text) ? [`${path}:${i + 1}: ${text.trim()}`] : []
  );
}

Deno.test("files are named in snake_case", () => {
  const wrong = filesBelow(".", [".ts"]).filter((path) =>
    !FILE_NAME.test(path.split("/").pop()!)
  );
  assertEquals(wrong, []);
});

Deno.test("no source file has more than 500 lines", () => {
  const long = filesBelow(".", [".ts", ".cc", ".h"])
    .map((path) => ({ path, lines: read(path).split("\n").length - 1 }))
    .filter(({ lines }) => lines > 500);
  assertEquals(long, []);
});

Deno.test("no unfinished marks in the sources", () => {
  // Spelled in two parts, so that this file is no match itself.
  const marks = new RegExp(
    ["TO" + "DO", "FIX" + "ME", "XX" + "X", "not imple" + "mented"].map((
      word,
    ) => `\\b${word}\\b`).join("|"),
  );
  const found = filesBelow(".", [".ts", ".py"]).flatMap((path) =>
    lines(path, marks)
  );
  assertEquals(found, []);
});

Deno.test("packages are named with npm: and an exact version, never JSR", () => {
  const loose = /["']npm:(?!["']|@?[^@"']+@\d+\.\d+\.\d+)/;
  const found = filesBelow(".", [".ts"]).flatMap((path) => [
    ...lines(path, /from ["']jsr:|import\(["']jsr:/),
    ...lines(path, loose),
  ]);
  assertEquals(found, []);
});

Deno.test("deno.lock holds only packages that the sources name", () => {
  const lock: { specifiers: Record<string, string> } = JSON.parse(
    read("deno.lock"),
  );
  const sources = filesBelow(".", [".ts", ".json"]).map(read).join("\n");
  const foreign = Object.keys(lock.specifiers).filter((specifier) =>
    !sources.includes(specifier)
  );
  assertEquals(foreign, [], "delete deno.lock and run the tests again");
});

Deno.test("the library never throws a bare string or a bare Error", () => {
  const bare = /^(?!\s*(?:\*|\/\/)).*throw (?:new Error\(\s*\)|["'`])/;
  assertEquals(libraryModules().flatMap((path) => lines(path, bare)), []);
});

Deno.test("each test module has a test", () => {
  const empty = filesBelow("tests", ["_test.ts"]).filter((path) =>
    !/(?:\btest|Tests?|onCuda)\(/.test(read(path))
  );
  assertEquals(empty, []);
});

Deno.test("the test runner reads what deno test writes", async () => {
  const folder = await Deno.makeTempDir();
  try {
    await Deno.writeTextFile(
      `${folder}/sample_test.ts`,
      `Deno.test("a > b", () => {});
       Deno.test({ name: "no <gpu> (none here)", ignore: true, fn() {} });
       Deno.test("with steps", async (t) => {
         await t.step("good", () => {});
         await t.step("bad", () => { throw new Error("bad & worse"); });
       });`,
    );
    const { code } = await new Deno.Command(Deno.execPath(), {
      args: ["test", "--quiet", "--no-config", "--junit-path=junit.xml"],
      cwd: folder,
    }).output();
    assertEquals(code, 1);
    const cases = parseJunit(
      await Deno.readTextFile(`${folder}/junit.xml`),
    );
    assertEquals(
      cases.map(({ name, outcome, step }) => [name, outcome, step]),
      [
        ["a > b", "passed", false],
        ["no <gpu> (none here)", "skipped", false],
        ["with steps", "failed", false],
        ["with steps > good", "passed", true],
        ["with steps > bad", "failed", true],
      ],
    );
    assertEquals(new Set(cases.map(({ file }) => file)).size, 1);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
