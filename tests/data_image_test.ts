import { assert, assertEquals, assertRejects } from "@std/assert";
import { decodeImage, encodePng, readImage } from "../data/image_file.ts";
import type { ArrayRecord } from "../formats/array_record.ts";
import { readNpz } from "../formats/npz.ts";

const FOLDER = new URL("./golden/images/", import.meta.url);
const expected = await readNpz(new URL("expected.npz", FOLDER));

for (const [key, golden] of expected) {
  const [operation, file] = key.split("/");
  if (operation !== "decode") continue;
  Deno.test(`image: ${file} gives the pixels that Pillow gives`, async () => {
    const channels = golden.shape.length === 3 ? 3 : 1;
    const image = await readImage(new URL(file, FOLDER), { channels });
    assertEquals(image.shape, [29, 37, channels]);
    assertEquals(image.data, golden.data);
  });
}

Deno.test("image: colours become the grey that Pillow makes of them", async () => {
  const image = await readImage(new URL("base.png", FOLDER), { channels: 1 });
  assertEquals(image.data, expected.get("grey/base.png")!.data);
});

Deno.test("image: grey becomes three equal channels", async () => {
  const image = await readImage(new URL("grey.png", FOLDER));
  const grey = expected.get("decode/grey.png")!.data;
  assertEquals(image.shape, [29, 37, 3]);
  assert(image.data.every((value, i) => value === grey[Math.floor(i / 3)]));
});

Deno.test("image: PNG files written here are read back", async () => {
  for (const shape of [[3, 5], [3, 5, 1], [5, 2, 3]]) {
    const length = shape.reduce((product, axis) => product * axis, 1);
    const data = new Uint8Array(length).map((_, i) => i * 37);
    const bytes = await encodePng({ data, shape, dtype: "u8" });
    const channels = shape[2] === 3 ? 3 : 1;
    const image = await decodeImage(bytes, { channels });
    assertEquals(image.shape, [shape[0], shape[1], channels]);
    assertEquals(image.data, data);
  }
});

Deno.test("image: pictures that cannot be written say why", async () => {
  const cases: [ArrayRecord, string][] = [
    [{ data: new Float32Array(4), shape: [2, 2], dtype: "f32" }, "are f32"],
    [{ data: new Uint8Array(4), shape: [4], dtype: "u8" }, "not [4]"],
    [{ data: new Uint8Array(4), shape: [2, 1, 2], dtype: "u8" }, "[2, 1, 2]"],
    [{ data: new Uint8Array(0), shape: [0, 3], dtype: "u8" }, "[0, 3]"],
  ];
  for (const [image, sentence] of cases) {
    await assertRejects(() => encodePng(image), TypeError, sentence);
  }
});

Deno.test("image: damage is told with the file's name, and the next one is read", async () => {
  const png = await Deno.readFile(new URL("base.png", FOLDER));
  const jpeg = await Deno.readFile(new URL("base.jpg", FOLDER));
  const huge = png.slice();
  huge[16] = 0x40;
  const flipped = png.slice();
  flipped[1000] ^= 1;
  const interlaced = png.slice();
  interlaced[24] = 4;
  interlaced[28] = 1;
  const cases: [Uint8Array, string][] = [
    [new Uint8Array(0), "x.jpg is neither a PNG nor a JPEG picture: it is emp"],
    [new TextEncoder().encode("GIF89a"), "starts with the bytes 47494638"],
    [png.slice(0, 1000), "as a PNG picture (1000 bytes)"],
    [png.slice(0, -12), "it ends too early"],
    [png.slice(0, 10), "it ends too early"],
    [flipped, "CRC mismatch"],
    [interlaced, "interlaced pictures of 4 bits"],
    [huge, "1073741861×29 pixels"],
    [jpeg.slice(0, -300), "Premature end of JPEG file"],
    [jpeg.slice(0, 10), "Premature end of JPEG file"],
    [await Deno.readFile(new URL("cmyk.jpg", FOLDER)), "Unsupported color"],
  ];
  for (const [bytes, sentence] of cases) {
    await assertRejects(
      () => decodeImage(bytes, { name: "x.jpg" }),
      SyntaxError,
      sentence,
    );
  }
  const image = await decodeImage(jpeg);
  assertEquals(image.data, expected.get("decode/base.jpg")!.data);
});

Deno.test("image: many at once do not disturb each other", async () => {
  const jpeg = await Deno.readFile(new URL("base.jpg", FOLDER));
  const results = await Promise.allSettled(
    Array.from(
      { length: 12 },
      (_, i) => decodeImage(i % 3 === 1 ? jpeg.slice(0, -300) : jpeg),
    ),
  );
  assertEquals(
    results.map(({ status }) => status),
    Array.from(
      { length: 12 },
      (_, i) => i % 3 === 1 ? "rejected" : "fulfilled",
    ),
  );
});
