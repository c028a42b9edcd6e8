/**
 * Convolutions on the CPU in all three directions: `deno bench bench/conv_bench.ts`.
 *
 * Floors: a direct convolution takes 2·images·outputs·window operations at
 * 47 GFLOP/s per core (see gemm_bench.ts): 9.8 ms for the first shape on one
 * core, 4.9 on two. Minimal filtering multiplies a quarter as often for 3×3
 * filters (2.5 ms, 1.2 on two), 0.36 times as often for 5×5; transforms and
 * packing add about as much again. LeNet's three layers of products take
 * 842 million operations per step of 64 images, 9 ms on two cores directly.
 */

import type { PlaneSpec } from "../devices/cpu/plane_spec.ts";
import {
  conv2d,
  conv2dInputGrad,
  conv2dWeightGrad,
} from "../devices/cpu/conv.ts";
import { allocate, heap } from "../devices/cpu/memory.ts";
import { setThreads, startWorkers, threads } from "../devices/cpu/pool.ts";

/** Images, channels, size → channels; filter, padding, stride, groups. */
type Shape = readonly [
  batch: number,
  inChannels: number,
  size: number,
  outChannels: number,
  kernel: number,
  pad: number,
  stride: number,
  groups: number,
];

const shapes: Record<string, Shape> = {
  "16×32×28×28 → 64, 3×3": [16, 32, 28, 64, 3, 1, 1, 1],
  "LeNet 1: 64×1×28×28 → 20, 5×5": [64, 1, 28, 20, 5, 0, 1, 1],
  "LeNet 2: 64×20×12×12 → 50, 5×5": [64, 20, 12, 50, 5, 0, 1, 1],
  "4×64×56×56 → 128, 3×3 by 2": [4, 64, 56, 128, 3, 1, 2, 1],
  "4×64×56×56 → 256, 1×1": [4, 64, 56, 256, 1, 0, 1, 1],
  "4×128×56×56, depthwise 3×3": [4, 128, 56, 128, 3, 1, 1, 128],
};

function specOf(shape: Shape): PlaneSpec {
  const [batch, inChannels, size, outChannels, kernel, pad, stride, groups] =
    shape;
  const out = Math.floor((size + 2 * pad - kernel) / stride) + 1;
  return {
    batch,
    inChannels,
    outChannels,
    groups,
    inHeight: size,
    inWidth: size,
    outHeight: out,
    outWidth: out,
    kernelHeight: kernel,
    kernelWidth: kernel,
    strideHeight: stride,
    strideWidth: stride,
    padTop: pad,
    padLeft: pad,
    dilationHeight: 1,
    dilationWidth: 1,
  };
}

function random(size: number): number {
  const address = allocate(size * 4);
  const at = address / 4;
  for (let i = 0; i < size; i++) heap.f32[at + i] = Math.random() - 0.5;
  return address;
}

startWorkers();
for (const [name, shape] of Object.entries(shapes)) {
  const s = specOf(shape);
  const x = random(s.batch * s.inChannels * s.inHeight * s.inWidth);
  const filters = s.outChannels * s.inChannels / s.groups *
    s.kernelHeight * s.kernelWidth;
  const w = random(filters);
  const dy = random(s.batch * s.outChannels * s.outHeight * s.outWidth);
  const out = allocate(
    4 * Math.max(
      filters,
      s.batch * s.inChannels * s.inHeight * s.inWidth,
      s.batch * s.outChannels * s.outHeight * s.outWidth,
    ),
  );
  const directions = {
    forward: () => conv2d(s, x, w, 0, out),
    "input gradient": () => conv2dInputGrad(s, dy, w, out),
    "filter gradient": () => conv2dWeightGrad(s, x, dy, out),
  };
  for (const [direction, run] of Object.entries(directions)) {
    for (const count of new Set([1, threads()])) {
      Deno.bench({
        name: `${name}, ${direction}, ${count} thread${count > 1 ? "s" : ""}`,
        group: name,
        fn() {
          setThreads(count);
          run();
        },
      });
    }
  }
}
