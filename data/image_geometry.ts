/**
 * Cropping, padding, flipping and rotating pictures of shape
 * `[height, width, channels]`. Each returns a new picture.
 *
 * @module
 */
import { ShapeError, shapeText } from "../core/errors.ts";
import type { Image } from "./image_file.ts";

/** What stands where a picture ends; see {@linkcode padImage}. */
export type PadMode = "constant" | "edge" | "reflect";

/** The rectangle to cut out, in pixels. */
export interface Box {
  /** First row. */
  top: number;
  /** First column. */
  left: number;
  /** Rows. */
  height: number;
  /** Columns. */
  width: number;
}

/** Pixels to add on each side. */
export interface Margins {
  /** Rows above. */
  top: number;
  /** Columns to the left. */
  left: number;
  /** Rows below. */
  bottom: number;
  /** Columns to the right. */
  right: number;
}

/** How pixels are taken between the ones of the old picture. */
export interface RotateOptions {
  /** Take the nearest pixel (the default), or blend the four around. */
  mode?: "nearest" | "bilinear";
  /** The value of what lies outside the old picture; 0 by default. */
  fill?: number;
}

/**
 * Cuts a rectangle out of a picture.
 *
 * @throws {ShapeError} when it does not lie inside.
 */
export function cropImage(image: Image, box: Box): Image {
  const [height, width, channels] = image.shape;
  const { top, left } = box;
  const inside = top >= 0 && left >= 0 && box.height > 0 && box.width > 0 &&
    top + box.height <= height && left + box.width <= width;
  if (!inside) {
    throw new ShapeError(
      `Cannot crop ${box.height}×${box.width} pixels from row ${top} and column ${left} out of a picture of ${height}×${width}`,
    );
  }
  const out = blank(image, box.height, box.width);
  for (let y = 0; y < box.height; y++) {
    const from = ((top + y) * width + left) * channels;
    out.data.set(
      image.data.subarray(from, from + box.width * channels),
      y * box.width * channels,
    );
  }
  return out;
}

/**
 * Adds pixels around a picture: a constant, the nearest pixel (`edge`), or the
 * mirrored picture without its edge twice (`reflect`).
 *
 * @throws {ShapeError} for a negative margin, or one that the picture is too
 *   small to be mirrored into.
 */
export function padImage(
  image: Image,
  margins: Margins,
  { mode = "constant", fill = 0 }: { mode?: PadMode; fill?: number } = {},
): Image {
  const [height, width] = image.shape;
  const { top, left, bottom, right } = margins;
  if (Math.min(top, left, bottom, right) < 0) {
    throw new ShapeError(
      `Margins must be ≥ 0, and are top ${top}, left ${left}, bottom ${bottom}, right ${right}; use a crop to remove pixels`,
    );
  }
  const tooSmall = Math.max(top, bottom) >= height ||
    Math.max(left, right) >= width;
  if (mode === "reflect" && tooSmall) {
    throw new ShapeError(
      `A picture of ${height}×${width} cannot be mirrored into margins of top ${top}, left ${left}, bottom ${bottom}, right ${right}: each must be smaller than the picture`,
    );
  }
  return gather(
    image,
    margined(height, top, bottom, mode),
    margined(width, left, right, mode),
    fill,
  );
}

/** Mirrors a picture: left and right, or top and bottom. */
export function flipImage(
  image: Image,
  direction: "horizontal" | "vertical",
): Image {
  const [height, width] = image.shape;
  const rows = Array.from({ length: height }, (_, y) => y);
  const columns = Array.from({ length: width }, (_, x) => x);
  (direction === "vertical" ? rows : columns).reverse();
  return gather(image, rows, columns, 0);
}

/**
 * Rotates a picture counter-clockwise about its middle; its size stays. The
 * pixels are the ones of Pillow's `Image.rotate`.
 */
export function rotateImage(
  image: Image,
  degrees: number,
  { mode = "nearest", fill = 0 }: RotateOptions = {},
): Image {
  const [height, width] = image.shape;
  const angle = ((degrees % 360) + 360) % 360;
  if (angle === 0) return { ...image, data: image.data.slice() };
  if (angle === 180) {
    return flipImage(flipImage(image, "horizontal"), "vertical");
  }
  if (height === width && angle % 90 === 0) return quarterTurn(image, angle);
  const cosine = round15(Math.cos(-angle * Math.PI / 180));
  const sine = round15(Math.sin(-angle * Math.PI / 180));
  const middleX = width / 2, middleY = height / 2;
  // The old place of the new pixel (x, y) is (a·x + b·y + c, −b·x + a·y + d).
  const place: Place = {
    a: cosine,
    b: sine,
    c: -cosine * middleX - sine * middleY + middleX,
    d: sine * middleX - cosine * middleY + middleY,
  };
  const out = blank(image, height, width);
  out.data.fill(fill);
  if (mode === "nearest") takeNearest(image, out, place);
  else takeBlended(image, out, place);
  return out;
}

