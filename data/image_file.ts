/**
 * PNG and JPEG files: decoded to pixels by `fast-png` and by Mozilla's JPEG
 * library as WebAssembly (`@jsquash/jpeg`), both fetched on first use. JPEG
 * pixels are the ones that Pillow decodes, bit for bit.
 *
 * @module
 */
import { DTypeError, ShapeError, shapeText } from "../core/errors.ts";
import { checkOptions } from "../core/options.ts";
import { type ArrayRecord, checkRecord } from "../formats/array_record.ts";
import { loadJpegDecoder } from "./jpeg.ts";

/** In a variable, so that Deno fetches the package on first use only. */
const PNG = "npm:fast-png@8.0.0";

/** Pillow's limit too; a larger size in a header is most likely damage. */
const MAX_PIXELS = 178_956_970;

/** A picture: `u8` from 0 to 255 or `f32` from 0 to 1, `[height, width, channels]`. */
export interface Image extends ArrayRecord {
  /** Pixels, row by row, the channels of a pixel together. */
  data: Uint8Array | Float32Array;
  /** Element type of the pixels. */
  dtype: "u8" | "f32";
}

/** How a picture is decoded. */
export interface DecodeOptions {
  /** 3 for red, green and blue (the default), 1 for grey. */
  channels?: 1 | 3;
  /** Names the picture in error messages. */
  name?: string;
}

/** The part of fast-png that is used here. */
interface FastPng {
  decode(bytes: Uint8Array, options: { checkCrc: boolean }): Png;
  encode(png: Omit<Png, "palette">): Uint8Array;
}

interface Png {
  width: number;
  height: number;
  data: Uint8Array | Uint16Array;
  depth: 1 | 2 | 4 | 8 | 16;
  channels: number;
  palette?: number[][];
}

/**
 * Decodes a PNG or JPEG picture. Transparency is dropped, as Pillow's
 * `convert("RGB")` does; grey is 0.299 R + 0.587 G + 0.114 B; of 16 bits the
 * upper 8 are kept; the orientation that a camera noted is not applied.
 *
 * @returns `u8` pixels of shape `[height, width, channels]`.
 * @throws {SyntaxError} naming the picture when it is damaged or of another kind.
 */
export async function decodeImage(
  bytes: Uint8Array,
  options: DecodeOptions = {},
): Promise<Image> {
  checkOptions("decode a picture", options, { channels: true, name: true });
  const { channels = 3, name = "The picture" } = options;
  const kind = kindOf(bytes);
  if (kind === undefined) {
    throw new SyntaxError(
      `${name} is neither a PNG nor a JPEG picture: it ${
        bytes.length === 0
          ? "is empty"
          : `starts with the bytes ${bytes.slice(0, 4).toHex()}`
      }; convert it to one of the two`,
    );
  }
  const size = kind === "PNG" ? pngSize(bytes) : jpegSize(bytes);
  if (size !== undefined && size.width * size.height > MAX_PIXELS) {
    throw new SyntaxError(
      `${name} says that it has ${size.width}×${size.height} pixels, and at most ${MAX_PIXELS} are decoded; it is damaged, or has to be made smaller`,
    );
  }
  const decode: (bytes: Uint8Array) => Pixels = kind === "PNG"
    ? await loadPng()
    : await loadJpegDecoder();
  try {
    const { data, width, height, from = 4 } = decode(bytes);
    return convert(data, { width, height, from, to: channels });
  } catch (error) {
    throw new SyntaxError(
      `${name} cannot be decoded as a ${kind} picture (${bytes.length} bytes); it is damaged or of an unusual kind: ${
        reason(error)
      }; replace or remove it`,
      { cause: error },
    );
  }
}

/** Reads a PNG or JPEG file; errors name the file. See {@linkcode decodeImage}. */
export async function readImage(
  path: string | URL,
  options: Omit<DecodeOptions, "name"> = {},
): Promise<Image> {
  const bytes = await Deno.readFile(path);
  return await decodeImage(bytes, { ...options, name: String(path) });
}

/**
 * Writes a `u8` picture as the bytes of a PNG file.
 *
 * @param image Shape `[height, width]` or `[height, width, channels]` with 1
 *   (grey), 3 (RGB) or 4 (RGBA) channels.
 * @example
 * ```ts
 * import { decodeImage, encodePng } from "./image_file.ts";
 * const data = new Uint8Array([0, 80, 160, 255]);
 * const bytes = await encodePng({ data, shape: [2, 2, 1], dtype: "u8" });
 * const image = await decodeImage(bytes, { channels: 1 });
 * if (image.data.join() !== data.join()) throw new Error("pixels");
 * ```
 */
