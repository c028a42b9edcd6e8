/** Collectives and data parallelism among the CUDA devices of one process, on the stand-ins. */

import { assert, assertEquals, assertThrows } from "@std/assert";
import { crossEntropy, nn, ones, optim, zeros } from "../mod.ts";
import { Profiler } from "../core/profiler.ts";
import { scope } from "../core/scope.ts";
import * as dist from "../dist/mod.ts";
import { CudaError } from "../ffi/errors.ts";
import * as nccl from "../ffi/nccl.ts";
import { checkGroup, tensorOf } from "./dist_cases.ts";
import { trainAlone } from "./dist_model.ts";
import { assertClose, names, test, train } from "./cuda_nccl_cases.ts";

for (const world of [2, 4]) {
  test(`nccl: every collective of ${world} devices is that of plain loops`, () => {
    checkGroup(names(world));
  });
}

test("nccl: ranks that share one GPU do without the library", (host) => {
  host.clearCalls();
  checkGroup(["cuda:0", "cuda:0"], ["f32"]);
  assertEquals(host.calls().filter((name) => name.startsWith("nccl")), []);
});

test("nccl: communicators say what they are", () => {
  const [a, b] = nccl.initAll([2, 0]);
  assertEquals(nccl.describe(a), { rank: 0, worldSize: 2, device: 2 });
  assertEquals(nccl.describe(b), { rank: 1, worldSize: 2, device: 0 });
  for (const handle of [a, b]) nccl.nccl().symbols.ncclCommDestroy(handle);
  assertThrows(() => nccl.initAll([0, 0]), CudaError, "duplicate GPU 0");
  assertThrows(
    () => nccl.initAll([0, 9]),
    CudaError,
    "ncclCommInitAll failed (devices 0, 9): ncclUnhandledCudaError (1)",
  );
});

test("nccl: devices of several kinds, or some twice, are refused", () => {
  for (const list of [["cuda:0", "cpu"], ["cuda:0", "cuda:1", "cuda:0"]]) {
    assertThrows(() => dist.processGroup(list), TypeError, "Cannot join");
  }
});

test("nccl: streams wait for each other, however slow they are", (host) => {
  using group = dist.processGroup(names(2));
  host.delay("all", 3);
  scope(() => {
    for (let round = 0; round < 4; round++) {
      const xs = names(2).map((device, rank) =>
        tensorOf([1, 2, 3, 4].map((v) => v * (rank + 1)), "f32", device).mul(2)
      );
      const work = group.allReduce(xs);
      // Their memory is free for others only when the collective has read it.
      for (const x of xs) x.dispose();
      const others = names(2).map((device) =>
        tensorOf([9, 9, 9, 9], "f32", device).add(round).materialize()
      );
      const sums = work.wait().map((sum) => sum.add(1));
      for (const sum of sums) assertEquals(sum.toArray(), [7, 13, 19, 25]);
      for (const other of others) other.dispose();
    }
  });
});

test("nccl: the profiler times collectives on every device", () => {
  using group = dist.processGroup(names(2));
  scope(() => {
    const xs = names(2).map((device) => tensorOf([1, 2], "f32", device));
    const profiler = new Profiler();
    group.allReduce(xs).wait();
    const { events } = profiler.stop();
    for (const name of names(2)) {
      assert(events.some((e) => e.kind === "device" && e.device === name));
    }
  });
});

test("nccl: collectives run on streams of their own, beside what is computed", (host) => {
  using group = dist.processGroup(names(2));
  scope(() => {
    const xs = names(2).map((device) => tensorOf([1, 2], "f32", device));
    host.hang("ncclAllReduce");
    const work = group.allReduce(xs);
    // Nothing of this waits for the collective.
    const [y] = xs.map((x) => x.mul(3));
    assertEquals(y.toArray(), [3, 6]);
    assert(!work.done);
    host.release();
    assertEquals(work.finishSync()[1].toArray(), [2, 4]);
    assert(work.done);
  });
});

test("nccl: gradients leave while those of earlier layers are still to be computed", (host) => {
  const layers = Array.from({ length: 5 }, () => [nn.linear(8, 8), nn.relu()]);
  using model = nn.sequential(...layers.flat()).to("cuda:0");
  using optimizer = optim.sgd(model, { lr: 0.1 });
  using parallel = dist.dataParallel(model, optimizer, names(2), {
    bucketBytes: 256,
  });
  scope(() => {
    const inputs = ones([4, 8]);
    const targets = zeros([4], { dtype: "i32" });
    // Buckets follow the order of parameters in the first step, as they always do among processes.
    for (const step of ["first", "second"]) {
      host.clearCalls();
      parallel.backward({ inputs, targets }, crossEntropy);
      const calls = host.calls();
      const left = calls.lastIndexOf("cublasLtMatmul") -
        calls.indexOf("ncclAllReduce");
      assert(left > 0, `${step} step: ${calls.join(" ")}`);
      parallel.step();
    }
  });
});

const sizes = [12, 12, 7, 12];

test("nccl: several devices learn what one learns, with the same weights on each", (host) => {
  const one = trainAlone(sizes, "cpu");
  for (const world of [2, 4]) {
    const many = train(names(world), sizes);
    assertClose(many.losses, one.losses);
    assertClose(many.weights, one.weights);
  }
  // A missing event shows as a wrong number when streams are slow.
  host.delay("all", 1);
  assertClose(train(names(2), sizes).weights, one.weights);
});
