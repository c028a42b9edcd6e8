/** Which Python environments are searched for libraries, and in which order. */

import { assert, assertEquals } from "@std/assert";
import { places, pythons } from "../ffi/search.ts";
import { machineWith, spec } from "./ffi_machine.ts";

function packages(
  files: Record<string, string>,
  env: Record<string, string>,
) {
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
