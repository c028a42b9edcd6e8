/** Bytes that rendered kernels move, against the least that would do. */

import { assert, assertEquals } from "@std/assert";
import { samples, touches, traffic } from "./cuda_traffic.ts";

/** Rows that do not fit in registers are read once per walk; L2 has most of them. */
const readAgain = new Map([["softmax 8192×50257 bf16", 2]]);

for (const [name, l] of Object.entries(samples)) {
  Deno.test(`cuda traffic: ${name} moves no byte twice`, () => {
    const { moved, least } = traffic(l);
    const ratio = moved / least, expected = readAgain.get(name) ?? 1;
    assert(
      Math.abs(ratio - expected) < 0.001,
      `${moved} bytes are moved, ${least} would do`,
    );
  });
}

Deno.test("cuda traffic: every loop over elements counts", () => {
  const { reads, writes } = touches(`
extern "C" __global__ void rows(const Params p) {
  const float t = p.in1[0];
  for (unsigned j = from; j < to; j += 32u) {
    a = a + p.in0[j];
  }
#pragma unroll
  for (int c = 0; c < 2; c++) {
    const unsigned j = c;
    if (j < to) {
      p.out0[j] = p.in0[j] * p.in2[j];
    }
  }
}
`);
  assertEquals([...reads], [[0, 2], [2, 1]]);
  assertEquals([...writes], [[0, 1]]);
});
