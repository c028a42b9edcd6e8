/** Compiled kernels: what they are compiled for, what errors say, and the cache on disk. */

import { assert, assertEquals, assertThrows } from "@std/assert";
import {
  CompilationError,
  withSource,
} from "../devices/cuda/compilation_error.ts";
import { KernelCache } from "../devices/cuda/kernel_cache.ts";
import { compileTarget, driverAdvice } from "../devices/cuda/modules.ts";
import { machine } from "../ffi/machine.ts";
import { nvidiaFolder } from "./c_headers.ts";

Deno.test("kernels are compiled for the device, or the newest architecture before it", () => {
  const target = (major: number, minor: number) =>
    compileTarget({ name: "cuda:0", major, minor }, [75, 80, 90, 100], "13.0");
  assertEquals(target(9, 0), { architecture: "sm_90", form: "cubin" });
  assertEquals(target(10, 0), { architecture: "sm_100", form: "cubin" });
  assertEquals(target(8, 9), { architecture: "compute_80", form: "ptx" });
  assertEquals(target(12, 0), { architecture: "compute_100", form: "ptx" });
  const error = assertThrows(() => target(7, 0), CompilationError);
  assertEquals(
    error.message,
    "Cannot compile kernels for cuda:0: NVRTC 13.0 supports compute capability 7.5 and newer, and the GPU has 7.0; install the NVRTC of an older CUDA (CUDA 12 for 5.0 to 7.2) and set DECAF_LIBNVRTC to it",
  );
});

Deno.test("code that a driver does not understand: a compiler that is newer than it", () => {
  assertEquals(
    driverAdvice(209, "13.2", "12.8"),
    "NVRTC 13.2 is newer than the driver, which supports CUDA 12.8; install a newer driver, or the NVRTC of CUDA 12 and set DECAF_LIBNVRTC to it",
  );
  assert(driverAdvice(222, "12.9", "12.4") !== undefined);
  assertEquals(driverAdvice(209, "12.4", "12.4"), undefined);
  assertEquals(driverAdvice(209, "12.9", "13.0"), undefined);
  assertEquals(driverAdvice(700, "13.2", "12.8"), undefined);
});

Deno.test("errors of the compiler come with their lines", () => {
  const source = "int a;\n  int b = c;\nint d = e;\n";
  const log = 'kernel.cu(2): error: identifier "c" is undefined\n' +
    "    int b = c;\n            ^\n\n" +
    'kernel.cu(3): error: identifier "e" is undefined\n' +
    '2 errors detected in the compilation of "kernel.cu".';
  assertEquals(
    withSource(log, source),
    'identifier "c" is undefined\n  line 2: int b = c;\n' +
      'identifier "e" is undefined\n  line 3: int d = e;',
  );
  assertEquals(withSource("out of memory", source), "out of memory");
  const many = Array.from(
    { length: 5 },
    (_, i) => `kernel.cu(1): error: number ${i}`,
  ).join("\n");
  assert(withSource(many, source).endsWith("and 2 more"));
});

const nvidia = nvidiaFolder();
const realNvrtc = ["cu13/lib/libnvrtc.so.13", "cuda_nvrtc/lib/libnvrtc.so.12"]
  .map((file) => `${nvidia}/${file}`)
  .find((file) => machine.exists(file));

