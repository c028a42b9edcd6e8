/** Bytes that rendered kernels move, against the least that would do. */

import { assert, assertEquals } from "@std/assert";
import { nets } from "../bench/gpu/counts.ts";
import { launchesOf, sums } from "../bench/gpu/traffic.ts";
import { launch } from "../devices/cuda/launch.ts";
import { closeDevice, setDefaultDevice } from "../mod.ts";
import { cudaHost } from "./cuda_host/mod.ts";
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

const host = await cudaHost();

Deno.test({
  name: `cuda traffic: kernels of a training step of LeNet move no byte twice${
    host.absent === undefined ? "" : ` (${host.absent})`
  }`,
  ignore: host.absent !== undefined,
  fn() {
    if (host.absent !== undefined) return;
    // Only the launches are looked at: nothing need be computed.
    host.instant(true);
    setDefaultDevice("cuda");
    try {
      const lenet = nets.find(({ name }) => name === "lenet")!;
      const kernels = sums(launchesOf(lenet));
      let moved = 0, least = 0;
      for (const [name, sum] of kernels) {
        moved += sum.moved;
        least += sum.least;
        // A few rows of scores are read again: keeping them is not worth registers.
        const most = sum.least > 10_000 ? 1.001 : 2;
        assert(sum.moved <= most * sum.least, `${name} moves ${sum.moved}`);
      }
      assert(kernels.some(([name]) => name === "maxPool"));
      assert(least > 2e7 && moved <= 1.001 * least);
    } finally {
      setDefaultDevice("cpu");
      closeDevice("cuda:0");
      host.reset();
    }
  },
});
