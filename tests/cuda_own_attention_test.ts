/**
 * Attention of the CUDA device by Decaf's own kernels, on the stand-ins,
 * against the composed definition on the CPU.
 */

import { assert, assertEquals } from "@std/assert";
import { gradients, scope } from "../mod.ts";
import { manualSeed } from "../core/random.ts";
import {
  attentionChoice,
  chooseTile,
  leastShared,
} from "../devices/cuda/attention_choice.ts";
import { mul } from "../ops/arithmetic.ts";
import {
  type AttentionOptions,
  scaledDotProductAttention,
} from "../ops/attention.ts";
import { reshape, sum } from "../ops/foundation.ts";
import { unbind } from "../ops/joining.ts";
import { permute } from "../ops/shape.ts";
import {
  assertClose,
  type Case,
  cases,
  heads,
  type Machine,
  numbers,
  onCuda,
  run,
  runStrided,
  tensor,
} from "./attention_cases.ts";

const slack = 1e-5;

/** Kernels, products and library calls since the calls were cleared. */
function asked(machine: Machine): string[] {
  const working = ["cuLaunchKernel", "cublasLtMatmul", "cudnnBackendExecute"];
  return machine.calls().filter((name) => working.includes(name));
}

/** Asserts that neither products nor cuDNN were asked. */
function assertOwn(machine: Machine, what: string): void {
  const others = asked(machine).filter((name) => name !== "cuLaunchKernel");
  assertEquals(others, [], what);
}

onCuda("attention in f32 gives what the definition gives in f64", (machine) => {
  for (const [name, c] of Object.entries(cases)) {
    machine.clearCalls();
    const actual = run(c, "f32", "cuda");
    assertOwn(machine, name);
    assertClose(actual, run(c, "f64", "cpu"), slack, name);
  }
});

/** Lengths and widths about the tiles. */
const sizes: Record<string, Case> = {
  "two tiles and a part": {
    q: [1, 2, 150, 20],
    k: [1, 1, 135, 20],
    v: [1, 1, 135, 36],
  },
  "two tiles and a part, causal": {
    q: [1, 2, 150, 20],
    k: [1, 2, 150, 20],
    v: [1, 2, 150, 36],
    options: { causal: true },
  },
  "more queries than keys, causal": {
    q: [1, 1, 140, 8],
    k: [1, 1, 66, 8],
    v: [1, 1, 66, 8],
    options: { causal: true },
  },
  "more keys than queries, causal": {
    q: [1, 1, 66, 8],
    k: [1, 1, 140, 8],
    v: [1, 1, 140, 8],
    options: { causal: true },
  },
  "wide": { q: [1, 1, 70, 128], k: [1, 1, 70, 128], v: [1, 1, 70, 100] },
  "widths that fill no vectors": {
    q: [2, 2, 17, 5],
    k: [2, 2, 19, 5],
    v: [2, 2, 19, 7],
    options: { causal: true },
  },
  "a mask over several tiles": {
    q: [1, 2, 70, 4],
    k: [1, 2, 130, 4],
    v: [1, 2, 130, 4],
    mask: { shape: [2, 70, 130], bool: false },
  },
};

onCuda(
  "all tiles give the same bits, whatever the lengths and widths",
  (machine) => {
    try {
      for (const [name, c] of Object.entries(sizes)) {
        const expected = run(c, "f64", "cpu");
        let first: Float64Array[] | undefined;
        for (const rows of [8, 4, 2, 1]) {
          attentionChoice.rows = rows;
          machine.clearCalls();
          const actual = run(c, "f32", "cuda");
          assertOwn(machine, name);
          first ??= actual;
          assertClose(actual, expected, slack, `${name}, ${rows} rows`);
          assertEquals(actual, first, `${name}, ${rows} rows`);
        }
      }
    } finally {
      attentionChoice.rows = undefined;
    }
  },
);

onCuda("half types that cuDNN does not take are computed in f32", (machine) => {
  const c: Case = {
    q: [1, 4, 20, 12],
    k: [1, 2, 70, 12],
    v: [1, 2, 70, 20],
    options: { causal: true },
  };
  for (const [dtype, slack] of [["f16", 0.004], ["bf16", 0.03]] as const) {
    machine.clearCalls();
    const actual = run(c, dtype, "cuda");
    assertOwn(machine, dtype);
    assertClose(actual, run(c, dtype, "cpu"), slack, dtype);
    const odd = { q: [1, 1, 9, 3], k: [1, 1, 9, 3], v: [1, 1, 9, 3] };
    assertClose(run(odd, dtype, "cuda"), run(odd, dtype, "cpu"), slack, dtype);
  }
});