/** A picture of the same kind, all zero. */
export function blank(image: Image, height: number, width: number): Image {
  const channels = image.shape[2];
  if (image.shape.length !== 3) {
    throw new ShapeError(
      `A picture has shape [height, width, channels], and not ${
        shapeText(image.shape)
      }`,
    );
  }
  const length = height * width * channels;
  return {
    data: image.dtype === "u8"
      ? new Uint8Array(length)
      : new Float32Array(length),
    shape: [height, width, channels],
    dtype: image.dtype,
  };
}

/** Where each index along an axis with margins comes from; −1 for nowhere. */
function margined(
  size: number,
  before: number,
  after: number,
  mode: PadMode,
): number[] {
  return Array.from({ length: before + size + after }, (_, i) => {
    const from = i - before;
    if (from >= 0 && from < size) return from;
    if (mode === "constant") return -1;
    if (mode === "edge") return from < 0 ? 0 : size - 1;
    return from < 0 ? -from : 2 * (size - 1) - from;
  });
}

/** Takes the pixel at each of `rows` × `columns`, or `fill` where one is −1. */
function gather(
  image: Image,
  rows: number[],
  columns: number[],
  fill: number,
): Image {
  const [, width, channels] = image.shape;
  const out = blank(image, rows.length, columns.length);
  let to = 0;
  for (const row of rows) {
    for (const column of columns) {
      const from = (row * width + column) * channels;
      for (let k = 0; k < channels; k++) {
        out.data[to++] = row < 0 || column < 0 ? fill : image.data[from + k];
      }
    }
  }
  return out;
}

function quarterTurn(image: Image, angle: number): Image {
  const [size, , channels] = image.shape;
  const out = blank(image, size, size);
  for (let y = 0; y < size; y++) {
    for (let x = 0; x < size; x++) {
      const [row, column] = angle === 90
        ? [x, size - 1 - y]
        : [size - 1 - x, y];
      for (let k = 0; k < channels; k++) {
        out.data[(y * size + x) * channels + k] =
          image.data[(row * size + column) * channels + k];
      }
    }
  }
  return out;
}

interface Place {
  a: number;
  b: number;
  c: number;
  d: number;
}

/** Pillow's way: positions in 1/65536 of a pixel, stepped along each row. */
function takeNearest(image: Image, out: Image, place: Place): void {
  const [height, width, channels] = image.shape;
  const { a, b, c, d } = place;
  const fixed = (value: number) => Math.floor(value * 65536 + 0.5);
  const stepX = fixed(a), stepY = fixed(-b);
  let startX = fixed(c + a * 0.5 + b * 0.5);
  let startY = fixed(d - b * 0.5 + a * 0.5);
  for (let y = 0; y < height; y++) {
    let atX = startX, atY = startY;
    for (let x = 0; x < width; x++) {
      const column = Math.floor(atX / 65536), row = Math.floor(atY / 65536);
      if (column >= 0 && column < width && row >= 0 && row < height) {
        for (let k = 0; k < channels; k++) {
          out.data[(y * width + x) * channels + k] =
            image.data[(row * width + column) * channels + k];
        }
      }
      atX += stepX;
      atY += stepY;
    }
    startX += fixed(b);
    startY += fixed(a);
  }
}

function takeBlended(image: Image, out: Image, place: Place): void {
  const [height, width, channels] = image.shape;
  const { a, b, c, d } = place;
  const { data } = image;
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const atX = a * (x + 0.5) + b * (y + 0.5) + c;
      const atY = -b * (x + 0.5) + a * (y + 0.5) + d;
      if (atX < 0 || atX >= width || atY < 0 || atY >= height) continue;
      const column = Math.floor(atX - 0.5), row = Math.floor(atY - 0.5);
      const dx = atX - 0.5 - column, dy = atY - 0.5 - row;
      const left = Math.max(column, 0);
      const right = Math.min(column + 1, width - 1);
      const upper = Math.max(row, 0) * width;
      const lower = Math.min(row + 1, height - 1) * width;
      for (let k = 0; k < channels; k++) {
        const top = mix(
          data[(upper + left) * channels + k],
          data[(upper + right) * channels + k],
          dx,
        );
        const bottom = mix(
          data[(lower + left) * channels + k],
          data[(lower + right) * channels + k],
          dx,
        );
        out.data[(y * width + x) * channels + k] = mix(top, bottom, dy);
      }
    }
  }
}

function mix(from: number, to: number, part: number): number {
  return from + (to - from) * part;
}

/** Rounds to 15 decimals, so that the cosine of 90° is 0. */
function round15(value: number): number {
  return Number(value.toFixed(15));
}
