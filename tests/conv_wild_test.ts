/**
 * Convolutions of NaN, ±∞ and numbers near the end of the range: what minimal
 * filtering and zeros between gradients must not spread. f64, which has no
 * kernels of its own, is the reference.
 */

import { assert, assertEquals } from "@std/assert";
import {
  conv,
  convInputGrad,
  type ConvOptions,
  convWeightGrad,
  fromHost,
  type Tensor,
} from "../mod.ts";
import { forwardPays } from "../devices/cpu/winograd.ts";

const wild: [name: string, value: number][] = [
  ["NaN", NaN],
  ["∞", Infinity],
  ["−∞", -Infinity],
  ["2¹²⁶", 2 ** 126],
];

/** Small whole numbers, and one other. */
function tensorOf(shape: number[], at: number, value: number): Tensor {
  const size = shape.reduce((a, b) => a * b, 1);
  const data = Float32Array.from(
    { length: size },
    (_, i) => (i * 7) % 5 - 2 + (i % 3) * 0.5,
  );
  data[at] = value;
  return fromHost(data, "f32", shape);
}

function assertSame(what: string, actual: Tensor, expected: Tensor): void {
  const a = actual.data(), e = expected.cast("f32").data();
  const kind = (x: number) => Number.isFinite(x) ? 0 : x;
  const finite = Array.from(a, Number).filter(Number.isFinite).length;
  assert(finite > 0, `${what}: no finite result`);
  for (let i = 0; i < a.length; i++) {
    const [x, y] = [Number(a[i]), Number(e[i])];
    assertEquals(kind(x), kind(y), `${what}, element ${i}: ${x} for ${y}`);
    if (!Number.isFinite(y)) continue;
    const room = 1e-4 * Math.max(1, Math.abs(y));
    assert(Math.abs(x - y) <= room, `${what}, element ${i}: ${x} for ${y}`);
  }
}

const shapes: [name: string, x: number[], w: number[], options: ConvOptions][] =
  [
    ["by minimal filtering", [2, 16, 20, 20], [16, 16, 3, 3], { padding: 1 }],
    ["directly", [1, 2, 7, 6], [4, 2, 3, 2], { padding: 1 }],
    ["by steps", [1, 2, 9, 9], [3, 2, 3, 3], { stride: 2 }],
    ["depthwise", [1, 4, 6, 6], [4, 1, 3, 3], { padding: 1, groups: 4 }],
  ];

for (const [name, x, w, options] of shapes) {
  Deno.test(`wild numbers stay where they belong: convolution ${name}`, () => {
    const y = conv(tensorOf(x, 0, 1), tensorOf(w, 0, 1), undefined, options);
    const f64 = (...tensors: Tensor[]) => tensors.map((t) => t.cast("f64"));
    for (const [label, value] of wild) {
      for (const where of [0, 1]) {
        const place = (n: number) => Math.floor(n / 3);
        const put = (shape: number[], here: boolean) => {
          const size = shape.reduce((a, b) => a * b, 1);
          return tensorOf(shape, place(size), here ? value : 1);
        };
        const xs = put(x, where === 0), ws = put(w, where === 1);
        const gs = put([...y.shape], where === 0);
        const [xd, wd, gd] = f64(xs, ws, gs);
        const what = `${label} in operand ${where}`;
        // Sums over padding meet 0 · ∞ in windows, here and there.
        assertSame(
          `conv, ${what}`,
          conv(xs, ws, undefined, options),
          conv(xd, wd, undefined, options),
        );
        const spatial = x.slice(2), kernel = w.slice(2);
        assertSame(
          `convInputGrad, ${what}`,
          convInputGrad(gs, ws, spatial, options),
          convInputGrad(gd, wd, spatial, options),
        );
        const [xg, g] = [put(x, where === 0), put([...y.shape], where === 1)];
        const [xgd, gdd] = f64(xg, g);
        assertSame(
          `convWeightGrad, ${what}`,
          convWeightGrad(xg, g, kernel, options),
          convWeightGrad(xgd, gdd, kernel, options),
        );
      }
    }
  });
}

Deno.test("the first of these shapes is one for minimal filtering", () => {
  const plane = {
    batch: 2,
    inChannels: 16,
    inHeight: 20,
    inWidth: 20,
    outChannels: 16,
    outHeight: 20,
    outWidth: 20,
    kernelHeight: 3,
    kernelWidth: 3,
    strideHeight: 1,
    strideWidth: 1,
    padTop: 1,
    padLeft: 1,
    dilationHeight: 1,
    dilationWidth: 1,
    groups: 1,
  };
  assert(forwardPays(plane));
});
