/**
 * Resizing pictures with a bilinear filter that, when it makes a picture
 * smaller, averages over all the pixels that fall into one (antialiasing).
 *
 * @module
 */
import { ShapeError } from "../core/errors.ts";
import { blank } from "./image_geometry.ts";
import type { Image } from "./image_file.ts";

/** Bits after the point of the weights for `u8` pixels. */
const PRECISION = 22;

/** For each new pixel along an axis: its first old pixel, and the weights. */
interface Taps {
  first: Int32Array;
  count: Int32Array;
  /** `width` weights per new pixel, of which `count` are used. */
  weights: Float64Array;
  width: number;
}

/**
 * Resizes a picture of shape `[height, width, channels]`. `u8` pixels are the
 * ones of Pillow's `resize(…, BILINEAR)`, bit for bit; `f32` pixels follow
 * PyTorch's `interpolate(…, mode="bilinear", antialias=True)`.
 *
 * @throws {ShapeError} for a size that is not a whole number ≥ 1.
 */
export function resizeImage(
  image: Image,
  height: number,
  width: number,
): Image {
  if (!Number.isSafeInteger(height * width) || height < 1 || width < 1) {
    throw new ShapeError(
      `A picture is resized to a height and width of whole pixels ≥ 1, and not to ${height}×${width}`,
    );
  }
  const { shape: [oldHeight, oldWidth], dtype } = image;
  const columns = (from: Image): Image =>
    oldWidth === width
      ? from
      : resample(from, width, tapsFor(oldWidth, width, dtype), true);
  const rows = (from: Image): Image =>
    oldHeight === height
      ? from
      : resample(from, height, tapsFor(oldHeight, height, dtype), false);
  // Whole pixels are rounded between the two, so the order is Pillow's.
  const rowsFirst = oldHeight > height &&
    oldHeight - height > 2 * (oldWidth - width);
  const resized = rowsFirst ? columns(rows(image)) : rows(columns(image));
  return resized === image ? { ...image, data: image.data.slice() } : resized;
}

/** The size with the shorter side `size` long, and the same proportions. */
export function shorterSide(
  [height, width]: readonly number[],
  size: number,
): [height: number, width: number] {
  return height <= width
    ? [size, Math.trunc(size * width / height)]
    : [Math.trunc(size * height / width), size];
}

function tapsFor(from: number, to: number, dtype: "u8" | "f32"): Taps {
  const scale = from / to;
  const support = Math.max(scale, 1);
  const width = Math.ceil(support) * 2 + 1;
  const first = new Int32Array(to);
  const count = new Int32Array(to);
  const weights = new Float64Array(to * width);
  for (let i = 0; i < to; i++) {
    const center = (i + 0.5) * scale;
    first[i] = Math.max(0, Math.trunc(center - support + 0.5));
    count[i] = Math.min(from, Math.trunc(center + support + 0.5)) - first[i];
    const row = weights.subarray(i * width, i * width + count[i]);
    let sum = 0;
    for (let k = 0; k < row.length; k++) {
      // The triangle filter, as wide as one new pixel.
      const distance = Math.abs((k + first[i] - center + 0.5) / support);
      row[k] = Math.max(0, 1 - distance);
      sum += row[k];
    }
    for (let k = 0; k < row.length; k++) {
      row[k] /= sum;
      if (dtype === "u8") row[k] = Math.trunc(0.5 + row[k] * 2 ** PRECISION);
    }
  }
  return { first, count, weights, width };
}

/** Resizes along one axis: the columns (`across`) or the rows. */
function resample(
  image: Image,
  size: number,
  taps: Taps,
  across: boolean,
): Image {
  const [height, width, channels] = image.shape;
  const out = across ? blank(image, height, size) : blank(image, size, width);
  const step = across ? channels : width * channels;
  const whole = image.dtype === "u8";
  const { data } = image;
  let to = 0;
  for (let y = 0; y < out.shape[0]; y++) {
    for (let x = 0; x < out.shape[1]; x++) {
      const i = across ? x : y;
      const start = across
        ? (y * width + taps.first[i]) * channels
        : (taps.first[i] * width + x) * channels;
      for (let k = 0; k < channels; k++) {
        let sum = whole ? 2 ** (PRECISION - 1) : 0;
        for (let tap = 0; tap < taps.count[i]; tap++) {
          sum += data[start + tap * step + k] *
            taps.weights[i * taps.width + tap];
        }
        out.data[to++] = whole ? Math.min(255, sum >> PRECISION) : sum;
      }
    }
  }
  return out;
}
