/** The command line installed, from a URL, without permissions, and in its pages. */

import { assert, assertEquals, assertMatch } from "@std/assert";
import { filesBelow, ROOT } from "../tools/files.ts";
import { decaf, inFolder } from "./cli_helpers.ts";

async function run(
  command: string,
  args: readonly string[],
  options: { cwd?: string; env?: Record<string, string> } = {},
): Promise<{ code: number; stdout: string; stderr: string }> {
  const { code, stdout, stderr } = await new Deno.Command(command, {
    args: [...args],
    cwd: options.cwd,
    env: { NO_COLOR: "1", DENO_NO_UPDATE_CHECK: "1", ...options.env },
    stdin: "null",
  }).output();
  const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
  return { code, stdout: text(stdout), stderr: text(stderr) };
}

Deno.test("cli: deno install -g makes a command of it", async () => {
  await inFolder(async (folder) => {
    const installed = await run(Deno.execPath(), [
      ...["install", "--global", "--allow-all", "--no-check", "--quiet"],
      ...["--root", folder, "--name", "decaf", `${ROOT}/cli.ts`],
    ], { cwd: folder });
    assertEquals(installed.code, 0, installed.stderr);
    const name = Deno.build.os === "windows" ? "decaf.cmd" : "decaf";
    const path = `${Deno.execPath().replace(/[\\/][^\\/]+$/, "")}${
      Deno.build.os === "windows" ? ";" : ":"
    }${Deno.env.get("PATH")}`;
    const said = await run(`${folder}/bin/${name}`, ["ops", "relu", "--json"], {
      cwd: folder,
      env: { PATH: path },
    });
    assertEquals(said.code, 0, said.stderr);
    assertEquals(JSON.parse(said.stdout)[0].name, "relu");
  });
});

Deno.test("cli: runs from a URL", async () => {
  await using server = Deno.serve(
    { port: 0, hostname: "127.0.0.1", onListen() {} },
    async (request) => {
      const path = decodeURIComponent(new URL(request.url).pathname);
      try {
        const type = path.endsWith(".json")
          ? "application/json"
          : "application/typescript";
        const body = await Deno.readFile(ROOT + path);
        return new Response(body, { headers: { "content-type": type } });
      } catch {
        return new Response("", { status: 404 });
      }
    },
  );
  const { port } = server.addr;
  await inFolder(async (cwd) => {
    const said = await run(Deno.execPath(), [
      ...["run", "--no-check", "--no-prompt", "--no-lock"],
      `--allow-import=127.0.0.1:${port}`,
      `http://127.0.0.1:${port}/cli.ts`,
      ...["explain", "relu(x)", "--shapes", "x=3"],
    ], { cwd });
    assertEquals(said.code, 0, said.stderr);
    assertMatch(said.stdout, /^relu\(x\) → f32\[3\]/);
  });
});

Deno.test("cli: doctor needs no permission", async () => {
  const said = await run(Deno.execPath(), [
    ...["run", "--no-check", "--no-prompt", `${ROOT}/cli.ts`],
    ...["doctor", "--json"],
  ]);
  assertEquals(said.code, 0, said.stderr);
  const report = JSON.parse(said.stdout);
  assertEquals([report.ok, report.permissions.read], [true, "prompt"]);
});

Deno.test("cli: each command has a page, and pages name only flags that there are", async () => {
  const { stdout: overview } = await decaf(["--help"]);
  const commands = [...overview.matchAll(/^ {2}(\w+) {2,}/gm)].map((m) => m[1]);
  const pages = filesBelow("docs/commands", [".md"]);
  assertEquals(
    pages,
    commands.map((name) => `docs/commands/${name}.md`).sort(),
  );
  const helps = [
    ...commands.map((name) => [name]),
    ...["mnist", "text", "images"].map((recipe) => ["train", recipe]),
    ["train", "text", "--model", "gpt"],
  ];
  let known = "--name --allow-ffi"; // of Deno itself
  for (const args of helps) {
    const { stdout } = await decaf([...args, "--help"]);
    known += stdout.replaceAll("--[no-]", "--");
  }
  for (const page of pages) {
    const text = await Deno.readTextFile(`${ROOT}/${page}`);
    for (const [flag] of text.matchAll(/--[a-z][a-z-]+/g)) {
      const positive = flag.replace(/^--no-/, "--");
      const there = known.includes(positive) ||
        ["--help", "--logdir"].includes(flag);
      assert(there, `${page} names ${flag}`);
    }
  }
});
