/** Plans on disk: kept for the same GPU and library, ignored for any other, and never trusted when damaged. */

import { assert, assertEquals } from "@std/assert";
import {
  cacheFolder,
  readCached,
  writeCached,
} from "../devices/cuda/cache_folder.ts";
import type { CudaContext } from "../devices/cuda/context.ts";
import {
  PlanCache,
  type PlanOwner,
  planOwner,
} from "../devices/cuda/plan_cache.ts";
import { inFolder } from "./cli_helpers.ts";

const owner: PlanOwner = { library: "cublasLt", version: "13.4", gpu: "H100" };
const plan = Uint8Array.from({ length: 64 }, (_, i) => 255 - i);

Deno.test("a plan is found again by the next process", () =>
  inFolder((folder) => {
    new PlanCache(owner, folder).set("64 32 16", plan);
    const next = new PlanCache(owner, folder);
    assertEquals(next.get("64 32 16"), plan);
    assertEquals(next.get("64 32 17"), undefined);
  }));

Deno.test("plans of another GPU, version or library are not used", () =>
  inFolder((folder) => {
    const first = new PlanCache(owner, folder);
    first.set("p", plan);
    for (
      const other of [
        { ...owner, gpu: "H200" },
        { ...owner, version: "13.5" },
        { ...owner, library: "cudnn" },
      ]
    ) {
      const cache = new PlanCache(other, folder);
      assertEquals(cache.get("p"), undefined);
      // Not even when the file of one lies where the other's belongs.
      Deno.copyFileSync(first.path("p")!, cache.path("p")!);
      assertEquals(new PlanCache(other, folder).get("p"), undefined);
    }
    Deno.copyFileSync(first.path("p")!, first.path("q")!);
    assertEquals(new PlanCache(owner, folder).get("q"), undefined);
  }));

Deno.test("plans belong to a model of GPU, not only to its architecture", () => {
  const gpu = { major: 9, minor: 0, multiprocessors: 132 };
  const owners = ["NVIDIA H100 80GB HBM3", "NVIDIA H200"].map((model) =>
    planOwner("cudnn", "9.1", { ...gpu, model } as CudaContext)
  );
  assertEquals(owners[0], {
    library: "cudnn",
    version: "9.1",
    gpu: "NVIDIA H100 80GB HBM3, compute capability 9.0, 132 multiprocessors",
  });
  assert(owners[1].gpu.startsWith("NVIDIA H200, "));
});

Deno.test("two processes that write at once keep each other's plans", () =>
  inFolder(async (folder) => {
    const plans = 40;
    const writer = (name: string) => {
      const cache = import.meta.resolve("../devices/cuda/plan_cache.ts");
      const program = `
        import { PlanCache } from ${JSON.stringify(cache)};
        const owner = ${JSON.stringify(owner)}, folder = ${
        JSON.stringify(folder)
      };
        const cache = new PlanCache(owner, folder);
        Deno.writeTextFileSync(folder + "/${name}", "");
        const until = Date.now() + 60_000;
        for (const other of ["a", "b"]) {
          while (
            Date.now() < until &&
            !(await Deno.stat(folder + "/" + other).catch(() => undefined))
          );
        }
        for (let i = 0; i < ${plans}; i++) {
          cache.set("${name} " + i, Uint8Array.of(i, 1));
          cache.set("both", Uint8Array.of(7, 7, 7));
        }`;
      return new Deno.Command(Deno.execPath(), {
        args: ["eval", "--no-check", program],
        stderr: "inherit",
      }).output();
    };
    const done = await Promise.all([writer("a"), writer("b")]);
    assertEquals(done.map(({ code }) => code), [0, 0]);
    const next = new PlanCache(owner, folder);
    for (const name of ["a", "b"]) {
      for (let i = 0; i < plans; i++) {
        assertEquals(next.get(`${name} ${i}`), Uint8Array.of(i, 1));
      }
    }
    assertEquals(next.get("both"), Uint8Array.of(7, 7, 7));
    const left = [...Deno.readDirSync(`${folder}/plans`)].map((e) => e.name);
    assertEquals(left.length, 2 * plans + 1, `temporary files: ${left}`);
  }));

Deno.test("a damaged file is ignored and written anew", () =>
  inFolder((folder) => {
    const path = new PlanCache(owner, folder).path("p")!;
    new PlanCache(owner, folder).set("p", plan);
    const whole = Deno.readTextFileSync(path);
    const damaged = [
      "",
      "no JSON",
      "null",
      whole.slice(0, whole.length / 2),
      whole.replace(/"plan":"./, '"plan":"A'),
      whole.replace('"format":2', '"format":1'),
      '{"format":2}',
    ];
    for (const text of damaged) {
      Deno.writeTextFileSync(path, text);
      const cache = new PlanCache(owner, folder);
      assertEquals(cache.get("p"), undefined, text);
      cache.set("p", plan);
      assertEquals(new PlanCache(owner, folder).get("p"), plan, text);
    }
  }));

Deno.test("where nothing can be written, plans last as long as the process", () =>
  inFolder((folder) => {
    Deno.writeTextFileSync(`${folder}/file`, "");
    const cache = new PlanCache(owner, `${folder}/file`);
    cache.set("p", plan);
    assertEquals(cache.get("p"), plan);
    assert(Deno.statSync(`${folder}/file`).isFile);
  }));

Deno.test("caches lie where DECAF_CACHE says, or where the system keeps them", () => {
  const names = ["DECAF_CACHE", "XDG_CACHE_HOME", "HOME"];
  const before = names.map((name) => Deno.env.get(name));
  const set = (values: (string | undefined)[]) =>
    names.forEach((name, i) => {
      const value = values[i];
      if (value === undefined) Deno.env.delete(name);
      else Deno.env.set(name, value);
    });
  try {
    set(["/a", "/b", "/c"]);
    assertEquals(cacheFolder(), "/a");
    if (Deno.build.os === "windows") return;
    set(["", "/b", "/c"]);
    assertEquals(cacheFolder(), "/b/decaf");
    set([undefined, undefined, "/c"]);
    assertEquals(cacheFolder(), "/c/.cache/decaf");
    set([undefined, undefined, undefined]);
    assertEquals(cacheFolder(), undefined);
    assertEquals(new PlanCache(owner).path("p"), undefined);
  } finally {
    set(before);
  }
});

Deno.test({
  name: "without permissions nothing is kept, and nobody is asked",
  permissions: { read: false, write: false, env: false },
  fn() {
    assertEquals(cacheFolder(), undefined);
    assertEquals(readCached("/tmp/x"), undefined);
    assertEquals(writeCached("/tmp", "x", plan), false);
    const cache = new PlanCache(owner);
    cache.set("p", plan);
    assertEquals(cache.get("p"), plan);
  },
});
