/** Where libraries are looked for, and what is said when one cannot be opened. */

import { assert, assertEquals, assertMatch, assertThrows } from "@std/assert";
import {
  type Attempt,
  findLibrary,
  LibraryError,
  type LibrarySpec,
  type Opener,
} from "../ffi/library.ts";
import { machine } from "../ffi/machine.ts";
import { nvidiaFolder } from "./c_headers.ts";
import {
  fileNames,
  places,
  pythons,
  type Surroundings,
} from "../ffi/search.ts";

/** A machine with the given files; a text that starts with "→" is a link. */
function machineWith(
  files: Record<string, string>,
  env: Record<string, string> = {},
  more: Partial<Surroundings> = {},
): Surroundings {
  const separator = more.os === "windows" ? "\\" : "/";
  const exists = (path: string) => path in files;
  const real = (path: string): string | undefined =>
    files[path]?.startsWith("→") ? real(files[path].slice(1)) : path;
  return {
    os: "linux",
    arch: "x86_64",
    env: (name) => env[name],
    names: (folder) => {
      const inside = Object.keys(files).filter((path) =>
        path.startsWith(folder + separator)
      ).map((path) => path.slice(folder.length + 1).split(separator)[0]);
      return [...new Set(inside)];
    },
    text: (file) => files[file],
    real,
    exists,
    mayOpen: () => true,
    ...more,
  };
}

const symbols = {
  cosVersion: { parameters: [], result: "i32" },
  cosMake: { parameters: [], result: "i32" },
} as const satisfies Deno.ForeignLibraryInterface;

const spec: LibrarySpec<typeof symbols> = {
  name: "cos",
  title: "the cosine library",
  variable: "DECAF_LIBCOS",
  linux: ["libcos.so.13", "libcos.so.12"],
  windows: ["cos64_13.dll", "cos64_12.dll"],
  wheels: ["cu13", "cos"],
  symbols,
  version: {
    functions: ["cosVersion"],
    read: (lib) => lib.cosVersion(),
    text: (n) => `${n / 10}`,
    least: 120,
  },
  install: ["pip install cos"],
};

/** An opener for made-up files: a number is a library of that version, `+` after it has all functions. */
function openerOf(
  files: Record<string, string>,
  opened: string[] = [],
): Opener {
  return ((path: string, table: Deno.ForeignLibraryInterface) => {
    opened.push(path);
    const content = files[path];
    if (content === undefined) {
      throw new Error(
        `Could not open library: Could not open library: ${path}: cannot open shared object file: No such file or directory`,
      );
    }
    const [, version, all] = /^(\d+)(\+?)$/.exec(content) ?? [];
    if (version === undefined) {
      throw new Error(`Could not open library: ${content}`);
    }
    if ("cosMake" in table && all !== "+") {
      throw new Error(
        `Failed to register symbol cosMake: Could not obtain symbol from the library: ${path}: undefined symbol: cosMake`,
      );
    }
    return {
      symbols: { cosVersion: () => Number(version), cosMake: () => 1 },
      close() {},
    };
  }) as Opener;
}

function find(
  files: Record<string, string>,
  env: Record<string, string> = {},
  more: Partial<Surroundings> = {},
) {
  return findLibrary(spec, machineWith(files, env, more), openerOf(files));
}

function failure(...args: Parameters<typeof find>): LibraryError {
  return assertThrows(() => find(...args), LibraryError);
}

Deno.test("the variable of a library comes first, and is not passed over", () => {
  const files = {
    "/mine/libcos.so": "130+",
    "/cuda/lib64/libcos.so.13": "130+",
  };
  const env = { DECAF_LIBCOS: "/mine/libcos.so", CUDA_HOME: "/cuda" };
  assertEquals(find(files, env).path, "/mine/libcos.so");
  const error = failure(files, { ...env, DECAF_LIBCOS: "/gone/libcos.so" });
  assertEquals(
    error.message,
    "Cannot open the cosine library: the file that DECAF_LIBCOS names, /gone/libcos.so, does not exist; set the variable to the file of the library, or unset it to search for it",
  );
  assertEquals(error.tried.length, 1);
});

