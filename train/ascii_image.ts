/**
 * Pictures in the terminal, drawn with characters: one character is one pixel
 * wide and two pixels high, which is about its shape.
 *
 * @module
 */

/** Grey pixels, row by row: 0 is black, 255 (or 1, for floats) is white. */
export interface GreyPixels {
  /** The pixels. */
  pixels: ArrayLike<number>;
  /** Pixels per row. */
  width: number;
  /** Rows. */
  height: number;
}

/** How pictures are drawn. */
export interface AsciiImageOptions {
  /**
   * Whether to use colours, for exact greys; by default, shades of characters
   * that are brighter where the picture is.
   */
  color?: boolean;
  /** The value of white; 255 by default. */
  white?: number;
}

/** How pictures are put side by side. */
export interface ImageRowOptions extends AsciiImageOptions {
  /** Characters per line of the terminal; 80 by default. */
  columns?: number;
}

const SHADES = " ░▒▓█";

/**
 * Draws a grey picture, `ceil(height / 2)` lines of `width` characters.
 *
 * @example
 * ```ts
 * import { asciiImage } from "./ascii_image.ts";
 * const pixels = [0, 128, 255, 0, 128, 255];
 * const text = asciiImage({ pixels, width: 3, height: 2 });
 * if (text !== " ▒█") throw new Error(text);
 * ```
 */
export function asciiImage(
  image: GreyPixels,
  options: AsciiImageOptions = {},
): string {
  return imageLines(image, options).join("\n");
}

/**
 * Draws pictures of one size side by side, each above its caption, in as many
 * rows as the terminal needs.
 */
export function asciiImageRow(
  images: readonly (GreyPixels & { caption: string })[],
  options: ImageRowOptions = {},
): string {
  const { columns = 80 } = options;
  const cell = images.reduce(
    (most, { width, caption }) => Math.max(most, width, caption.length),
    1,
  );
  const perRow = Math.max(1, Math.floor((columns + 1) / (cell + 1)));
  const rows: string[] = [];
  for (let start = 0; start < images.length; start += perRow) {
    const group = images.slice(start, start + perRow);
    const drawn = group.map((image) => imageLines(image, options));
    const height = Math.max(...drawn.map((lines) => lines.length));
    for (let line = 0; line < height; line++) {
      const cells = group.map(({ width }, i) =>
        (drawn[i][line] ?? " ".repeat(width)) + " ".repeat(cell - width)
      );
      rows.push(cells.join(" ").trimEnd());
    }
    const captions = group.map(({ caption }) => centred(caption, cell));
    rows.push(captions.join(" ").trimEnd());
  }
  return rows.join("\n");
}

function imageLines(
  { pixels, width, height }: GreyPixels,
  { color = false, white = 255 }: AsciiImageOptions,
): string[] {
  const at = (x: number, y: number) =>
    y < height ? Math.min(Math.max(pixels[y * width + x] / white, 0), 1) : 0;
  const lines: string[] = [];
  for (let y = 0; y < height; y += 2) {
    let line = "";
    for (let x = 0; x < width; x++) {
      line += color
        ? halfBlock(at(x, y), at(x, y + 1))
        : shade((at(x, y) + at(x, y + 1)) / 2);
    }
    lines.push(color ? `${line}\x1b[0m` : line);
  }
  return lines;
}

function shade(brightness: number): string {
  return SHADES[Math.min(Math.round(brightness * 4), 4)];
}

/** The upper half in the text's colour, the lower one in the background's. */
function halfBlock(upper: number, lower: number): string {
  const [a, b] = [upper, lower].map((value) => Math.round(value * 255));
  return `\x1b[38;2;${a};${a};${a};48;2;${b};${b};${b}m▀`;
}

function centred(text: string, width: number): string {
  const before = Math.floor((width - text.length) / 2);
  return " ".repeat(before) + text + " ".repeat(width - text.length - before);
}
