/**
 * Plans that took time to find (the fastest of several algorithms for one
 * problem), kept on disk for the next process. A plan is bytes that only the
 * library that made it understands, for one GPU and one version; each has a
 * file of its own, so that processes that write at the same moment take nothing
 * from each other. What is not whole, or another's, is ignored and overwritten.
 *
 * @module
 */

import {
  cacheFolder,
  hashName,
  readCached,
  writeCached,
} from "./cache_folder.ts";
import type { CudaContext } from "./context.ts";

/** What plans are good for: they mean nothing to another GPU or another version. */
export interface PlanOwner {
  /** Library: `cublasLt`, `cudnn`. */
  readonly library: string;
  /** Version, as the library tells it. */
  readonly version: string;
  /** The GPU: its model, compute capability and size. */
  readonly gpu: string;
}

/** The owner of plans that a library makes for a GPU. */
export function planOwner(
  library: string,
  version: string,
  { model, major, minor, multiprocessors }: CudaContext,
): PlanOwner {
  const gpu =
    `${model}, compute capability ${major}.${minor}, ${multiprocessors} multiprocessors`;
  return { library, version, gpu };
}

/** What a file holds, before the checksum. */
interface PlanFile extends PlanOwner {
  readonly format: 2;
  readonly problem: string;
  /** The bytes as base64. */
  readonly plan: string;
}

/** The plans for one GPU of one version of one library, by a text that names the problem. */
export class PlanCache {
  readonly #owner: PlanOwner;
  readonly #folder: string | undefined;
  readonly #plans = new Map<string, Uint8Array<ArrayBuffer>>();

  /**
   * Nothing is read before the first plan is asked for.
   *
   * @param owner What the plans are good for.
   * @param folder Where the files lie; the user's cache folder when omitted, nowhere when there is none.
   */
  constructor(owner: PlanOwner, folder: string | undefined = cacheFolder()) {
    this.#owner = owner;
    this.#folder = folder === undefined ? undefined : `${folder}/plans`;
  }

  /** The file for a problem; undefined when nothing is kept. */
  path(problem: string): string | undefined {
    return this.#folder && `${this.#folder}/${this.#name(problem)}`;
  }

  #name(problem: string): string {
    const { library, version, gpu } = this.#owner;
    return `${library}-${hashName([version, gpu, problem].join("\n"))}.json`;
  }

  /** The plan for a problem, if one is known. */
  get(problem: string): Uint8Array<ArrayBuffer> | undefined {
    const known = this.#plans.get(problem) ?? this.#load(problem);
    if (known !== undefined) this.#plans.set(problem, known);
    return known;
  }

  /** Keeps a plan. */
  set(problem: string, plan: Uint8Array): void {
    this.#plans.set(problem, plan.slice());
    if (this.#folder === undefined) return;
    const text = JSON.stringify(
      {
        format: 2,
        ...this.#owner,
        problem,
        plan: toBase64(plan),
      } satisfies PlanFile,
    );
    const bytes = new TextEncoder().encode(`${text}\n${hashName(text)}\n`);
    writeCached(this.#folder, this.#name(problem), bytes);
  }

  /** What the file of a problem holds; nothing, if it is not whole or was made by another owner. */
  #load(problem: string): Uint8Array<ArrayBuffer> | undefined {
    const path = this.path(problem);
    const bytes = path === undefined ? undefined : readCached(path);
    if (bytes === undefined) return undefined;
    const [text, sum] = new TextDecoder().decode(bytes).split("\n");
    if (sum !== hashName(text)) return undefined;
    const file = JSON.parse(text) as PlanFile;
    const { library, version, gpu } = this.#owner;
    const own = file.format === 2 && file.library === library &&
      file.version === version && file.gpu === gpu && file.problem === problem;
    return own ? fromBase64(file.plan) : undefined;
  }
}

function toBase64(bytes: Uint8Array): string {
  let text = "";
  for (const byte of bytes) text += String.fromCharCode(byte);
  return btoa(text);
}

function fromBase64(text: string): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
}
