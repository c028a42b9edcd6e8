/**
 * Matrix products on the CPU: `deno bench bench/gemm_bench.ts`.
 *
 * Floors: a product takes at least 2·m·n·k operations / (threads · peak). One
 * core does two fused multiply-adds of four lanes per cycle through 128-bit
 * WebAssembly vectors: 16 operations per cycle, 58 GFLOP/s at 3.6 GHz; the
 * micro-kernel alone, on panels in the first-level cache, reaches 48.7. So
 * 1024³ takes at least 44 ms on one core and 22 ms on two. A product with one
 * row reads each weight once: 4·n·k bytes / 12 GB/s.
 */

import { matmul } from "../devices/cpu/gemm.ts";
import { allocate, heap } from "../devices/cpu/memory.ts";
import { setThreads, startWorkers, threads } from "../devices/cpu/pool.ts";

/** Sizes, and whether A or B is transposed in memory. */
interface Shape {
  m: number;
  n: number;
  k: number;
  batch?: number;
  transposedA?: boolean;
  transposedB?: boolean;
}

const shapes: Record<string, Shape> = {
  "1024³": { m: 1024, n: 1024, k: 1024 },
  "1024³, B transposed": { m: 1024, n: 1024, k: 1024, transposedB: true },
  "1024³, A transposed": { m: 1024, n: 1024, k: 1024, transposedA: true },
  "linear 128×784 → 256": { m: 128, n: 256, k: 784, transposedB: true },
  "linear 128×256 → 10": { m: 128, n: 10, k: 256, transposedB: true },
  "weights of 784 → 256": { m: 256, n: 784, k: 128, transposedA: true },
  "LSTM step 32×256 → 1024": { m: 32, n: 1024, k: 256, transposedB: true },
  "attention 48 × (64×64×32)": {
    m: 64,
    n: 64,
    k: 32,
    batch: 48,
    transposedB: true,
  },
  "one row 1×512 → 1000": { m: 1, n: 1000, k: 512, transposedB: true },
  "outer 1000×1000×1": { m: 1000, n: 1000, k: 1 },
  "tiny 4×4×4": { m: 4, n: 4, k: 4 },
};

function random(size: number): number {
  const address = allocate(size * 4);
  const at = address / 4;
  for (let i = 0; i < size; i++) heap.f32[at + i] = Math.random() - 0.5;
  return address;
}

startWorkers();
for (const [name, shape] of Object.entries(shapes)) {
  const { m, n, k, batch = 1, transposedA, transposedB } = shape;
  const a = random(batch * m * k), b = random(batch * k * n);
  const c = random(batch * m * n);
  for (const count of new Set([1, threads()])) {
    Deno.bench({
      name: `${name}, ${count} thread${count > 1 ? "s" : ""}`,
      group: name,
      fn() {
        setThreads(count);
        matmul({
          dtype: "f32",
          m,
          n,
          k,
          batchShape: [batch],
          a: {
            address: a,
            rowStride: transposedA ? 1 : k,
            columnStride: transposedA ? m : 1,
            batchStrides: [m * k],
          },
          b: {
            address: b,
            rowStride: transposedB ? 1 : n,
            columnStride: transposedB ? k : 1,
            batchStrides: [k * n],
          },
          c: {
            address: c,
            rowStride: n,
            columnStride: 1,
            batchStrides: [m * n],
          },
        });
      },
    });
  }
}
