/**
 * Products on CUDA devices, on the stand-in libraries: every dtype, layout and
 * batch against plain loops, how many calls they take, and what happens when
 * one of them fails.
 */

import {
  assert,
  assertEquals,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import type { MatmulSpec } from "../core/device.ts";
import { CudaDevice } from "../devices/cuda/device.ts";
import { CudaError } from "../ffi/errors.ts";
import { callsTest, count, free, test } from "./cuda_product_tests.ts";
import {
  assertNear,
  bounds,
  download,
  expectedProduct,
  type Float,
  type Matrix,
  matrix,
  type MatrixOptions,
  rounded,
  upload,
} from "./cuda_products.ts";

interface Case {
  dtype?: Float;
  m: number;
  n: number;
  k: number;
  a?: MatrixOptions;
  b?: MatrixOptions;
  c?: MatrixOptions;
  batch?: readonly number[];
  bias?: boolean;
}

/** Multiplies on the device and compares the whole block of the result. */
function check(device: CudaDevice, one: Case): void {
  const { dtype = "f32", m, n, k, batch = [], bias = false } = one;
  const a = matrix(device, dtype, [m, k], { batch, seed: 1, ...one.a });
  const b = matrix(device, dtype, [k, n], { batch, seed: 2, ...one.b });
  const c = matrix(device, dtype, [m, n], { batch, seed: 0, ...one.c });
  const vector = Array.from({ length: n }, (_, i) => rounded(dtype, i - 1.5));
  const added = bias ? upload(device, dtype, vector) : undefined;
  device.matmul({ dtype, m, n, k, batchShape: batch, a, b, c, bias: added });
  assertNear(
    download({ storage: c.storage, offset: 0 }, dtype, c.elements.length),
    expectedProduct(a, b, c, batch, bias ? vector : undefined),
    bounds[dtype],
    JSON.stringify(one),
  );
  free(a, b, c, added);
}

const floats: Float[] = ["f32", "f64", "f16", "bf16"];
const placings = ["rows", "columns", "padded"] as const;

test("cuda products: every dtype, factors as they lie, with and without bias", (device) => {
  for (const dtype of floats) {
    for (const a of placings) {
      for (const b of placings) {
        for (const bias of [false, true]) {
          const layouts = { a: { placing: a }, b: { placing: b } };
          check(device, { dtype, m: 5, n: 7, k: 9, bias, ...layouts });
          check(device, { dtype, m: 16, n: 32, k: 8, bias, ...layouts });
        }
      }
    }
  }
});

test("cuda products: operands that no call can read are copied, results are put where they belong", (device) => {
  const odd = ["gaps", "repeated"] as const;
  for (const a of [...odd, "rows"] as const) {
    for (const b of [...odd, "columns"] as const) {
      for (const c of ["rows", "columns", "padded", "gaps"] as const) {
        for (const bias of [false, true]) {
          for (const batch of [[], [2], [2, 3]]) {
            check(device, {
              m: 4,
              n: 3,
              k: 5,
              batch,
              bias,
              a: { placing: a, repeat: [1] },
              b: { placing: b },
              c: { placing: c },
            });
          }
        }
      }
    }
  }
});

test("cuda products: extents of 0 and 1", (device, machine) => {
  const extents = [1, 4];
  for (const m of extents) {
    for (const n of extents) {
      for (const k of extents) {
        for (const a of placings) {
          for (const b of placings) {
            check(device, { m, n, k, a: { placing: a }, b: { placing: b } });
          }
        }
      }
    }
  }
  machine?.clearCalls();
  for (const bias of [false, true]) {
    for (const dtype of floats) {
      check(device, { dtype, m: 3, n: 4, k: 0, bias });
      check(device, { dtype, m: 3, n: 4, k: 0, bias, batch: [2, 2] });
      check(device, { dtype, m: 3, n: 4, k: 0, c: { placing: "gaps" } });
    }
    check(device, { m: 0, n: 4, k: 3, bias });
    check(device, { m: 3, n: 0, k: 3, bias });
    check(device, { m: 3, n: 4, k: 3, bias, batch: [2, 0] });
  }
  if (machine) assertEquals(count(machine, "cublasLtMatmul"), 0);
});

test("cuda products: operands anywhere in their blocks", (device) => {
  for (const dtype of floats) {
    for (const offset of [0, 1, 2, 3, 4, 8, 16]) {
      const at = { offset };
      check(device, { dtype, m: 8, n: 16, k: 8, a: at });
      check(device, { dtype, m: 8, n: 16, k: 8, b: at, bias: true });
      check(device, { dtype, m: 8, n: 16, k: 8, c: at });
    }
  }
});

callsTest(
  "cuda products: batches take as few calls as their strides allow",
  (device, machine) => {
    const cases: [calls: number, Case][] = [
      [1, { m: 4, n: 5, k: 3, batch: [6] }],
      [1, { m: 4, n: 5, k: 3, batch: [2, 3], bias: true }],
      [1, { m: 4, n: 5, k: 3, batch: [2, 3, 4] }],
      [1, { m: 4, n: 5, k: 3, batch: [2, 1, 3], a: { repeat: [0, 1, 2] } }],
      // One right factor for all: rows of one large product.
      [1, { m: 4, n: 5, k: 3, batch: [2, 3], b: { repeat: [0, 1] } }],
      [1, {
        m: 4,
        n: 5,
        k: 3,
        batch: [6],
        b: { repeat: [0] },
        a: { placing: "columns" },
      }],
      // Axes that repeat in one factor and not in the other: the longer goes into the call.
      [2, { m: 4, n: 5, k: 3, batch: [2, 3], a: { repeat: [1] } }],
      [2, { m: 4, n: 5, k: 3, batch: [7, 2], a: { repeat: [1] } }],
      [4, {
        m: 4,
        n: 5,
        k: 3,
        batch: [2, 3, 2],
        a: { repeat: [1] },
        b: { repeat: [0] },
      }],
      // Many small calls become one, of copies.
      [1, { m: 4, n: 5, k: 3, batch: [6, 7], a: { repeat: [1] } }],
      [1, { m: 4, n: 5, k: 3, batch: [6, 7], b: { repeat: [0] }, bias: true }],
      [1, {
        m: 4,
        n: 5,
        k: 3,
        batch: [5, 5, 5],
        a: { repeat: [1], placing: "columns" },
        b: { repeat: [0, 2] },
      }],
      [1, { m: 4, n: 5, k: 3, batch: [6, 7], a: { slack: 3 } }],
      // A result that steps unevenly takes a call for each.
      [6, {
        m: 4,
        n: 5,
        k: 3,
        batch: [6, 7],
        a: { repeat: [1] },
        c: { slack: 2 },
      }],
    ];
    for (const [calls, one] of cases) {
      for (const dtype of floats) {
        machine.clearCalls();
        check(device, { ...one, dtype });
        assertEquals(
          count(machine, "cublasLtMatmul"),
          calls,
          JSON.stringify(one),
        );
      }
    }
  },
);

/** A product that can be asked for again. */
function product(
  device: CudaDevice,
  { m, n, k, dtype = "f32", bias }: Case,
): { spec: MatmulSpec; run(): number[]; free(): void; c: Matrix } {
  const a = matrix(device, dtype, [m, k], { seed: 1 });
  const b = matrix(device, dtype, [k, n], { seed: 2 });
  const c = matrix(device, dtype, [m, n], { seed: 0 });
  const vector = bias
    ? upload(device, dtype, Array.from({ length: n }, (_, i) => i))
    : undefined;
  const spec: MatmulSpec = {
    dtype,
    m,
    n,
    k,
    batchShape: [],
    a,
    b,
    c,
    bias: vector,
  };
  return {
    spec,
    c,
    run() {
      device.matmul(spec);
      return download(c, dtype, m * n);
    },
    free: () => free(a, b, c, vector),
  };
}

callsTest(
  "cuda products: a plan is made once for a problem, whatever the addresses",
  (device, machine) => {
    const first = product(device, { m: 8, n: 8, k: 8, bias: true });
    const again = product(device, { m: 8, n: 8, k: 8, bias: true });
    const other = product(device, { m: 8, n: 8, k: 4, bias: true });
    first.run();
    machine.clearCalls();
    const expected = first.run();
    const calls = machine.calls().filter((call) => call.startsWith("cublasLt"));
    assertEquals(calls, ["cublasLtMatmul"]);
    machine.clearCalls();
    assertEquals(again.run(), expected);
    assertEquals(
      machine.calls().filter((call) => call.startsWith("cublasLt")),
      ["cublasLtMatmulDescSetAttribute", "cublasLtMatmul"],
      "another bias is told to the plan",
    );
    other.run();
    assertEquals(count(machine, "cublasLtMatmulAlgoGetHeuristic"), 1);
    for (const one of [first, again, other]) one.free();
  },
);

callsTest("cuda products: TF32 only where it is asked for", (device) => {
  const one = product(device, { m: 16, n: 16, k: 64 });
  const full = one.run();
  device.gpu.options.tf32 = true;
  const short = one.run();
  assert(full.some((x, i) => x !== short[i]));
  assertNear(short, full, 1e-2, "TF32");
  device.gpu.options.tf32 = false;
  assertEquals(one.run(), full);
  one.free();
});

callsTest(
  "cuda products: each call of the library that fails is told, and the next product works",
  (device, machine) => {
    machine.clearCalls();
    const shape = { m: 8, n: 16, k: 8, bias: true };
    const one = product(device, shape);
    const expected = one.run();
    one.free();
    device.close();
    const made = new Map<string, number>();
    for (const name of machine.calls()) {
      if (name.startsWith("cublasLt")) {
        made.set(name, (made.get(name) ?? 0) + 1);
      }
    }
    for (const name of ["Create", "Matmul", "MatrixLayoutCreate"]) {
      assert(made.has(`cublasLt${name}`), name);
    }
    for (const [name, calls] of made) {
      for (let nth = 1; nth <= calls; nth++) {
        machine.reset();
        const own = new CudaDevice(0);
        const one = product(own, shape);
        machine.fail({ function: name, nth, status: 14 });
        const what = `${name}, call ${nth}`;
        // Nothing is left to do about what cannot be destroyed.
        if (!name.endsWith("Destroy")) {
          const error = assertThrows(
            () => one.run(),
            CudaError,
            undefined,
            what,
          );
          assertEquals(error.call.function, name);
          assertStringIncludes(error.message, `${name} failed on cuda:0`);
          assertStringIncludes(
            error.message,
            "CUBLAS_STATUS_INTERNAL_ERROR (14), an operation inside the library failed",
          );
          assertEquals(machine.faultsLeft(), 0, what);
        }
        assertEquals(one.run(), expected, `after ${what} failed`);
        one.free();
        own.close();
        assertEquals(machine.violations(), [], what);
        const left = machine.leaks();
        assertEquals(left.length, name.endsWith("Destroy") ? 1 : 0, `${left}`);
      }
    }
    machine.reset();
  },
);

callsTest(
  "cuda products: a problem that the library has nothing for is named",
  (device, machine) => {
    const one = product(device, { m: 8, n: 4, k: 8 });
    machine.fail({
      function: "cublasLtMatmulAlgoGetHeuristic",
      nth: 1,
      status: 15,
    });
    assertThrows(
      () => one.run(),
      Error,
      "Cannot multiply matrices on cuda:0: cuBLASLt has no algorithm for [8, 8] · [8, 4]",
    );
    one.free();
  },
);

callsTest(
  "cuda products: where the library does not add a bias, a kernel does",
  (device, machine) => {
    machine.fail({
      function: "cublasLtMatmulAlgoGetHeuristic",
      nth: 1,
      status: 15,
    });
    check(device, { m: 8, n: 16, k: 8, bias: true });
    check(device, { m: 8, n: 16, k: 8, bias: true });
    assertEquals(count(machine, "cublasLtMatmulAlgoGetHeuristic"), 2);
  },
);

callsTest("cuda products: little of the host's time", (device, machine) => {
  const one = product(device, { m: 8, n: 16, k: 8, bias: true });
  one.run();
  machine.instant(true);
  try {
    const rounds = 2_000;
    let best = Infinity;
    for (let i = 0; i < 50; i++) {
      const start = performance.now();
      for (let j = 0; j < rounds; j++) device.matmul(one.spec);
      best = Math.min(best, (performance.now() - start) / rounds * 1000);
    }
    assert(best < 1.2, `${best.toFixed(2)} µs per product`);
  } finally {
    machine.instant(false);
  }
  one.free();
});
