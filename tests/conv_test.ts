import { assertEquals } from "@std/assert";
import type { PlaneSpec } from "../devices/cpu/plane_spec.ts";
import {
  conv2d,
  conv2dInputGrad,
  conv2dWeightGrad,
} from "../devices/cpu/conv.ts";
import { allocate, heap, memoryStats, release } from "../devices/cpu/memory.ts";
import { setThreads, startWorkers, threads } from "../devices/cpu/pool.ts";

/** A convolution to be tested; what is left out is the plainest choice. */
interface Case {
  batch?: number;
  inChannels?: number;
  outChannels?: number;
  size: readonly [height: number, width: number];
  kernel: readonly [height: number, width: number];
  stride?: readonly [y: number, x: number];
  /** Top, left, bottom, right. */
  pad?: readonly [number, number, number, number];
  dilation?: readonly [y: number, x: number];
  groups?: number;
}

function specOf(c: Case): PlaneSpec {
  const [inHeight, inWidth] = c.size;
  const [kernelHeight, kernelWidth] = c.kernel;
  const [strideHeight, strideWidth] = c.stride ?? [1, 1];
  const [padTop, padLeft, padBottom, padRight] = c.pad ?? [0, 0, 0, 0];
  const [dilationHeight, dilationWidth] = c.dilation ?? [1, 1];
  const extent = (size: number, pad: number, span: number, stride: number) =>
    Math.max(0, Math.floor((size + pad - span) / stride) + 1);
  return {
    batch: c.batch ?? 2,
    inChannels: c.inChannels ?? 3,
    inHeight,
    inWidth,
    outChannels: c.outChannels ?? 4,
    outHeight: extent(
      inHeight,
      padTop + padBottom,
      dilationHeight * (kernelHeight - 1) + 1,
      strideHeight,
    ),
    outWidth: extent(
      inWidth,
      padLeft + padRight,
      dilationWidth * (kernelWidth - 1) + 1,
      strideWidth,
    ),
    kernelHeight,
    kernelWidth,
    strideHeight,
    strideWidth,
    padTop,
    padLeft,
    dilationHeight,
    dilationWidth,
    groups: c.groups ?? 1,
  };
}

/** Calls f with the indices of x, w and y for every product of the convolution. */
function forEachProduct(
  s: PlaneSpec,
  f: (x: number, w: number, y: number) => void,
): void {
  const inputs = s.inChannels / s.groups, outputs = s.outChannels / s.groups;
  let y = 0;
  for (let b = 0; b < s.batch; b++) {
    for (let o = 0; o < s.outChannels; o++) {
      const group = Math.floor(o / outputs);
      for (let i = 0; i < s.outHeight; i++) {
        for (let j = 0; j < s.outWidth; j++, y++) {
          for (let c = 0; c < inputs; c++) {
            const plane = b * s.inChannels + group * inputs + c;
            for (let p = 0; p < s.kernelHeight; p++) {
              const row = i * s.strideHeight - s.padTop + p * s.dilationHeight;
              if (row < 0 || row >= s.inHeight) continue;
              for (let q = 0; q < s.kernelWidth; q++) {
                const column = j * s.strideWidth - s.padLeft +
                  q * s.dilationWidth;
                if (column < 0 || column >= s.inWidth) continue;
                f(
                  (plane * s.inHeight + row) * s.inWidth + column,
                  ((o * inputs + c) * s.kernelHeight + p) * s.kernelWidth + q,
                  y,
                );
              }
            }
          }
        }
      }
    }
  }
}

let state = 4242;
function random(): number {
  state = Math.imul(state, 1103515245) + 12345 >>> 0;
  return (state >>> 8) / 2 ** 23 - 1;
}

const margin = 64;
const guard = 123.5;

/** A buffer of f32 between margins that must stay as they are. */
class Buffer {
  readonly address: number;
  constructor(readonly size: number) {
    this.address = allocate((size + 2 * margin) * 4) + margin * 4;
    const at = this.address / 4;
    heap.f32.fill(guard, at - margin, at + size + margin);
  }
  get values(): Float32Array {
    return heap.f32.subarray(this.address / 4, this.address / 4 + this.size);
  }
  randomize(): this {
    for (let i = 0; i < this.size; i++) this.values[i] = random();
    return this;
  }
  free(what: string): void {
    const at = this.address / 4;
    for (let i = 0; i < margin; i++) {
      for (const place of [at - 1 - i, at + this.size + i]) {
        if (heap.f32[place] !== guard) {
          throw new Error(`${what}: wrote outside at ${place - at}`);
        }
      }
    }
    release(this.address - margin * 4);
  }
}

