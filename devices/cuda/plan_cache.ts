/**
 * Plans that took time to find (the fastest of several algorithms for one
 * problem), kept on disk for the next process. A plan is bytes that only the
 * library that made it understands, so a file belongs to one GPU and one
 * version of one library; whatever else lies in its place is ignored and
 * overwritten.
 *
 * @module
 */

import { cacheFolder, readCached, writeCached } from "./cache_folder.ts";

/** What plans are good for: they mean nothing to another GPU or another version. */
export interface PlanOwner {
  /** Library: `cublasLt`, `cudnn`. */
  readonly library: string;
  /** Version, as the library tells it. */
  readonly version: string;
  /** The GPU: its name and compute capability. */
  readonly gpu: string;
}

/** What a file of plans holds. */
interface PlanFile {
  format: 1;
  owner: PlanOwner;
  /** Bytes as base64, by problem. */
  plans: Record<string, string>;
  /** Checksum of the plans. */
  sum: number;
}

/** The plans for one GPU of one version of one library, by a text that names the problem. */
export class PlanCache {
  readonly #owner: PlanOwner;
  readonly #folder: string | undefined;
  readonly #name: string;
  #plans: Map<string, string> | undefined;

  /**
   * Nothing is read before the first plan is asked for.
   *
   * @param owner What the plans are good for.
   * @param folder Where the file lies; the user's cache folder when omitted, nowhere when there is none.
   */
  constructor(owner: PlanOwner, folder: string | undefined = cacheFolder()) {
    this.#owner = owner;
    this.#folder = folder === undefined ? undefined : `${folder}/plans`;
    const { library, version, gpu } = owner;
    const mark = checksum(`${library} ${version} ${gpu}`).toString(16);
    this.#name = `${library}-${mark.padStart(8, "0")}.json`;
  }

  /** The file; undefined when nothing is kept. */
  get path(): string | undefined {
    return this.#folder && `${this.#folder}/${this.#name}`;
  }

  /** The plan for a problem, if one is known. */
  get(problem: string): Uint8Array<ArrayBuffer> | undefined {
    this.#plans ??= this.#load();
    const text = this.#plans.get(problem);
    return text === undefined ? undefined : fromBase64(text);
  }

  /** Keeps a plan, beside those that other processes wrote in the meantime. */
  set(problem: string, plan: Uint8Array): void {
    const mine = this.#plans ??= this.#load();
    mine.set(problem, toBase64(plan));
    if (this.#folder === undefined) return;
    const plans = Object.fromEntries([...this.#load(), ...mine]);
    const file: PlanFile = {
      format: 1,
      owner: this.#owner,
      plans,
      sum: checksum(JSON.stringify(plans)),
    };
    const bytes = new TextEncoder().encode(JSON.stringify(file));
    writeCached(this.#folder, this.#name, bytes);
  }

  /** What the file holds; nothing, if it is not whole or was made by another owner. */
  #load(): Map<string, string> {
    const bytes = this.path === undefined ? undefined : readCached(this.path);
    if (bytes === undefined) return new Map();
    try {
      const file: PlanFile = JSON.parse(new TextDecoder().decode(bytes));
      const { format, owner, plans, sum } = file;
      const own = format === 1 && owner.library === this.#owner.library &&
        owner.version === this.#owner.version && owner.gpu === this.#owner.gpu;
      if (!own || sum !== checksum(JSON.stringify(plans))) return new Map();
      return new Map(Object.entries(plans));
    } catch {
      return new Map(); // cut off, or no JSON at all
    }
  }
}

/** FNV-1a. */
function checksum(text: string): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) {
    hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193);
  }
  return hash >>> 0;
}

function toBase64(bytes: Uint8Array): string {
  let text = "";
  for (const byte of bytes) text += String.fromCharCode(byte);
  return btoa(text);
}

function fromBase64(text: string): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
}
