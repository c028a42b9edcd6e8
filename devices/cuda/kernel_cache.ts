/**
 * Compiled kernels on disk, for the next process. A file holds the whole key
 * and a checksum: what does not match is ignored and written again.
 *
 * @module
 */

import {
  cacheFolder,
  fnv,
  hashName,
  readCached,
  writeCached,
} from "./cache_folder.ts";

/** First bytes of every file. */
const magic = "DECAFK1\n";
/** Bytes before the key: magic, length of the key, length of the code, checksum. */
const headBytes = magic.length + 12;

/** Machine code by the text it was made from. */
export class KernelCache {
  readonly #folder: string | undefined;

  /**
   * Nothing is read before the first kernel is asked for.
   *
   * @param folder Where the files lie; the user's cache folder when omitted, nowhere when there is none.
   */
  constructor(folder: string | undefined = cacheFolder()) {
    this.#folder = folder === undefined ? undefined : `${folder}/kernels`;
  }

  /** The file for a key; undefined when nothing is kept. */
  path(key: string): string | undefined {
    if (this.#folder === undefined) return undefined;
    return `${this.#folder}/${hashName(key)}.bin`;
  }

  /** The code for a key, if a whole file of that very key is there. */
  get(key: string): Uint8Array<ArrayBuffer> | undefined {
    const path = this.path(key);
    const file = path === undefined ? undefined : readCached(path);
    return file === undefined ? undefined : codeIn(file, key);
  }

  /** Keeps code; does nothing where nothing may be written. */
  set(key: string, code: Uint8Array): void {
    if (this.#folder === undefined) return;
    const text = new TextEncoder().encode(key);
    const file = new Uint8Array(headBytes + text.length + code.length);
    file.set(new TextEncoder().encode(magic));
    const view = new DataView(file.buffer);
    view.setUint32(magic.length, text.length, true);
    view.setUint32(magic.length + 4, code.length, true);
    file.set(text, headBytes);
    file.set(code, headBytes + text.length);
    view.setUint32(magic.length + 8, checksum(file), true);
    writeCached(this.#folder, `${hashName(text)}.bin`, file);
  }
}

/** Checksum of all that follows the head. */
function checksum(file: Uint8Array): number {
  return fnv(file.subarray(headBytes), 0x811c9dc5);
}

function codeIn(
  file: Uint8Array,
  key: string,
): Uint8Array<ArrayBuffer> | undefined {
  if (file.length < headBytes) return undefined;
  const decode = (from: number, to: number) =>
    new TextDecoder().decode(file.subarray(from, to));
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  const keyBytes = view.getUint32(magic.length, true);
  const codeBytes = view.getUint32(magic.length + 4, true);
  const whole = decode(0, magic.length) === magic &&
    file.length === headBytes + keyBytes + codeBytes &&
    view.getUint32(magic.length + 8, true) === checksum(file) &&
    decode(headBytes, headBytes + keyBytes) === key;
  return whole ? file.slice(headBytes + keyBytes) : undefined;
}
