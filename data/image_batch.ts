/**
 * Reads, decodes and transforms the pictures of one batch: the same work
 * whether it is done here or in a worker.
 *
 * @module
 */
import { ShapeError, shapeText } from "../core/errors.ts";
import type { ArrayRecord } from "../formats/array_record.ts";
import { exampleRandom } from "./dataset.ts";
import { type Image, readImage } from "./image_file.ts";
import type { Transform } from "./transforms.ts";

/** Which pictures to read, as plain data. */
export interface ImageRequest {
  /** The files. */
  files: string[];
  /** Each file's index in the data set, for its random numbers. */
  indices: Uint32Array;
  /** 3 for colours, 1 for grey. */
  channels: 1 | 3;
  /** The loader's seed. */
  seed: number;
  /** The epoch. */
  epoch: number;
}

/**
 * The pictures as one array of shape `[count, channels, height, width]`.
 *
 * @throws {ShapeError} naming the file whose picture has another shape.
 */
export async function loadImages(
  request: ImageRequest,
  transform: Transform | undefined,
): Promise<ArrayRecord> {
  const { files, indices, channels } = request;
  let first: Image | undefined;
  let out: Uint8Array | Float32Array = new Uint8Array(0);
  for (const [i, file] of files.entries()) {
    const decoded = await readImage(file, { channels });
    const image = transform === undefined
      ? decoded
      : transform(decoded, exampleRandom(request, indices[i]));
    if (first === undefined) {
      first = image;
      const length = files.length * image.data.length;
      out = image.dtype === "u8"
        ? new Uint8Array(length)
        : new Float32Array(length);
    }
    if (
      image.dtype !== first.dtype ||
      shapeText(image.shape) !== shapeText(first.shape)
    ) {
      throw new ShapeError(
        `${file} is ${image.dtype} of height, width and channels ${
          shapeText(image.shape)
        }, and ${files[0]} in the same batch is ${first.dtype} of ${
          shapeText(first.shape)
        }; bring all to one size, with resize([height, width]) for example`,
      );
    }
    putPlanes(image, out, i * image.data.length);
  }
  const [height, width, planes] = first?.shape ?? [0, 0, channels];
  return {
    data: out,
    shape: [files.length, planes, height, width],
    dtype: first?.dtype ?? "u8",
  };
}

/** Writes the channels of a picture one after the other. */
function putPlanes(
  image: Image,
  out: Uint8Array | Float32Array,
  start: number,
): void {
  const channels = image.shape[2];
  const size = image.data.length / channels;
  for (let channel = 0; channel < channels; channel++) {
    const plane = start + channel * size;
    for (let i = 0; i < size; i++) {
      out[plane + i] = image.data[i * channels + channel];
    }
  }
}
