import {
  assert,
  assertEquals,
  assertRejects,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import {
  describeWriteError,
  type FileContent,
  removeLeftovers,
  writeFileAtomic,
  writeFileAtomicSync,
} from "../train/atomic_file.ts";
import { inFolder } from "./cli_helpers.ts";

type Write = (path: string, content: FileContent) => Promise<void>;

const WRITERS: Record<string, Write> = {
  writeFileAtomic,
  writeFileAtomicSync: (path, content) =>
    Promise.resolve().then(() => writeFileAtomicSync(path, content)),
};

function names(folder: string): string[] {
  return [...Deno.readDirSync(folder)].map((entry) => entry.name).sort();
}

for (const [name, write] of Object.entries(WRITERS)) {
  Deno.test(`${name}: text, bytes and pieces, over an old file too`, () =>
    inFolder(async (folder) => {
      const path = `${folder}/a.bin`;
      await write(path, "grün");
      assertEquals(Deno.readTextFileSync(path), "grün");
      await write(path, new Uint8Array([1, 2]));
      assertEquals(Deno.readFileSync(path), new Uint8Array([1, 2]));
      const big = new Uint8Array(3_000_000).map((_, i) => i);
      await write(path, [big, new Uint8Array(0), new Uint8Array([7])]);
      const read = Deno.readFileSync(path);
      assertEquals(read.length, 3_000_001);
      assertEquals(read.subarray(0, -1), big);
      assertEquals(names(folder), ["a.bin"]);
    }));

  Deno.test(`${name}: a place that cannot be written is described, and nothing is left`, () =>
    inFolder(async (folder) => {
      await Deno.writeTextFile(`${folder}/file`, "");
      await Deno.mkdir(`${folder}/folder`);
      const cases = [
        ["missing/a", `the folder ${folder}/missing does not exist`],
        ["file/a", `a part of ${folder}/file is a file`],
        ["folder", "there is a folder of that name"],
        ["x".repeat(300), "the name is too long"],
      ];
      for (const [path, sentence] of cases) {
        await assertRejects(
          () => write(`${folder}/${path}`, "abc"),
          Error,
          sentence,
        );
      }
      assertEquals(names(folder), ["file", "folder"]);
    }));
}

Deno.test("many writers of one file at once: one of them wins whole", () =>
  inFolder(async (folder) => {
    const contents = Array.from(
      { length: 20 },
      (_, i) => String(i).repeat(10000),
    );
    await Promise.all(
      contents.map((text) => writeFileAtomic(`${folder}/a`, text)),
    );
    assert(contents.includes(Deno.readTextFileSync(`${folder}/a`)));
    assertEquals(names(folder), ["a"]);
  }));

Deno.test("a process killed at any moment leaves the old or the new content", () =>
  inFolder(async (folder) => {
    const path = `${folder}/a`;
    const module = new URL("../train/atomic_file.ts", import.meta.url).href;
    const script = `
      const { writeFileAtomicSync } = await import(${JSON.stringify(module)});
      console.log("ready");
      for (let i = 1;; i = i % 9 + 1) {
        writeFileAtomicSync(${JSON.stringify(path)}, String(i).repeat(300000));
      }`;
    for (const delay of [0, 3, 11]) {
      const child = new Deno.Command(Deno.execPath(), {
        args: ["eval", "--no-lock", script],
        stdout: "piped",
        stderr: "null",
      }).spawn();
      const reader = child.stdout.getReader();
      await reader.read();
      await new Promise((resolve) => setTimeout(resolve, delay));
      child.kill("SIGKILL");
      await reader.cancel();
      await child.status;
      if (names(folder).includes("a")) {
        const text = Deno.readTextFileSync(path);
        assertEquals(text, text[0].repeat(300000));
      }
    }
    await removeLeftovers(path);
    assert(names(folder).every((name) => name === "a"));
  }));

Deno.test("removeLeftovers takes its own temporary files only", () =>
  inFolder(async (folder) => {
    for (const name of ["a", ".a.12-0.tmp", ".a.b.12-0.tmp", ".b.1-2.tmp"]) {
      await Deno.writeTextFile(`${folder}/${name}`, "");
    }
    assertEquals(await removeLeftovers(`${folder}/a`), [".a.12-0.tmp"]);
    assertEquals(names(folder), [".a.b.12-0.tmp", ".b.1-2.tmp", "a"]);
  }));

Deno.test({
  name: "a full disk is described with the bytes it would take",
  ignore: Deno.build.os !== "linux",
  fn() {
    // The device that is always full gives the error that a full disk gives.
    try {
      Deno.writeFileSync("/dev/full", new Uint8Array(1));
      throw new Error("the full device took a byte");
    } catch (error) {
      const { message } = describeWriteError(error, "runs/1/a.bin", 4096);
      assertStringIncludes(message, "Cannot write runs/1/a.bin: the disk is");
      assertStringIncludes(message, "needs 4096 bytes");
    }
  },
});

Deno.test({
  name: "without the permission to write, the sentence names the flag",
  permissions: { write: false, read: true },
  fn() {
    assertThrows(
      () => writeFileAtomicSync("runs/a.json", "{}"),
      Error,
      "run it again with --allow-write=runs",
    );
  },
});

Deno.test("an unwritable folder and a read-only disk are described", () => {
  const say = (code: string) =>
    describeWriteError(
      Object.assign(new Error("os error"), { code }),
      "/data/a.json",
      1,
    ).message;
  assertStringIncludes(say("EACCES"), "may not write in the folder /data");
  assertStringIncludes(say("EROFS"), "/data is on a read-only file system");
  assertStringIncludes(say("EIO"), "Cannot write /data/a.json (1 bytes): os");
});
