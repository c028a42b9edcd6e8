/**
 * Folders of pictures: one sub-folder per class, PNG and JPEG files inside.
 *
 * @module
 */
import { DisposedError } from "../core/errors.ts";
import { checkOptions } from "../core/options.ts";
import type { ArrayRecord } from "../formats/array_record.ts";
import type { Batch, Dataset, EpochRandom } from "./dataset.ts";
import { type ImageRequest, loadImages } from "./image_batch.ts";
import { ImageWorker, WorkerUnavailable } from "./image_workers.ts";
import type { Transform } from "./transforms.ts";

const PICTURE = /\.(png|jpe?g)$/i;

/** The pictures of a folder, sorted by class and file name. */
export interface ImageFolderIndex {
  /** The names of the sub-folders, sorted; a label is a place in this list. */
  classes: string[];
  /** Each picture's path. */
  files: string[];
  /** Each picture's class, as an index of `classes`. */
  labels: Int32Array;
}

/** How an {@linkcode ImageFolder} reads its pictures. */
export interface ImageFolderOptions {
  /** 3 for colours (the default), 1 for grey. */
  channels?: 1 | 3;
  /** What is done to each picture; must bring all to one size. */
  transform?: Transform;
  /**
   * How many workers decode beside the training; 1 by default, 0 for none.
   * A transform without a spec, and a place where workers cannot be started,
   * are served without one.
   */
  workers?: number;
}

/**
 * Lists the pictures below a folder. Each sub-folder is a class, with all the
 * pictures at any depth below it.
 *
 * @throws {Error} naming the folder that is missing, has no classes or a class
 *   without pictures.
 */
export async function indexImageFolder(
  folder: string,
): Promise<ImageFolderIndex> {
  const classes: string[] = [];
  for (const entry of await list(folder)) {
    if (entry.isDirectory) classes.push(entry.name);
  }
  if (classes.length === 0) {
    throw new SyntaxError(
      `${folder} has no sub-folders; put the pictures of each class into a sub-folder named after it`,
    );
  }
  const files: string[] = [];
  const labels: number[] = [];
  for (const [label, name] of classes.entries()) {
    const own = await picturesBelow(`${folder}/${name}`);
    if (own.length === 0) {
      throw new SyntaxError(
        `${folder}/${name} has no pictures; a class needs at least one .png, .jpg or .jpeg file, or its folder must go`,
      );
    }
    for (const file of own) {
      files.push(file);
      labels.push(label);
    }
  }
  return { classes, files, labels: Int32Array.from(labels) };
}

/**
 * The pictures of a folder as a data set: inputs of shape
 * `[count, channels, height, width]`, `u8` or what the transform makes of them,
 * and `i32` targets. Dispose it, so that its workers end.
 */
export class ImageFolder implements Dataset<Batch>, Disposable {
  /** The files, classes and labels. */
  readonly index: ImageFolderIndex;
  #options: ImageFolderOptions;
  #workers: ImageWorker[] | undefined;
  #turn = 0;
  #disposed = false;

  /** Makes a data set of an index; reads no file yet. */
  constructor(index: ImageFolderIndex, options: ImageFolderOptions = {}) {
    checkOptions("read an image folder", options, {
      channels: true,
      transform: true,
      workers: true,
    });
    this.index = index;
    this.#options = options;
  }

  /** Lists a folder and makes a data set of it. */
  static async open(
    folder: string,
    options: ImageFolderOptions = {},
  ): Promise<ImageFolder> {
    return new ImageFolder(await indexImageFolder(folder), options);
  }

  /** How many pictures there are. */
  get length(): number {
    return this.index.files.length;
  }

  /** Reads, decodes and transforms the pictures at `indices`. */
  async batch(indices: Uint32Array, random: EpochRandom): Promise<Batch> {
    if (this.#disposed) {
      throw new DisposedError(
        "The image folder was disposed; open it again to read more batches",
      );
    }
    const { files, labels } = this.index;
    const request: ImageRequest = {
      files: Array.from(indices, (index) => files[index]),
      indices,
      channels: this.#options.channels ?? 3,
      seed: random.seed,
      epoch: random.epoch,
    };
    return {
      inputs: await this.#load(request),
      targets: {
        data: Int32Array.from(indices, (index) => labels[index]),
        shape: [indices.length],
        dtype: "i32",
      },
    };
  }

  /** Ends the workers. */
  [Symbol.dispose](): void {
    this.#disposed = true;
    for (const worker of this.#workers ?? []) worker[Symbol.dispose]();
    this.#workers = [];
  }

  async #load(request: ImageRequest): Promise<ArrayRecord> {
    const { transform } = this.#options;
    const own = transform !== undefined && transform.spec === undefined;
    this.#workers ??= own ? [] : startWorkers(this.#options.workers ?? 1);
    if (this.#workers.length > 0) {
      const worker = this.#workers[this.#turn++ % this.#workers.length];
      try {
        return await worker.load(request, transform?.spec);
      } catch (error) {
        if (!(error instanceof WorkerUnavailable) || this.#disposed) {
          throw error;
        }
        for (const other of this.#workers) other[Symbol.dispose]();
        this.#workers = [];
      }
    }
    return await loadImages(request, transform);
  }
}

function startWorkers(count: number): ImageWorker[] {
  try {
    return Array.from({ length: count }, () => new ImageWorker());
  } catch {
    // Workers are not allowed or do not exist here: the pictures are decoded
    // without them.
    return [];
  }
}

/** The entries of a folder, hidden ones left out, sorted by name. */
async function list(folder: string): Promise<Deno.DirEntry[]> {
  const entries: Deno.DirEntry[] = [];
  try {
    for await (const entry of Deno.readDir(folder)) {
      if (!entry.name.startsWith(".")) entries.push(entry);
    }
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) {
      throw new Deno.errors.NotFound(`There is no folder ${folder}`, {
        cause: error,
      });
    }
    if (error instanceof Deno.errors.NotADirectory) {
      throw new Deno.errors.NotADirectory(
        `${folder} is a file; name the folder that holds the classes' sub-folders`,
        { cause: error },
      );
    }
    throw error;
  }
  return entries.sort((a, b) => a.name < b.name ? -1 : 1);
}

async function picturesBelow(folder: string): Promise<string[]> {
  const files: string[] = [];
  for (const entry of await list(folder)) {
    const path = `${folder}/${entry.name}`;
    if (entry.isDirectory) files.push(...await picturesBelow(path));
    else if (PICTURE.test(entry.name)) files.push(path);
  }
  return files;
}
