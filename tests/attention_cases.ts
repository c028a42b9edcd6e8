/**
 * Cases of attention for the tests of the CUDA device, and how they are run
 * there and on the CPU.
 */

import { assert, assertEquals } from "@std/assert";
import { gradients, scope, type Tensor } from "../mod.ts";
import { closeDevice } from "../core/device.ts";
import { type DType, hostArray, setElement } from "../core/dtype.ts";
import { Philox } from "../core/random.ts";
import { fromHost } from "../core/tensor.ts";
import { mul } from "../ops/arithmetic.ts";
import {
  type AttentionOptions,
  scaledDotProductAttention,
} from "../ops/attention.ts";
import { cast, sum } from "../ops/foundation.ts";
import { transpose } from "../ops/shape.ts";
import { narrow } from "../ops/slicing.ts";
import { cudaHost } from "./cuda_host/mod.ts";

const host = await cudaHost();

/** The stand-ins. */
export type Machine = Exclude<typeof host, { readonly absent: string }>;

/** A test on the stand-ins, which ends with nothing violated and nothing left behind. */
export function onCuda(name: string, body: (machine: Machine) => void): void {
  Deno.test({
    name: host.absent === undefined ? name : `${name} (${host.absent})`,
    ignore: host.absent !== undefined,
    fn() {
      if (host.absent !== undefined) return;
      host.reset();
      // A plan that took long, on a busy machine, would be kept on disk, and be
      // found there with other calls.
      const folder = Deno.env.get("DECAF_CACHE")!;
      Deno.env.set("DECAF_CACHE", "/dev/null/decaf");
      try {
        body(host);
      } finally {
        Deno.env.set("DECAF_CACHE", folder);
        closeDevice("cuda");
      }
      assertEquals(host.violations(), []);
      assertEquals(host.leaks(), []);
    },
  });
}

/** A tensor of numbers from −1.5 to 1.5, the same on every device. */
export function tensor(
  seed: number,
  shape: readonly number[],
  dtype: DType,
  device: string,
  value = (uniform: number) => 3 * uniform - 1.5,
): Tensor {
  const random = new Philox(seed);
  const data = hostArray(dtype, shape.reduce((a, b) => a * b, 1));
  for (let i = 0; i < data.length; i++) {
    setElement(data, dtype, i, value(random.uniform()));
  }
  return fromHost(data, dtype, shape, { device });
}

/** Extents and options. */
export interface Case {
  q: number[];
  k: number[];
  v: number[];
  options?: Omit<AttentionOptions, "mask">;
  /** Extents of a mask, and whether it is of bool. */
  mask?: { shape: number[]; bool: boolean; hidden?: number };
}

/** Result and gradients of a case. */
export function run(c: Case, dtype: DType, device: string): Float64Array[] {
  return scope(() => {
    const [q, k, v] = [c.q, c.k, c.v].map((shape, i) => {
      const x = tensor(i, shape, dtype, device);
      x.requiresGrad = true;
      return x;
    });
    const { shape, bool, hidden = 0.3 } = c.mask ?? {};
    const mask = shape &&
      (bool
        ? tensor(7, shape, "bool", device, (u) => u < hidden ? 0 : 1)
        : tensor(7, shape, "f32", device, (u) => u < hidden ? -Infinity : u));
    const o = scaledDotProductAttention(q, k, v, { mask, ...c.options });
    const weight = tensor(9, o.shape, dtype, device);
    const found = gradients(sum(mul(o, weight)), [q, k, v]);
    return [o, ...found].map((t) => numbers(t!));
  });
}

/** Elements as float64. */
export function numbers(x: Tensor): Float64Array {
  return Float64Array.from(cast(x, "f32").data() as Float32Array);
}

/** Result and gradients where masks, operands and gradients lie anyhow. */
export function runStrided(dtype: DType, device: string): Float64Array[] {
  return scope(() => {
    const turned = (seed: number, shape: number[]) => {
      const x = tensor(seed, shape, dtype, device);
      x.requiresGrad = true;
      return x;
    };
    // Heads after positions, positions after widths, rows that start anywhere.
    const q = turned(1, [2, 5, 3, 8]), k = turned(2, [2, 3, 8, 7]);
    const v = turned(3, [2, 3, 7, 11]);
    const mask = tensor(4, [7, 5], "f32", device);
    const o = scaledDotProductAttention(
      transpose(q, 1, 2),
      transpose(k, 2, 3),
      narrow(v, 3, 1, 8),
      { mask: transpose(mask, 0, 1) },
    );
    const weight = tensor(5, [2, 3, 8, 5], dtype, device);
    const total = sum(mul(transpose(o, 2, 3), weight));
    return [o, ...gradients(total, [q, k, v])].map((x) => numbers(x!));
  });
}

/** Asserts that results are those of the definition, to `slack` of 1 and of their size. */
export function assertClose(
  actual: Float64Array[],
  expected: Float64Array[],
  slack: number,
  what: string,
): void {
  actual.forEach((values, n) => {
    assertEquals(values.length, expected[n].length);
    values.forEach((value, i) => {
      const wanted = expected[n][i];
      assert(
        Object.is(value, wanted) ||
          Math.abs(value - wanted) <= slack * (1 + Math.abs(wanted)),
        `${what}: result ${n}, element ${i} is ${value}, not ${wanted}`,
      );
    });
  });
}

/** Queries, keys and values of different lengths and widths. */
export const heads = { q: [2, 4, 5, 8], k: [2, 4, 7, 8], v: [2, 4, 7, 16] };

/** What attention may be asked for. */
export const cases: Record<string, Case> = {
  plain: heads,
  causal: {
    q: [2, 3, 6, 8],
    k: [2, 3, 6, 8],
    v: [2, 3, 6, 8],
    options: { causal: true },
  },
  "causal, fewer keys": {
    q: [1, 2, 6, 8],
    k: [1, 2, 4, 8],
    v: [1, 2, 4, 8],
    options: { causal: true },
  },
  "a factor of its own": { ...heads, options: { scale: 0.9 } },
  "grouped heads": {
    q: [2, 6, 5, 8],
    k: [2, 2, 5, 8],
    v: [2, 2, 5, 8],
    options: { causal: true },
  },
  "one head for all": { q: [1, 4, 3, 8], k: [1, 1, 3, 8], v: [1, 1, 3, 8] },
  "three axes": { q: [4, 5, 8], k: [4, 7, 8], v: [4, 7, 8] },
  "two axes": { q: [5, 8], k: [7, 8], v: [7, 8] },
  "five axes": {
    q: [2, 3, 2, 4, 8],
    k: [2, 3, 2, 4, 8],
    v: [2, 3, 2, 4, 8],
    mask: { shape: [3, 1, 4, 4], bool: true },
  },
  "hidden keys": {
    ...heads,
    mask: { shape: [2, 1, 1, 7], bool: true, hidden: 0.4 },
  },
  "a mask for all heads": { ...heads, mask: { shape: [5, 7], bool: false } },
  "a mask for each head": {
    ...heads,
    mask: { shape: [2, 4, 5, 7], bool: false },
  },
  "rows that see nothing": {
    ...heads,
    mask: { shape: [1, 4, 5, 7], bool: true, hidden: 0.8 },
  },
  "a number per query": { ...heads, mask: { shape: [4, 5, 1], bool: true } },
  "hidden and causal": {
    q: [1, 2, 6, 8],
    k: [1, 2, 6, 8],
    v: [1, 2, 6, 8],
    options: { causal: true },
    mask: { shape: [6, 6], bool: true, hidden: 0.5 },
  },
};
