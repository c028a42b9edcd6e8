/** Made-up machines for the search of libraries: their files, variables, and what opens. */

import { assertThrows } from "@std/assert";
import {
  findLibrary,
  LibraryError,
  type LibrarySpec,
  type Opener,
} from "../ffi/library.ts";
import type { Surroundings } from "../ffi/search.ts";

/** A machine with the given files; a text that starts with "→" is a link. */
export function machineWith(
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

export const spec: LibrarySpec<typeof symbols> = {
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
  install: () => ["pip install cos"],
};

/** An opener for made-up files: a number is a library of that version, `+` after it has all functions. */
export function openerOf(
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

export function find(
  files: Record<string, string>,
  env: Record<string, string> = {},
  more: Partial<Surroundings> = {},
) {
  return findLibrary(spec, machineWith(files, env, more), openerOf(files));
}

export function failure(...args: Parameters<typeof find>): LibraryError {
  return assertThrows(() => find(...args), LibraryError);
}
