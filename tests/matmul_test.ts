/** Products of matrices: what is refused, and extents of zero. */

import { assertEquals, assertThrows } from "@std/assert";
import {
  batchMatmul,
  bilinear,
  cast,
  conv,
  DTypeError,
  einsum,
  linear,
  matmul,
  ones,
  scaledDotProductAttention,
  ShapeError,
  tensor,
  zeros,
} from "../mod.ts";

Deno.test("factors of two dtypes: matmul converts them, others refuse", () => {
  const narrow = ones([2, 2]), wide = cast(ones([2, 2]), "f64");
  assertEquals(matmul(narrow, wide).toArray(), [[2, 2], [2, 2]]);
  assertEquals(matmul(narrow, wide).dtype, "f64");
  for (
    const product of [
      () => batchMatmul(narrow, wide),
      () => batchMatmul(cast(narrow, "i32"), narrow),
      () => einsum("ij,jk->ik", [wide, narrow]),
      () => scaledDotProductAttention(narrow, wide, narrow),
      () => scaledDotProductAttention(narrow, narrow, wide),
    ]
  ) {
    assertThrows(product, DTypeError, "both must have one dtype");
  }
});

Deno.test("matmul names the shapes that it was given", () => {
  const cases = [[[1], [2, 2]], [[2, 3], [4]], [[2], [3]], [[2, 3, 4], [5, 6]]];
  for (const [left, right] of cases) {
    const a = ones(left), b = ones(right);
    const depth = left.at(-1), rows = right.at(-2) ?? right[0];
    assertThrows(
      () => a.matmul(b),
      TypeError,
      `shapes [${left.join(", ")}] and [${
        right.join(", ")
      }]: the inner dimensions must match, and are ${depth} and ${rows}`,
    );
  }
});

Deno.test("layers refuse whole numbers, and say how to make floats of them", () => {
  const whole = tensor([[1, 2]]), weights = ones([3, 2]);
  for (
    const layer of [
      () => linear(whole, weights),
      () => linear(ones([1, 2]), weights, tensor([1, 2, 3])),
      () => bilinear(whole, ones([1, 2]), ones([3, 2, 2])),
      () => conv(tensor([[[1, 2]]]), ones([1, 1, 1])),
    ]
  ) {
    assertThrows(layer, DTypeError, 'tensor(data, { dtype: "f32" }) and cast');
  }
});

Deno.test("a product of vectors is refused where matrices are needed", () => {
  assertThrows(
    () => batchMatmul(ones([2]), ones([2, 2])),
    ShapeError,
    "shapes [2] and [2, 2]: both need at least two axes",
  );
});

Deno.test("sums over no products are zero", () => {
  assertEquals(
    linear(zeros([2, 2, 0]), zeros([1, 0]), ones([1])).toArray(),
    [[[1], [1]], [[1], [1]]],
  );
  assertEquals(
    matmul(zeros([2, 1, 0]), zeros([0, 2])).toArray(),
    [[[0, 0]], [[0, 0]]],
  );
});

Deno.test("bilinear maps need equal leading axes", () => {
  assertThrows(
    () => bilinear(ones([2, 3, 1]), ones([3, 2, 1]), ones([1, 1, 1])),
    ShapeError,
    "equal leading axes",
  );
});

Deno.test("queries that may see nothing get zeros, and no gradient", () => {
  const q = tensor([[1, 2], [3, 4]], { dtype: "f32", requiresGrad: true });
  const mask = cast(tensor([[1, 0], [0, 0]]), "bool");
  for (
    const hiding of [
      mask,
      tensor([[0, -Infinity], [-Infinity, -Infinity]], { dtype: "f64" }),
    ]
  ) {
    const y = scaledDotProductAttention(q, q, q, { mask: hiding });
    assertEquals(y.dtype, "f32");
    assertEquals(y.toArray(), [[1, 2], [0, 0]]);
    y.sum().backward();
    assertEquals(q.grad!.toArray(), [[1, 1], [0, 0]]);
    q.grad = undefined;
  }
});