export async function encodePng(image: ArrayRecord): Promise<Uint8Array> {
  checkRecord(image, "The picture to write as PNG");
  const { data, shape, dtype } = image;
  const [height, width, channels = 1] = shape;
  if (dtype !== "u8") {
    throw new DTypeError(
      `A PNG picture is written from u8 pixels, and these are ${dtype}; scale them to 0…255 and convert them first`,
    );
  }
  if (
    shape.length < 2 || shape.length > 3 || ![1, 3, 4].includes(channels) ||
    width * height === 0
  ) {
    throw new ShapeError(
      `A PNG picture has shape [height, width] or [height, width, 1, 3 or 4], and not ${
        shapeText(shape)
      }`,
    );
  }
  const png: FastPng = await import(PNG);
  const pixels = new Uint8Array(data as Uint8Array);
  return png.encode({ width, height, channels, depth: 8, data: pixels });
}

function kindOf(bytes: Uint8Array): "PNG" | "JPEG" | undefined {
  const start = bytes.slice(0, 8).toHex();
  if (start === "89504e470d0a1a0a") return "PNG";
  return start.startsWith("ffd8ff") ? "JPEG" : undefined;
}

function pngSize(bytes: Uint8Array) {
  if (bytes.length < 24) return undefined;
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  return { width: view.getUint32(16), height: view.getUint32(20) };
}

/** Walks the segments of a JPEG file to the one that holds its size. */
function jpegSize(bytes: Uint8Array) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let at = 2; at + 9 <= bytes.length && bytes[at] === 0xff;) {
    const marker = bytes[at + 1];
    const isFrame = marker >= 0xc0 && marker <= 0xcf &&
      marker !== 0xc4 && marker !== 0xc8 && marker !== 0xcc;
    if (isFrame) {
      return { height: view.getUint16(at + 5), width: view.getUint16(at + 7) };
    }
    at += marker === 0xff ? 1 : 2 + view.getUint16(at + 2);
  }
  return undefined;
}

/** Decoded pixels with `from` channels: grey, grey and alpha, RGB or RGBA. */
interface Pixels {
  data: Uint8Array | Uint8ClampedArray;
  width: number;
  height: number;
  from?: number;
}

async function loadPng(): Promise<(bytes: Uint8Array) => Pixels> {
  const { decode }: FastPng = await import(PNG);
  return (bytes) => {
    if (bytes[28] === 1 && bytes[24] < 8) {
      throw new SyntaxError(
        `interlaced pictures of ${
          bytes[24]
        } bits are not decoded; save it without interlacing`,
      );
    }
    // A copy, because the decoder looks at the whole buffer behind the bytes.
    return pngPixels(decode(bytes.slice(), { checkCrc: true }));
  };
}

function pngPixels(png: Png): Pixels {
  const { width, height, channels, palette } = png;
  const data = eightBits(png);
  if (palette === undefined || channels > 1) {
    return { data, width, height, from: channels };
  }
  const colours = new Uint8Array(data.length * 3);
  data.forEach((index, i) => {
    const colour = palette[index];
    if (colour === undefined) {
      throw new SyntaxError(
        `a pixel has colour ${index} of a palette of ${palette.length}`,
      );
    }
    colours.set(colour.slice(0, 3), 3 * i);
  });
  return { data: colours, width, height, from: 3 };
}

/** What a decoder said, put into words where it only ran over the end. */
function reason(error: unknown): string {
  const { cause } = error as Error;
  const message = (error as Error).message.replace(/[.:]\s*$/, "");
  if (error instanceof RangeError || cause instanceof RangeError) {
    return `it ends too early (${message})`;
  }
  return cause instanceof Error ? `${message} ${cause.message}` : message;
}

/** Brings the samples to one byte each; palette indices keep their values. */
function eightBits(png: Png): Uint8Array {
  const { width, height, data, depth, palette } = png;
  if (data instanceof Uint16Array) {
    return Uint8Array.from(data, (value) => value >> 8);
  }
  if (depth >= 8) return data;
  const rowBytes = Math.ceil(width * depth / 8);
  const largest = 2 ** depth - 1;
  const scale = palette ? 1 : 255 / largest;
  const out = new Uint8Array(width * height);
  for (let i = 0; i < out.length; i++) {
    const bit = (i % width) * depth;
    const byte = data[Math.floor(i / width) * rowBytes + (bit >> 3)];
    out[i] = ((byte >> (8 - depth - (bit & 7))) & largest) * scale;
  }
  return out;
}

/** Goes from any number of channels to 1 or 3. */
function convert(
  data: Uint8Array | Uint8ClampedArray,
  { width, height, from, to }: {
    width: number;
    height: number;
    from: number;
    to: 1 | 3;
  },
): Image {
  const count = width * height;
  const out = new Uint8Array(count * to);
  for (let i = 0; i < count; i++) {
    const red = data[i * from];
    const green = from < 3 ? red : data[i * from + 1];
    const blue = from < 3 ? red : data[i * from + 2];
    if (to === 1) {
      // Pillow's fixed-point weights, which add up to 2¹⁶.
      out[i] = (red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16;
    } else {
      out[3 * i] = red;
      out[3 * i + 1] = green;
      out[3 * i + 2] = blue;
    }
  }
  return { data: out, shape: [height, width, to], dtype: "u8" };
}
