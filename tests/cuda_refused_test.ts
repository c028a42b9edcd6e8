/** Kernels on CUDA that refuse elements by themselves: indices and labels out of range. */

import { assertEquals, assertThrows } from "@std/assert";
import { runRows } from "../core/row_kernels.ts";
import {
  argMax,
  argMin,
  crossEntropy,
  embedding,
  fromHost,
  gather,
  getDevice,
  indexSelect,
  memory,
  randn,
  scatterAdd,
  scope,
  type Tensor,
  triu,
} from "../mod.ts";
import * as k from "../kernel/expr.ts";
import { cudaForTests, cudaTest } from "./cuda_host/device.ts";

const cuda = await cudaForTests();
const { host } = cuda;
const where = { device: "cuda" };

function test(name: string, body: () => void): void {
  cudaTest(cuda, name, () => scope(body));
}

/** An index of i64. */
function at(shape: readonly number[], ...elements: bigint[]): Tensor {
  return fromHost(BigInt64Array.from(elements), "i64", shape, where);
}

/** Rows 0 to 3, of three numbers that count on. */
function table(): Tensor {
  const data = Float32Array.from({ length: 12 }, (_, i) => i);
  return fromHost(data, "f32", [4, 3], where);
}

test("a look-up that checks its index is one launch, and labels take none of their own", () => {
  if (host === undefined) return; // calls are counted on the stand-ins only
  const x = table(), rows = at([2], 1n, 3n), cells = at([1, 3], 3n, 0n, 2n);
  const labels = at([4], 0n, 2n, 1n, 1n);
  const runs: [run: () => Tensor, launches: number][] = [
    [() => embedding(rows, x), 1],
    [() => indexSelect(x, 0, rows), 1],
    [() => gather(x, 0, cells), 1],
    [() => crossEntropy(x, labels), 2],
  ];
  for (const [run, launches] of runs) {
    run().data();
    host.clearCalls();
    run().materialize();
    assertEquals(host.calls(), new Array(launches).fill("cuLaunchKernel"));
  }
});

test("what is out of range is named at the next read, once", () => {
  const x = table();
  const wrong: [run: () => Tensor, message: string][] = [
    [() => embedding(at([2], 1n, 4n), x), "index 4 is out of range"],
    [() => indexSelect(x, 1, at([1], -1n)), "index -1 is out of range"],
    // As 32 bits it would be 1.
    [() => indexSelect(x, 0, at([1], (1n << 32n) + 1n)), "index 4294967297"],
    [() => gather(x, 0, at([1, 2], 0n, 9n)), "index 9 is out of range"],
    [() => crossEntropy(x, at([4], 0n, 1n, 3n, 0n)), "label 3 among 3 classes"],
    [() => crossEntropy(x, at([4], 0n, 1n << 32n, 0n, 0n)), "label 4294967296"],
    [
      () => crossEntropy(x, at([4], -100n, -1n, 0n, 0n), { reduction: "sum" }),
      "label -1 among 3 classes",
    ],
    // Rows so few and long that they are reduced in pieces.
    [
      () => crossEntropy(randn([1, 40_000], where), at([1], 40_000n)),
      "label 40000 among 40000 classes",
    ],
    [() => crossEntropy(randn([2, 0], where), at([2], 0n, -100n)), "label 0"],
    // No element is read, and still the index is looked at.
    [() => indexSelect(randn([2, 0], where), 0, at([1], 2n)), "index 2"],
    [() => scatterAdd(x, 0, at([1, 1], 4n), randn([1, 1], where)), "index 4"],
  ];
  for (const [run, message] of wrong) {
    const result = run();
    assertThrows(() => getDevice("cuda").synchronize(), RangeError, message);
    result.data();
    assertEquals(embedding(at([1], 2n), x).toArray(), [[6, 7, 8]]);
  }
});

test("an index is kept until it was looked at, and no longer", () => {
  const x = table();
  scope(() => {
    embedding(at([2], 0n, 7n), x).materialize();
  });
  const before = memory().devices["cuda:0"].liveBytes;
  assertThrows(() => x.data(), RangeError, "index 7");
  assertEquals(memory().devices["cuda:0"].liveBytes, before - 16);
});

for (const length of [3, 10_001]) {
  test(`of ${length} elements each one is looked at, and nothing beside them`, () => {
    for (const bad of [undefined, 0, length - 1]) {
      const data = new Float32Array(length).fill(1);
      if (bad !== undefined) data[bad] = 0;
      const x = fromHost(data, "f32", [length], where);
      const device = getDevice("cuda");
      let told = 0;
      const flag = device.flag!({
        failed: () => new RangeError("refused"),
        release: () => told++,
      });
      const results = runRows(device, {
        name: "refuse what is below 1",
        space: x.shape,
        axes: [],
        streams: [x.value],
        passes: 1,
        flag,
        build: ({ streams: [x] }) => ({
          stages: [],
          outputs: [],
          refuses: k.lt(x, 1),
        }),
      });
      assertEquals(results, []);
      if (bad === undefined) device.synchronize();
      else assertThrows(() => device.synchronize(), RangeError, "refused");
      assertEquals(told, 1);
    }
  });
}

test("more elements than positions can count are refused where positions are found or computed with", () => {
  const one = fromHost(Float32Array.of(1), "f32", [1], where);
  const many = one.expand([2 ** 31]);
  for (const find of [argMax, argMin]) {
    assertThrows(
      () => find(many).materialize(),
      RangeError,
      "Cannot find positions among 2147483648 elements: positions count up to 2147483647 elements; work on parts of the tensor",
    );
  }
  assertThrows(
    () => triu(many.reshape([1, 2 ** 31])).materialize(),
    RangeError,
    "Cannot compute with coordinates among 2147483648 elements",
  );
  assertThrows(
    () => gather(one.expand([2 ** 31 + 1]), 0, at([1], 7n)).materialize(),
    RangeError,
    "Cannot read at computed offsets in an operand of 2147483649 elements",
  );
});