onCuda("dropout drops the same weights as on the CPU", (machine) => {
  const masked = { ...cases["hidden and causal"], q: [1, 4, 6, 8] };
  for (const c of [heads, masked]) {
    const dropping = { ...c, options: { ...masked.options, dropout: 0.3 } };
    manualSeed(3);
    const expected = run(dropping, "f32", "cpu");
    manualSeed(3);
    machine.clearCalls();
    assertClose(run(dropping, "f32", "cuda"), expected, slack, "dropout");
    assertOwn(machine, "dropout");
  }
});

onCuda(
  "columns of one product are read where they lie, and their gradients fill one block",
  (machine) => {
    const [n, t, h, d] = [2, 40, 3, 8];
    const attend = (device: string) =>
      scope(() => {
        const all = tensor(1, [n, t, 3 * h * d], "f32", device);
        all.requiresGrad = true;
        const parts = permute(reshape(all, [n, t, 3, h, d]), [2, 0, 3, 1, 4]);
        const [q, k, v] = unbind(parts, 0);
        machine.clearCalls();
        const o = scaledDotProductAttention(q, k, v, { causal: true });
        if (device === "cuda") {
          assertEquals(asked(machine), ["cuLaunchKernel"]);
          assertEquals(o.value.strides[2], h * d);
        }
        const total = sum(mul(o, o));
        machine.clearCalls();
        const [g] = gradients(total, [all]);
        // The seed, its spreading, 2·o·g, and two for attention.
        if (device === "cuda") assertEquals(asked(machine).length, 5);
        return [o, g!].map(numbers);
      });
    assertClose(attend("cuda"), attend("cpu"), slack, "GPT");
  },
);

onCuda("masks, operands and gradients may lie anyhow", () => {
  const found = runStrided("f32", "cuda");
  assertClose(found, runStrided("f64", "cpu"), slack, "strided");
});

onCuda(
  "infinities, NaN and huge numbers give what the definition gives",
  () => {
    const values = [NaN, Infinity, -Infinity, 3e38, -3e38, 1e20, 0, -0];
    const attend = (
      device: string,
      value: number,
      where: number,
      at: number,
      options: AttentionOptions,
    ) =>
      scope(() => {
        const operands = [0, 1, 2].map((i) => {
          let n = 0;
          const x = tensor(i, [1, 1, 70, 4], "f32", device, (u) => {
            const element = n++;
            return i === where && element === at ? value : 3 * u - 1.5;
          });
          x.requiresGrad = true;
          return x;
        });
        const [q, k, v] = operands;
        const o = scaledDotProductAttention(q, k, v, options);
        const weight = tensor(9, o.shape, "f32", device);
        return [o, ...gradients(sum(mul(o, weight)), operands)]
          .map((x) => numbers(x!));
      });
    for (const value of values) {
      for (const where of [0, 1, 2]) {
        const options = { causal: false };
        // In the second of two tiles of keys.
        const at = 4 * 66 + 1;
        const actual = attend("cuda", value, where, at, options);
        const expected = attend("cpu", value, where, at, options);
        const what = `${value} in operand ${where}`;
        assertClose(actual.slice(0, 1), expected.slice(0, 1), slack, what);
        // Where a weight is 1, Σ d·o and d·v differ by their rounding, and that is multiplied by the huge number.
        const size = Number.isFinite(value) ? Math.max(1, Math.abs(value)) : 1;
        if (size > 1e30) continue;
        assertClose(actual, expected, slack * size, what);
      }
    }
  },
);

Deno.test("every case has a tile on every GPU", () => {
  const c = {
    dtype: "f32",
    causal: true,
    bias: true,
    dropout: true,
    vectors: true,
  } as const;
  for (
    const sharedMemoryPerBlock of [leastShared, 99 << 10, 163 << 10, 227 << 10]
  ) {
    for (const depth of [1, 32, 64, 65, 96, 128]) {
      for (const width of [1, 32, 64, 65, 96, 128]) {
        for (
          const entry of ["attention", "attention_dq", "attention_dkv"] as const
        ) {
          for (const length of [1, 64, 1 << 20]) {
            const tile = chooseTile({ ...c, depth, width }, entry, {
              sharedMemoryPerBlock,
              multiprocessors: 132,
              length,
              heads: 4,
            });
            assert(tile.shared <= sharedMemoryPerBlock);
            // What results depend on.
            const columns = Math.max(depth, width) <= 64 ? 8 : 4;
            assertEquals(tile.columns, columns);
          }
        }
      }
    }
  }
});