Deno.test({
  name: `NVIDIA's compiler: what it says of errors comes with the lines${
    realNvrtc === undefined
      ? " (no libnvrtc: set DECAF_NVIDIA to site-packages/nvidia of a Python with NVIDIA's wheels)"
      : ""
  }`,
  ignore: realNvrtc === undefined,
  async fn() {
    const url = (path: string) => new URL(`../${path}`, import.meta.url).href;
    const code = `
      Deno.env.set("DECAF_LIBNVRTC", ${JSON.stringify(realNvrtc)});
      const { compile } = await import("${url("ffi/nvrtc.ts")}");
      const { withSource } = await import("${
      url("devices/cuda/compilation_error.ts")
    }");
      const source = "struct P { float *x; };\\n" +
        'extern "C" __global__ void k(const P p) {\\n' +
        "  p.x[0] = undeclared;\\n  int y = 1 +;\\n}\\n";
      const bad = compile(source, ["--gpu-architecture=sm_80"], "cubin");
      console.log(bad.code === undefined, withSource(bad.log, source));
      const good = compile('extern "C" __global__ void k() {}', ["--gpu-architecture=compute_80"], "ptx");
      console.log(good.code.length > 0, good.log);
    `;
    const { stdout, stderr } = await new Deno.Command(Deno.execPath(), {
      args: ["eval", "--no-check", code],
      env: { NO_COLOR: "1" },
    }).output();
    const said = new TextDecoder().decode(stdout);
    assertEquals(
      said,
      'true identifier "undeclared" is undefined\n' +
        "  line 3: p.x[0] = undeclared;\n" +
        "expected an expression\n  line 4: int y = 1 +;\ntrue \n",
      new TextDecoder().decode(stderr),
    );
  },
});

// ---- the cache on disk ----

async function withFolder(body: (folder: string) => void | Promise<void>) {
  const folder = await Deno.makeTempDir();
  try {
    await body(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

const code = new Uint8Array([1, 2, 3, 250]);

Deno.test("kernel cache: what was kept is found, and nothing else", () =>
  withFolder((folder) => {
    const cache = new KernelCache(folder);
    assertEquals(cache.get("a"), undefined);
    cache.set("a", code);
    assertEquals(new KernelCache(folder).get("a"), code);
    assertEquals(cache.get("b"), undefined);
  }));

Deno.test("kernel cache: a file that is cut off, changed or foreign is ignored and written again", () =>
  withFolder(async (folder) => {
    const cache = new KernelCache(folder);
    cache.set("a", code);
    const path = cache.path("a")!;
    const whole = await Deno.readFile(path);
    const ignored = async (bytes: Uint8Array, what: string) => {
      await Deno.writeFile(path, bytes);
      assertEquals(cache.get("a"), undefined, what);
    };
    for (let n = 0; n < whole.length; n++) {
      await ignored(whole.subarray(0, n), `the first ${n} bytes`);
    }
    for (let i = 0; i < whole.length; i++) {
      const changed = whole.slice();
      changed[i] ^= 0x10;
      await ignored(changed, `byte ${i} changed`);
    }
    await ignored(new TextEncoder().encode("GIF89a"), "another kind of file");
    // A kernel of another key under this name, as if their hashes were equal.
    cache.set("b", code);
    await ignored(await Deno.readFile(cache.path("b")!), "another key");
    cache.set("a", code);
    assertEquals(cache.get("a"), code);
  }));

Deno.test("kernel cache: without a folder, or one that cannot be written, nothing is kept and nothing fails", () => {
  new KernelCache("/proc/nowhere").set("a", code);
  assertEquals(new KernelCache("/proc/nowhere").get("a"), undefined);
});

Deno.test("kernel cache: processes that write at once leave whole files", () =>
  withFolder(async (folder) => {
    const module = new URL("../devices/cuda/kernel_cache.ts", import.meta.url);
    const script = `
      import { KernelCache } from ${JSON.stringify(module.href)};
      const cache = new KernelCache(Deno.args[0]);
      const code = new Uint8Array(200_000).fill(7);
      let bad = 0;
      for (let round = 0; round < 40; round++) {
        for (const key of ["a", "b"]) {
          const found = cache.get(key);
          if (found !== undefined && found.length !== code.length) bad++;
          if (round > 0 && found === undefined) bad++;
          cache.set(key, code);
        }
      }
      console.log(bad);
    `;
    const file = `${folder}/writer.ts`;
    await Deno.writeTextFile(file, script);
    const said = await Promise.all([1, 2].map(async () => {
      const { stdout } = await new Deno.Command(Deno.execPath(), {
        args: ["run", "-A", "--no-config", file, folder],
      }).output();
      return new TextDecoder().decode(stdout).trim();
    }));
    assertEquals(said, ["0", "0"]);
    const left = [...Deno.readDirSync(`${folder}/kernels`)].map(({ name }) =>
      name
    );
    assertEquals(left.length, 2, `temporary files stayed: ${left}`);
  }));