/**
 * What errors are measured by: the magnitudes that an element sums (8 ε of
 * them are allowed), or the largest of all elements (24 ε; minimal filtering
 * rounds on the scale of whole tiles).
 */
type Scale = "element" | "largest";

/** Compares with sums in f64. */
function compare(
  what: string,
  actual: Float32Array,
  sums: Float64Array,
  magnitudes: Float64Array,
  scale: Scale,
): void {
  const largest = magnitudes.reduce((a, b) => Math.max(a, b), 0);
  for (let i = 0; i < sums.length; i++) {
    const error = Math.abs(actual[i] - sums[i]);
    const unit = scale === "element"
      ? 8 * (1 + magnitudes[i])
      : 24 * (1 + largest);
    if (!(error <= 2 ** -24 * unit)) {
      throw new Error(`${what}: element ${i} is ${actual[i]}, not ${sums[i]}`);
    }
  }
}

/** Computes a convolution and its gradients, compares all with plain loops, and returns the results. */
function check(c: Case, scale: Scale = "element"): Float32Array[] {
  const s = specOf(c);
  const what = JSON.stringify(c);
  const before = memoryStats().liveBytes;
  const inputs = s.inChannels / s.groups;
  const x = new Buffer(s.batch * s.inChannels * s.inHeight * s.inWidth);
  const w = new Buffer(s.outChannels * inputs * s.kernelHeight * s.kernelWidth);
  const bias = new Buffer(s.outChannels);
  const y = new Buffer(s.batch * s.outChannels * s.outHeight * s.outWidth);
  const dy = new Buffer(y.size), dx = new Buffer(x.size);
  const dw = new Buffer(w.size);
  for (const buffer of [x, w, bias, dy]) buffer.randomize();
  const zeros = (b: Buffer) => new Float64Array(b.size);
  const [y64, ym, dx64, dxm, dw64, dwm] = [y, y, x, x, w, w].map(zeros);
  const [xv, wv, dyv] = [x, w, dy].map(({ values }) => values);
  forEachProduct(s, (xi, wi, yi) => {
    y64[yi] += xv[xi] * wv[wi];
    ym[yi] += Math.abs(xv[xi] * wv[wi]);
    dx64[xi] += dyv[yi] * wv[wi];
    dxm[xi] += Math.abs(dyv[yi] * wv[wi]);
    dw64[wi] += dyv[yi] * xv[xi];
    dwm[wi] += Math.abs(dyv[yi] * xv[xi]);
  });
  conv2d(s, x.address, w.address, 0, y.address);
  compare(`${what} y`, y.values, y64, ym, scale);
  const plain = y.values.slice();
  const plane = s.outHeight * s.outWidth;
  for (let i = 0; i < y.size; i++) {
    y64[i] += bias.values[Math.floor(i / plane) % s.outChannels];
  }
  conv2d(s, x.address, w.address, bias.address, y.address);
  compare(`${what} y + bias`, y.values, y64, ym, scale);
  conv2dInputGrad(s, dy.address, w.address, dx.address);
  compare(`${what} dx`, dx.values, dx64, dxm, scale);
  conv2dWeightGrad(s, x.address, dy.address, dw.address);
  compare(`${what} dw`, dw.values, dw64, dwm, scale);
  const results = [plain, ...[y, dx, dw].map(({ values }) => values.slice())];
  for (const buffer of [x, w, bias, y, dy, dx, dw]) buffer.free(what);
  assertEquals(memoryStats().liveBytes, before);
  return results;
}

Deno.test("convolutions of all small sizes equal plain loops, with both gradients", () => {
  for (const height of [1, 2, 5, 8]) {
    for (const width of [1, 3, 4, 7, 8, 9, 12]) {
      for (const kernel of [[1, 1], [2, 3], [3, 2], [1, 4]] as const) {
        if (kernel[0] > height || kernel[1] > width) continue;
        check({ size: [height, width], kernel });
      }
    }
  }
});

