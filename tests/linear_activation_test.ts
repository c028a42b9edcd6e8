/**
 * Affine maps with an activation on a device that ends products with it: the
 * CPU device is given such kernels, written as plain loops, and every result
 * and gradient is compared with the composed definition.
 */

import { assert, assertEquals, assertThrows } from "@std/assert";
import {
  feedForward,
  getDevice,
  gradients,
  linear,
  type LinearActivation,
  linearActivation,
  memory,
  noGrad,
  ones,
  scope,
  ShapeError,
  type Tensor,
  tensor,
} from "../mod.ts";
import type {
  Block,
  Device,
  DeviceKernels,
  MatmulSpec,
  MatrixOperand,
} from "../core/device.ts";

const device = getDevice("cpu") as Device & { kernels: DeviceKernels };

/** Elements of a block of f64, from its start to the end of its memory. */
function elements({ storage, offset }: Block): Float64Array {
  const bytes = new Uint8Array(storage.bytes - 8 * offset);
  storage.device.read(storage, 8 * offset, bytes);
  return new Float64Array(bytes.buffer);
}

function store({ storage, offset }: Block, values: Float64Array): void {
  storage.device.write(storage, 8 * offset, new Uint8Array(values.buffer));
}

/** a·b + bias, row by row. */
function product(spec: MatmulSpec): number[][] {
  const at = (o: MatrixOperand) => {
    const all = elements(o);
    return (i: number, j: number) => all[i * o.rowStride + j * o.columnStride];
  };
  const a = at(spec.a), b = at(spec.b);
  const bias = spec.bias && elements(spec.bias);
  return Array.from(
    { length: spec.m },
    (_, i) =>
      Array.from({ length: spec.n }, (_, j) => {
        let sum = bias?.[j] ?? 0;
        for (let l = 0; l < spec.k; l++) sum += a(i, l) * b(l, j);
        return sum;
      }),
  );
}

const c = Math.sqrt(2 / Math.PI);
const inner = (x: number) => Math.tanh(c * (x + 0.044715 * x ** 3));
const f = {
  relu: (x: number) => Math.max(x, 0),
  geluTanh: (x: number) => 0.5 * x * (1 + inner(x)),
};
const slope = (x: number) =>
  0.5 * (1 + inner(x)) +
  0.5 * x * (1 - inner(x) ** 2) * c * (1 + 3 * 0.044715 * x * x);

/** Kernels as CUDA has them; `called` counts them, and `refuse` names those that answer false. */
function kernels(
  called: Record<string, number>,
  refuse: readonly string[] = [],
): DeviceKernels {
  const takes = (name: string) => {
    if (refuse.includes(name)) return false;
    called[name] = (called[name] ?? 0) + 1;
    return true;
  };
  return {
    activatedProduct(spec) {
      if (!takes("activatedProduct")) return false;
      const { activation, kept, n } = spec;
      const before = product(spec);
      store(spec.c, Float64Array.from(before.flat().map(f[activation])));
      if (kept === undefined) return true;
      if (activation === "relu") {
        const row = Math.ceil(n / 128) * 16;
        const bits = new Uint8Array(row * spec.m);
        before.forEach((xs, i) =>
          xs.forEach((x, j) => {
            if (x > 0) bits[i * row + (j >> 3)] |= 1 << (j & 7);
          })
        );
        kept.storage.device.write(kept.storage, kept.offset, bits);
      } else {
        const row = Math.ceil(n / 8) * 8;
        const all = new Float64Array(row * spec.m);
        before.forEach((xs, i) => all.set(xs, i * row));
        store(kept, all);
      }
      return true;
    },
    activatedProductGrad(spec) {
      if (!takes("activatedProductGrad")) return false;
      const { activation, kept, n } = spec;
      const bytes = new Uint8Array(kept.storage.bytes);
      kept.storage.device.read(kept.storage, 0, bytes);
      const values = new Float64Array(bytes.buffer);
      const g = product(spec).map((xs, i) =>
        xs.map((x, j) => {
          if (activation === "geluTanh") {
            return x * slope(values[i * Math.ceil(n / 8) * 8 + j]);
          }
          const byte = bytes[i * Math.ceil(n / 128) * 16 + (j >> 3)];
          return byte >> (j & 7) & 1 ? x : 0;
        })
      );
      store(spec.c, Float64Array.from(g.flat()));
      if (spec.sums !== undefined) {
        const sums = Float64Array.from(
          { length: n },
          (_, j) => g.reduce((sum, row) => sum + row[j], 0),
        );
        store(spec.sums, sums);
      }
      return true;
    },
    productWithSums(spec) {
      if (!takes("productWithSums")) return false;
      store(spec.c, Float64Array.from(product(spec).flat()));
      const a = elements(spec.a);
      const sums = Float64Array.from({ length: spec.m }, (_, i) => {
        let sum = 0;
        for (let l = 0; l < spec.k; l++) {
          sum += a[i * spec.a.rowStride + l * spec.a.columnStride];
        }
        return sum;
      });
      store(spec.sums, sums);
      return true;
    },
  };
}

function withKernels<T>(own: DeviceKernels, body: () => T): T {
  const { kernels } = device;
  device.kernels = own;
  try {
    return body();
  } finally {
    device.kernels = kernels;
  }
}

function wave(shape: number[], seed: number): Tensor {
  const size = shape.reduce((a, b) => a * b, 1);
  const data = Array.from({ length: size }, (_, i) => Math.sin(seed + 1.7 * i));
  const x = tensor(data, { dtype: "f64" }).reshape(shape).detach();
  x.requiresGrad = true;
  return x;
}

type Call = (operands: (Tensor | undefined)[]) => Tensor;

