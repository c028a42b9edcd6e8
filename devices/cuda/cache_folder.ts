/**
 * Where the CUDA device keeps what is expensive to find again: compiled
 * kernels, timed algorithms. Files are written whole or not at all, so that
 * processes can share them; where nothing may be written, nothing is kept.
 *
 * @module
 */

/** Whether a permission is there already; nobody is asked for a cache. */
function granted(descriptor: Deno.PermissionDescriptor): boolean {
  return Deno.permissions.querySync(descriptor).state === "granted";
}

function variable(name: string): string | undefined {
  if (!granted({ name: "env", variable: name })) return undefined;
  const value = Deno.env.get(name);
  return value === "" ? undefined : value;
}

/**
 * The folder of Decaf's caches: `DECAF_CACHE`, or `decaf` where this system
 * keeps caches; undefined where no place is known or may be known.
 */
export function cacheFolder(): string | undefined {
  const own = variable("DECAF_CACHE");
  if (own !== undefined) return own;
  if (Deno.build.os === "windows") {
    const local = variable("LOCALAPPDATA");
    return local === undefined ? undefined : `${local}\\decaf`;
  }
  const shared = variable("XDG_CACHE_HOME");
  if (shared !== undefined) return `${shared}/decaf`;
  const home = variable("HOME");
  return home === undefined ? undefined : `${home}/.cache/decaf`;
}

/** FNV-1a over 32 bits from a first value. */
export function fnv(bytes: Uint8Array, seed: number): number {
  let hash = seed;
  for (let i = 0; i < bytes.length; i++) {
    hash = Math.imul(hash ^ bytes[i], 0x01000193);
  }
  return hash >>> 0;
}

/** A name for the file of a key: two rounds of FNV-1a with different first values, as 16 hexadecimal digits. */
export function hashName(key: string | Uint8Array): string {
  const bytes = typeof key === "string" ? new TextEncoder().encode(key) : key;
  const half = (seed: number) => fnv(bytes, seed).toString(16).padStart(8, "0");
  return half(0x811c9dc5) + half(0x1b873593);
}

/** The bytes of a cached file; undefined when it is not there or may not be read. */
export function readCached(path: string): Uint8Array | undefined {
  if (!granted({ name: "read", path })) return undefined;
  try {
    return Deno.readFileSync(path);
  } catch {
    return undefined; // not there: it will be made
  }
}

let counter = 0;

/**
 * Writes a file of a cache, making its folder: under a name of its own, then
 * renamed, so that whoever reads finds all of it.
 *
 * @returns Whether it was written; a full disk or a missing permission only means that the next process works again.
 */
export function writeCached(
  folder: string,
  name: string,
  bytes: Uint8Array,
): boolean {
  const temporary = `${folder}/.${name}.${Deno.pid}-${counter++}.tmp`;
  if (
    !granted({ name: "write", path: folder }) ||
    !granted({ name: "read", path: folder })
  ) return false;
  try {
    Deno.mkdirSync(folder, { recursive: true });
    Deno.writeFileSync(temporary, bytes, { createNew: true });
    Deno.renameSync(temporary, `${folder}/${name}`);
    return true;
  } catch {
    try {
      Deno.removeSync(temporary);
    } catch {
      // It was never made.
    }
    return false;
  }
}
