/**
 * Turns SVG into PNG with the npm package `@resvg/resvg-wasm`, with the typeface
 * Inter from `@expo-google-fonts/inter`; both are fetched on first use.
 *
 * @module
 */

/** In variables, so that Deno fetches the packages on first use only. */
const RESVG = "npm:@resvg/resvg-wasm@2.6.2";
const INTER = "npm:@expo-google-fonts/inter@0.4.2";

/** The part of resvg that is used here. */
interface Resvg {
  initWasm(module: WebAssembly.Module): Promise<void>;
  Resvg: new (svg: string, options: {
    fitTo: { mode: "zoom"; value: number };
    background: string;
    font: {
      fontBuffers: Uint8Array[];
      defaultFontFamily: string;
      sansSerifFamily: string;
    };
  }) => {
    render(): { asPng(): Uint8Array; free(): void };
    free(): void;
  };
}

let library: Promise<{ resvg: Resvg; fonts: Uint8Array[] }> | undefined;

/**
 * Draws an SVG picture on white as the bytes of a PNG file. Needs the
 * permission to read files, for the packages in Deno's cache.
 *
 * @param zoom Pixels per unit of the SVG; 2 by default, for sharp screens.
 * @throws {SyntaxError} when the text is not an SVG picture.
 */
export async function svgToPng(svg: string, zoom = 2): Promise<Uint8Array> {
  library ??= load();
  const { resvg, fonts } = await library;
  const options = {
    fitTo: { mode: "zoom" as const, value: zoom },
    background: "#ffffff",
    font: {
      fontBuffers: fonts,
      defaultFontFamily: "Inter",
      sansSerifFamily: "Inter",
    },
  };
  let picture;
  try {
    picture = new resvg.Resvg(svg, options);
  } catch (error) {
    throw new SyntaxError(
      `The text is not an SVG picture: ${String(error)}`,
      { cause: error },
    );
  }
  const drawn = picture.render();
  const png = drawn.asPng().slice();
  drawn.free();
  picture.free();
  return png;
}

async function load() {
  const resvg: Resvg = await import(RESVG);
  await resvg.initWasm(
    await WebAssembly.compile(await readPart(`${RESVG}/index_bg.wasm`)),
  );
  // Importing any file of the package puts the whole of it into the cache.
  await import(`${INTER}/package.json`, { with: { type: "json" } });
  const fonts = await Promise.all([
    readPart(`${INTER}/400Regular/Inter_400Regular.ttf`),
    readPart(`${INTER}/600SemiBold/Inter_600SemiBold.ttf`),
  ]);
  return { resvg, fonts };
}

async function readPart(
  specifier: string,
): Promise<Uint8Array<ArrayBuffer>> {
  return await Deno.readFile(new URL(import.meta.resolve(specifier)));
}
