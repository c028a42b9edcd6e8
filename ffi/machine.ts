/**
 * What Deno may say about this machine. Nothing here ever asks the user: what
 * is not permitted is not known.
 *
 * @module
 */

import type { Surroundings } from "./search.ts";

/** Whether a permission was given already; of no path there is none to give. */
function granted(descriptor: Deno.PermissionDescriptor): boolean {
  if ("path" in descriptor && descriptor.path === "") return false;
  return Deno.permissions.querySync(descriptor).state === "granted";
}

/** Value of an environment variable; undefined when it is unset, empty, or may not be read. */
export function environment(variable: string): string | undefined {
  if (!granted({ name: "env", variable })) return undefined;
  return Deno.env.get(variable) || undefined;
}

function reading<T>(path: string, otherwise: T, read: () => T): T {
  if (!granted({ name: "read", path })) return otherwise;
  try {
    return read();
  } catch {
    return otherwise;
  }
}

/** This machine, as far as the permissions reach. */
export const machine: Surroundings = {
  os: Deno.build.os,
  arch: Deno.build.arch,
  env: environment,
  names: (folder) =>
    reading(
      folder,
      [],
      () => [...Deno.readDirSync(folder)].map((entry) => entry.name),
    ),
  text: (file) => reading(file, undefined, () => Deno.readTextFileSync(file)),
  real: (path) => reading(path, undefined, () => Deno.realPathSync(path)),
  exists: (path) => {
    if (!granted({ name: "read", path })) return undefined;
    try {
      return Deno.statSync(path).isFile;
    } catch {
      return false;
    }
  },
  mayOpen: () => granted({ name: "ffi" }),
};
