/** Products in eight bits: their gradients, their edges, and a device that multiplies bytes. */

import { assert, assertEquals, assertThrows } from "@std/assert";
import {
  cast,
  DTypeError,
  fromFp8,
  getDevice,
  gradients,
  ones,
  scaledMatmul,
  scope,
  ShapeError,
  type Tensor,
  tensor,
  toFp8,
  zeros,
} from "../mod.ts";
import type {
  Block,
  Device,
  DeviceKernels,
  ScaledProduct,
} from "../core/device.ts";

function wave(shape: number[], seed: number): Tensor {
  const size = shape.reduce((a, b) => a * b, 1);
  const data = Array.from({ length: size }, (_, i) => Math.sin(seed + 1.7 * i));
  const x = tensor(data, { dtype: "f32" }).reshape(shape).detach();
  x.requiresGrad = true;
  return x;
}

function numbers(x: Tensor): number[] {
  return Array.from(x.data() as ArrayLike<number>, Number);
}

function assertNear(a: number[], b: number[], bound: number): void {
  assertEquals(a.length, b.length);
  a.forEach((x, i) =>
    assert(Math.abs(x - b[i]) <= bound, `element ${i}: ${x}, expected ${b[i]}`)
  );
}

Deno.test("numbers of eight bits come back as they were", () => {
  for (const format of ["e4m3", "e5m2"] as const) {
    const bytes = cast(
      tensor([...Array(256).keys()], { dtype: "i64" }),
      "u8",
    );
    const again = numbers(toFp8(fromFp8(bytes, { format }), { format }));
    const number = numbers(fromFp8(bytes, { format }));
    again.forEach((byte, i) =>
      assertEquals(byte & 0x7f, Number.isNaN(number[i]) ? 0x7f : i & 0x7f)
    );
  }
});

Deno.test("products in eight bits are near those in full, and so are their gradients", () => {
  scope(() => {
    const a = wave([2, 3, 16], 1), b = wave([16, 5], 2);
    const y = scaledMatmul(a, b), exact = a.matmul(b);
    // Three bits of mantissa: each product is within 2⁻³ of its size, and they average out.
    assertNear(numbers(y), numbers(exact), 0.5);
    const [da, db] = gradients(y.sum(), [a, b], { retainGraph: true });
    const [ea, eb] = gradients(exact.sum(), [a, b]);
    assertEquals(da!.shape, a.shape);
    assertNear(numbers(da!), numbers(ea!), 0.3);
    assertNear(numbers(db!), numbers(eb!), 0.5);
    const [second] = gradients(
      gradients(y.mul(y).sum(), [a], { createGraph: true })[0]!.sum(),
      [b],
    );
    assertEquals(second!.shape, b.shape);
  });
});

Deno.test("products in eight bits with nothing in them, and of zeros", () => {
  assertEquals(scaledMatmul(zeros([2, 0]), zeros([0, 3])).toArray(), [
    [0, 0, 0],
    [0, 0, 0],
  ]);
  assertEquals(scaledMatmul(zeros([0, 4]), zeros([4, 3])).shape, [0, 3]);
  assertEquals(scaledMatmul(zeros([1, 4]), ones([4, 1])).toArray(), [[0]]);
});

Deno.test("products in eight bits refuse what does not fit", () => {
  assertThrows(
    () => scaledMatmul(ones([2, 3]), ones([4, 5])),
    ShapeError,
    "shapes [2, 3] and [4, 5] in 8 bits",
  );
  assertThrows(
    () => scaledMatmul(ones([2, 3]), cast(ones([3, 5]), "f16")),
    DTypeError,
    "dtypes f32 and f16 in 8 bits",
  );
  assertThrows(
    () => toFp8(ones([2]), { format: "e3m4" as "e4m3" }),
    RangeError,
    'Cannot use "e3m4" as a format of 8 bits: there is e4m3 and e5m2',
  );
  assertThrows(() => toFp8(cast(ones([2]), "i32")), DTypeError, "8 bits");
  assertThrows(() => fromFp8(ones([2])), DTypeError, "8 bits");
});

/** A kernel as CUDA has it, by way of the bytes. */
function kernel(spec: ScaledProduct): boolean {
  const read = ({ storage, offset }: Block, count: number) => {
    const bytes = new Uint8Array(count);
    storage.device.read(storage, offset, bytes);
    return bytes;
  };
  const { m, n, k, a, b, c, scaleA, scaleB } = spec;
  const values = (block: Block, count: number, format: "e4m3" | "e5m2") =>
    numbers(fromFp8(
      cast(tensor([...read(block, count)], { dtype: "i64" }), "u8"),
      { format },
    ));
  const scale = ({ storage, offset }: Block) =>
    new Float32Array(
      read({ storage, offset: 4 * offset }, 4).buffer,
    )[0];
  const x = values(a, m * k, spec.formatA), y = values(b, n * k, spec.formatB);
  const result = new Float32Array(m * n);
  for (let i = 0; i < m; i++) {
    for (let j = 0; j < n; j++) {
      let sum = 0;
      for (let l = 0; l < k; l++) sum += x[i * k + l] * y[j * k + l];
      result[i * n + j] = sum * scale(scaleA) * scale(scaleB);
    }
  }
  c.storage.device.write(
    c.storage,
    4 * c.offset,
    new Uint8Array(result.buffer),
  );
  return true;
}

Deno.test("a device that multiplies bytes gives what the composed product gives", () => {
  const device = getDevice("cpu") as Device & { kernels: DeviceKernels };
  const { kernels } = device;
  let calls = 0;
  for (const taken of [true, false]) {
    scope(() => {
      const a = wave([16, 32], 1), b = wave([32, 16], 2);
      const run = () => {
        const y = scaledMatmul(a, b, { formatB: "e5m2" });
        return [y, ...gradients(y.mul(y).sum(), [a, b])].map((x) =>
          numbers(x!)
        );
      };
      device.kernels = {};
      const expected = run();
      device.kernels = {
        scaledProduct: (spec) => {
          calls++;
          return taken && kernel(spec);
        },
      };
      try {
        run().forEach((list, i) => assertNear(list, expected[i], 1e-4));
      } finally {
        device.kernels = kernels;
      }
    });
  }
  assertEquals(calls, 6);
});
