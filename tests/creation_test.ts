/**
 * Tensors from host data and sequences: inference, shapes, exact values and
 * refusals. Values of the operators among them are compared with PyTorch's in
 * operators_test.ts; inference is what PyTorch 2 prints for the same literals.
 */

import { assert, assertEquals, assertThrows } from "@std/assert";
import type { DType } from "../core/dtype.ts";
import { fromHost, memory, scope, sum, type Tensor } from "../mod.ts";
import {
  arange,
  eye,
  full,
  linspace,
  type NestedData,
  ones,
  scalar,
  tensor,
  zeros,
} from "../ops/creation.ts";
import { fullLike, onesLike, zerosLike } from "../ops/likes.ts";
import { add, mul } from "../ops/arithmetic.ts";
import { liveBytes } from "./live_bytes.ts";

function facts(x: Tensor): [DType, number[], unknown] {
  return [x.dtype, [...x.shape], x.toArray()];
}

Deno.test("tensor infers dtype and shape", () => {
  const cases: [NestedData, DType, number[], unknown][] = [
    [3, "i64", [], 3],
    [2.5, "f32", [], 2.5],
    [true, "bool", [], 1],
    [[1, 2, 3], "i64", [3], [1, 2, 3]],
    [[1, 2.5], "f32", [2], [1, 2.5]],
    [[1, NaN], "f32", [2], [1, NaN]],
    [[true, false], "bool", [2], [1, 0]],
    [[true, 2], "i64", [2], [1, 2]],
    [[true, 0.5], "f32", [2], [1, 0.5]],
    [[[1, 2], [3, 4], [5, 6]], "i64", [3, 2], [[1, 2], [3, 4], [5, 6]]],
    [[[[1]]], "i64", [1, 1, 1], [[[1]]]],
    [[], "f32", [0], []],
    [[[], []], "f32", [2, 0], [[], []]],
    [5n, "i64", [], 5],
    [Float32Array.of(1, 2), "f32", [2], [1, 2]],
    [Float64Array.of(0.1), "f64", [1], [0.1]],
    [new Float16Array([0.5, 1]), "f16", [2], [0.5, 1]],
    [Uint8Array.of(200), "u8", [1], [200]],
    [Uint8ClampedArray.of(300), "u8", [1], [255]],
    [Int8Array.of(-3), "i8", [1], [-3]],
    [Int16Array.of(-300), "i32", [1], [-300]],
    [Uint16Array.of(65535), "i32", [1], [65535]],
    [Uint32Array.of(2 ** 32 - 1), "i64", [1], [2 ** 32 - 1]],
    [[Float32Array.of(1, 2), Float32Array.of(3, 4)], "f32", [2, 2], [
      [1, 2],
      [3, 4],
    ]],
    [[Int8Array.of(1), Float64Array.of(0.5)], "f64", [2, 1], [[1], [0.5]]],
  ];
  for (const [data, dtype, shape, values] of cases) {
    assertEquals(facts(tensor(data)), [dtype, shape, values]);
  }
});

Deno.test("tensor converts to the dtype asked for", () => {
  const kinds: [NestedData, DType, unknown][] = [
    [[1, 2], "f32", [1, 2]],
    [[1.9, -1.9], "i32", [1, -1]],
    [[0, 0.5, NaN], "bool", [0, 1, 1]],
    [[65504, 1 / 3], "f16", [65504, 0.333251953125]],
    [[1 / 3], "bf16", [0.333984375]],
    [[true], "f64", [1]],
    [Float64Array.of(2.5), "i64", [2]],
  ];
  for (const [data, dtype, values] of kinds) {
    const x = tensor(data, { dtype });
    assertEquals([x.dtype, x.toArray()], [dtype, values]);
  }
  const large = 2n ** 62n + 1n;
  assertEquals(tensor([large]).data(), BigInt64Array.of(large));
  const shaped = tensor(Float32Array.of(1, 2, 3, 4), { shape: [2, 2] });
  assertEquals(shaped.toArray(), [[1, 2], [3, 4]]);
});

Deno.test("tensor copies the data", () => {
  const data = Float32Array.of(1, 2);
  const x = tensor(data);
  data[0] = 9;
  assertEquals(x.toArray(), [1, 2]);
});

Deno.test("gradients are only asked of floats", () => {
  const x = tensor([1, 2], { requiresGrad: true });
  assertEquals([x.dtype, x.requiresGrad], ["f32", true]);
  sum(mul(x, x)).backward();
  assertEquals(x.grad!.toArray(), [2, 4]);
  const c = full([2], 3, { requiresGrad: true });
  sum(mul(c, c)).backward();
  assertEquals(c.grad!.toArray(), [6, 6]);
  assertEquals(arange(3, { requiresGrad: true }).dtype, "f32");
  assertEquals(zeros([1]).requiresGrad, false);
});

