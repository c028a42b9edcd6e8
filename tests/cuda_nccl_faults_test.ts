/** Faults of collectives among CUDA devices: hangs, late errors, failing calls, lost devices. */

import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import "../mod.ts";
import { closeDevice, openDevices } from "../core/device.ts";
import { memory } from "../core/memory.ts";
import { scope } from "../core/scope.ts";
import * as dist from "../dist/mod.ts";
import { CudaError } from "../ffi/errors.ts";
import { CollectiveError } from "../dist/errors.ts";
import { crossEntropy } from "../mod.ts";
import { tensorOf } from "./dist_cases.ts";
import { classifier, optimizerFor, pointsOf, weightsOf } from "./dist_model.ts";
import { names, test } from "./cuda_nccl_cases.ts";

test("nccl: a rank that hangs is given up in time, by the name of the collective", async (host) => {
  const group = dist.processGroup(names(2), { timeout: 100 });
  const xs = names(2).map((device) => tensorOf([1, 2], "f32", device));
  host.hang("ncclAllReduce");
  const work = group.allReduce(xs);
  await assertRejects(
    () => work.finish(),
    CollectiveError,
    "Cannot finish allReduce of f32 [2] among 2 ranks: it did not end within 100 ms",
  );
  assertThrows(() => group.allReduce(xs), CollectiveError, "allReduce of f32");
  host.release();
  for (const tensor of work.wait()) tensor.dispose();
  group[Symbol.dispose]();
  // The devices go on, and so does another group of them.
  using again = dist.processGroup(names(2));
  const results = again.allReduce(xs).wait();
  assertEquals(results[0].toArray(), [2, 4]);
  for (const tensor of [...xs, ...results]) tensor.dispose();
});

test("nccl: an error that comes later is noticed while waiting, and by the next call", (host) => {
  for (const waits of [true, false]) {
    using group = dist.processGroup(names(2), { timeout: 10_000 });
    scope(() => {
      const xs = names(2).map((device) => tensorOf([1, 2], "f32", device));
      host.fail({ function: "ncclAllReduce", nth: 1, status: 6, later: true });
      const work = group.allReduce(xs);
      const text = "NCCL reports ncclRemoteError (6) to rank 0 on cuda:0";
      if (waits) assertThrows(() => work.finishSync(), CollectiveError, text);
      else {
        while (group.communicator.failure() === undefined);
        assertThrows(() => group.allReduce(xs), CollectiveError, text);
      }
      assertThrows(() => group.broadcast(xs), CollectiveError, text);
      work.wait();
    });
  }
});

/** Memory when nothing is under way: checks of labels wait for the device. */
function settledMemory() {
  for (const device of openDevices()) device.synchronize();
  return memory();
}

/** Opens a group, uses it, trains a step, and closes it. */
function everything(): void {
  using group = dist.processGroup(names(2));
  scope(() => {
    const xs = names(2).map((device) => tensorOf([1, 2], "f32", device));
    group.allReduce(xs).wait();
    group.allToAll(xs).wait();
    group.grouped(() => {
      group.send(xs[0], { to: 1 });
      group.recv([2], { from: 0, rank: 1 });
    });
    using model = classifier("cuda:0");
    using optimizer = optimizerFor(model);
    using parallel = dist.dataParallel(model, optimizer, group);
    parallel.backward(pointsOf(4, 1), crossEntropy);
    parallel.finish();
    parallel.step();
    const weights = weightsOf(model);
    assert(weights.every(Number.isFinite));
    parallel.on(1, () => assertEquals(weightsOf(model), weights));
  });
}

test("nccl: a call that fails names the device of its rank", (host) => {
  for (const rank of [0, 1]) {
    using group = dist.processGroup(names(2));
    scope(() => {
      const xs = names(2).map((device) => tensorOf([1, 2], "f32", device));
      host.fail({ function: "ncclAllReduce", nth: rank + 1, status: 3 });
      assertThrows(
        () => group.allReduce(xs),
        Error,
        `ncclAllReduce failed on cuda:${rank} (rank ${rank}, f32 [2])`,
      );
    });
  }
});

