/**
 * Transforms: what is done to each picture on its way into a batch, with
 * torchvision's names and definitions. A transform is a function of a picture
 * and a source of random numbers, so the same source gives the same picture.
 * Each also says as plain data what it is, so that a worker can rebuild it.
 *
 * @module
 */
import { IndexError, ShapeError } from "../core/errors.ts";
import { checkOptions, type OptionNames } from "../core/options.ts";
import {
  adjustBrightness,
  adjustContrast,
  adjustHue,
  adjustSaturation,
  luminance,
} from "./image_color.ts";
import type { Image } from "./image_file.ts";
import {
  blank,
  cropImage,
  flipImage,
  type Margins,
  padImage,
  type PadMode,
  rotateImage,
  type RotateOptions,
} from "./image_geometry.ts";
import { resizeImage, shorterSide } from "./image_resize.ts";
import { checkArguments } from "./transform_rules.ts";

/** Where transforms get their random numbers. */
export interface RandomSource {
  /** The next number, from 0 up to but without 1. */
  uniform(): number;
}

/** A transform as plain data: its name and arguments. */
export type TransformSpec = readonly [name: string, ...args: unknown[]];

/** What is done to a picture. The picture it is given stays as it is. */
export interface Transform {
  /** Makes the new picture. */
  (image: Image, random: RandomSource): Image;
  /** The transform as plain data; absent for one's own functions. */
  readonly spec?: TransformSpec;
}

/** One number for both sides, or height and width. */
export type Size = number | readonly [height: number, width: number];

/** One number for all sides, or left, top, right and bottom as in torchvision. */
export type Padding =
  | number
  | readonly [left: number, top: number, right: number, bottom: number];

/** What {@linkcode pad} fills with. */
export interface PadOptions {
  /** A constant (the default), the edge, or the mirrored picture. */
  mode?: PadMode;
  /** The constant; 0 by default. */
  fill?: number;
}

const padNames: OptionNames<PadOptions> = { mode: true, fill: true };

/** What {@linkcode randomCrop} does first. */
export interface RandomCropOptions extends PadOptions {
  /** Pixels added around the picture before it is cropped; none by default. */
  padding?: Padding;
}

/** What {@linkcode randomResizedCrop} cuts out. */
export interface RandomResizedCropOptions {
  /** Smallest and largest part of the area; 0.08 and 1 by default. */
  scale?: readonly [number, number];
  /** Smallest and largest width ÷ height; 3/4 and 4/3 by default. */
  ratio?: readonly [number, number];
}

/** How far {@linkcode colorJitter} goes; 0, the default, leaves a property as it is. */
export interface ColorJitterOptions {
  /** Factors from 1 − brightness to 1 + brightness. */
  brightness?: number;
  /** Factors from 1 − contrast to 1 + contrast. */
  contrast?: number;
  /** Factors from 1 − saturation to 1 + saturation. */
  saturation?: number;
  /** Turns from −hue to hue, at most 0.5. */
  hue?: number;
}

/**
 * Does one transform after the other.
 *
 * @example
 * ```ts
 * import { Philox } from "./rng.ts";
 * import { centerCrop, compose, resize, toFloat } from "./transforms.ts";
 * const prepare = compose(resize(8), centerCrop(4), toFloat());
 * const image = prepare(
 *   { data: new Uint8Array(10 * 20).fill(51), shape: [10, 20, 1], dtype: "u8" },
 *   new Philox(1),
 * );
 * if (image.shape.join() !== "4,4,1") throw new Error("shape");
 * if (Math.abs(image.data[0] - 0.2) > 1e-6) throw new Error("value");
 * ```
 */
export function compose(...transforms: Transform[]): Transform {
  const specs = transforms.map((transform) => transform.spec);
  const apply: Transform = (image, random) =>
    transforms.reduce((now, transform) => transform(now, random), image);
  return specs.includes(undefined) ? apply : named("compose", specs, apply);
}

/** Resizes to a height and width, or, for one number, the shorter side to it. */
export function resize(size: Size): Transform {
  checkArguments("resize", { size });
  return named("resize", [size], (image) => {
    const [height, width] = typeof size === "number"
      ? shorterSide(image.shape, size)
      : size;
    return resizeImage(image, height, width);
  });
}

/** Cuts out the middle; what is too small is padded with zeros first. */
export function centerCrop(size: Size): Transform {
  checkArguments("centerCrop", { size });
  const [height, width] = bothSides(size);
  return named("centerCrop", [size], (image) => {
    const missingY = Math.max(0, height - image.shape[0]);
    const missingX = Math.max(0, width - image.shape[1]);
    const padded = padImage(image, {
      top: Math.floor(missingY / 2),
      left: Math.floor(missingX / 2),
      bottom: Math.ceil(missingY / 2),
      right: Math.ceil(missingX / 2),
    });
    return cropImage(padded, {
      top: roundHalfEven((padded.shape[0] - height) / 2),
      left: roundHalfEven((padded.shape[1] - width) / 2),
      height,
      width,
    });
  });
}

