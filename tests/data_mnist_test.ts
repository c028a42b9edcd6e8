import {
  assertAlmostEquals,
  assertEquals,
  assertRejects,
  assertThrows,
} from "@std/assert";
import { encodeIdx, parseIdx, readIdx } from "../data/idx.ts";
import type { Batch } from "../data/dataset.ts";
import { loadMnist, mnistDataset } from "../data/mnist.ts";
import type { ArrayRecord } from "../formats/array_record.ts";

/** A header written out by hand, as the format's description has it. */
const SMALL = new Uint8Array([
  ...[0, 0, 0x08, 2],
  ...[0, 0, 0, 2, 0, 0, 0, 3],
  ...[10, 20, 30, 40, 50, 60],
]);

async function sha256(data: ArrayRecord): Promise<string> {
  const bytes = encodeIdx(data) as Uint8Array<ArrayBuffer>;
  const digest = await crypto.subtle.digest("SHA-256", bytes);
  return new Uint8Array(digest).toHex();
}

Deno.test("idx: a file written by hand is read, and written back the same", () => {
  const array = parseIdx(SMALL);
  assertEquals(array.shape, [2, 3]);
  assertEquals(array.dtype, "u8");
  assertEquals([...array.data as Uint8Array], [10, 20, 30, 40, 50, 60]);
  assertEquals(encodeIdx(array), SMALL);
});

Deno.test("idx: wider elements are big-endian", () => {
  const i16 = parseIdx(
    new Uint8Array([0, 0, 0x0b, 1, 0, 0, 0, 2, 0x01, 0x02, 0xff, 0xfe]),
  );
  assertEquals(i16, {
    data: new Int32Array([258, -2]),
    shape: [2],
    dtype: "i32",
  });
  const f32 = parseIdx(
    new Uint8Array([0, 0, 0x0d, 1, 0, 0, 0, 1, 0x3f, 0xc0, 0, 0]),
  );
  assertEquals(f32.data, new Float32Array([1.5]));
  const arrays: ArrayRecord[] = [
    { data: new Int8Array([-1, 2]), shape: [2], dtype: "i8" },
    { data: new Int32Array([-70000, 2]), shape: [1, 2], dtype: "i32" },
    { data: new Float32Array([1.25, -3]), shape: [2, 1], dtype: "f32" },
    { data: new Float64Array([1e300]), shape: [1], dtype: "f64" },
    { data: new Float64Array([]), shape: [0, 4], dtype: "f64" },
  ];
  for (const array of arrays) assertEquals(parseIdx(encodeIdx(array)), array);
});

Deno.test("idx: each kind of damage has its own sentence", () => {
  const damage: [number[], string][] = [
    [
      [0, 0, 8],
      "truncated: an IDX header has at least 4 bytes, and it has 3; copy or download it again",
    ],
    [[0x89, 0x50, 0x4e, 0x47], "starts with 0x89 0x50"],
    [[0, 0, 7, 1, 0, 0, 0, 0], "unknown element code 0x07"],
    [[0, 0, 8, 2, 0, 0, 0, 1], "a header for 2 axes has 12 bytes"],
    [[...SMALL.subarray(0, 17)], "so 18 bytes, and it has 17"],
    [[...SMALL, 1], "too long"],
  ];
  for (const [bytes, sentence] of damage) {
    assertThrows(
      () => parseIdx(new Uint8Array(bytes), "digits.idx"),
      SyntaxError,
      sentence,
    );
  }
  assertThrows(
    () =>
      encodeIdx({ data: new BigInt64Array([1n]), shape: [1], dtype: "i64" }),
    TypeError,
    "no element code for i64",
  );
});

