import { assertEquals } from "@std/assert";
import type { PlaneSpec } from "../devices/cpu/plane_spec.ts";
import { allocate, heap, release } from "../devices/cpu/memory.ts";
import { maxPool2d, placeAt } from "../devices/cpu/pool2d.ts";
import { setThreads, startWorkers, threads } from "../devices/cpu/pool.ts";

function specOf(
  size: readonly number[],
  kernel: readonly number[],
  stride: readonly number[],
  pad: readonly number[],
  dilation: readonly number[],
  ceil: boolean,
  planes = 3,
): PlaneSpec {
  const extent = (d: number) => {
    const span = size[d] + 2 * pad[d] - dilation[d] * (kernel[d] - 1) - 1;
    const windows = (ceil ? Math.ceil : Math.floor)(span / stride[d]) + 1;
    // PyTorch: the last window must start inside the plane or its left padding.
    const fits = (windows - 1) * stride[d] < size[d] + pad[d];
    return Math.max(0, ceil && !fits ? windows - 1 : windows);
  };
  return {
    batch: 2,
    inChannels: planes,
    outChannels: planes,
    inHeight: size[0],
    inWidth: size[1],
    outHeight: extent(0),
    outWidth: extent(1),
    kernelHeight: kernel[0],
    kernelWidth: kernel[1],
    strideHeight: stride[0],
    strideWidth: stride[1],
    padTop: pad[0],
    padLeft: pad[1],
    dilationHeight: dilation[0],
    dilationWidth: dilation[1],
    groups: 1,
  };
}

/** PyTorch's rule: row by row, a larger value or a NaN takes over. */
function reference(s: PlaneSpec, x: Float32Array): [number[], number[]] {
  const values: number[] = [], places: number[] = [];
  const plane = s.inHeight * s.inWidth;
  for (let p = 0; p < s.batch * s.inChannels; p++) {
    for (let i = 0; i < s.outHeight; i++) {
      for (let j = 0; j < s.outWidth; j++) {
        let best = -Infinity, place = -1;
        for (let u = 0; u < s.kernelHeight; u++) {
          const row = i * s.strideHeight - s.padTop + u * s.dilationHeight;
          if (row < 0 || row >= s.inHeight) continue;
          for (let v = 0; v < s.kernelWidth; v++) {
            const column = j * s.strideWidth - s.padLeft + v * s.dilationWidth;
            if (column < 0 || column >= s.inWidth) continue;
            const at = row * s.inWidth + column;
            const value = x[p * plane + at];
            if (place < 0) place = at;
            if (value > best || Number.isNaN(value)) {
              best = value;
              place = at;
            }
          }
        }
        values.push(best);
        // A window of nothing but padding names the first position.
        places.push(Math.max(place, 0));
      }
    }
  }
  return [values, places];
}

let state = 5;
function random(): number {
  state = Math.imul(state, 1103515245) + 12345 >>> 0;
  return state >>> 16;
}

function check(s: PlaneSpec): void {
  const size = s.batch * s.inChannels * s.inHeight * s.inWidth;
  const windows = s.batch * s.inChannels * s.outHeight * s.outWidth;
  const x = allocate(size * 4 + 256) + 128, y = allocate(windows * 4 + 64);
  const indices = allocate(windows * 8 + 64), dx = allocate(size * 4 + 64);
  const xs = heap.f32.subarray(x / 4, x / 4 + size);
  const ys = heap.f32.subarray(y / 4, y / 4 + windows);
  const places = heap.i64.subarray(indices / 8, indices / 8 + windows);
  const dxs = heap.f32.subarray(dx / 4, dx / 4 + size);
  // What lies around the planes would win if it were looked at.
  heap.f32.fill(Infinity, x / 4 - 32, x / 4 + size + 32);
  const special = [NaN, -Infinity, Infinity, 0, -0];
  for (let i = 0; i < size; i++) {
    // Few different values, so that there are ties.
    const r = random();
    xs[i] = r % 16 === 0 ? special[(r >> 4) % 5] : (r >> 4) % 9 - 4;
  }
  ys.fill(7), places.fill(-7n), dxs.fill(7);
  heap.f32[y / 4 + windows] = heap.f32[dx / 4 + size] = 99;
  heap.i64[indices / 8 + windows] = 99n;
  maxPool2d(s, x, y, indices);
  const [values, expected] = reference(s, xs);
  const what = JSON.stringify(s);
  assertEquals([...ys], values, what);
  assertEquals([...places].map(Number), expected, what);
  assertEquals(heap.f32[y / 4 + windows], 99);
  assertEquals(heap.i64[indices / 8 + windows], 99n);
  // Small whole numbers: sums are exact in any order.
  const gradient = new Float64Array(size);
  const plane = s.inHeight * s.inWidth;
  const perPlane = s.outHeight * s.outWidth;
  for (let i = 0; i < windows; i++) {
    ys[i] = random() % 17 - 8;
    gradient[Math.floor(i / perPlane) * plane + expected[i]] += ys[i];
  }
  placeAt(
    {
      dtype: "f32",
      planes: s.batch * s.inChannels,
      size: plane,
      positions: perPlane,
    },
    y,
    indices,
    dx,
  );
  assertEquals([...dxs], [...gradient], what);
  assertEquals(heap.f32[dx / 4 + size], 99);
  for (const at of [x - 128, y, indices, dx]) release(at);
}

Deno.test("max pooling follows PyTorch over sizes, steps, padding, dilation, rounding up", () => {
  for (const size of [[7, 9], [8, 8], [5, 21], [1, 13], [12, 3]]) {
    for (const kernel of [[2, 2], [3, 3], [1, 4], [3, 2]]) {
      for (const stride of [[1, 1], [2, 2], [3, 1], [1, 3], [2, 5]]) {
        for (const pad of [[0, 0], [1, 1], [0, 1]]) {
          for (const dilation of [[1, 1], [2, 1], [1, 3]]) {
            if (pad.some((n, d) => 2 * n > kernel[d])) continue;
            for (const ceil of [false, true]) {
              check(specOf(size, kernel, stride, pad, dilation, ceil));
            }
          }
        }
      }
    }
  }
});

Deno.test("max pooling of nothing, and over several threads", () => {
  check(specOf([4, 4], [2, 2], [2, 2], [0, 0], [1, 1], false, 0));
  check(specOf([1, 1], [2, 2], [2, 2], [0, 0], [1, 1], false));
  const before = threads();
  try {
    for (const count of [1, 3]) {
      setThreads(count);
      startWorkers();
      check(specOf([24, 24], [2, 2], [2, 2], [0, 0], [1, 1], false, 100));
    }
  } finally {
    setThreads(before);
  }
});
