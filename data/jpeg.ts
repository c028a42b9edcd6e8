/**
 * The JPEG decoder: Mozilla's library as the WebAssembly that the npm package
 * `@jsquash/jpeg` brings, fetched on first use.
 *
 * @module
 */

/** In a variable, so that Deno fetches the package on first use only. */
const PACKAGE = "npm:@jsquash/jpeg@1.6.0";

/** The part of the WebAssembly's JavaScript side that is used here. */
interface Library {
  decode(bytes: Uint8Array, applyOrientation: boolean): RgbaPixels | null;
}

/** Decoded pixels: red, green, blue and alpha. */
export interface RgbaPixels {
  /** Four bytes per pixel, row by row. */
  data: Uint8ClampedArray;
  /** Pixels per row. */
  width: number;
  /** Rows. */
  height: number;
}

/** Decodes one JPEG file, or throws the library's own words. */
export type JpegDecoder = (bytes: Uint8Array) => RgbaPixels;

let compiled: Promise<WebAssembly.Module> | undefined;
let decoder: Promise<JpegDecoder> | undefined;

/**
 * The decoder, ready to be called. Needs the permission to read files, for the
 * WebAssembly in Deno's cache. Ask for it anew for each picture: it is replaced
 * after a damaged one.
 */
export function loadJpegDecoder(): Promise<JpegDecoder> {
  return decoder ??= openDecoder();
}

async function openDecoder(): Promise<JpegDecoder> {
  const said: string[] = [];
  const { default: factory } = await import(
    `${PACKAGE}/codec/dec/mozjpeg_dec.js`
  );
  const module = await (compiled ??= compile());
  const library: Library = await factory({
    noInitialRun: true,
    print: (line: string) => said.push(line),
    printErr: (line: string) => said.push(line),
    instantiateWasm(
      imports: WebAssembly.Imports,
      done: (instance: WebAssembly.Instance) => void,
    ): WebAssembly.Exports {
      const instance = new WebAssembly.Instance(module, imports);
      done(instance);
      return instance.exports;
    },
  });
  return (bytes) => {
    said.length = 0;
    let pixels: RgbaPixels | null = null;
    try {
      pixels = library.decode(bytes, false);
    } catch {
      // The library ended its program: what it said is the reason.
      decoder = undefined;
    }
    const words = said.join("; ");
    // Other warnings, such as stray bytes between segments, do no harm.
    if (pixels === null || words.includes("Premature end")) {
      throw new SyntaxError(words || "the decoder gave no reason");
    }
    return pixels;
  };
}

async function compile(): Promise<WebAssembly.Module> {
  const url = import.meta.resolve(`${PACKAGE}/codec/dec/mozjpeg_dec.wasm`);
  return await WebAssembly.compile(await Deno.readFile(new URL(url)));
}
