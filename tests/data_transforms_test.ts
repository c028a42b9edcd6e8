import { assert, assertEquals, assertThrows } from "@std/assert";
import {
  adjustBrightness,
  adjustContrast,
  adjustHue,
  adjustSaturation,
} from "../data/image_color.ts";
import { type Image, readImage } from "../data/image_file.ts";
import {
  cropImage,
  flipImage,
  padImage,
  type PadMode,
  rotateImage,
} from "../data/image_geometry.ts";
import { resizeImage } from "../data/image_resize.ts";
import { Philox } from "../data/rng.ts";
import * as t from "../data/transforms.ts";
import { readNpz } from "../formats/npz.ts";

const FOLDER = new URL("./golden/images/", import.meta.url);
const expected = await readNpz(new URL("expected.npz", FOLDER));
const base = await readImage(new URL("base.png", FOLDER));
const square = cropImage(base, { top: 0, left: 0, height: 20, width: 20 });
const baseFloat = t.toFloat()(base, new Philox(0));
const random = new Philox(0);

/** What each operation of `make.py` is here, for the text after the slash. */
const OPERATIONS: Record<string, (args: string) => Image> = {
  resize: (size) => resizeImage(base, ...pair(size)),
  resize_shorter: (size) => t.resize(Number(size))(base, random),
  resize_float: (size) => resizeImage(baseFloat, ...pair(size)),
  rotate_nearest: (angle) => rotateImage(base, Number(angle)),
  rotate_bilinear: (angle) =>
    rotateImage(base, Number(angle), { mode: "bilinear", fill: 9 }),
  rotate_square: (angle) => rotateImage(square, Number(angle)),
  center_crop: (size) => t.centerCrop(pair(size))(base, random),
  pad: (mode) =>
    t.pad([1, 2, 3, 4], { mode: mode as PadMode, fill: 7 })(base, random),
  flip: (direction) => flipImage(base, direction as "horizontal"),
  brightness_u8: (factor) => adjustBrightness(base, Number(factor)),
  brightness_f32: (factor) => adjustBrightness(baseFloat, Number(factor)),
  contrast_u8: (factor) => adjustContrast(base, Number(factor)),
  contrast_f32: (factor) => adjustContrast(baseFloat, Number(factor)),
  saturation_u8: (factor) => adjustSaturation(base, Number(factor)),
  saturation_f32: (factor) => adjustSaturation(baseFloat, Number(factor)),
  hue_u8: (turn) => adjustHue(base, Number(turn)),
  hue_f32: (turn) => adjustHue(baseFloat, Number(turn)),
  grayscale: () => t.grayscale()(base, random),
  normalize: () =>
    t.normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])(
      baseFloat,
      random,
    ),
};

function pair(text: string): [number, number] {
  const [height, width] = text.split("x").map(Number);
  return [height, width];
}

for (const [key, golden] of expected) {
  const [name, args = ""] = key.split("/");
  const operation = OPERATIONS[name];
  if (operation === undefined) continue;
  Deno.test(`transform: ${key} is what Pillow and torchvision give`, () => {
    const image = operation(args);
    const shape = golden.shape.length === 2
      ? [...golden.shape, 1]
      : golden.shape;
    assertEquals(image.shape, shape);
    if (image.dtype === "u8") {
      assertEquals(image.data, golden.data);
    } else {
      const worst = (image.data as Float32Array).reduce(
        (most, value, i) =>
          Math.max(most, Math.abs(value - Number(golden.data[i]))),
        0,
      );
      assert(worst < 2e-6, `differs by ${worst}`);
    }
  });
}

Deno.test("transform: every operation of the golden file is compared", () => {
  const names = new Set([...expected.keys()].map((key) => key.split("/")[0]));
  names.delete("decode");
  names.delete("grey");
  assertEquals([...names].sort(), Object.keys(OPERATIONS).sort());
});

/** One transform of each kind, as a table of calls. */
const ALL: Record<string, t.Transform> = {
  resize: t.resize([9, 8]),
  centerCrop: t.centerCrop(12),
  randomCrop: t.randomCrop(20, { padding: 4, mode: "reflect" }),
  randomResizedCrop: t.randomResizedCrop([16, 14], { scale: [0.3, 0.9] }),
  pad: t.pad(2, { fill: 3 }),
  randomHorizontalFlip: t.randomHorizontalFlip(0.5),
  randomVerticalFlip: t.randomVerticalFlip(0.5),
  randomRotation: t.randomRotation(30, { mode: "bilinear" }),
  colorJitter: t.colorJitter({
    brightness: 0.4,
    contrast: 0.4,
    saturation: 0.4,
    hue: 0.1,
  }),
  grayscale: t.grayscale(),
  toFloat: t.toFloat(),
  normalize: t.compose(t.toFloat(), t.normalize([0.5, 0.5, 0.5], [1, 2, 3])),
  compose: t.compose(t.resize(16), t.randomCrop(12), t.toFloat()),
};

for (const [name, transform] of Object.entries(ALL)) {
  Deno.test(`transform: ${name} repeats with its seed, also rebuilt from data`, () => {
    const before = base.data.slice();
    const spec = JSON.parse(JSON.stringify(transform.spec));
    const rebuilt = t.transformFrom(spec);
    for (let seed = 0; seed < 10; seed++) {
      const image = transform(base, new Philox(seed));
      assertEquals(rebuilt(base, new Philox(seed)), image);
    }
    assertEquals(base.data, before);
  });
}

