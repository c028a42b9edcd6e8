/**
 * Tensors in notebooks: in Deno's Jupyter kernel a tensor shows as a table,
 * and a picture as a picture.
 *
 * @module
 */
import { isFloat } from "../core/dtype.ts";
import { shapeText } from "../core/errors.ts";
import { numberTexts } from "../core/print.ts";
import { Tensor } from "../core/tensor.ts";
import { encodePng } from "./image_file.ts";

/** Representations of a value by media type, as Jupyter takes them. */
export interface MediaBundle {
  /** As in the REPL. */
  "text/plain": string;
  /** A table. */
  "text/html"?: string;
  /** A picture, in base64. */
  "image/png"?: string;
}

/** Pictures have at least so many pixels in each direction. */
const leastExtent = 8;
/** Pictures with more pixels show as tables. */
const mostPixels = 2 ** 24;
/** Small pictures are enlarged by a whole factor up to about this extent. */
const showExtent = 128;
/** Rows and columns of a table; of longer axes both ends are shown. */
const tableExtent = 20;

/**
 * What a notebook shows of a tensor: a picture when it looks like one
 * ([H, W], [1, H, W], [3, H, W] or [H, W, 3] with H and W of at least 8, of
 * u8 or of floats from 0 to 1; small ones are enlarged), else a table.
 *
 * @example
 * ```ts
 * import { mediaBundle } from "./display.ts";
 * import { tensor } from "../mod.ts";
 * const bundle = await mediaBundle(tensor([[1, 2], [3, 4]]));
 * if (!bundle["text/html"]?.includes("<td>4</td>")) throw new Error("cells");
 * ```
 */
export async function mediaBundle(x: Tensor): Promise<MediaBundle> {
  const plain = { "text/plain": x.toString() };
  if (x.disposed || x.size === 0 || x.rank === 0) return plain;
  const picture = pictureOf(x);
  if (picture !== undefined) {
    try {
      const png = await encodePng(picture);
      return { ...plain, "image/png": png.toBase64() };
    } catch {
      // Without the PNG package (no network, say) the numbers have to do.
    }
  }
  return { ...plain, "text/html": table(x) };
}

Object.defineProperty(Tensor.prototype, Symbol.for("Jupyter.display"), {
  configurable: true,
  writable: true,
  value(this: Tensor): Promise<MediaBundle> {
    return mediaBundle(this);
  },
});

/** Where the axes of a picture are. */
interface Layout {
  readonly height: number;
  readonly width: number;
  readonly channels: 1 | 3;
  readonly channelsFirst: boolean;
}

function layoutOf({ shape }: Tensor): Layout | undefined {
  const [a, b, c] = shape;
  if (shape.length === 2) {
    return { height: a, width: b, channels: 1, channelsFirst: true };
  }
  if (shape.length !== 3) return undefined;
  if (a === 1 || a === 3) {
    return { height: b, width: c, channels: a, channelsFirst: true };
  }
  return c === 3
    ? { height: a, width: b, channels: c, channelsFirst: false }
    : undefined;
}

/** The pixels, when the tensor looks like a picture. */
function pictureOf(x: Tensor) {
  const layout = layoutOf(x);
  if (layout === undefined || !(x.dtype === "u8" || isFloat(x.dtype))) {
    return undefined;
  }
  const { height, width, channels, channelsFirst } = layout;
  if (Math.min(height, width) < leastExtent || height * width > mostPixels) {
    return undefined;
  }
  const values = x.data() as Uint8Array | Float32Array | Float64Array;
  const scale = x.dtype === "u8" ? 1 : 255;
  if (scale === 255 && !values.every((v) => v >= 0 && v <= 1)) return undefined;
  const times = Math.max(1, Math.floor(showExtent / Math.max(height, width)));
  const shape = [height * times, width * times, channels];
  const data = new Uint8Array(shape[0] * shape[1] * channels);
  let next = 0;
  for (let row = 0; row < shape[0]; row++) {
    for (let column = 0; column < shape[1]; column++) {
      const pixel = Math.floor(row / times) * width +
        Math.floor(column / times);
      for (let c = 0; c < channels; c++) {
        const from = channelsFirst
          ? c * height * width + pixel
          : pixel * channels + c;
        data[next++] = Math.round(values[from] * scale);
      }
    }
  }
  return { data, shape, dtype: "u8" as const };
}

/** Positions that a table shows; −1 stands for those left out. */
function positions(extent: number): number[] {
  const all = Array.from({ length: extent }, (_, i) => i);
  if (extent <= tableExtent) return all;
  const half = tableExtent / 2;
  return [...all.slice(0, half), -1, ...all.slice(-half)];
}

/** A vector as one row, a matrix as rows and columns, more axes as text. */
function table(x: Tensor): string {
  const remark = x.requiresGrad ? ", requires a gradient" : "";
  const caption = `${x.dtype} ${shapeText(x.shape)}${remark}`;
  if (x.rank > 2) return `<pre>${caption}\n${escape(x.toString())}</pre>`;
  const [rows, columns] = x.rank === 2
    ? x.shape.map(positions)
    : [[0], positions(x.shape[0])];
  const width = x.shape[x.rank - 1];
  const data = x.data();
  const shown = rows.filter((r) => r >= 0).flatMap((r) =>
    columns.filter((c) => c >= 0).map((c) => data[r * width + c])
  );
  const texts = numberTexts(shown, x.dtype);
  let next = 0;
  const cells = rows.map((r) =>
    columns.map((c) => r < 0 || c < 0 ? "…" : texts[next++])
  );
  const head = columns.map((c) => `<th>${label(c)}</th>`).join("");
  const body = cells.map((row, i) => {
    const first = x.rank === 2 ? `<th>${label(rows[i])}</th>` : "";
    return `<tr>${first}${row.map((t) => `<td>${t}</td>`).join("")}</tr>`;
  }).join("\n");
  const corner = x.rank === 2 ? "<th></th>" : "";
  return `<table>\n<caption>${caption}</caption>\n<thead><tr>${corner}${head}</tr></thead>\n<tbody>\n${body}\n</tbody>\n</table>`;
}

function label(position: number): string {
  return position < 0 ? "…" : String(position);
}

function escape(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;");
}