/**
 * Cuts out a place chosen at random, after padding.
 *
 * @throws {ShapeError} when the padded picture is smaller than the cut.
 */
export function randomCrop(
  size: Size,
  options: RandomCropOptions = {},
): Transform {
  const [height, width] = bothSides(size);
  checkOptions("make the transform randomCrop", options, {
    ...padNames,
    padding: true,
  });
  const { padding = 0, ...padOptions } = options;
  const { mode: padMode, fill } = padOptions;
  checkArguments("randomCrop", { size, padding, padMode, fill });
  return named("randomCrop", [size, options], (image, random) => {
    const padded = padImage(image, marginsOf(padding), padOptions);
    const roomY = padded.shape[0] - height, roomX = padded.shape[1] - width;
    if (roomY < 0 || roomX < 0) {
      throw new ShapeError(
        `Cannot crop ${height}×${width} pixels out of a picture of ${
          padded.shape[0]
        }×${padded.shape[1]}; resize it first or give a larger padding`,
      );
    }
    return cropImage(padded, {
      top: below(random, roomY + 1),
      left: below(random, roomX + 1),
      height,
      width,
    });
  });
}

/** Cuts out a rectangle of random size, proportions and place, and resizes it. */
export function randomResizedCrop(
  size: Size,
  options: RandomResizedCropOptions = {},
): Transform {
  const [height, width] = bothSides(size);
  checkOptions("make the transform randomResizedCrop", options, {
    scale: true,
    ratio: true,
  });
  const { scale = [0.08, 1], ratio = [3 / 4, 4 / 3] } = options;
  checkArguments("randomResizedCrop", { size, scale, ratio });
  return named("randomResizedCrop", [size, options], (image, random) => {
    const box = randomBox(image.shape, scale, ratio, random);
    return resizeImage(cropImage(image, box), height, width);
  });
}

/** Adds pixels around the picture. */
export function pad(padding: Padding, options: PadOptions = {}): Transform {
  checkOptions("make the transform pad", options, padNames);
  const { mode: padMode, fill } = options;
  checkArguments("pad", { padding, padMode, fill });
  return named(
    "pad",
    [padding, options],
    (image) => padImage(image, marginsOf(padding), options),
  );
}

/** Mirrors left and right with the probability `p`. */
export function randomHorizontalFlip(p = 0.5): Transform {
  checkArguments("randomHorizontalFlip", { p });
  return named(
    "randomHorizontalFlip",
    [p],
    (image, random) =>
      random.uniform() < p ? flipImage(image, "horizontal") : image,
  );
}

/** Mirrors top and bottom with the probability `p`. */
export function randomVerticalFlip(p = 0.5): Transform {
  checkArguments("randomVerticalFlip", { p });
  return named(
    "randomVerticalFlip",
    [p],
    (image, random) =>
      random.uniform() < p ? flipImage(image, "vertical") : image,
  );
}

/** Rotates by an angle chosen from −degrees to degrees. */
export function randomRotation(
  degrees: number,
  options: RotateOptions = {},
): Transform {
  checkOptions("make the transform randomRotation", options, {
    mode: true,
    fill: true,
  });
  const { mode: rotateMode, fill } = options;
  checkArguments("randomRotation", { degrees, rotateMode, fill });
  return named(
    "randomRotation",
    [degrees, options],
    (image, random) =>
      rotateImage(image, between(random, -degrees, degrees), options),
  );
}

/** Changes brightness, contrast, saturation and hue at random, in random order. */
export function colorJitter(options: ColorJitterOptions = {}): Transform {
  checkOptions("make the transform colorJitter", options, {
    brightness: true,
    contrast: true,
    saturation: true,
    hue: true,
  });
  const { brightness = 0, contrast = 0, saturation = 0, hue = 0 } = options;
  checkArguments("colorJitter", { brightness, contrast, saturation, hue });
  const steps = [
    { range: brightness, middle: 1, adjust: adjustBrightness },
    { range: contrast, middle: 1, adjust: adjustContrast },
    { range: saturation, middle: 1, adjust: adjustSaturation },
    { range: hue, middle: 0, adjust: adjustHue },
  ];
  return named("colorJitter", [options], (image, random) => {
    const drawn = steps.map(({ range, middle, adjust }) => {
      const low = middle === 1 ? Math.max(0, 1 - range) : -range;
      return { range, adjust, factor: between(random, low, middle + range) };
    });
    for (let last = drawn.length - 1; last > 0; last--) {
      const other = below(random, last + 1);
      [drawn[last], drawn[other]] = [drawn[other], drawn[last]];
    }
    return drawn.reduce(
      (now, { range, adjust, factor }) => range > 0 ? adjust(now, factor) : now,
      image,
    );
  });
}