Deno.test("ragged and foreign data is refused with its place", () => {
  const refused: [() => unknown, string][] = [
    [() => tensor([[1, 2], [3]]), "data[1] has 1 elements"],
    [() => tensor([[[1], [2]], [[3], 4]]), "data[1][1] has a number"],
    [() => tensor([1, [2]]), "data[1] has 1 elements"],
    [() => tensor([[1], 2]), "data[1] has a number"],
    [() => tensor([[], [1]]), "data[1] has 1 elements"],
    [
      () => tensor([Float32Array.of(1), Float32Array.of(1, 2)]),
      "data[1] has 2 elements",
    ],
    [() => tensor(["a"] as unknown as NestedData), "data[0]"],
    [() => tensor([null] as unknown as NestedData), "null at data[0]"],
    [() => tensor(undefined as unknown as NestedData), "undefined"],
    [() => tensor([300], { dtype: "u8" }), "300"],
    [() => tensor([-1], { dtype: "u8" }), "-1"],
    [() => tensor([NaN], { dtype: "i64" }), "NaN"],
    [() => tensor([2 ** 31], { dtype: "i32" }), "2147483648"],
    [() => tensor([2n ** 63n]), "9223372036854775808"],
    [() => tensor([1], { dtype: "f8" as DType }), '"f8"'],
    [() => tensor([1, 2, 3], { shape: [2] }), "3 elements"],
    [
      () => tensor([1], { dtype: "i32", requiresGrad: true }),
      "requires a gradient",
    ],
    [() => full([2], true, { dtype: "bool", requiresGrad: true }), "gradient"],
    [() => zeros([2.5]), "[2.5]"],
    [() => ones(3 as unknown as number[]), "shape 3"],
    [() => eye(-1), "rows -1"],
    [() => arange(0, 5, 0), "by 0"],
    [() => arange(0, 5, -1), "by -1"],
    [() => arange(0, Infinity), "Infinity"],
    [() => linspace(0, 1, -1), "-1"],
    [() => zeros([2], { device: "abacus" }), "abacus"],
  ];
  for (const [call, words] of refused) assertThrows(call, Error, words);
});

Deno.test("constants fuse wherever they are used", () => {
  const x = fromHost(Float32Array.of(1, 2, 3, 4, 5, 6), "f32", [2, 3]);
  assertEquals(add(x, ones([3])).toArray(), [[2, 3, 4], [5, 6, 7]]);
  assertEquals(add(ones([2, 1]), full([1, 3], 0.5)).toArray(), [
    [1.5, 1.5, 1.5],
    [1.5, 1.5, 1.5],
  ]);
  // Positions in a range are its own, however it is broadcast or summed.
  assertEquals(add(x, arange(3)).toArray(), [[1, 3, 5], [4, 6, 8]]);
  assertEquals(sum(mul(x, arange(3)), 0).toArray(), [0, 7, 18]);
  assertEquals(sum(eye(3), 0).toArray(), [1, 1, 1]);
});

Deno.test("sequences are exact at their ends", () => {
  assertEquals(arange(2 ** 53 - 3, 2 ** 53 - 1).toArray(), [
    2 ** 53 - 3,
    2 ** 53 - 2,
  ]);
  const line = linspace(-1, 1 / 3, 1001, { dtype: "f64" }).data();
  assertEquals([line[0], line[1000]], [-1, 1 / 3]);
  assert(Math.abs(Number(line[500]) + 1 / 3) < 1e-15);
  const steps = arange(0, 1000.5, 0.1).data();
  assertEquals(steps.length, 10_005);
  assertEquals(steps[10_004], Math.fround(10_004 * 0.1));
});

Deno.test("likes follow the other tensor", () => {
  const x = tensor([[1, 2], [3, 4]], { dtype: "i32" });
  assertEquals(facts(zerosLike(x)), ["i32", [2, 2], [[0, 0], [0, 0]]]);
  assertEquals(facts(onesLike(x, { dtype: "f16" }))[0], "f16");
  assertEquals(facts(fullLike(x, 7)), ["i32", [2, 2], [[7, 7], [7, 7]]]);
  assertEquals(facts(scalar(2)), ["i64", [], 2]);
});

Deno.test("new tensors die with their scope", () => {
  const before = memory(), bytes = liveBytes();
  scope(() => {
    for (const x of [tensor([1, 2]), zeros([3]), arange(4), eye(2)]) x.data();
  });
  const after = memory();
  assertEquals(after.tensors, before.tensors);
  assertEquals(liveBytes(), bytes);
  const kept = scope(() => tensor([5]));
  assert(!kept.disposed);
  kept.dispose();
});
