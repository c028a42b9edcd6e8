/** Versions of NCCL that lack functions, or are too old: made-up libraries of a few lines. */

import { assertEquals, assertThrows } from "@std/assert";
import { findLibrary, LibraryError } from "../ffi/library.ts";
import { library, symbols } from "../ffi/nccl.ts";
import { inFolder } from "./cli_helpers.ts";

async function hasCompiler(): Promise<boolean> {
  try {
    await new Deno.Command("g++", { args: ["--version"] }).output();
    return true;
  } catch {
    return false;
  }
}

const ready = Deno.build.os === "linux" && await hasCompiler();
const where = ready ? "" : " (no g++ on Linux)";

/** A library with the functions that every version has; each of them answers 0. */
async function build(folder: string, version: number): Promise<string> {
  const names = Object.entries(symbols).filter(([, symbol]) =>
    !("optional" in symbol)
  ).map(([name]) => name);
  const special: Record<string, string> = {
    ncclGetVersion: `int ncclGetVersion(int *v) { *v = ${version}; return 0; }`,
    ncclGetErrorString:
      `const char *ncclGetErrorString(int) { return "words"; }`,
    ncclCommInitRank: `struct Id { char bytes[128]; };
      int ncclCommInitRank(void **comm, int size, Id id, int rank) {
        // A sum of all that was passed.
        long sum = size * 1000 + rank;
        for (char byte : id.bytes) sum += (unsigned char)byte * 1000000L;
        *comm = (void *)sum;
        return 0;
      }`,
  };
  const code = names.map((name) =>
    special[name] ?? `int ${name}() { return 0; }`
  ).join("\n");
  const path = `${folder}/libnccl.so.${version}`;
  await Deno.writeTextFile(`${path}.cc`, `extern "C" {\n${code}\n}`);
  const { success, stderr } = await new Deno.Command("g++", {
    args: ["-shared", "-fPIC", "-nostdlib", "-o", path, `${path}.cc`],
  }).output();
  if (!success) throw new Error(new TextDecoder().decode(stderr));
  return path;
}

/** What a script says that uses the library. */
async function ask(path: string, script: string): Promise<string> {
  const { stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: [
      "eval",
      "--no-check",
      `import * as nccl from "${
        import.meta.resolve("../ffi/nccl.ts")
      }"; ${script}`,
    ],
    env: { DECAF_LIBNCCL: path, NO_COLOR: "1" },
  }).output();
  return new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr);
}

Deno.test({
  name:
    `NCCL 2.10 joins with the older call, and the id passes by value${where}`,
  ignore: !ready,
  async fn() {
    await inFolder(async (folder) => {
      const path = await build(folder, 21003);
      const said = await ask(
        path,
        `const id = Uint8Array.from({ length: 128 }, (_, i) => i);
         console.log(nccl.nccl().versionText);
         console.log(nccl.initRank({ rank: 3, worldSize: 4, id }));
         console.log(nccl.statusText(5));`,
      );
      // 0 + 1 + … + 127 is 8128.
      assertEquals(said, "2.10.3\n8128004003n\nwords\n");
    });
  },
});

Deno.test({
  name: `NCCL before 2.10 is refused with the version that is needed${where}`,
  ignore: !ready,
  async fn() {
    await inFolder(async (folder) => {
      const path = await build(folder, 2804);
      const surroundings = {
        os: "linux",
        arch: "x86_64",
        env: (name: string) => name === library.variable ? path : undefined,
        names: () => [],
        text: () => undefined,
        real: () => undefined,
        exists: () => true,
        mayOpen: () => true,
      };
      assertThrows(
        () => findLibrary(library, surroundings),
        LibraryError,
        "its version is 2.8.4, and 2.10.0 or newer is needed",
      );
    });
  },
});
