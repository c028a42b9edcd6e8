import { assertEquals, assertRejects, assertThrows } from "@std/assert";
import type { Batch } from "../data/dataset.ts";
import { DataLoader } from "../data/loader.ts";
import {
  CharVocabulary,
  readTextCorpus,
  textBlocks,
  textCorpus,
  textWindows,
} from "../data/text.ts";

const TEXT = "Größe 😀 zählt nicht.\n".repeat(20);

Deno.test("text: characters are numbered by code point, also beyond 16 bits", () => {
  const { chars } = CharVocabulary.of("ba😀é\nb");
  assertEquals(chars, ["\n", "a", "b", "é", "😀"]);
  const vocabulary = CharVocabulary.of(TEXT);
  const indices = vocabulary.encode(TEXT);
  assertEquals(indices.length, [...TEXT].length);
  assertEquals(vocabulary.decode(indices), TEXT);
  const saved = new CharVocabulary(
    JSON.parse(JSON.stringify(vocabulary.chars)),
  );
  assertEquals(saved.encode("zählt"), vocabulary.encode("zählt"));
});

Deno.test("text: windows are cut from the text, targets one further", () => {
  const indices = Int32Array.from({ length: 50 }, (_, i) => i);
  const windows = textWindows(indices, { blockLength: 7, length: 1000 });
  const all = Uint32Array.from({ length: 1000 }, (_, i) => i);
  const { inputs, targets } = windows.batch(all, {
    seed: 2,
    epoch: 0,
  }) as Batch;
  assertEquals(inputs.shape, [1000, 7]);
  const starts = new Set<number>();
  for (let window = 0; window < 1000; window++) {
    const start = Number(inputs.data[window * 7]);
    starts.add(start);
    for (let i = 0; i < 7; i++) {
      assertEquals(inputs.data[window * 7 + i], start + i);
      assertEquals(targets.data[window * 7 + i], start + i + 1);
    }
  }
  // Each of the 43 places, and none that would run over the end.
  assertEquals([...starts].sort((a, b) => a - b), [...indices.slice(0, 43)]);
});

Deno.test("text: windows repeat with seed and epoch, and are others in the next", async () => {
  const { train } = textCorpus(TEXT);
  const windows = textWindows(train, { blockLength: 16 });
  assertEquals(windows.length, Math.floor((train.length - 16) / 16));
  const epochs = async (seed: number) => {
    const loader = new DataLoader(windows, { batchSize: 5, seed });
    const texts: string[] = [];
    for (let epoch = 0; epoch < 2; epoch++) {
      for await (const { inputs } of loader) texts.push(inputs.data.join());
    }
    return texts;
  };
  const texts = await epochs(1);
  assertEquals(await epochs(1), texts);
  assertEquals(new Set([...texts, ...await epochs(2)]).size, 2 * texts.length);
});

Deno.test("text: blocks lie side by side and cover the text once", async () => {
  const indices = Int32Array.from({ length: 23 }, (_, i) => i);
  const blocks = textBlocks(indices, { blockLength: 5 });
  assertEquals(blocks.length, 4);
  const seen: number[] = [];
  for await (const { targets } of new DataLoader(blocks, { batchSize: 3 })) {
    seen.push(...targets.data as Int32Array);
  }
  assertEquals(seen, Array.from({ length: 20 }, (_, i) => i + 1));
});

Deno.test("text: the split keeps the order and loses nothing", () => {
  const { vocabulary, train, validation } = textCorpus(TEXT, 0.75);
  assertEquals(train.length, Math.floor([...TEXT].length * 0.75));
  assertEquals(
    vocabulary.decode(train) + vocabulary.decode(validation),
    TEXT,
  );
});

Deno.test("text: what cannot work says why", () => {
  const vocabulary = CharVocabulary.of("abc");
  const short = new Int32Array(10);
  const cases: [() => unknown, string][] = [
    [() => vocabulary.encode("abd"), 'The character "d" at place 2'],
    [() => vocabulary.decode([3]), "no character number 3"],
    [() => new CharVocabulary(["ab"]), '"ab" is not one'],
    [() => new CharVocabulary(["a", "a"]), "each character once"],
    [() => textCorpus("abc", 0), "and not 0"],
    [
      () => textWindows(short, { blockLength: 10, name: "a.txt" }),
      "a.txt has 10 characters, and a context of 10 needs at least 11; use a longer text or a context of at most 9",
    ],
    [() => textBlocks(short, { blockLength: 64 }), "a context of 64 needs"],
    [() => textWindows(short, { blockLength: 0 }), "and not 0"],
  ];
  for (const [run, sentence] of cases) assertThrows(run, RangeError, sentence);
});

Deno.test("text: files are UTF-8, with or without a byte-order mark", async () => {
  const path = await Deno.makeTempFile();
  try {
    await Deno.writeTextFile(path, "\u{feff}abc");
    const { vocabulary } = await readTextCorpus(path);
    assertEquals(vocabulary.chars, ["a", "b", "c"]);
    const bytes = new TextEncoder().encode("grün ".repeat(100));
    bytes[250] = 0xff;
    await Deno.writeFile(path, bytes);
    await assertRejects(
      () => readTextCorpus(path),
      SyntaxError,
      `${path} is not UTF-8 text: byte 251 of 600`,
    );
    await Deno.writeFile(path, bytes.subarray(0, 3));
    await assertRejects(
      () => readTextCorpus(path),
      SyntaxError,
      "byte 3 of 3 cannot",
    );
  } finally {
    await Deno.remove(path);
  }
});
