/** Plans on disk: kept for the same GPU and library, ignored for any other, and never trusted when damaged. */

import { assert, assertEquals } from "@std/assert";
import {
  cacheFolder,
  readCached,
  writeCached,
} from "../devices/cuda/cache_folder.ts";
import { PlanCache, type PlanOwner } from "../devices/cuda/plan_cache.ts";

const owner: PlanOwner = { library: "cublasLt", version: "13.4", gpu: "H100" };
const plan = Uint8Array.from({ length: 64 }, (_, i) => 255 - i);

async function inFolder(
  body: (folder: string) => void | Promise<void>,
): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    await body(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

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
      Deno.copyFileSync(first.path!, cache.path!);
      assertEquals(new PlanCache(other, folder).get("p"), undefined);
    }
  }));

Deno.test("two writers keep each other's plans", () =>
  inFolder((folder) => {
    const one = new PlanCache(owner, folder);
    const two = new PlanCache(owner, folder);
    assertEquals([one.get("a"), two.get("b")], [undefined, undefined]);
    one.set("a", plan);
    two.set("b", plan.slice(0, 3));
    const next = new PlanCache(owner, folder);
    assertEquals(next.get("a"), plan);
    assertEquals(next.get("b"), plan.slice(0, 3));
    const left = [...Deno.readDirSync(`${folder}/plans`)].map((e) => e.name);
    assertEquals(left.length, 1, `temporary files: ${left}`);
  }));

Deno.test("a damaged file is ignored and written anew", () =>
  inFolder((folder) => {
    const path = new PlanCache(owner, folder).path!;
    new PlanCache(owner, folder).set("p", plan);
    const whole = Deno.readTextFileSync(path);
    const damaged = [
      "",
      "no JSON",
      "null",
      whole.slice(0, whole.length / 2),
      whole.replace(/"p":"./, '"p":"A'),
      whole.replace('"format":1', '"format":2'),
      '{"format":1}',
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
    assertEquals(new PlanCache(owner).path, undefined);
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
