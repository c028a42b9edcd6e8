import { assert, assertEquals, assertRejects } from "@std/assert";
import { exampleRandom } from "../data/dataset.ts";
import { readImage } from "../data/image_file.ts";
import { ImageFolder, indexImageFolder } from "../data/images.ts";
import { DataLoader } from "../data/loader.ts";
import * as t from "../data/transforms.ts";

const GOLDEN = new URL("./golden/images/", import.meta.url);

/** A folder of two classes with three pictures each, one in a deeper folder. */
async function inFolder(run: (folder: string) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    const files = {
      "cats/a.png": "base.png",
      "cats/deeper/b.JPG": "base.jpg",
      "cats/c.jpeg": "progressive.jpg",
      "dogs/a.png": "grey.png",
      "dogs/b.png": "alpha.png",
      "dogs/c.png": "palette_13.png",
      "dogs/readme.txt": "base.png",
      ".hidden/a.png": "base.png",
    };
    for (const [path, source] of Object.entries(files)) {
      const at = `${folder}/${path}`;
      await Deno.mkdir(at.slice(0, at.lastIndexOf("/")), { recursive: true });
      await Deno.copyFile(new URL(source, GOLDEN), at);
    }
    await run(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

Deno.test("images: classes and files are sorted", () =>
  inFolder(async (folder) => {
    const { classes, files, labels } = await indexImageFolder(folder);
    assertEquals(classes, ["cats", "dogs"]);
    assertEquals(files.map((file) => file.slice(folder.length + 1)), [
      "cats/a.png",
      "cats/c.jpeg",
      "cats/deeper/b.JPG",
      "dogs/a.png",
      "dogs/b.png",
      "dogs/c.png",
    ]);
    assertEquals([...labels], [0, 0, 0, 1, 1, 1]);
  }));

Deno.test("images: a batch has the channels of each picture one after the other", () =>
  inFolder(async (folder) => {
    using data = await ImageFolder.open(folder, { workers: 0 });
    const { inputs, targets } = await data.batch(new Uint32Array([1, 4]), {
      seed: 0,
      epoch: 0,
    });
    assertEquals(inputs.shape, [2, 3, 29, 37]);
    assertEquals([...targets.data], [0, 1]);
    const picture = await readImage(data.index.files[4]);
    for (const [channel, y, x] of [[0, 0, 0], [1, 5, 36], [2, 28, 0]]) {
      assertEquals(
        inputs.data[((3 + channel) * 29 + y) * 37 + x],
        picture.data[(y * 37 + x) * 3 + channel],
      );
    }
  }));

const transform = t.compose(
  t.randomCrop(24),
  t.randomHorizontalFlip(),
  t.toFloat(),
  t.normalize([0.5], [0.25]),
);

Deno.test("images: with a worker, without, and with one's own function: the same", () =>
  inFolder(async (folder) => {
    const own: t.Transform = (image, random) => transform(image, random);
    const kinds = [
      { workers: 0, transform },
      { workers: 1, transform },
      { workers: 2, transform },
      { workers: 1, transform: own },
    ];
    const results = [];
    for (const kind of kinds) {
      using data = await ImageFolder.open(folder, { channels: 1, ...kind });
      const loader = new DataLoader(data, {
        batchSize: 4,
        shuffle: true,
        seed: 5,
        prefetch: 2,
      });
      const batches = [];
      for (let epoch = 0; epoch < 2; epoch++) {
        for await (const batch of loader) batches.push(batch);
      }
      assertEquals(batches.length, 4);
      assertEquals(batches[0].inputs.shape, [4, 1, 24, 24]);
      assertEquals(batches[0].inputs.dtype, "f32");
      results.push(batches);
    }
    for (const result of results) assertEquals(result, results[0]);
    // A picture's random numbers come from seed, epoch and index alone.
    const index = await indexImageFolder(folder);
    const order = results[0][1].targets.data.length;
    assertEquals(order, 2);
    const picture = await readImage(index.files[0], { channels: 1 });
    const expected = transform(
      picture,
      exampleRandom({ seed: 5, epoch: 0 }, 0),
    );
    const rows = results[0].slice(0, 2).flatMap(({ inputs }) =>
      Array.from(
        { length: inputs.shape[0] },
        (_, i) => inputs.data.slice(i * 576, (i + 1) * 576),
      )
    );
    assert(rows.some((row) => row.join() === expected.data.join()));
  }));

Deno.test("images: where no worker starts, the pictures are decoded without", () =>
  inFolder(async (folder) => {
    const { Worker } = globalThis;
    const kinds = {
      refused: class {
        constructor() {
          throw new Deno.errors.NotCapable("no workers here");
        }
      },
      failing: class extends Worker {
        constructor() {
          super("data:text/javascript,throw 1", { type: "module" });
        }
      },
    };
    try {
      for (const kind of Object.values(kinds)) {
        globalThis.Worker = kind as typeof Worker;
        using data = await ImageFolder.open(folder, { workers: 2 });
        const loader = new DataLoader(data, { batchSize: 2, prefetch: 2 });
        const labels: number[] = [];
        for await (const { inputs, targets } of loader) {
          assertEquals(inputs.shape, [2, 3, 29, 37]);
          labels.push(...targets.data as Int32Array);
        }
        assertEquals(labels, [0, 0, 0, 1, 1, 1]);
      }
    } finally {
      globalThis.Worker = Worker;
    }
  }));

Deno.test("images: errors name the file, through the worker too", () =>
  inFolder(async (folder) => {
    const broken = `${folder}/cats/a.png`;
    const bytes = await Deno.readFile(broken);
    await Deno.writeFile(broken, bytes.slice(0, 500));
    for (const workers of [0, 1]) {
      using data = await ImageFolder.open(folder, { workers });
      const random = { seed: 0, epoch: 0 };
      await assertRejects(
        async () => await data.batch(new Uint32Array([0]), random),
        SyntaxError,
        `${broken} cannot be decoded as a PNG picture (500 bytes)`,
      );
      const { inputs } = await data.batch(new Uint32Array([1]), random);
      assertEquals(inputs.shape, [1, 3, 29, 37]);
    }
  }));

const none = { uniform: () => 0 };

Deno.test("images: pictures of different sizes in one batch are refused", () =>
  inFolder(async (folder) => {
    let call = 0;
    using data = await ImageFolder.open(folder, {
      transform: (image) =>
        call++ === 0 ? image : t.resize([4, 5])(image, none),
    });
    await assertRejects(
      async () =>
        await data.batch(new Uint32Array([0, 3]), { seed: 0, epoch: 0 }),
      TypeError,
      `${folder}/dogs/a.png is u8 of height, width and channels [4, 5, 3], and ${folder}/cats/a.png`,
    );
  }));

Deno.test("images: after its disposal a folder refuses", () =>
  inFolder(async (folder) => {
    const data = await ImageFolder.open(folder);
    const random = { seed: 0, epoch: 0 };
    const first = data.batch(new Uint32Array([0]), random);
    data[Symbol.dispose]();
    await assertRejects(() => first, Error, "disposed");
    await assertRejects(
      async () => await data.batch(new Uint32Array([0]), random),
      Error,
      "was disposed",
    );
  }));

Deno.test("images: folders without classes or pictures are refused", () =>
  inFolder(async (folder) => {
    await assertRejects(
      () => indexImageFolder(`${folder}/birds`),
      Deno.errors.NotFound,
      `There is no folder ${folder}/birds`,
    );
    await assertRejects(
      () => indexImageFolder(`${folder}/dogs/a.png`),
      Deno.errors.NotADirectory,
      "is a file",
    );
    await assertRejects(
      () => indexImageFolder(`${folder}/dogs`),
      SyntaxError,
      "dogs has no sub-folders",
    );
    await Deno.mkdir(`${folder}/empty`);
    await assertRejects(
      () => indexImageFolder(folder),
      SyntaxError,
      `${folder}/empty has no pictures`,
    );
  }));