/** Result, gradients, and gradients of the gradients' weighted sum. */
function everything(call: Call, shapes: (number[] | undefined)[]): number[][] {
  return scope(() => {
    const operands = shapes.map((s, i) => s && wave(s, i));
    const leaves = operands.filter((x) => x !== undefined);
    const y = call(operands);
    const weigh = (xs: readonly (Tensor | undefined)[]) =>
      xs.filter((x) => x !== undefined).map((x, i) =>
        x.mul(x).mul(0.3 + i).sum()
      ).reduce((a, b) => a.add(b));
    const first = gradients(weigh([y]), leaves, { retainGraph: true });
    const graph = gradients(weigh([y]), leaves, { createGraph: true });
    const second = gradients(weigh(graph), leaves);
    return [y, ...first, ...graph, ...second].map((x) =>
      x === undefined ? [] : Array.from(x.data() as ArrayLike<number>)
    );
  });
}

function assertNear(actual: number[][], expected: number[][]): void {
  assertEquals(actual.map((x) => x.length), expected.map((x) => x.length));
  actual.forEach((list, i) =>
    list.forEach((x, j) => {
      const e = expected[i][j];
      assert(
        Math.abs(x - e) <= 1e-10 * (1 + Math.abs(e)),
        `tensor ${i}, element ${j}: ${x}, expected ${e}`,
      );
    })
  );
}

const activations: LinearActivation[] = ["relu", "geluTanh"];

function singles(
  activation: LinearActivation,
): [Call, (number[] | undefined)[]][] {
  const one: Call = ([x, w, b]) => linearActivation(x!, w!, b, { activation });
  return [
    [one, [[5, 3], [9, 3], [9]]],
    [one, [[2, 2, 3], [8, 3], undefined]],
  ];
}

function pairs(
  activation: LinearActivation,
): [Call, (number[] | undefined)[]][] {
  const two: Call = ([x, w1, b1, w2, b2]) =>
    feedForward(x!, w1!, b1, w2!, b2, { activation });
  return [
    [two, [[5, 3], [9, 3], [9], [2, 9], [2]]],
    [two, [[2, 3, 4], [8, 4], [8], [3, 8], undefined]],
    [two, [[4], [130, 4], undefined, [3, 130], [3]]],
  ];
}

Deno.test("maps with an activation: the device's own and the composed ones agree, gradients of both orders too", () => {
  const before = memory().devices.cpu.liveBytes;
  for (const activation of activations) {
    for (
      const [call, shapes] of [...singles(activation), ...pairs(activation)]
    ) {
      const called: Record<string, number> = {};
      const expected = withKernels({}, () => everything(call, shapes));
      const actual = withKernels(
        kernels(called),
        () => everything(call, shapes),
      );
      assertNear(actual, expected);
      assert(called.activatedProduct > 0);
      assertEquals(
        called.activatedProductGrad > 0,
        shapes.length === 5,
        "the pair goes back through the activation in one product",
      );
    }
  }
  assertEquals(memory().devices.cpu.liveBytes, before);
});

Deno.test("maps with an activation: what the device refuses is composed", () => {
  const all = ["activatedProduct", "activatedProductGrad", "productWithSums"];
  for (const activation of activations) {
    for (
      const [call, shapes] of [...singles(activation), ...pairs(activation)]
    ) {
      const expected = withKernels({}, () => everything(call, shapes));
      for (const refuse of [all, ...all.map((name) => [name])]) {
        const called = {};
        assertNear(
          withKernels(
            kernels(called, refuse),
            () => everything(call, shapes),
          ),
          expected,
        );
        for (const name of refuse) assert(!(name in called), name);
      }
    }
  }
});

Deno.test("the exact gelu is never taken for its tanh form", () => {
  const called = {};
  withKernels(kernels(called), () =>
    scope(() => {
      const x = wave([2, 3], 1), w = wave([4, 3], 2);
      const y = linearActivation(x, w, undefined, { activation: "gelu" });
      assertEquals(y.toArray(), linear(x, w).gelu().toArray());
    }));
  assertEquals(called, {});
});

Deno.test("without gradients nothing is kept, and gradients of some operands only are computed", () => {
  const called: Record<string, number> = {};
  withKernels(kernels(called), () =>
    scope(() => {
      const x = wave([2, 3], 1), w1 = wave([4, 3], 2), b1 = wave([4], 3);
      const w2 = wave([2, 4], 4), b2 = wave([2], 5);
      const y = noGrad(() => feedForward(x, w1, b1, w2, b2));
      assertEquals(called, { activatedProduct: 1 });
      w1.requiresGrad = b1.requiresGrad = x.requiresGrad = false;
      const z = feedForward(x, w1, b1, w2, b2);
      assertEquals(z.toArray(), y.toArray());
      const [dw2] = gradients(z.sum(), [w2]);
      assertEquals(dw2!.shape, [2, 4]);
      assertEquals(called.activatedProductGrad, undefined);
    }));
});

Deno.test("maps with an activation refuse what does not fit", () => {
  assertThrows(
    () => linearActivation(ones([2, 3]), ones([4, 5])),
    ShapeError,
    "weights are [out, in]",
  );
  assertThrows(
    () => feedForward(ones([2, 3]), ones([4, 3]), ones([3]), ones([2, 4])),
    ShapeError,
    "the bias must be [4]",
  );
  assertThrows(
    () => feedForward(ones([2, 3]), ones([4, 3]), undefined, ones([2, 5])),
    ShapeError,
    "weights of shape [2, 5]",
  );
  assertThrows(
    () =>
      linearActivation(ones([2, 3]), ones([4, 3]), undefined, {
        activation: "tanh" as LinearActivation,
      }),
    RangeError,
    "there is relu, gelu, geluTanh",
  );
});