/** Turns colours into grey, in one channel. */
export function grayscale(): Transform {
  return named("grayscale", [], (image) => {
    const [height, width] = image.shape;
    const grey = luminance(image);
    const data = image.dtype === "u8" ? Uint8Array.from(grey) : grey;
    return { data, shape: [height, width, 1], dtype: image.dtype };
  });
}

/** Turns `u8` pixels into `f32` from 0 to 1; the axes stay as they are. */
export function toFloat(): Transform {
  return named("toFloat", [], (image) => ({
    data: image.dtype === "f32"
      ? image.data
      : Float32Array.from(image.data, (value) => value / 255),
    shape: image.shape,
    dtype: "f32",
  }));
}

/**
 * Brings each channel to (value − mean) ÷ std. Takes `f32` pictures, so
 * {@linkcode toFloat} comes before it.
 *
 * @throws {ShapeError} when there are not as many numbers as channels.
 */
export function normalize(
  mean: readonly number[],
  std: readonly number[],
): Transform {
  checkArguments("normalize", { mean, std });
  return named("normalize", [mean, std], (image) => {
    const channels = image.shape[2];
    if (image.dtype !== "f32") {
      throw new TypeError(
        "normalize takes f32 pictures, and this one is u8; put toFloat() before it",
      );
    }
    if (mean.length !== channels || std.length !== channels) {
      throw new ShapeError(
        `normalize was given ${mean.length} means and ${std.length} standard deviations for a picture of ${channels} channels`,
      );
    }
    const out = blank(image, image.shape[0], image.shape[1]);
    for (let i = 0; i < out.data.length; i++) {
      const channel = i % channels;
      out.data[i] = (image.data[i] - mean[channel]) / std[channel];
    }
    return out;
  });
}

/** All transforms by name, for {@linkcode transformFrom}. */
const FACTORIES: Readonly<
  // deno-lint-ignore no-explicit-any
  Record<string, (...args: any[]) => Transform>
> = {
  compose: (...specs: TransformSpec[]) => compose(...specs.map(transformFrom)),
  resize,
  centerCrop,
  randomCrop,
  randomResizedCrop,
  pad,
  randomHorizontalFlip,
  randomVerticalFlip,
  randomRotation,
  colorJitter,
  grayscale,
  toFloat,
  normalize,
};

/**
 * Rebuilds a transform from its {@linkcode Transform.spec}.
 *
 * @throws {IndexError} for an unknown name.
 */
export function transformFrom(spec: TransformSpec): Transform {
  const [name, ...args] = spec;
  if (!Object.hasOwn(FACTORIES, name)) {
    throw new IndexError(
      `There is no transform "${name}"; there are ${
        Object.keys(FACTORIES).join(", ")
      }`,
    );
  }
  return FACTORIES[name](...args);
}

function named(
  name: string,
  args: readonly unknown[],
  apply: (image: Image, random: RandomSource) => Image,
): Transform {
  const spec: TransformSpec = [name, ...args];
  return Object.assign(
    (image: Image, random: RandomSource) => apply(image, random),
    { spec },
  );
}

function bothSides(size: Size): readonly [number, number] {
  return typeof size === "number" ? [size, size] : size;
}

function marginsOf(padding: Padding): Margins {
  const [left, top, right, bottom] = typeof padding === "number"
    ? [padding, padding, padding, padding]
    : padding;
  return { top, left, bottom, right };
}

function between(random: RandomSource, low: number, high: number): number {
  return low + (high - low) * random.uniform();
}

/** A whole number from 0 up to but without `count`. */
function below(random: RandomSource, count: number): number {
  return Math.floor(random.uniform() * count);
}

/** Tries ten rectangles; then takes the middle, as wide or high as allowed. */
function randomBox(
  [height, width]: readonly number[],
  scale: readonly [number, number],
  ratio: readonly [number, number],
  random: RandomSource,
) {
  const [low, high] = ratio.map(Math.log);
  for (let attempt = 0; attempt < 10; attempt++) {
    const area = height * width * between(random, ...scale);
    const proportion = Math.exp(between(random, low, high));
    const w = roundHalfEven(Math.sqrt(area * proportion));
    const h = roundHalfEven(Math.sqrt(area / proportion));
    if (w > 0 && w <= width && h > 0 && h <= height) {
      const top = below(random, height - h + 1);
      const left = below(random, width - w + 1);
      return { top, left, height: h, width: w };
    }
  }
  const w = Math.min(width, Math.max(1, roundHalfEven(height * ratio[1])));
  const h = Math.min(height, Math.max(1, roundHalfEven(width / ratio[0])));
  return {
    top: Math.floor((height - h) / 2),
    left: Math.floor((width - w) / 2),
    height: h,
    width: w,
  };
}

/** Rounds as Python does: a half goes to the even neighbour. */
function roundHalfEven(value: number): number {
  const floor = Math.floor(value);
  const rest = value - floor;
  return rest > 0.5 || (rest === 0.5 && floor % 2 === 1) ? floor + 1 : floor;
}
