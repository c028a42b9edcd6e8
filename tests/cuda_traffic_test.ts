/** Bytes that rendered kernels move, against the least that would do. */

import { assert, assertEquals } from "@std/assert";
import { launch } from "../devices/cuda/launch.ts";
import { Recorder } from "./cuda_kernels.ts";
import { samples, touches, traffic } from "./cuda_traffic.ts";

for (const [name, l] of Object.entries(samples)) {
  Deno.test(`cuda traffic: ${name} moves no byte twice`, () => {
    const { moved, least } = traffic(l);
    assert(
      Math.abs(moved / least - 1) < 0.001,
      `${moved} bytes are moved, ${least} would do`,
    );
  });
}

Deno.test("cuda traffic: below 2³¹ elements indices are 32 bits wide", () => {
  for (const [name, l] of Object.entries(samples)) {
    const recorder = new Recorder();
    launch(recorder, l);
    for (const { source } of recorder.launches) {
      assert(!/for \(long long/.test(source), name);
    }
  }
});

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
