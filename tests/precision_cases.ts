/** Numbers and examples for the tests of mixed precision. */

import { data, fromHost, type Tensor } from "../mod.ts";

/** Numbers of about `size`, always the same. */
export function numbers(shape: number[], s: number, size = 0.5): Tensor {
  const n = shape.reduce((a, b) => a * b, 1);
  const host = Float32Array.from(
    { length: n },
    (_, i) => size * Math.sin(1.7 * i + s),
  );
  return fromHost(host, "f32", shape);
}

/** A data set that a small network learns. */
export function examples(n: number) {
  const x = Float32Array.from(
    { length: n * 4 },
    (_, i) => Math.sin(i * 12.9898),
  );
  const y = Int32Array.from(
    { length: n },
    (_, i) => Number(x[4 * i] > x[4 * i + 1]),
  );
  return data.arrayDataset(
    { data: x, shape: [n, 4], dtype: "f32" },
    { data: y, shape: [n], dtype: "i32" },
  );
}
