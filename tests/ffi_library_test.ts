/** Where libraries are looked for, and what is said when one cannot be opened. */

import { assert, assertEquals, assertThrows } from "@std/assert";
import { type Attempt, findLibrary, LibraryError } from "../ffi/library.ts";
import { fileNames } from "../ffi/search.ts";
import { failure, find, machineWith, openerOf, spec } from "./ffi_machine.ts";

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
