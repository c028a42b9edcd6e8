/** What the samples of the reductions cannot show: ties, refusals, accuracy, long rows. */

import { assert, assertEquals, assertThrows } from "@std/assert";
import {
  argMax,
  backward,
  max,
  maxWithIndex,
  mean,
  min,
  minWithIndex,
  prod,
  std,
  sum,
  variance,
} from "../mod.ts";
import { DTypeError, IndexError, ShapeError } from "../core/errors.ts";
import { fromHost, type Tensor } from "../core/tensor.ts";

function f32(data: number[], shape = [data.length]): Tensor {
  return fromHost(Float32Array.from(data), "f32", shape, {
    requiresGrad: true,
  });
}

function gradOf(x: Tensor, f: (x: Tensor) => Tensor): unknown {
  backward(f(x));
  return x.grad!.toArray();
}

Deno.test("max and min: equal elements share the gradient, as torch.amax does", () => {
  assertEquals(gradOf(f32([1, 3, 3, 3]), max), [
    0,
    Math.fround(1 / 3),
    Math.fround(1 / 3),
    Math.fround(1 / 3),
  ]);
  assertEquals(gradOf(f32([2, 1, 1, 5]), min), [0, 0.5, 0.5, 0]);
});

Deno.test("maxWithIndex and minWithIndex: the first of equals gets the gradient", () => {
  assertEquals(gradOf(f32([1, 3, 3]), (x) => maxWithIndex(x, 0)[0]), [0, 1, 0]);
  assertEquals(gradOf(f32([1, 3, 1]), (x) => minWithIndex(x, 0)[0]), [1, 0, 0]);
});

Deno.test("prod: the gradient where elements are 0", () => {
  assertEquals(gradOf(f32([2, 3, 4]), prod), [12, 8, 6]);
  assertEquals(gradOf(f32([2, 0, 4]), prod), [0, 8, 0]);
  assertEquals(gradOf(f32([0, 0, 4]), prod), [0, 0, 0]);
});

Deno.test("std: the gradient of equal elements is 0", () => {
  assertEquals(gradOf(f32([2, 2, 2]), std), [0, 0, 0]);
});

Deno.test("reductions of nothing to choose from are refused with the shape", () => {
  const x = f32([], [0, 3]);
  for (const f of [max, min, argMax]) {
    assertThrows(() => f(x, 0), ShapeError, "[0, 3] along axes [0]");
    assertEquals(f(x, 1).shape, [0]);
  }
  assertThrows(() => maxWithIndex(x, 0), ShapeError, "no elements");
  assertEquals(mean(x, 0).toArray(), [NaN, NaN, NaN]);
});

Deno.test("reductions refuse axes that are not there, and integers where floats are needed", () => {
  const x = f32([1, 2, 3, 4], [2, 2]);
  assertThrows(() => mean(x, 2), IndexError, "axis 2");
  assertThrows(() => max(x, [0, -2]), IndexError, "named twice");
  const i = fromHost(new Int32Array(4), "i32", [4]);
  assertThrows(() => variance(i), DTypeError, "dtype i32");
});

Deno.test("variance and sum keep their digits over long rows with a large mean", () => {
  const n = 300_000;
  const data = Float32Array.from({ length: n }, (_, i) => 1000 + (i % 7) / 8);
  let total = 0;
  for (const v of data) total += v;
  let squares = 0;
  for (const v of data) squares += (v - total / n) ** 2;
  for (const shape of [[n], [3, n / 3], [n / 4, 4]]) {
    const x = fromHost(data, "f32", shape);
    const spread = variance(x).item();
    assert(Math.abs(spread / (squares / (n - 1)) - 1) < 1e-4, `${spread}`);
    assert(Math.abs(sum(x).item() / total - 1) < 1e-6);
  }
  // Sums per channel of images: many short walks.
  const images = fromHost(data, "f32", [100, 3, 10, 100]);
  sum(images, [0, 2, 3]).toArray();
  let channel = 0;
  for (let i = 0; i < n; i++) {
    if (Math.floor(i / 1000) % 3 === 1) channel += data[i];
  }
  const found = (sum(images, [0, 2, 3]).toArray() as number[])[1];
  assert(Math.abs(found / channel - 1) < 1e-6, `${found} ${channel}`);
});

Deno.test("argMax finds positions across the lanes of long rows", () => {
  const n = 100_003;
  const data = new Float32Array(n).fill(-1);
  for (const at of [0, 1, 5, 77_777, n - 1]) {
    data.fill(-1);
    data[at] = 3;
    data[n - 1] = 3;
    assertEquals(argMax(fromHost(data, "f32", [n])).item(), at);
  }
});