Deno.test("mnist: all of it is there, and is the original", async () => {
  const { train, test } = await loadMnist();
  assertEquals(train.images.shape, [60000, 28, 28]);
  assertEquals(train.labels.shape, [60000]);
  assertEquals(test.images.shape, [10000, 28, 28]);
  assertEquals(test.labels.shape, [10000]);
  // The checksums of the files that torchvision and TensorFlow distribute.
  assertEquals(
    await Promise.all(
      [train.images, train.labels, test.images, test.labels].map(sha256),
    ),
    [
      "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
      "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
      "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
      "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    ],
  );
});

Deno.test("mnist: as a data set it has the published mean and deviation", async () => {
  const { train } = await loadMnist();
  const data = mnistDataset(train);
  const all = Uint32Array.from({ length: 60000 }, (_, i) => i);
  const { inputs } = data.batch(all, { seed: 0, epoch: 0 }) as Batch;
  const values = inputs.data as Float32Array;
  let sum = 0, squares = 0;
  for (const value of values) {
    sum += value;
    squares += value * value;
  }
  const mean = sum / values.length;
  assertAlmostEquals(mean, 0, 5e-4);
  assertAlmostEquals(squares / values.length - mean * mean, 1, 5e-4);
  const few = data.batch(new Uint32Array([5, 0]), { seed: 0, epoch: 0 });
  const { inputs: two, targets } = few as Batch;
  assertEquals(two.shape, [2, 1, 28, 28]);
  assertEquals(two.data.subarray(784), values.subarray(0, 784));
  // The first training label is the well-known five.
  assertEquals(targets, {
    data: new Int32Array([2, 5]),
    shape: [2],
    dtype: "i32",
  });
});

/** Writes a folder of four small IDX files, the training images gzipped. */
async function smallFolder(folder: string, trainLabels = 3): Promise<void> {
  const images = (count: number): ArrayRecord => ({
    data: new Uint8Array(count * 4).map((_, i) => i),
    shape: [count, 2, 2],
    dtype: "u8",
  });
  const labels = (count: number): ArrayRecord => ({
    data: new Uint8Array(count).map((_, i) => i % 10),
    shape: [count],
    dtype: "u8",
  });
  const packed = new Blob([encodeIdx(images(3)) as Uint8Array<ArrayBuffer>])
    .stream().pipeThrough(new CompressionStream("gzip"));
  await Deno.writeFile(`${folder}/train-images-idx3-ubyte.gz`, packed);
  const plain = {
    "train-labels-idx1-ubyte": labels(trainLabels),
    "t10k-images-idx3-ubyte": images(2),
    "t10k-labels-idx1-ubyte": labels(2),
  };
  for (const [name, array] of Object.entries(plain)) {
    await Deno.writeFile(`${folder}/${name}`, encodeIdx(array));
  }
}

Deno.test("mnist: a folder of plain and gzipped IDX files", async () => {
  const folder = await Deno.makeTempDir();
  try {
    await smallFolder(folder);
    const { train, test } = await loadMnist({ folder });
    assertEquals(train.images.shape, [3, 2, 2]);
    assertEquals([...train.images.data].slice(0, 5), [0, 1, 2, 3, 4]);
    assertEquals([...test.labels.data], [0, 1]);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("mnist: a damaged folder is refused by the file's name", async () => {
  const folder = await Deno.makeTempDir();
  try {
    await smallFolder(folder, 4);
    await assertRejects(
      () => loadMnist({ folder }),
      TypeError,
      "train-labels-idx1-ubyte has 4 labels",
    );
    const file = `${folder}/t10k-labels-idx1-ubyte`;
    const wrong: ArrayRecord[] = [
      { data: new Float32Array(2), shape: [2], dtype: "f32" },
      { data: new Uint8Array(2), shape: [2, 1], dtype: "u8" },
    ];
    for (const array of wrong) {
      await smallFolder(folder);
      await Deno.writeFile(file, encodeIdx(array));
      await assertRejects(
        () => loadMnist({ folder }),
        TypeError,
        `${file} must hold u8 elements along 1 axis, and holds ${array.dtype}`,
      );
    }
    const packed = `${folder}/train-images-idx3-ubyte.gz`;
    await Deno.writeFile(packed, (await Deno.readFile(packed)).subarray(0, 20));
    await assertRejects(() => readIdx(packed), SyntaxError, "truncated");
    await Deno.remove(packed);
    await assertRejects(
      () => loadMnist({ folder }),
      Deno.errors.NotFound,
      "train-images-idx3-ubyte.gz in ",
    );
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
