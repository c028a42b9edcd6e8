/**
 * NumPy's `.npz` files: a zip archive with one `.npy` file per array. The zip
 * itself is left to the npm package `@zip.js/zip.js`, fetched on first use.
 *
 * @module
 */
import { checkOptions } from "../core/options.ts";
import { type ArrayRecord, copyAgain } from "./array_record.ts";
import { decodeNpy, encodeNpy } from "./npy.ts";

/** In a variable, so that Deno fetches the package on first use only. */
const ZIP = "npm:@zip.js/zip.js@2.24.0";

/** The part of zip.js that is used here. */
interface Zip {
  configure(options: { useWebWorkers: boolean }): void;
  Uint8ArrayReader: new (bytes: Uint8Array) => unknown;
  Uint8ArrayWriter: new () => unknown;
  ZipReader: new (reader: unknown, options: { checkSignature: boolean }) => {
    getEntries(): Promise<ZipEntry[]>;
    close(): Promise<void>;
  };
  ZipWriter: new (writer: unknown, options: ZipWriterOptions) => {
    add(name: string, reader: unknown): Promise<unknown>;
    close(): Promise<Uint8Array>;
  };
}

interface ZipEntry {
  filename: string;
  directory: boolean;
  getData(writer: unknown): Promise<Uint8Array>;
}

interface ZipWriterOptions {
  level: number;
  lastModDate: Date;
  extendedTimestamp: boolean;
}

/** How {@linkcode encodeNpz} packs. */
export interface NpzOptions {
  /** Compress the arrays, as `np.savez_compressed` does; by default not. */
  compress?: boolean;
}

/**
 * Writes named arrays as the bytes of a `.npz` file. The same arrays give the
 * same bytes: all files in it carry the date 1 January 1980.
 */
export async function encodeNpz(
  arrays: Iterable<readonly [string, ArrayRecord]>,
  options: NpzOptions = {},
): Promise<Uint8Array> {
  checkOptions("write a .npz file", options, { compress: true });
  const zip = await loadZip();
  const writer = new zip.ZipWriter(new zip.Uint8ArrayWriter(), {
    level: options.compress ? 6 : 0,
    lastModDate: new Date(1980, 0, 1),
    extendedTimestamp: false,
  });
  const names = new Set<string>();
  for (const [name, array] of arrays) {
    if (names.has(name)) {
      throw new RangeError(
        `A .npz file cannot hold two arrays named "${name}"`,
      );
    }
    names.add(name);
    await writer.add(
      `${name}.npy`,
      new zip.Uint8ArrayReader(encodeNpy(array)),
    );
  }
  return await writer.close();
}

/**
 * Reads the arrays of a `.npz` file from memory, by name. Checksums are checked.
 *
 * @param name Names the bytes in error messages, usually the file.
 * @throws {SyntaxError} when the archive or one of its arrays is damaged.
 */
export async function decodeNpz(
  bytes: Uint8Array,
  name = "The .npz data",
): Promise<Map<string, ArrayRecord>> {
  const zip = await loadZip();
  const arrays = new Map<string, ArrayRecord>();
  const reader = new zip.ZipReader(new zip.Uint8ArrayReader(bytes), {
    checkSignature: true,
  });
  const entries = await reader.getEntries().catch((error) => {
    throw new SyntaxError(
      `${name} is not a .npz file, or is truncated (${bytes.length} bytes): ${error.message}; ${copyAgain}`,
      { cause: error },
    );
  });
  for (const entry of entries) {
    const key = entry.filename.replace(/\.npy$/, "");
    const what = `${name}, array "${key}"`;
    if (entry.directory || key === entry.filename) {
      throw new SyntaxError(
        `${name} holds "${entry.filename}", which is not a .npy file`,
      );
    }
    const content = await entry.getData(new zip.Uint8ArrayWriter()).catch(
      (error) => {
        throw new SyntaxError(
          `${what} cannot be unpacked: ${error.message}; ${copyAgain}`,
          { cause: error },
        );
      },
    );
    arrays.set(key, decodeNpy(content, what));
  }
  await reader.close();
  return arrays;
}

/** Reads a `.npz` file. Errors name the file. */
export async function readNpz(
  path: string | URL,
): Promise<Map<string, ArrayRecord>> {
  return await decodeNpz(await Deno.readFile(path), String(path));
}

async function loadZip(): Promise<Zip> {
  const zip: Zip = await import(ZIP);
  zip.configure({ useWebWorkers: false });
  return zip;
}