Deno.test("steps, padding and dilation, different in both directions", () => {
  const size = [11, 14] as const;
  for (
    const stride of [[1, 1], [2, 1], [1, 2], [2, 2], [3, 2], [4, 5]] as const
  ) {
    for (const pad of [[0, 0, 0, 0], [1, 1, 1, 1], [2, 0, 1, 3]] as const) {
      for (const dilation of [[1, 1], [2, 1], [1, 3], [2, 2]] as const) {
        for (const kernel of [[1, 1], [3, 3], [2, 4]] as const) {
          check({ size, kernel, stride, pad, dilation });
        }
      }
    }
  }
  // More padding than the filter is wide, and steps larger than the filter.
  check({ size: [5, 6], kernel: [2, 2], pad: [4, 5, 3, 6] });
  check({ size: [9, 9], kernel: [1, 1], stride: [3, 4], pad: [2, 1, 2, 1] });
  check({ size: [3, 3], kernel: [7, 7], pad: [3, 3, 3, 3], stride: [2, 2] });
});

Deno.test("groups, one channel per group included", () => {
  for (const groups of [2, 3, 6]) {
    for (const outChannels of [6, 12, 18]) {
      const common = { inChannels: 6, outChannels, groups };
      check({ ...common, size: [9, 10], kernel: [3, 3] });
      check({ ...common, size: [9, 10], kernel: [1, 1] });
      check({
        ...common,
        size: [9, 11],
        kernel: [3, 3],
        pad: [1, 1, 1, 1],
        stride: [2, 2],
      });
    }
  }
});

Deno.test("many channels, many images, large planes: beyond one block each", () => {
  check({
    batch: 1,
    inChannels: 70,
    outChannels: 101,
    size: [9, 9],
    kernel: [3, 3],
    pad: [1, 1, 1, 1],
  });
  check({
    batch: 40,
    inChannels: 2,
    outChannels: 7,
    size: [8, 8],
    kernel: [5, 5],
  });
  check({
    batch: 5,
    inChannels: 2,
    outChannels: 3,
    size: [60, 530],
    kernel: [2, 2],
    pad: [1, 0, 1, 0],
  });
  check({
    batch: 150,
    inChannels: 8,
    outChannels: 9,
    size: [32, 32],
    kernel: [2, 2],
    pad: [1, 1, 0, 0],
  });
});

Deno.test("nothing at all: no images, no results", () => {
  check({ batch: 0, size: [5, 5], kernel: [3, 3] });
  check({ size: [2, 2], kernel: [3, 3] });
  check({ size: [0, 5], kernel: [1, 1] });
});

Deno.test("3×3 and 5×5 filters over many channels, by minimal filtering", () => {
  const channels = { inChannels: 18, outChannels: 21 };
  for (const size of [[12, 12], [13, 9], [7, 7], [30, 17], [6, 33]] as const) {
    for (const kernel of [[3, 3], [5, 5]] as const) {
      for (
        const pad of [
          [0, 0, 0, 0],
          [1, 1, 1, 1],
          [2, 2, 2, 2],
          [0, 3, 4, 1],
          [6, 5, 6, 7],
        ] as const
      ) {
        check({ ...channels, size, kernel, pad }, "largest");
      }
    }
  }
  check({
    batch: 1,
    inChannels: 64,
    outChannels: 64,
    size: [5, 5],
    kernel: [3, 3],
    pad: [1, 1, 1, 1],
  }, "largest");
  // Several rounds over the images.
  check({
    batch: 24,
    inChannels: 24,
    outChannels: 32,
    size: [20, 20],
    kernel: [3, 3],
    pad: [1, 1, 1, 1],
  }, "largest");
});

Deno.test("the number of threads does not change a bit of a convolution", () => {
  const before = threads();
  const cases: Case[] = [
    {
      batch: 4,
      inChannels: 16,
      outChannels: 24,
      size: [28, 28],
      kernel: [3, 3],
      pad: [1, 1, 1, 1],
    },
    {
      batch: 16,
      inChannels: 1,
      outChannels: 20,
      size: [28, 28],
      kernel: [5, 5],
    },
    {
      batch: 4,
      inChannels: 12,
      outChannels: 12,
      size: [28, 28],
      kernel: [3, 3],
      groups: 12,
      stride: [2, 2],
    },
  ];
  try {
    for (const c of cases) {
      const results = [1, 2, 3].map((count) => {
        setThreads(count);
        startWorkers();
        state = 99;
        return check(c, "largest");
      });
      assertEquals(results[1], results[0]);
      assertEquals(results[2], results[0]);
    }
  } finally {
    setThreads(before);
  }
});