Deno.test("folders are looked at in order, the newest file of each first", () => {
  const all = [
    "/home/lib64/libcos.so.12",
    "/path/lib/libcos.so.12",
    "libcos.so.12",
    "/usr/local/cuda/lib64/libcos.so.13",
    "/usr/local/cuda-13.2/lib64/libcos.so.13",
    "/usr/local/cuda-12.9/targets/x86_64-linux/lib/libcos.so.12",
    "/usr/lib/x86_64-linux-gnu/libcos.so.12",
    "/conda/lib/libcos.so.13",
    "/venv/lib/python3.12/site-packages/nvidia/cu13/lib/libcos.so.13",
    "/venv/lib/python3.12/site-packages/nvidia/cu13/lib/libcos.so.12",
    "/venv/lib/python3.12/site-packages/nvidia/cos/lib/libcos.so.12",
    "/venv/lib/python3.12/site-packages/nvidia/other/lib/libcos.so.12",
    "/conda/lib/python3.11/site-packages/nvidia/cos/lib/libcos.so.12",
    "/opt/py/lib/python3.13/site-packages/nvidia/cos/lib/libcos.so.12",
  ];
  const files = Object.fromEntries(all.map((path) => [path, "120+"]));
  files["/opt/py/bin/python3"] = "";
  const env = {
    CUDA_HOME: "/home/",
    CUDA_PATH: "/path",
    CONDA_PREFIX: "/conda",
    VIRTUAL_ENV: "/venv",
    PATH: "/usr/bin:/opt/py/bin",
  };
  const found: string[] = [];
  for (let i = 0; i < all.length; i++) {
    const { path } = find(files, env);
    found.push(path);
    delete files[path];
  }
  assertEquals(found, all);
  assertThrows(() => find(files, env), LibraryError);
});

Deno.test("every path that was tried is told with its reason", () => {
  const files = { "/cuda/lib64/libcos.so.13": "130+" };
  const { tried } = find(files, { CUDA_HOME: "/cuda", CUDA_PATH: "/none" });
  assertEquals<readonly Attempt[]>(tried, [
    { path: "/cuda/lib64/libcos.so.13", from: "$CUDA_HOME", reason: undefined },
  ]);
  const { tried: all } = failure({}, { CUDA_HOME: "/cuda" });
  assertEquals(
    all.slice(0, 5),
    [
      "/cuda/lib64/{libcos.so.13,libcos.so.12}",
      "/cuda/lib/{libcos.so.13,libcos.so.12}",
      "/cuda/targets/x86_64-linux/lib/{libcos.so.13,libcos.so.12}",
    ].map((path) => ({ path, from: "$CUDA_HOME", reason: "no such file" }))
      .concat(
        ["libcos.so.13", "libcos.so.12"].map((path) => ({
          path,
          from: "the loader's own path",
          reason: "no such file",
        })),
      ),
  );
});

Deno.test("nothing found: says how to install it", () => {
  const { message } = failure({});
  assert(
    message.startsWith(
      "Cannot open the cosine library: none of libcos.so.13, libcos.so.12 lies in the ",
    ),
    message,
  );
  assert(
    message.endsWith(
      'Install it (pip install cos), or set DECAF_LIBCOS to its file; "decaf doctor" lists every path that was tried',
    ),
    message,
  );
});

Deno.test("a file that is no library, or lacks another one", () => {
  const path = "/cuda/lib64/libcos.so.13";
  const reason = (content: string) =>
    failure({ [path]: content }, { CUDA_HOME: "/cuda" }).tried[0].reason;
  assertEquals(
    reason(`${path}: file too short`),
    "is no library for this machine",
  );
  assertEquals(
    reason(`${path}: invalid ELF header`),
    "is no library for this machine",
  );
  assertEquals(
    reason(
      "libtan.so.3: cannot open shared object file: No such file or directory",
    ),
    "needs libtan.so.3, which was not found",
  );
  assertEquals(reason("out of luck"), "out of luck");
});