for (
  const name of [
    "randomCrop",
    "randomResizedCrop",
    "randomHorizontalFlip",
    "randomVerticalFlip",
    "randomRotation",
    "colorJitter",
  ]
) {
  Deno.test(`transform: ${name} depends on the random numbers`, () => {
    const seen = new Set(
      Array.from(
        { length: 20 },
        (_, seed) => ALL[name](base, new Philox(seed)).data.join(),
      ),
    );
    assert(seen.size > 1);
  });
}

Deno.test("transform: randomCrop reaches each place, and no other", () => {
  const image: Image = {
    data: new Uint8Array([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]),
    shape: [3, 4, 1],
    dtype: "u8",
  };
  const crop = t.randomCrop([2, 3]);
  const corners = new Set<number>();
  for (let seed = 0; seed < 100; seed++) {
    corners.add(crop(image, new Philox(seed)).data[0]);
  }
  assertEquals([...corners].sort(), [0, 1, 4, 5]);
});

Deno.test("transform: flips happen as often as their probability says", () => {
  let count = 0;
  for (let seed = 0; seed < 2000; seed++) {
    const flip = t.randomHorizontalFlip(0.3);
    if (flip(square, new Philox(seed)) !== square) count++;
  }
  // Four standard deviations of a binomial with n = 2000 and p = 0.3.
  assert(Math.abs(count - 600) < 82, `${count} of 2000`);
});

Deno.test("transform: one's own function has no spec, nor has a chain with it", () => {
  const own: t.Transform = (image) => image;
  assertEquals(t.compose(t.toFloat(), own).spec, undefined);
  assertEquals(t.compose(t.toFloat()).spec, ["compose", ["toFloat"]]);
});

Deno.test("transform: what cannot work says why", () => {
  const cases: [() => unknown, string][] = [
    [() => t.transformFrom(["resise", 3]), 'no transform "resise"'],
    [() => t.randomCrop(40)(base, random), "out of a picture of 29×37"],
    [() => resizeImage(base, 0, 3), "not to 0×3"],
    [() => t.normalize([0, 0, 0], [1, 1, 1])(base, random), "put toFloat()"],
    [() => t.normalize([0], [1])(baseFloat, random), "of 3 channels"],
    [
      () => t.normalize([0], [0]),
      "std [0]: it must be a list of numbers above 0",
    ],
    [() => t.normalize([NaN], [1]), "mean [NaN]"],
    [
      () => t.randomHorizontalFlip(2),
      "with p 2: it must be a number from 0 to 1",
    ],
    [() => t.randomVerticalFlip(NaN), "randomVerticalFlip with p NaN"],
    [
      () => t.colorJitter({ hue: 0.6 }),
      "hue 0.6: it must be a number from 0 to",
    ],
    [() => t.colorJitter({ hue: NaN }), "hue NaN"],
    [() => t.colorJitter({ contrast: -1 }), "contrast -1"],
    [() => t.randomRotation(NaN), "randomRotation with degrees NaN"],
    [() => t.randomRotation(9, { mode: "edge" as "nearest" }), '"bilinear"'],
    [() => t.randomRotation(9, { fill: NaN }), "fill NaN"],
    [
      () => t.pad(1, { mode: "wrap" as "edge" }),
      'mode "wrap": it must be one of',
    ],
    [() => t.pad(1.5), "padding 1.5"],
    [() => t.pad([1, 2] as unknown as number), "padding [1, 2]"],
    [() => t.randomCrop([2, 2.5]), "size [2, 2.5]: it must be a whole number"],
    [() => t.randomCrop(2, { padding: -1 }), "padding -1"],
    [() => t.centerCrop(0), "centerCrop with size 0"],
    [() => t.resize(-8), "resize with size -8"],
    [() => t.randomResizedCrop(8, { scale: [1, 0.5] }), "the smaller first"],
    [() => t.randomResizedCrop(8, { ratio: [0, 1] }), "ratio [0, 1]"],
    [() => adjustHue(base, 0.6), "not by 0.6"],
    [() => adjustContrast(base, -1), "must be a number ≥ 0, and is -1"],
    [() => t.pad(40, { mode: "reflect" })(base, random), "cannot be mirrored"],
    [
      () => t.pad([0, 29, 0, 0], { mode: "reflect" })(base, random),
      "cannot be mirrored into margins of top 29",
    ],
    [
      () => t.pad([0, 0, 37, 0], { mode: "reflect" })(base, random),
      "right 37: each must be smaller",
    ],
    [() => t.pad(-1), "pixels ≥ 0"],
    [
      () => padImage(base, { ...zeroMargins(), left: -1 }),
      "Margins must be ≥ 0",
    ],
    [
      () => cropImage(base, { top: 20, left: 0, height: 10, width: 1 }),
      "10×1 pixels from row 20",
    ],
    [
      () => padImage({ ...base, shape: [29, 111] }, zeroMargins()),
      "and not [29, 111]",
    ],
  ];
  for (const [run, sentence] of cases) assertThrows(run, Error, sentence);
});

function zeroMargins() {
  return { top: 0, left: 0, bottom: 0, right: 0 };
}
