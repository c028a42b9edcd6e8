/**
 * Products that end with an activation, with its gradient or with sums, and
 * products of eight-bit numbers, on CUDA devices on the stand-in libraries.
 */

import {
  assert,
  assertEquals,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import type { Block, ProductActivation } from "../core/device.ts";
import type { CudaDevice } from "../devices/cuda/device.ts";
import { CudaError } from "../ffi/errors.ts";
import { callsTest, count, free, test } from "./cuda_product_tests.ts";
import {
  assertNear,
  bounds,
  download,
  type Float,
  type Matrix,
  matrix,
  type MatrixOptions,
  rounded,
  upload,
} from "./cuda_products.ts";

const c = Math.sqrt(2 / Math.PI);
const inner = (x: number) => Math.tanh(c * (x + 0.044715 * x ** 3));
const functions: Record<ProductActivation, (x: number) => number> = {
  relu: (x) => Math.max(x, 0),
  geluTanh: (x) => 0.5 * x * (1 + inner(x)),
};
const slopes: Record<ProductActivation, (x: number) => number> = {
  relu: (x) => x > 0 ? 1 : 0,
  geluTanh: (x) =>
    0.5 * (1 + inner(x)) +
    0.5 * x * (1 - inner(x) ** 2) * c * (1 + 3 * 0.044715 * x * x),
};

const activations: ProductActivation[] = ["relu", "geluTanh"];
const narrow: Float[] = ["f32", "f16", "bf16"];

/** a·b, each as its matrix lies. */
function multiplied(a: Matrix, b: Matrix): number[][] {
  const at = (m: Matrix, i: number, j: number) =>
    m.elements[m.offset + i * m.rowStride + j * m.columnStride];
  return Array.from(
    { length: a.rows },
    (_, i) =>
      Array.from({ length: b.columns }, (_, j) => {
        let sum = 0;
        for (let l = 0; l < a.columns; l++) sum += at(a, i, l) * at(b, l, j);
        return sum;
      }),
  );
}

/** Whether a kernel took a product: the stand-in takes all of these, a GPU those that its library has. */
function takenOn(machine: unknown): (answer: boolean) => boolean {
  return (answer) => {
    if (machine !== undefined) assert(answer);
    return answer;
  };
}

/** Memory for what the gradient reads. */
function keptFor(
  device: CudaDevice,
  activation: ProductActivation,
  dtype: Float,
  m: number,
  n: number,
): Block {
  return activation === "relu"
    ? upload(device, "u8", new Array(m * Math.ceil(n / 128) * 16).fill(255))
    : upload(device, dtype, new Array(m * Math.ceil(n / 8) * 8).fill(9));
}

const shapes = [
  { m: 5, n: 7, k: 3 },
  { m: 16, n: 32, k: 8 },
  { m: 3, n: 130, k: 5 },
  { m: 1, n: 1, k: 1 },
];
const layouts: { a: MatrixOptions; b: MatrixOptions }[] = [
  { a: {}, b: { placing: "columns" } },
  { a: { placing: "columns" }, b: {} },
  { a: { placing: "gaps" }, b: { placing: "padded" } },
];

test(
  "cuda activations: forward and backward, every dtype, shape and layout",
  (device, machine) => {
    const { activatedProduct, activatedProductGrad } = device.kernels;
    const taken = takenOn(machine);
    for (const activation of activations) {
      for (const dtype of narrow) {
        for (const { m, n, k } of shapes) {
          for (const layout of layouts) {
            for (const bias of [false, true]) {
              const what = JSON.stringify({
                activation,
                dtype,
                m,
                n,
                k,
                layout,
              });
              const bound = bounds[dtype];
              const a = matrix(device, dtype, [m, k], { seed: 1, ...layout.a });
              const b = matrix(device, dtype, [k, n], { seed: 2, ...layout.b });
              const y = matrix(device, dtype, [m, n], { seed: 0 });
              const vector = Array.from(
                { length: n },
                (_, i) => rounded(dtype, bias ? Math.cos(i) : 0),
              );
              const added = bias ? upload(device, dtype, vector) : undefined;
              const before = multiplied(a, b).map((row) =>
                row.map((x, j) => x + vector[j])
              );
              const f = functions[activation];
              const expected = before.flat().map(f);
              const base = { dtype, m, n, k, batchShape: [], a, b, c: y };
              const spec = { ...base, bias: added, activation };
              if (taken(activatedProduct!(spec))) {
                assertNear(download(y, dtype, m * n), expected, bound, what);
              }
              const kept = keptFor(device, activation, dtype, m, n);
              const known = taken(activatedProduct!({ ...spec, kept }));
              if (known) {
                assertNear(download(y, dtype, m * n), expected, bound, what);
              }
              if (known && activation === "geluTanh") {
                const row = Math.ceil(n / 8) * 8;
                const stored = download(kept, dtype, m * row)
                  .filter((_, i) => i % row < n);
                assertNear(stored, before.flat(), bound, `${what}, kept`);
              }
              // The gradient goes through another product: [m, k]·[k, n] again.
              const sums = upload(device, dtype, new Array(n).fill(3));
              const passed = multiplied(a, b).map((row, i) =>
                row.map((x, j) => x * slopes[activation](before[i][j]))
              );
              const slope = { ...base, activation, kept };
              for (const wanted of known ? [undefined, sums] : []) {
                const call = { ...slope, sums: wanted };
                if (!taken(activatedProductGrad!(call))) continue;
                const got = download(y, dtype, m * n);
                assertNear(got, passed.flat(), 4 * bound, `${what}, gradient`);
                if (wanted === undefined) continue;
                const total = vector.map((_, j) =>
                  passed.reduce((sum, row) => sum + row[j], 0)
                );
                const gotSums = download(sums, dtype, n);
                assertNear(gotSums, total, 8 * bound, `${what}, sums`);
              }
              free(a, b, y, added, kept, sums);
            }
          }
        }
      }
    }
  },
);

test(
  "cuda activations: gradients of weights and bias in one product",
  (device, machine) => {
    for (const dtype of narrow) {
      for (const { m, n, k } of shapes) {
        // As in dw = gᵀ·x: the left factor lies in columns.
        const a = matrix(device, dtype, [m, k], {
          seed: 1,
          placing: "columns",
        });
        const b = matrix(device, dtype, [k, n], { seed: 2 });
        const c = matrix(device, dtype, [m, n], { seed: 0 });
        const sums = upload(device, dtype, new Array(m).fill(3));
        machine?.clearCalls();
        const spec = { dtype, m, n, k, batchShape: [], a, b, c, sums };
        if (takenOn(machine)(device.kernels.productWithSums!(spec))) {
          if (machine) assertEquals(count(machine, "cublasLtMatmul"), 1);
          const what = `${dtype} ${m} ${n} ${k}`;
          const expected = multiplied(a, b).flat();
          assertNear(download(c, dtype, m * n), expected, bounds[dtype], what);
          const total = Array.from({ length: m }, (_, i) => {
            let sum = 0;
            for (let l = 0; l < k; l++) sum += a.elements[i + l * m];
            return sum;
          });
          assertNear(download(sums, dtype, m), total, bounds[dtype], what);
        }
        free(a, b, c, sums);
      }
    }
  },
);

callsTest(
  "cuda activations: what the library does not take is left alone",
  (device, machine) => {
    const { activatedProduct, activatedProductGrad, productWithSums } =
      device.kernels;
    const kept = keptFor(device, "relu", "f32", 4, 4);
    const activation = "relu" as const;
    const specs = (dtype: Float, m: number, batchShape: number[]) => {
      const a = matrix(device, dtype, [4, 4], { batch: batchShape });
      const b = matrix(device, dtype, [4, 4], { batch: batchShape });
      const c = matrix(device, dtype, [4, 4], { batch: batchShape, seed: 0 });
      const spec = { dtype, m, n: 4, k: 4, batchShape, a, b, c };
      return { spec, a, b, c };
    };
    for (
      const { spec, a, b, c } of [
        specs("f64", 4, []),
        specs("f32", 0, []),
        specs("f32", 4, [2]),
      ]
    ) {
      assertEquals(activatedProduct!({ ...spec, activation }), false);
      assertEquals(activatedProductGrad!({ ...spec, activation, kept }), false);
      assertEquals(productWithSums!({ ...spec, sums: kept }), false);
      free(a, b, c);
    }
    assertEquals(count(machine, "cublasLtMatmul"), 0);
    // NOT_SUPPORTED is remembered: the library is asked once.
    const { spec, a, b, c } = specs("f32", 4, []);
    const heuristic = "cublasLtMatmulAlgoGetHeuristic";
    machine.fail({ function: heuristic, nth: 1, status: 15 });
    machine.clearCalls();
    assertEquals(activatedProduct!({ ...spec, activation }), false);
    assertEquals(activatedProduct!({ ...spec, activation }), false);
    assertEquals(count(machine, heuristic), 1);
    free(a, b, c, kept);
  },
);

callsTest(
  "cuda activations: what the library refuses to run is given up, other failures are told",
  (device, machine) => {
    const { activatedProduct } = device.kernels;
    const make = (n: number) => {
      const a = matrix(device, "f32", [4, 4]);
      const b = matrix(device, "f32", [4, n]);
      const c = matrix(device, "f32", [4, n], { seed: 0 });
      const spec = { dtype: "f32" as const, m: 4, n, k: 4, batchShape: [] };
      return { ...spec, a, b, c, activation: "relu" as const };
    };
    const first = make(4), second = make(5);
    for (const [spec, status] of [[first, 15], [second, 7]] as const) {
      machine.fail({ function: "cublasLtMatmul", nth: 1, status });
      assertEquals(activatedProduct!(spec), false);
      machine.clearCalls();
      assertEquals(activatedProduct!(spec), false);
      assertEquals(count(machine, "cublasLtMatmul"), 0);
    }
    const third = make(6);
    machine.fail({ function: "cublasLtMatmul", nth: 1, status: 13 });
    const error = assertThrows(() => activatedProduct!(third), CudaError);
    assertStringIncludes(
      error.message,
      "cublasLtMatmul failed on cuda:0 ([4, 4] · [4, 6], R_32F by R_32F to R_32F, compute type C_32F, epilogue RELU, leading dimensions 4, 6 and 6, alignments 256, 256 and 256): CUBLAS_STATUS_EXECUTION_FAILED (13)",
    );
    assertEquals(activatedProduct!(third), true);
    for (const { a, b, c } of [first, second, third]) free(a, b, c);
  },
);

/** A byte of e4m3 or e5m2 as a number. */
function number(byte: number, format: "e4m3" | "e5m2"): number {
  const [bits, bias] = format === "e4m3" ? [3, 7] : [2, 15];
  const exponent = (byte & 127) >> bits, mantissa = byte & ((1 << bits) - 1);
  const size = exponent === 0
    ? mantissa * 2 ** (1 - bias - bits)
    : (1 + mantissa / 2 ** bits) * 2 ** (exponent - bias);
  return byte & 128 ? -size : size;
}

test(
  "cuda products of eight-bit numbers: where the library takes them",
  (device, machine) => {
    const { scaledProduct } = device.kernels;
    const formats = ["e4m3", "e5m2"] as const;
    for (const dtype of ["f32", "f16", "bf16"] as const) {
      for (const formatA of formats) {
        for (const formatB of formats) {
          for (const [m, n, k] of [[16, 32, 48], [16, 16, 8], [5, 16, 16]]) {
            const bytes = (size: number, seed: number) =>
              Array.from({ length: size }, (_, i) => (i * seed + 40) % 64 + 20);
            const left = bytes(m * k, 7), right = bytes(n * k, 11);
            const a = upload(device, "u8", left),
              b = upload(device, "u8", right);
            const c = upload(device, dtype, new Array(m * n).fill(5));
            const scaleA = upload(device, "f32", [0.5]);
            const scaleB = upload(device, "f32", [0.25]);
            const taken = scaledProduct!({
              dtype,
              m,
              n,
              k,
              formatA,
              formatB,
              a,
              b,
              scaleA,
              scaleB,
              c,
            });
            const fits = m % 16 + n % 16 + k % 16 === 0;
            const pair = formatA === "e4m3" || formatB === "e4m3";
            if (machine) assertEquals(taken, fits && pair);
            if (taken) {
              const expected = Array.from({ length: m * n }, (_, at) => {
                const i = Math.floor(at / n), j = at % n;
                let sum = 0;
                for (let l = 0; l < k; l++) {
                  sum += number(left[i * k + l], formatA) *
                    number(right[j * k + l], formatB);
                }
                return sum / 8;
              });
              const what = `${dtype} ${formatA} ${formatB}`;
              const got = download(c, dtype, m * n);
              assertNear(got, expected, bounds[dtype], what);
            }
            free(a, b, c, scaleA, scaleB);
          }
        }
      }
    }
  },
);
