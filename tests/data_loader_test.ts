import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import {
  arrayDataset,
  type Batch,
  type Dataset,
  exampleDataset,
  randomSplit,
  stackRecords,
  subset,
  takeRows,
} from "../data/dataset.ts";
import { DataLoader, type LoaderOptions } from "../data/loader.ts";
import type { ArrayRecord } from "../formats/array_record.ts";

function counting(length: number): ArrayRecord {
  const data = Int32Array.from({ length }, (_, i) => i);
  return { data, shape: [length], dtype: "i32" };
}

function numbers(length: number): Dataset<Batch> {
  return arrayDataset(counting(length), counting(length));
}

/** The same examples, answered with a promise, after turns of the event loop. */
function slowNumbers(length: number, log: number[] = []): Dataset<Batch> {
  const fast = numbers(length);
  return {
    length,
    async batch(indices, random) {
      log.push(indices[0]);
      await new Promise((resolve) => setTimeout(resolve, 1));
      return await fast.batch(indices, random);
    },
  };
}

async function epochOf(loader: DataLoader): Promise<number[][]> {
  const batches: number[][] = [];
  for await (const { inputs, targets } of loader) {
    assertEquals(inputs.data, targets.data);
    batches.push(Array.from(inputs.data as Int32Array));
  }
  return batches;
}

Deno.test("loader: in order, with and without the last batch", async () => {
  const whole = new DataLoader(numbers(7), { batchSize: 3 });
  assertEquals(whole.batchesPerEpoch, 3);
  assertEquals(await epochOf(whole), [[0, 1, 2], [3, 4, 5], [6]]);
  const even = new DataLoader(numbers(7), { batchSize: 3, dropLast: true });
  assertEquals(even.batchesPerEpoch, 2);
  assertEquals(await epochOf(even), [[0, 1, 2], [3, 4, 5]]);
});

Deno.test("loader: one batch may be the whole data set", async () => {
  for (const dropLast of [false, true]) {
    const loader = new DataLoader(numbers(4), { batchSize: 4, dropLast });
    assertEquals(await epochOf(loader), [[0, 1, 2, 3]]);
  }
});

Deno.test("loader: each epoch has its own order of all examples, by the seed", async () => {
  const options = { batchSize: 4, shuffle: true, seed: 9 };
  const one = new DataLoader(numbers(30), options);
  const other = new DataLoader(numbers(30), options);
  const orders: string[] = [];
  for (let epoch = 0; epoch < 3; epoch++) {
    assertEquals(one.epoch, epoch);
    const batches = await epochOf(one);
    assertEquals(await epochOf(other), batches);
    const order = batches.flat();
    assertEquals(order.toSorted((a, b) => a - b), [...counting(30).data]);
    orders.push(order.join());
  }
  const reseeded = new DataLoader(numbers(30), { ...options, seed: 10 });
  orders.push((await epochOf(reseeded)).flat().join());
  assertEquals(new Set(orders).size, 4);
});

Deno.test("loader: restored at any batch, the same batches follow", async () => {
  for (const make of [numbers, slowNumbers]) {
    const options: LoaderOptions = {
      batchSize: 4,
      shuffle: true,
      seed: 3,
      prefetch: 2,
    };
    const loader = new DataLoader(make(10), options);
    const log: string[] = [];
    const states: string[] = [];
    for (let step = 0; step < 12; step++) {
      states.push(JSON.stringify(loader.state()));
      const batch = await loader.next();
      log.push(batch === undefined ? "end" : [...batch.inputs.data].join());
    }
    assertEquals(log.filter((line) => line === "end").length, 3);
    for (const [step, state] of states.entries()) {
      const restored = new DataLoader(make(10), options);
      restored.restore(JSON.parse(state));
      for (let later = step; later < 12; later++) {
        const batch = await restored.next();
        assertEquals(
          batch === undefined ? "end" : [...batch.inputs.data].join(),
          log[later],
        );
      }
    }
  }
});

Deno.test("loader: leaving the loop early keeps the place", async () => {
  const loader = new DataLoader(slowNumbers(6), { batchSize: 2 });
  for await (const { inputs } of loader) {
    assertEquals([...inputs.data], [0, 1]);
    break;
  }
  assertEquals([loader.epoch, loader.position], [0, 1]);
  assertEquals(await epochOf(loader), [[2, 3], [4, 5]]);
  assertEquals([loader.epoch, loader.position], [1, 0]);
});