Deno.test("an old version: which one, and which one is needed", () => {
  const old = { "/cuda/lib64/libcos.so.12": "110+" };
  const { message } = failure(old, { CUDA_HOME: "/cuda" });
  assert(
    message.includes(
      "/cuda/lib64/libcos.so.12: its version is 11, and 12 or newer is needed",
    ),
    message,
  );
});

Deno.test("a missing function is named, with the version that lacks it", () => {
  const lacking = { "/cuda/lib64/libcos.so.12": "105" };
  const { message } = failure(lacking, { CUDA_HOME: "/cuda" });
  assert(
    message.includes(
      "/cuda/lib64/libcos.so.12: has no function cosMake: its version is 10.5, and 12 or newer is needed",
    ),
    message,
  );
});

Deno.test("a bad file does not hide a good one", () => {
  const files = {
    "/cuda/lib64/libcos.so.13": "105",
    "/cuda/lib64/libcos.so.12": "120+",
  };
  const { path, versionText, tried } = find(files, { CUDA_HOME: "/cuda" });
  assertEquals([path, versionText, tried.length], [
    "/cuda/lib64/libcos.so.12",
    "12",
    2,
  ]);
});

Deno.test("no permission to call libraries: the sentence names the flag", () => {
  const { message } = failure({}, {}, { mayOpen: () => false });
  assertEquals(
    message,
    "Cannot open the cosine library: native libraries may not be called; run with --allow-ffi, for all files and not for some (a CUDA device needs it, the CPU device does not)",
  );
});

Deno.test("nothing may be read: fixed folders are tried all the same", () => {
  const opened: string[] = [];
  const files = { "/usr/local/cuda/lib64/libcos.so.13": "130+" };
  const blind = machineWith({}, {}, {
    exists: () => undefined,
    names: () => [],
  });
  const { path } = findLibrary(spec, blind, openerOf(files, opened));
  assertEquals(path, "/usr/local/cuda/lib64/libcos.so.13");
  assertEquals(opened[0], "libcos.so.13");
});

// ---- Python environments ----

function packages(files: Record<string, string>, env: Record<string, string>) {
  return pythons(machineWith(files, env)).map(({ folder }) => folder);
}

Deno.test("python3 on PATH: a virtual environment by its pyvenv.cfg", () => {
  const files = {
    "/venv/bin/python3": "→/usr/bin/python3.11",
    "/venv/pyvenv.cfg":
      "home = /usr/bin\ninclude-system-site-packages = false\n",
    "/venv/lib/python3.11/site-packages/x": "",
    "/usr/lib/python3.11/dist-packages/x": "",
  };
  const env = { PATH: "/venv/bin" };
  assertEquals(packages(files, env), [
    "/venv/lib/python3.11/site-packages",
    "/venv/lib/python3.11/dist-packages",
  ]);
  files["/venv/pyvenv.cfg"] =
    "home = /usr/bin\ninclude-system-site-packages = true\n";
  assert(packages(files, env).includes("/usr/lib/python3.11/dist-packages"));
});

Deno.test("python3 on PATH: a link leads to the installation, whose user packages count", () => {
  const files = {
    "/usr/bin/python3": "→/usr/bin/python3.12",
    "/usr/lib/python3.12/x": "",
    "/usr/local/lib/python3.12/x": "",
    "/home/me/.local/lib/python3.12/x": "",
  };
  const found = packages(files, { PATH: "/usr/bin", HOME: "/home/me" });
  assert(found.includes("/usr/local/lib/python3.12/dist-packages"));
  assert(found.includes("/home/me/.local/lib/python3.12/site-packages"));
});

