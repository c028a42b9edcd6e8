/** Attention piece by piece gives what attention at once gives, in less memory. */

import { assert, assertEquals } from "@std/assert";
import { getDevice, gradients, scope, type Tensor } from "../mod.ts";
import { Philox } from "../core/random.ts";
import { fromHost } from "../core/tensor.ts";
import { scaledDotProductAttention } from "../ops/attention.ts";
import { mul } from "../ops/arithmetic.ts";
import { pieces } from "../ops/attention_pieces.ts";
import { sum } from "../ops/foundation.ts";

function tensor(seed: number, shape: readonly number[]): Tensor {
  const random = new Philox(seed);
  const data = Float32Array.from(
    { length: shape.reduce((a, b) => a * b, 1) },
    () => 2 * random.uniform() - 1,
  );
  const made = fromHost(data, "f32", shape);
  made.requiresGrad = true;
  return made;
}

interface Case {
  q: number[];
  k: number[];
  mask?: number[];
  causal?: boolean;
}

/** Result and gradients. */
function run({ q, k, mask, causal = false }: Case, limit: number | undefined) {
  pieces.limit = limit;
  try {
    return scope(() => {
      const inputs = [tensor(1, q), tensor(2, k), tensor(3, k)];
      const bias = mask && tensor(4, mask);
      const o = scaledDotProductAttention(inputs[0], inputs[1], inputs[2], {
        mask: bias,
        causal,
      });
      const wanted = bias === undefined ? inputs : [...inputs, bias];
      const found = gradients(sum(mul(o, o)), wanted);
      return [o, ...found].map((t) => [...t!.data() as Float32Array]);
    });
  } finally {
    pieces.limit = undefined;
  }
}

const cases: Record<string, Case> = {
  sequences: { q: [5, 2, 6, 4], k: [5, 2, 6, 4], causal: true },
  "one sequence of several heads": { q: [1, 6, 5, 4], k: [1, 6, 7, 4] },
  "grouped heads": { q: [3, 4, 5, 4], k: [3, 2, 5, 4] },
  "three axes": { q: [4, 5, 4], k: [4, 7, 4] },
  "a mask for each sequence": {
    q: [4, 2, 5, 4],
    k: [4, 2, 7, 4],
    mask: [4, 1, 5, 7],
  },
  "a mask for all": { q: [4, 2, 5, 4], k: [4, 2, 7, 4], mask: [5, 7] },
};

for (const [name, c] of Object.entries(cases)) {
  Deno.test(`attention in pieces: ${name}`, () => {
    const whole = run(c, Infinity);
    for (const limit of [1, 500]) {
      run(c, limit).forEach((values, n) =>
        values.forEach((value, i) => {
          const wanted = whole[n][i];
          assert(
            Math.abs(value - wanted) <= 1e-5 * (1 + Math.abs(wanted)),
            `result ${n}, element ${i} is ${value}, not ${wanted}`,
          );
        })
      );
    }
  });
}

Deno.test("attention in pieces: what cannot be cut is computed at once", () => {
  const c = { q: [1, 4, 5, 4], k: [1, 2, 5, 4] };
  assertEquals(run(c, 1), run(c, Infinity));
});

Deno.test("attention in pieces takes a fraction of the memory", () => {
  const c = { q: [8, 2, 192, 8], k: [8, 2, 192, 8], causal: true };
  const scores = 4 * 8 * 2 * 192 * 192;
  const { liveBytes } = getDevice("cpu").stats();
  run(c, scores / 8);
  const cut = getDevice("cpu").stats().peakBytes - liveBytes;
  run(c, Infinity);
  const whole = getDevice("cpu").stats().peakBytes - liveBytes;
  assert(cut < scores, `${cut} of ${scores} bytes of scores`);
  assert(whole > 2 * scores, `${whole} bytes at once`);
});