Deno.test("loader: batches are made ahead, as many as asked for, once each", async () => {
  for (const prefetch of [0, 1, 3]) {
    const log: number[] = [];
    const loader = new DataLoader(slowNumbers(10, log), {
      batchSize: 1,
      prefetch,
    });
    await loader.next();
    assertEquals(log.length, 1 + prefetch);
    await epochOf(loader);
    assertEquals(log, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    await loader.next();
    assertEquals(log.length, 11 + prefetch);
    loader.restore({ ...loader.state(), epoch: 0, position: 5 });
    assertEquals([...(await loader.next())!.inputs.data], [5]);
  }
});

Deno.test("loader: an error comes with the batch that it belongs to", async () => {
  const broken: Dataset<number> = {
    length: 3,
    batch: ([index]) =>
      index === 1
        ? Promise.reject(new RangeError("example 1 is broken"))
        : Promise.resolve(index),
  };
  const loader = new DataLoader(broken, { batchSize: 1 });
  assertEquals(await loader.next(), 0);
  await new Promise((resolve) => setTimeout(resolve, 5));
  const message = "example 1 is broken";
  await assertRejects(() => loader.next(), RangeError, message);
  assertEquals(loader.position, 1);
  await assertRejects(() => loader.next(), RangeError, message);
});

Deno.test("loader: what cannot work says why", () => {
  const make = (length: number, options: LoaderOptions) => () =>
    new DataLoader(numbers(length), options);
  const cases: [() => unknown, string][] = [
    [make(5, { batchSize: 6 }), "6 is larger than the data set of 5"],
    [make(0, { batchSize: 1 }), "The data set is empty"],
    [make(5, { batchSize: 0 }), "≥ 1, and is 0"],
    [make(5, { batchSize: 1.5 }), "≥ 1, and is 1.5"],
    [make(5, { batchSize: 1, prefetch: -1 }), "≥ 0, and is -1"],
    [make(5, { batchSize: 1, seed: -1, shuffle: true }), "and -1 is not"],
    [make(5, { batchSize: 1, seed: NaN }), "and NaN is not"],
  ];
  for (const [run, sentence] of cases) assertThrows(run, RangeError, sentence);
  const loader = new DataLoader(numbers(5), { batchSize: 2, seed: 1 });
  const state = loader.state();
  for (
    const [change, sentence] of [
      [{ length: 6 }, "has length 6, and this loader has length 5"],
      [{ seed: 2 }, "has seed 2"],
      [{ batchSize: 1 }, "has batchSize 1"],
      [{ shuffle: true }, "has shuffle true"],
      [{ position: 4 }, "batch 4 of epoch 0, and an epoch has 3"],
      [{ epoch: -1 }, "of epoch -1"],
    ] as const
  ) {
    assertThrows(
      () => loader.restore({ ...state, ...change }),
      RangeError,
      sentence,
    );
  }
});

Deno.test("dataset: rows of every kind of array, and their stack", () => {
  const arrays: ArrayRecord[] = [
    { data: new Float32Array([1, 2, 3, 4, 5, 6]), shape: [3, 2], dtype: "f32" },
    { data: new BigInt64Array([1n, 2n, 3n]), shape: [3], dtype: "i64" },
    { data: new Uint8Array([1, 2, 3]), shape: [3, 1], dtype: "u8" },
    { data: new Uint16Array([1, 2, 3]), shape: [3], dtype: "bf16" },
    { data: new Float64Array(0), shape: [3, 0], dtype: "f64" },
  ];
  for (const array of arrays) {
    const rows = takeRows(array, [2, 0, 2]);
    const [, ...row] = array.shape;
    assertEquals(rows.shape, array.shape);
    assertEquals(rows.dtype, array.dtype);
    const ones = [0, 1, 2].map((i) => {
      const one = takeRows(array, [i]);
      return { ...one, shape: row };
    });
    assertEquals(stackRecords(ones), array);
    assertEquals(stackRecords([ones[2], ones[0], ones[2]]), rows);
  }
  assertEquals([...takeRows(arrays[0], [1]).data], [3, 4]);
});

Deno.test("dataset: examples made one by one, with random numbers of their own", async () => {
  const dataset = exampleDataset({
    length: 4,
    get: (index, random) => ({
      input: {
        data: new Float64Array([index, random.uniform()]),
        shape: [2],
        dtype: "f64",
      },
      target: { data: new Uint8Array([index]), shape: [], dtype: "u8" },
    }),
  });
  const take = async (indices: number[], epoch: number) => {
    const random = { seed: 1, epoch };
    return await dataset.batch(Uint32Array.from(indices), random);
  };
  const { inputs, targets } = await take([3, 1], 0);
  assertEquals([inputs.shape, targets.shape], [[2, 2], [2]]);
  assertEquals([...targets.data], [3, 1]);
  const again = await take([0, 1, 3], 0);
  assertEquals(again.inputs.data.slice(2, 4), inputs.data.slice(2, 4));
  const later = await take([3, 1], 1);
  assert(later.inputs.data[1] !== inputs.data[1]);
});

Deno.test("dataset: a split has each example once", async () => {
  const [train, test] = randomSplit(numbers(20), 0.7, 1);
  assertEquals([train.length, test.length], [14, 6]);
  const all = await Promise.all(
    [train, test].map((part) =>
      epochOf(new DataLoader(part, { batchSize: 1 }))
    ),
  );
  const order = all.flat(2);
  assertEquals(order.toSorted((a, b) => a - b), [...counting(20).data]);
  assert(order.join() !== [...counting(20).data].join());
  assertThrows(() => randomSplit(numbers(3), 0.1, 1), RangeError, "0 and 3");
  assertThrows(
    () => subset(numbers(3), new Uint32Array([3])),
    RangeError,
    "example 3 of a data set of 3",
  );
});

Deno.test("dataset: arrays that do not belong together are refused", () => {
  const cases: [() => unknown, string][] = [
    [() => arrayDataset(counting(3), counting(4)), "shapes [3] and [4]"],
    [() => takeRows(counting(3), [3]), "Row 3 was asked of"],
    [() => takeRows(counting(3), [-1]), "Row -1 was asked of"],
    [() => stackRecords([]), "at least one example"],
    [() => stackRecords([counting(2), counting(3)]), "number 1 has [3]"],
    [
      () =>
        stackRecords([counting(1), {
          data: new Uint8Array(1),
          shape: [1],
          dtype: "u8",
        }]),
      "number 1 has u8",
    ],
  ];
  for (const [run, sentence] of cases) assertThrows(run, Error, sentence);
});
