/**
 * Affine maps of tensors on a CUDA device, on the stand-in libraries: results
 * and gradients as on the CPU, and no more products and kernels than they need.
 */

import { assert, assertEquals } from "@std/assert";
import {
  type FeedForward,
  feedForward,
  getDevice,
  gradients,
  linear,
  linearActivation,
  nn,
  scaledMatmul,
  scope,
  type Tensor,
  tensor,
} from "../mod.ts";
import "../devices/cuda/device.ts";
import type { CudaDevice } from "../devices/cuda/device.ts";
import { cudaHost } from "./cuda_host/mod.ts";

const host = await cudaHost();

/** The machine, where there is one. */
type Machine = Exclude<typeof host, { absent: string }>;

function test(name: string, body: (machine: Machine) => void): void {
  Deno.test({
    name: host.absent ? `${name} (${host.absent})` : name,
    ignore: host.absent !== undefined,
    fn() {
      if (host.absent !== undefined) return;
      const before = getDevice("cuda:0").stats().liveBytes;
      body(host);
      assertEquals(getDevice("cuda:0").stats().liveBytes, before);
      assertEquals(host.violations(), []);
    },
  });
}

function wave(shape: readonly number[], seed: number, device: string): Tensor {
  const size = shape.reduce((a, b) => a * b, 1);
  const data = Array.from({ length: size }, (_, i) => Math.sin(seed + 1.7 * i));
  const x = tensor(data, { device }).reshape(shape).detach();
  x.requiresGrad = true;
  return x;
}

/** What a function of tensors gives, and its gradients. */
function everything(
  f: (...operands: Tensor[]) => Tensor,
  shapes: readonly (readonly number[])[],
  device: string,
): number[][] {
  return scope(() => {
    const operands = shapes.map((shape, i) => wave(shape, i, device));
    const y = f(...operands);
    const weights = wave(y.shape, 9, device).detach();
    const found = gradients(y.mul(weights).sum(), operands);
    return [y, ...found].map((x) =>
      Array.from(x!.data() as ArrayLike<number>, Number)
    );
  });
}

function assertSame(
  f: (...operands: Tensor[]) => Tensor,
  shapes: readonly (readonly number[])[],
): void {
  const expected = everything(f, shapes, "cpu");
  everything(f, shapes, "cuda:0").forEach((list, i) =>
    list.forEach((x, j) => {
      const e = expected[i][j];
      assert(
        Math.abs(x - e) <= 2e-5 * (1 + Math.abs(e)),
        `tensor ${i}, element ${j}: ${x}, expected ${e}`,
      );
    })
  );
}

/** Products and kernels that a function asks for. */
function work(
  machine: Machine,
  body: () => void,
): { products: number; kernels: number } {
  machine.clearCalls();
  body();
  const calls = machine.calls();
  return {
    products: calls.filter((call) => call === "cublasLtMatmul").length,
    kernels: calls.filter((call) => call === "cuLaunchKernel").length,
  };
}

test("cuda linear maps: as on the CPU", () => {
  const pair: FeedForward = feedForward;
  for (const activation of ["relu", "gelu", "geluTanh"] as const) {
    const options = { activation };
    assertSame((x, w, b) => linearActivation(x, w, b, options), [
      [5, 6],
      [9, 6],
      [9],
    ]);
    assertSame(
      (x, w1, b1, w2, b2) => pair(x, w1, b1, w2, b2, options),
      [[2, 5, 6], [130, 6], [130], [7, 130], [7]],
    );
    assertSame(
      (x, w1, w2) => pair(x, w1, undefined, w2, undefined, options),
      [[5, 6], [16, 6], [8, 16]],
    );
  }
  assertSame((x, w, b) => linear(x, w, b), [[4, 6], [3, 6], [3]]);
  assertSame((x, w) => x.transpose().matmul(w), [[6, 4], [6, 5]]);
  assertSame((a, b) => a.matmul(b), [[2, 1, 4, 6], [3, 6, 5]]);
  assertSame((a, b) => scaledMatmul(a, b), [[16, 32], [32, 16]]);
  assertSame((a, b) => scaledMatmul(a, b), [[5, 7], [7, 3]]);
});

test("cuda linear maps: the pair takes two products forward and four backward, and no other kernel", (machine) => {
  for (const activation of ["relu", "geluTanh"] as const) {
    scope(() => {
      const shapes = [[16, 8], [32, 8], [32], [8, 32], [8]];
      const [x, w1, b1, w2, b2] = shapes.map((s, i) => wave(s, i, "cuda:0"));
      const g = wave([16, 8], 9, "cuda:0").detach();
      let y: Tensor;
      assertEquals(
        work(machine, () => {
          y = feedForward(x, w1, b1, w2, b2, { activation });
        }),
        { products: 2, kernels: 0 },
      );
      assertEquals(
        work(machine, () => {
          gradients(y, [x, w1, b1, w2, b2], { seed: g });
        }),
        { products: 4, kernels: 0 },
      );
    });
  }
});

test("cuda linear maps: modules ask for the pair", (machine) => {
  const device = "cuda:0";
  using model = nn.sequential(
    nn.linear(8, 32, { device }),
    nn.relu(),
    nn.linear(32, 16, { device }),
    nn.gelu({ approximate: "tanh" }),
    nn.linear(16, 8, { device }),
  );
  scope(() => {
    const x = wave([16, 8], 1, device).detach();
    const g = wave([16, 8], 9, device).detach();
    let y: Tensor;
    // The first map with its activation, then the pair of the others.
    assertEquals(
      work(machine, () => {
        y = model.forward(x);
      }),
      { products: 3, kernels: 0 },
    );
    const { products } = work(machine, () => {
      gradients(y, [...model.parameters()], { seed: g });
    });
    assertEquals(products, 5); // two per map, but x wants no gradient
  });
});

test("cuda linear maps: nothing is left behind", (machine) => {
  const device = getDevice("cuda:0") as CudaDevice;
  device.close();
  assertEquals(machine.leaks(), []);
});