test("nccl: each of its calls made to fail is told, and leaves nothing behind", (host) => {
  everything();
  host.clearCalls();
  everything();
  const counts = new Map<string, number>();
  for (const name of host.calls()) {
    if (!name.startsWith("nccl") || name === "ncclCommDestroy") continue;
    counts.set(name, (counts.get(name) ?? 0) + 1);
  }
  assert(counts.size >= 8, [...counts.keys()].join());
  // How often it is asked depends on the time.
  counts.set("ncclCommGetAsyncError", 4);
  for (const [name, count] of counts) {
    for (let nth = 1; nth <= count; nth++) {
      const before = settledMemory();
      host.fail({ function: name, nth, status: 3 });
      const error = assertThrows(everything) as Error;
      assert(
        error.message.includes(name) &&
          error.message.includes("ncclInternalError (3)"),
        `${name} ${nth}: ${error.message}`,
      );
      assertEquals(host.faultsLeft(), 0);
      const after = settledMemory();
      assertEquals(after.tensors, before.tensors, `${name} ${nth}`);
      for (const device of names(2)) {
        const [a, b] = [after, before].map((m) => m.devices[device].blocks);
        assertEquals(a, b, `${name} ${nth} on ${device}`);
      }
    }
  }
  everything();
});

test("nccl: a communicator that cannot be destroyed is told, and its streams are", (host) => {
  everything();
  const streams = () =>
    host.leaks().filter((line) => line.startsWith("stream")).length;
  const before = streams();
  host.fail({ function: "ncclCommDestroy", nth: 1, status: 3 });
  assertThrows(everything, CudaError, "ncclCommDestroy failed");
  assertEquals(streams(), before);
  // The handle itself is the library's to free.
  closeDevice("cuda:0");
  closeDevice("cuda:1");
  assertEquals(host.leaks().map((line) => line.split(" ")[0]), ["ncclComm"]);
  host.reset();
});

test("nccl: calls of the runtime made to fail are told too", (host) => {
  everything();
  const functions = [
    "cudaStreamWaitEvent",
    "cudaEventRecord",
    "cudaStreamCreateWithFlags",
  ];
  for (const name of functions) {
    host.clearCalls();
    everything();
    const count = host.calls().filter((call) => call === name).length;
    for (let nth = 1; nth <= count; nth++) {
      const before = memory();
      host.fail({ function: name, nth, status: 1 });
      const error = assertThrows(everything) as Error;
      assert(error.message.includes(name), `${name} ${nth}: ${error.message}`);
      assertEquals(memory().tensors, before.tensors, `${name} ${nth}`);
    }
  }
  everything();
});

test("nccl: an error on one device ends the step on all of them, and the next step goes on", (host) => {
  using model = classifier("cuda:0");
  using optimizer = optimizerFor(model);
  using parallel = dist.dataParallel(model, optimizer, names(2), {
    bucketBytes: 200,
  });
  const step = () =>
    scope(() => {
      parallel.backward(pointsOf(12, 1), crossEntropy);
      parallel.finish();
      parallel.step();
    });
  step();
  host.clearCalls();
  step();
  const launches = host.calls().filter((name) => name === "cuLaunchKernel");
  const before = settledMemory();
  for (let nth = 1; nth <= launches.length; nth += 3) {
    host.fail({ function: "cuLaunchKernel", nth, status: 701 });
    const error = assertThrows(step) as Error;
    assert(error.message.startsWith("cuLaunchKernel failed"), error.message);
    parallel.synchronize();
    step();
    const after = settledMemory();
    assertEquals(after.tensors, before.tensors, `launch ${nth}`);
    for (const device of names(2)) {
      assertEquals(
        after.devices[device].blocks,
        before.devices[device].blocks,
        `launch ${nth}, ${device}`,
      );
    }
    const weights = weightsOf(model);
    parallel.on(1, () => assertEquals(weightsOf(model), weights));
  }
});

test("nccl: a device that is lost in a step is told, and everything ends", (host) => {
  const before = memory().tensors;
  for (const nth of [1, 20, 60]) {
    using model = classifier("cuda:0");
    using optimizer = optimizerFor(model);
    using parallel = dist.dataParallel(model, optimizer, names(2));
    const step = () =>
      scope(() => {
        parallel.backward(pointsOf(12, 1), crossEntropy);
        parallel.finish();
        parallel.step();
        return weightsOf(model);
      });
    step();
    host.fail({ function: "cuLaunchKernel", nth, status: 700, later: true });
    assertThrows(
      () => {
        for (let i = 0; i < 3; i++) step();
      },
      Error,
      "700",
    );
    assertThrows(step, Error);
    parallel[Symbol.dispose]();
    optimizer[Symbol.dispose]();
    model[Symbol.dispose]();
    for (const name of names(2)) closeDevice(name);
    host.reset();
    host.devices(4);
  }
  assertEquals(memory().tensors, before);
});
