/**
 * Brightness, contrast, saturation and hue of pictures, by the definitions of
 * torchvision's `adjust_…` functions. Pictures have shape
 * `[height, width, 1 or 3]`, `u8` or `f32` from 0 to 1; each function returns a
 * new one.
 *
 * @module
 */
import { IndexError, ShapeError, shapeText } from "../core/errors.ts";
import { blank } from "./image_geometry.ts";
import type { Image } from "./image_file.ts";

const f32 = Math.fround;

/** Makes a picture darker (`factor` < 1) or brighter: factor · pixel. */
export function adjustBrightness(image: Image, factor: number): Image {
  return blend(image, () => 0, checkFactor("brightness", factor));
}

/** Moves pixels away from the mean grey: factor · pixel + (1 − factor) · mean. */
export function adjustContrast(image: Image, factor: number): Image {
  checkFactor("contrast", factor);
  const grey = luminance(image);
  const mean = f32(grey.reduce((sum, value) => sum + value, 0) / grey.length);
  return blend(image, () => mean, factor);
}

/** Moves pixels away from their own grey: factor · pixel + (1 − factor) · grey. */
export function adjustSaturation(image: Image, factor: number): Image {
  checkFactor("saturation", factor);
  if (image.shape[2] === 1) return { ...image, data: image.data.slice() };
  const grey = luminance(image);
  return blend(image, (pixel) => grey[pixel], factor);
}

/**
 * Turns the colours by `turn` of a circle, from −0.5 to 0.5; grey pictures stay.
 *
 * @throws {IndexError} for a larger turn.
 */
export function adjustHue(image: Image, turn: number): Image {
  if (!(turn >= -0.5 && turn <= 0.5)) {
    throw new IndexError(
      `The hue is turned by −0.5 to 0.5 of a circle, and not by ${turn}`,
    );
  }
  const channels = checkChannels(image);
  const out = blank(image, image.shape[0], image.shape[1]);
  if (channels === 1) {
    out.data.set(image.data);
    return out;
  }
  const whole = image.dtype === "u8";
  for (let i = 0; i < image.data.length; i += 3) {
    const [red, green, blue] = image.data.subarray(i, i + 3);
    const hsv = whole
      ? toHsv(f32(red / 255), f32(green / 255), f32(blue / 255))
      : toHsv(red, green, blue);
    hsv[0] = wrap(f32(hsv[0] + f32(turn)));
    const rgb = fromHsv(...hsv);
    for (let k = 0; k < 3; k++) {
      out.data[i + k] = whole ? Math.trunc(f32(rgb[k] * 255.999)) : rgb[k];
    }
  }
  return out;
}

/** The grey of each pixel: 0.2989 R + 0.587 G + 0.114 B; whole numbers for `u8`. */
export function luminance(image: Image): Float32Array {
  const channels = checkChannels(image);
  if (channels === 1) return Float32Array.from(image.data);
  const { data } = image;
  const grey = new Float32Array(data.length / 3);
  for (let i = 0; i < grey.length; i++) {
    const value = f32(
      f32(f32(0.2989) * data[3 * i]) + f32(f32(0.587) * data[3 * i + 1]),
    ) + f32(f32(0.114) * data[3 * i + 2]);
    grey[i] = image.dtype === "u8" ? Math.trunc(f32(value)) : value;
  }
  return grey;
}

function checkFactor(what: string, factor: number): number {
  if (!(factor >= 0 && factor < Infinity)) {
    throw new IndexError(
      `The factor of the ${what} must be a number ≥ 0, and is ${factor}`,
    );
  }
  return factor;
}

function checkChannels(image: Image): 1 | 3 {
  const channels = image.shape[2];
  if (image.shape.length !== 3 || (channels !== 1 && channels !== 3)) {
    throw new ShapeError(
      `Colours are adjusted in pictures of shape [height, width, 1 or 3], and not ${
        shapeText(image.shape)
      }`,
    );
  }
  return channels;
}

/** factor · pixel + (1 − factor) · other, kept inside the range of pixels. */
function blend(
  image: Image,
  other: (pixel: number) => number,
  factor: number,
): Image {
  const channels = checkChannels(image);
  const out = blank(image, image.shape[0], image.shape[1]);
  const largest = image.dtype === "u8" ? 255 : 1;
  const mine = f32(factor), theirs = f32(1 - factor);
  for (let i = 0; i < out.data.length; i++) {
    const rest = other(Math.floor(i / channels));
    const value = f32(f32(mine * image.data[i]) + f32(theirs * rest));
    out.data[i] = Math.min(Math.max(value, 0), largest);
  }
  return out;
}

/** Hue, saturation and value, each from 0 to 1. */
function toHsv(r: number, g: number, b: number): [number, number, number] {
  const value = Math.max(r, g, b);
  const range = f32(value - Math.min(r, g, b));
  if (range === 0) return [0, 0, value];
  const toRed = f32(f32(value - r) / range);
  const toGreen = f32(f32(value - g) / range);
  const toBlue = f32(f32(value - b) / range);
  const sixths = value === r
    ? toBlue - toGreen
    : value === g
    ? f32(2 + toRed) - toBlue
    : f32(4 + toGreen) - toRed;
  return [
    f32(f32(f32(sixths) / 6) + 1) % 1,
    f32(range / value),
    value,
  ];
}

function fromHsv(h: number, s: number, v: number): [number, number, number] {
  const sixths = f32(h * 6);
  const part = f32(sixths - Math.floor(sixths));
  const low = unit(f32(v * f32(1 - s)));
  const falling = unit(f32(v * f32(1 - f32(s * part))));
  const rising = unit(f32(v * f32(1 - f32(s * f32(1 - part)))));
  switch (Math.floor(sixths) % 6) {
    case 0:
      return [v, rising, low];
    case 1:
      return [falling, v, low];
    case 2:
      return [low, v, rising];
    case 3:
      return [low, falling, v];
    case 4:
      return [rising, low, v];
    default:
      return [v, low, falling];
  }
}

function unit(value: number): number {
  return Math.min(Math.max(value, 0), 1);
}

/** The remainder by 1 that is never negative, as Python's `%` gives it. */
function wrap(value: number): number {
  const rest = value % 1;
  return rest < 0 ? f32(rest + 1) : rest;
}
