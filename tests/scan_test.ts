/** Scans: long rows against plain loops, zeros in products, threads, extremes of exponentials. */

import { assert, assertEquals, assertThrows } from "@std/assert";
import { fromHost, gradients, scope, type Tensor } from "../mod.ts";
import { DTypeError, IndexError } from "../core/errors.ts";
import { setThreads, threads } from "../devices/cpu/pool.ts";
import { mul } from "../ops/arithmetic.ts";
import { sum } from "../ops/foundation.ts";
import {
  cumMax,
  cumMin,
  cumProd,
  cumSum,
  diff,
  logCumSumExp,
} from "../ops/scan.ts";

/** Numbers from 0 (inclusive) to 1, the same in every run. */
function random(seed: number): () => number {
  let state = seed;
  return () =>
    (state = (Math.imul(state, 1664525) + 1013904223) >>> 0) / 2 ** 32;
}

Deno.test("running sums, products and extrema of long rows, against loops", () => {
  const before = threads();
  const next = random(2);
  const [rows, length] = [37, 1234];
  const data = Float32Array.from(
    { length: rows * length },
    () => Math.round(next() * 64) / 32 - (next() < 0.5 ? 1 : 0.5),
  );
  try {
    for (const count of [1, 2]) {
      setThreads(count);
      scope(() => {
        const x = fromHost(data, "f32", [rows, length]);
        const sums = cumSum(x, 1).data(), products = cumProd(x, 1).data();
        const [maxima, where] = cumMax(x, 1).map((r) => r.data());
        const [minima] = cumMin(x, 1).map((r) => r.data());
        for (let row = 0; row < rows; row++) {
          let total = 0, product = 1, high = -Infinity, low = Infinity, at = 0;
          for (let i = 0; i < length; i++) {
            const k = row * length + i, v = data[k];
            total += v;
            product *= v;
            if (v >= high) [high, at] = [v, i];
            if (v < low) low = v;
            assert(
              sums[k] === Math.fround(total) &&
                products[k] === Math.fround(product) && maxima[k] === high &&
                Number(where[k]) === at && minima[k] === low,
              `row ${row}, element ${i} on ${count} threads`,
            );
          }
        }
      });
    }
  } finally {
    setThreads(before);
  }
});

Deno.test("sums of f32 are carried in f64", () => {
  scope(() => {
    const x = fromHost(new Float32Array([2 ** 24, 1, 1, 1]), "f32", [4]);
    assertEquals(cumSum(x, 0).toArray(), [
      2 ** 24,
      2 ** 24,
      2 ** 24 + 2,
      2 ** 24 + 4,
    ]);
  });
});

Deno.test("64-bit sums are exact", () => {
  scope(() => {
    const x = fromHost(BigInt64Array.of(2n ** 53n, 1n, 1n), "i64", [3]);
    assertEquals([...cumSum(x, 0).data() as BigInt64Array], [
      2n ** 53n,
      2n ** 53n + 1n,
      2n ** 53n + 2n,
    ]);
  });
});

Deno.test("derivatives of running products with zeros are PyTorch's", () => {
  scope(() => {
    const x = fromHost(
      new Float64Array([2, 0, 3, 0, 0, 1, 2, 5]),
      "f64",
      [2, 4],
      { requiresGrad: true },
    );
    const weigh = (y: Tensor, w: number[]) =>
      sum(mul(y, fromHost(new Float64Array(w), "f64", [2, 4])));
    const total = weigh(cumProd(x, 1), [1, 2, 3, 4, 5, 6, 7, 8]);
    const [first] = gradients(total, [x], { createGraph: true });
    assertEquals(first!.toArray(), [[1, 22, 0, 0], [105, 0, 0, 0]]);
    const [second] = gradients(
      weigh(first!, [1, -1, 2, 3, 1, 2, 3, 4]),
      [x],
    );
    // torch.autograd.grad of torch.autograd.grad of torch.cumprod.
    assertEquals(second!.toArray(), [[-11, 95, -6, -24], [405, 100, 47, 16]]);
  });
});

Deno.test("long running products: the gradient is the sum over all later products", () => {
  scope(() => {
    const n = 77;
    const next = random(9);
    const host = Float64Array.from({ length: n }, () => 0.5 + next());
    host[40] = 0;
    const x = fromHost(host, "f64", [n], { requiresGrad: true });
    const [grad] = gradients(sum(cumProd(x, 0)), [x]);
    const found = grad!.data() as Float64Array;
    for (let k = 0; k < n; k++) {
      let expected = 0, product = 1;
      for (let i = 0; i < n; i++) {
        if (i !== k) product *= host[i];
        if (i >= k) expected += product;
      }
      assert(
        Math.abs(found[k] - expected) <= 1e-12 * (1 + Math.abs(expected)),
        `element ${k}: ${found[k]} and not ${expected}`,
      );
    }
  });
});

Deno.test("running extrema give their gradient to the last of equals", () => {
  scope(() => {
    const x = fromHost(new Float32Array([1, 3, 3, 2, 4]), "f32", [5], {
      requiresGrad: true,
    });
    const [values, where] = cumMax(x, 0);
    assertEquals(where.toArray(), [0, 1, 2, 2, 4]);
    const [grad] = gradients(sum(values), [x]);
    assertEquals(grad!.toArray(), [1, 1, 2, 0, 1]);
  });
});

Deno.test("logCumSumExp neither overflows nor loses what is small", () => {
  scope(() => {
    const host = new Float32Array([-1000, 1000, 1000, -5, -Infinity]);
    const x = fromHost(host, "f32", [5], { requiresGrad: true });
    const y = logCumSumExp(x, 0);
    const expected = [-1000, 1000, 1000 + Math.LN2, 1000 + Math.LN2];
    expected.forEach((v, i) =>
      assertEquals((y.data() as Float32Array)[i], Math.fround(v))
    );
    const [grad] = gradients(sum(y), [x]);
    // Shares of each sum: 1; 0, 1; 0, ½, ½; and twice more.
    assertEquals(grad!.toArray(), [1, 2.5, 1.5, 0, 0]);
  });
});

Deno.test("scan errors say what would work", () => {
  scope(() => {
    const x = fromHost(new Int32Array(6), "i32", [2, 3]);
    assertThrows(() => cumSum(x, 2), IndexError, "axis 2");
    assertThrows(() => cumMax(x, -3), IndexError, "axis -3");
    assertThrows(() => logCumSumExp(x, 0), DTypeError, 'cast("f32")');
    assertThrows(() => diff(x, { order: -1 }), IndexError, "order -1");
    const device = x.device;
    assertThrows(
      () =>
        device.scan({
          dtype: "u8",
          op: "sum",
          rows: 1,
          length: 1,
          input: x.value,
          output: x.value,
        }),
      DTypeError,
      "u8",
    );
  });
});
