/** Opening libraries in a process of its own: permissions, files named by variables, NVIDIA's own libraries. */

import { assert, assertEquals, assertMatch } from "@std/assert";
import { machine } from "../ffi/machine.ts";
import { nvidiaFolder } from "./c_headers.ts";

/** The environment without what names libraries: other tests of this process set it. */
function bareEnvironment(): Record<string, string> {
  const naming = /^(DECAF_|CUDA_|VIRTUAL_ENV$|CONDA_PREFIX$|LD_LIBRARY_PATH$)/;
  return Object.fromEntries(
    Object.entries(Deno.env.toObject()).filter(([name]) => !naming.test(name)),
  );
}

/** Runs a module with the given permissions; what it printed. */
async function run(flags: string[], code: string): Promise<string> {
  const url = new URL("../", import.meta.url).href;
  const { stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: [
      "run",
      "--no-prompt",
      "--no-config",
      ...flags,
      `data:application/typescript,${
        encodeURIComponent(code.replaceAll("@/", url))
      }`,
    ],
    clearEnv: true,
    env: { ...bareEnvironment(), NO_COLOR: "1" },
  }).output();
  const decode = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
  return decode(stdout) + decode(stderr);
}

const asking = `
  import { getDevice } from "@/mod.ts";
  try { getDevice("cuda"); } catch (error) { console.log(error.name + ": " + error.message); }

`;

Deno.test("importing Decaf opens nothing and asks for nothing", async () => {
  const said = await run(
    [],
    `Deno.dlopen = () => { throw new Error("opened"); };
     Deno.permissions.querySync = () => { throw new Error("searched"); };
     await import("@/mod.ts"); console.log("done");`,
  );
  assertEquals(said.trim(), "done");
});

Deno.test("--allow-ffi not given: the device says so at its first use", async () => {
  const said = await run([], asking);
  assertEquals(
    said.trim(),
    "LibraryError: Cannot open the CUDA runtime (libcudart): native libraries may not be called; run with --allow-ffi, for all files and not for some (a CUDA device needs it, the CPU device does not)",
  );
});

Deno.test("--allow-ffi alone, or with some files to read: the search goes as far as it may", async () => {
  // Nothing opens, so that what this machine has changes nothing.
  const blind = `
    const { findLibrary } = await import("@/ffi/library.ts");
    const { machine } = await import("@/ffi/machine.ts");
    const { library } = await import("@/ffi/cudart.ts");
    const refuse = () => { throw new Error("libcudart: cannot open shared object file"); };
    try { findLibrary(library, machine, refuse); } catch (error) { console.log(error.name, error.tried.length > 5, error.tried[0].from); }
  `;
  for (const flags of [[], ["--allow-read=/tmp"], ["--allow-env"]]) {
    assertEquals(
      (await run(["--allow-ffi", ...flags], blind)).trim(),
      "LibraryError true the loader's own path",
      flags.join(),
    );
  }
});

Deno.test("a file that is no library, and a file that is not there, named by the variable", async () => {
  const file = await Deno.makeTempFile({ suffix: ".so" });
  try {
    await Deno.writeTextFile(file, "no library");
    const flags = ["--allow-ffi", "--allow-env"];
    const with_ = (path: string) =>
      run(
        flags,
        `Deno.env.set("DECAF_LIBCUDART", ${JSON.stringify(path)});` +
          `const { getDevice } = await import("@/mod.ts");` +
          `try { getDevice("cuda"); } catch (error) { console.log(error.message); }`,
      );
    assert(
      (await with_(file)).includes(`${file}, is no library for this machine`),
    );
    assert(
      (await with_("/no/such.so")).includes("/no/such.so, does not exist"),
    );
  } finally {
    await Deno.remove(file);
  }
});

// ---- the real runtime without a driver ----

const real = (() => {
  const folder = nvidiaFolder();
  const file = `${folder}/cu13/lib/libcudart.so.13`;
  return machine.exists(file) ? file : undefined;
})();

const noRuntime =
  " (no libcudart: set DECAF_NVIDIA to site-packages/nvidia of a Python with NVIDIA's wheels)";

const noDriver = machine.exists("/proc/driver/nvidia/version") !== true;

Deno.test({
  name: `NVIDIA's own runtime without a driver${
    real === undefined ? noRuntime : noDriver ? "" : " (there is a driver here)"
  }`,
  ignore: real === undefined || !noDriver,
  async fn() {
    const said = await run(
      ["--allow-ffi", "--allow-env", "--allow-read"],
      [
        `for (const name of ["CUDA", "NVRTC"]) Deno.env.delete("DECAF_LIB" + name);`,
        `Deno.env.set("DECAF_LIBCUDART", ${JSON.stringify(real)});`,
        `const { chooseDevice, getDevice } = await import("@/mod.ts");`,
        `const { deviceCount } = await import("@/ffi/cudart.ts");`,
        `try { getDevice("cuda"); } catch (error) { console.log(error.name + ": " + error.message); }`,
        `console.log(deviceCount().status, chooseDevice().name);`,
      ].join("\n"),
    );
    assertEquals(
      said.trim(),
      "CudaUnavailableError: Cannot use a CUDA device: there is no NVIDIA driver on this machine (libcuda was not found); install one, or use --device cpu\n35 cpu",
    );
  },
});

Deno.test({
  name: `NVIDIA's libraries find each other: opened by their paths alone${
    real === undefined ? noRuntime : ""
  }`,
  ignore: real === undefined,
  async fn() {
    const folder = nvidiaFolder();
    const said = await run(
      ["--allow-ffi", "--allow-env", "--allow-read"],
      [
        `const spec = (m) => m.library ?? m.cudnnLibrary;`,
        `const { findLibrary } = await import("@/ffi/library.ts");`,
        `const { machine } = await import("@/ffi/machine.ts");`,
        `for (const [name, file] of [["cudart", "cu13/lib/libcudart.so.13"], ["nvrtc", "cu13/lib/libnvrtc.so.13"], ["cublaslt", "cu13/lib/libcublasLt.so.13"], ["cudnn", "cudnn/lib/libcudnn.so.9"], ["nccl", "nccl/lib/libnccl.so.2"]]) {`,
        `  const path = ${JSON.stringify(folder)} + "/" + file;`,
        `  if (!machine.exists(path)) continue;`,
        `  const library = spec(await import("@/ffi/" + name + ".ts"));`,
        `  const found = findLibrary(library, { ...machine, env: (v) => v === library.variable ? path : undefined });`,
        `  console.log(name, found.version >= library.version.least);`,
        `}`,
      ].join("\n"),
    );
    for (const line of said.trim().split("\n")) assertMatch(line, /^\w+ true$/);
    assertMatch(said, /cudart true/);
  },
});
