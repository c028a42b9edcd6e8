/**
 * Data sets, transforms and the loader that makes batches of them.
 *
 * @module
 */

export { type CsvOptions, type CsvTable, parseCsv, readCsv } from "./csv.ts";
export {
  arrayDataset,
  type ArrayDatasetOptions,
  type Batch,
  type Dataset,
  type EpochRandom,
  type Example,
  exampleDataset,
  exampleRandom,
  type ExampleSource,
  randomSplit,
  stackRecords,
  subset,
  takeRows,
} from "./dataset.ts";
export type { ArrayRecord } from "../formats/array_record.ts";
export { decodeNpy, encodeNpy, readNpy } from "../formats/npy.ts";
export {
  decodeNpz,
  encodeNpz,
  type NpzOptions,
  readNpz,
} from "../formats/npz.ts";
export { encodeIdx, parseIdx, readIdx } from "./idx.ts";
export {
  decodeImage,
  type DecodeOptions,
  encodePng,
  type Image,
  readImage,
} from "./image_file.ts";
export {
  ImageFolder,
  type ImageFolderIndex,
  type ImageFolderOptions,
  indexImageFolder,
} from "./images.ts";
export { DataLoader, type LoaderOptions, type LoaderState } from "./loader.ts";
export {
  type LabelledImages,
  loadMnist,
  type Mnist,
  mnist,
  mnistDataset,
  type MnistDatasetOptions,
  type MnistDatasets,
  type MnistOptions,
} from "./mnist.ts";
export {
  CharVocabulary,
  readTextCorpus,
  textBlocks,
  type TextCorpus,
  textCorpus,
  textWindows,
  type TextWindowsOptions,
} from "./text.ts";
export * as transforms from "./transforms.ts";
