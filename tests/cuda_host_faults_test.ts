/** The stand-ins' faults on demand, call log and instant mode. */

import { assert, assertEquals, assertMatch } from "@std/assert";
import { symbols as cuda } from "../ffi/cuda.ts";
import { symbols as cudart } from "../ffi/cudart.ts";
import { symbols as nvrtc } from "../ffi/nvrtc.ts";
import { ok, rawTests } from "./cuda_host/raw.ts";

const test = await rawTests();

test("the n-th call fails, of a named function or of any", (raw) => {
  const { rt, host } = raw;
  const s = raw.stream(), p = raw.allocate(16, s);
  const set = () => rt.cudaMemsetAsync(p, 0, 4n, s);
  host.fail({ function: "cudaMemsetAsync", nth: 2, status: 2 });
  ok(set());
  ok(rt.cudaStreamSynchronize(s));
  assertEquals(host.faultsLeft(), 1);
  assertEquals(set(), 2);
  assertEquals(host.faultsLeft(), 0);
  assertEquals(rt.cudaPeekAtLastError(), 2);
  assertEquals(rt.cudaGetLastError(), 2);
  ok(set());
  host.fail({ nth: 3, status: 46 });
  ok(set());
  assertEquals(rt.cudaGetLastError(), 0); // does not count
  ok(rt.cudaStreamSynchronize(s));
  assertEquals(set(), 46);
});

test("the calls are listed, and their places are those of the faults", (raw) => {
  const { rt, host } = raw;
  const s = raw.stream(), p = raw.allocate(16, s);
  host.clearCalls();
  ok(rt.cudaMemsetAsync(p, 0, 4n, s));
  rt.cudaGetLastError();
  ok(rt.cudaStreamSynchronize(s));
  assertEquals(host.calls(), ["cudaMemsetAsync", "cudaStreamSynchronize"]);
  assertEquals(host.callCount(), 2);
});

test("work that fails later loses the device", (raw) => {
  const { rt, host } = raw;
  const s = raw.stream(), p = raw.allocate(16, s);
  host.fail({ function: "cudaMemsetAsync", nth: 1, status: 719, later: true });
  ok(rt.cudaMemsetAsync(p, 0, 4n, s));
  assertEquals(rt.cudaStreamSynchronize(s), 719);
  assertEquals(rt.cudaMemsetAsync(p, 0, 4n, s), 719);
  assertEquals(host.violations(), []);
});

test("work hangs until it is released", async (raw) => {
  const { rt, host } = raw;
  const s = raw.stream(), p = raw.allocate(16, s);
  host.hang("cudaMemsetAsync");
  ok(rt.cudaMemsetAsync(p, 0, 4n, s));
  await new Promise((resolve) => setTimeout(resolve, 20));
  assertEquals(rt.cudaStreamQuery(s), 600);
  host.release();
  ok(rt.cudaStreamSynchronize(s));
});

test("instant mode costs little and computes nothing", (raw) => {
  const { host, rt } = raw;
  const s = raw.stream(), p = raw.allocate(16, s);
  raw.write(p, [1], s);
  const { handle } = raw.kernel(`extern "C" __global__ void k(float *p) {
    *p = 2;
  }`);
  host.instant(true);
  ok(raw.launch(handle, s, [p]));
  const out = new BigUint64Array(1);
  const each = (call: () => void) => {
    let best = Infinity;
    for (let round = 0; round < 5; round++) {
      const begin = performance.now();
      for (let i = 0; i < 20_000; i++) call();
      best = Math.min(best, (performance.now() - begin) / 20_000);
    }
    return best * 1e6;
  };
  const free = each(() => rt.cudaFreeAsync(p, s));
  const allocate = each(() => rt.cudaMallocAsync(out, 64n, s));
  host.instant(false);
  // Some 40 ns on an idle machine, the call itself included.
  assert(free < 1000 && allocate < 1000, `${free} ns, ${allocate} ns`);
  ok(rt.cudaFreeAsync(out[0], s)); // an address of instant mode: no block
  assertEquals(raw.read(p, 1, s), [1]);
  assertEquals(host.violations(), []);
});

test("no device at all", (raw) => {
  const { rt, cu, host } = raw;
  host.devices(0);
  const count = new Int32Array(1);
  assertEquals(rt.cudaGetDeviceCount(count), 100);
  assertEquals(cu.cuInit(0), 100);
  assertEquals(rt.cudaSetDevice(0), 101);
});

test("a reset makes the machine new", (raw) => {
  const { rt, host } = raw;
  const s = raw.stream();
  raw.allocate(16, s);
  host.fail({ nth: 9, status: 1 });
  rt.cudaStreamDestroy(0xdead0n);
  host.reset();
  assertEquals(host.violations(), []);
  assertEquals(host.leaks(), []);
  assertEquals(host.calls(), []);
  assertEquals(host.faultsLeft(), 0);
  assertEquals(rt.cudaStreamSynchronize(s), 400);
  assertMatch(host.violations()[0], /was destroyed before/);
});

/** Asks for the stand-ins with another compiler, in a process of its own. */
async function hostWith(compiler: string, env: Record<string, string> = {}) {
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: [
      ...["eval", "--quiet"],
      `const { cudaHost } = await import(${
        JSON.stringify(new URL("cuda_host/mod.ts", import.meta.url).href)
      }); console.log((await cudaHost()).absent);`,
    ],
    env: { DECAF_CUDA_HOST_CXX: compiler, CI: "", NO_COLOR: "1", ...env },
  }).output();
  const decoder = new TextDecoder();
  return {
    code,
    said: decoder.decode(stdout).trim(),
    complaint: decoder.decode(stderr),
  };
}

Deno.test("without g++ the reason is told", async () => {
  for (const CI of ["", "true"]) {
    const { code, said } = await hostWith("no-such-compiler", { CI });
    assertEquals([code, said], [0, "no-such-compiler was not found"]);
  }
});

const linux = Deno.build.os === "linux";

Deno.test({
  name: `a g++ that refuses the sources is told, and fails where CI is set${
    linux ? "" : " (the stand-ins are built on Linux only)"
  }`,
  ignore: !linux,
  async fn() {
    const folder = await Deno.makeTempDir();
    try {
      const refusing = `${folder}/g++`;
      await Deno.writeTextFile(
        refusing,
        '#!/bin/sh\ncase "$1" in -dump*) echo 9.9.9;; *) echo "core.h:1: error: too modern"; exit 1;; esac\n',
        { mode: 0o755 },
      );
      const env = { DECAF_CUDA_HOST_CACHE: folder, DECAF_TEST_CUDA: "" };
      const alone = await hostWith(refusing, env);
      assertEquals(alone.code, 0, alone.complaint);
      assertMatch(alone.said, /core\.h:1: error: too modern/);
      const checked = await hostWith(refusing, { ...env, CI: "true" });
      assertEquals(checked.code, 1);
      assertMatch(checked.complaint, /BuildError: .*\n?.*too modern/);
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  },
});

test("the stand-ins have every function that Decaf calls", ({ host }) => {
  for (
    const [file, table] of [
      ["libcudart.so.13", cudart],
      ["libcuda.so.1", cuda],
      ["libnvrtc.so.13", nvrtc],
    ] as const
  ) {
    const required = Object.fromEntries(
      Object.entries(table).map(([name, { parameters, result }]) => [
        name,
        { parameters, result },
      ]),
    );
    Deno.dlopen(host.paths[file], required).close();
  }
});