Deno.test("python3 on PATH: pyenv's shims lead to the version that is chosen", () => {
  const files: Record<string, string> = {
    "/pyenv/shims/python3": "#!/usr/bin/env bash",
    "/pyenv/version": "3.10.4\n",
    "/pyenv/versions/3.10.4/bin/python3": "",
    "/pyenv/versions/3.10.4/lib/python3.10/x": "",
    "/pyenv/versions/3.12.1/bin/python3": "",
    "/pyenv/versions/3.12.1/lib/python3.12/x": "",
  };
  const env: Record<string, string> = { PATH: "/pyenv/shims:/usr/bin" };
  const first = () => packages(files, env)[0];
  assertEquals(first(), "/pyenv/versions/3.10.4/lib/python3.10/site-packages");
  env.PWD = "/work/project";
  files["/work/.python-version"] = "3.12.1\n";
  assertEquals(first(), "/pyenv/versions/3.12.1/lib/python3.12/site-packages");
  env.PYENV_VERSION = "3.10.4";
  assertEquals(first(), "/pyenv/versions/3.10.4/lib/python3.10/site-packages");
  // The system's Python is the next one on PATH.
  env.PYENV_VERSION = "system";
  files["/usr/bin/python3"] = "";
  files["/usr/lib/python3.9/x"] = "";
  assertEquals(first(), "/usr/lib/python3.9/site-packages");
});

Deno.test("newer Pythons of an environment come first", () => {
  const files = {
    "/venv/lib/python3.9/x": "",
    "/venv/lib/python3.13/x": "",
    "/venv/lib/python3.13t/x": "",
  };
  assertEquals(
    packages(files, { VIRTUAL_ENV: "/venv" }).filter((p) =>
      p.endsWith("site-packages")
    ),
    [
      "/venv/lib/python3.13/site-packages",
      "/venv/lib/python3.13t/site-packages",
      "/venv/lib/python3.9/site-packages",
    ],
  );
});

Deno.test("folders that are links to each other are looked at once", () => {
  const linked = machineWith(
    {
      "/venv/lib/python3.11/x": "",
      "/venv/lib64/python3.11/x": "",
    },
    { VIRTUAL_ENV: "/venv" },
    {
      real: (path) => path.replace("/lib64/", "/lib/"),
    },
  );
  const folders = places(spec, linked).map(({ folder }) => folder);
  assertEquals(
    folders.filter((folder) => folder.startsWith("/venv/lib64")),
    [],
  );
});

Deno.test("Windows: file names, toolkits, conda and wheels", () => {
  const toolkits = "C:\\Program Files\\NVIDIA GPU Computing Toolkit\\CUDA";
  const files = {
    [`${toolkits}\\v12.4\\bin\\cos64_12.dll`]: "120+",
    [`${toolkits}\\v13.0\\bin\\x64\\cos64_13.dll`]: "130+",
    "D:\\venv\\Lib\\site-packages\\nvidia\\cu13\\bin\\x86_64\\cos64_13.dll":
      "130+",
    "D:\\conda\\Library\\bin\\cos64_12.dll": "120+",
  };
  const env = { VIRTUAL_ENV: "D:\\venv", CONDA_PREFIX: "D:\\conda" };
  const windows = machineWith(files, env, { os: "windows" });
  assertEquals(fileNames(spec, windows), ["cos64_13.dll", "cos64_12.dll"]);
  const found: string[] = [];
  const left: Record<string, string> = { ...files };
  while (Object.keys(left).length > 0) {
    const { path } = find(left, env, { os: "windows" });
    found.push(path);
    delete left[path];
  }
  assertEquals(found, [
    `${toolkits}\\v13.0\\bin\\x64\\cos64_13.dll`,
    `${toolkits}\\v12.4\\bin\\cos64_12.dll`,
    "D:\\conda\\Library\\bin\\cos64_12.dll",
    "D:\\venv\\Lib\\site-packages\\nvidia\\cu13\\bin\\x86_64\\cos64_13.dll",
  ]);
});

// ---- in a process of its own ----

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
