/** Collectives and data parallelism among CUDA devices: on the stand-ins, in one process and in several. */

import {
  assert,
  assertAlmostEquals,
  assertEquals,
  assertRejects,
  assertThrows,
} from "@std/assert";
import "../mod.ts";
import { closeDevice, openDevices } from "../core/device.ts";
import { memory } from "../core/memory.ts";
import { Profiler } from "../core/profiler.ts";
import { scope } from "../core/scope.ts";
import * as dist from "../dist/mod.ts";
import { CudaError } from "../ffi/errors.ts";
import { CollectiveError } from "../dist/errors.ts";
import * as nccl from "../ffi/nccl.ts";
import { crossEntropy } from "../mod.ts";
import { type CudaHost, cudaHost } from "./cuda_host/mod.ts";
import { readMetrics } from "../train/run_log.ts";
import { inFolder, writeDigits } from "./cli_helpers.ts";
import { checkGroup, tensorOf } from "./dist_cases.ts";
import {
  classifier,
  optimizerFor,
  pointsOf,
  trainAlone,
  weightsOf,
} from "./dist_model.ts";

const found = Deno.env.get("DECAF_TEST_CUDA") === "real"
  ? { absent: "real libraries are to be tested, and these are faults" }
  : await cudaHost();

/** A test on a machine with four devices; it must leave nothing there. */
function test(name: string, body: (host: CudaHost) => void | Promise<void>) {
  Deno.test({
    name: found.absent ? `${name} (${found.absent.split("\n")[0]})` : name,
    ignore: found.absent !== undefined,
    async fn() {
      if (found.absent !== undefined) return;
      found.reset();
      found.devices(4);
      const before = memory().tensors;
      try {
        await body(found);
        assertEquals(memory().tensors, before);
      } finally {
        found.release();
        found.delay("all", 0);
        for (const { name } of openDevices()) {
          if (name.startsWith("cuda")) closeDevice(name);
        }
      }
      assertEquals(found.violations(), []);
      assertEquals(found.leaks(), []);
    },
  });
}

const names = (count: number) =>
  Array.from({ length: count }, (_, i) => `cuda:${i}`);

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

/** Some steps on several devices. */
function train(devices: readonly string[], sizes: readonly number[]) {
  using model = classifier(devices[0]);
  using optimizer = optimizerFor(model);
  using parallel = dist.dataParallel(model, optimizer, devices, {
    bucketBytes: 200,
  });
  const losses = sizes.map((size, step) =>
    scope(() => {
      const shards = parallel.backward(pointsOf(size, step), crossEntropy);
      parallel.finish();
      parallel.step();
      return shards.reduce((sum, s) => sum + s.share * s.loss.item(), 0);
    })
  );
  const weights = weightsOf(model);
  devices.forEach((_, i) =>
    parallel.on(i, () => assertEquals(weightsOf(model), weights))
  );
  return { losses, weights };
}

function assertClose(a: readonly number[], b: readonly number[]) {
  assertEquals(a.length, b.length);
  a.forEach((x, i) => assertAlmostEquals(x, b[i], 1e-4));
}

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

/** A script that one of several processes runs, and what they wrote. */
async function processes(
  count: number,
  mode: string,
): Promise<{ code: number; said: string[] }> {
  let said: string[] = [];
  let code = -1;
  await inFolder(async (folder) => {
    const result = await dist.launch(
      new URL("./cuda_nccl_rank.ts", import.meta.url),
      {
        processes: count,
        args: [mode, folder],
        flags: ["-A", "--no-check", "--quiet"],
        env: { TMPDIR: folder },
        grace: 1000,
      },
    );
    code = result.code;
    const left = [...Deno.readDirSync(folder)].map((entry) => entry.name);
    said = left.filter((name) => name.startsWith("said")).sort().map((name) =>
      Deno.readTextFileSync(`${folder}/${name}`)
    );
    if (mode === "all") {
      assertEquals(left.filter((name) => name.startsWith("decaf_nccl")), []);
    }
  });
  return { code, said };
}

test("nccl: every collective among two and three processes", async () => {
  for (const count of [2, 3]) {
    const { code, said } = await processes(count, "all");
    assertEquals(said, new Array(count).fill("done"));
    assertEquals(code, 0);
  }
});

test("nccl: processes learn what one device learns", async () => {
  const { code, said } = await processes(2, "train");
  assertEquals(code, 0, said.join("\n"));
  const one = trainAlone([12, 12, 12], "cpu");
  const ranks = said.map((text) => JSON.parse(text) as number[]);
  assertEquals(ranks[0], ranks[1]);
  assertClose(ranks[0], one.weights);
});

test("nccl: processes agree whether a step is passed over, and on the scale of f16", async () => {
  const { code, said } = await processes(2, "f16");
  assertEquals(code, 0, said.join("\n"));
  const [first, second] = said.map((text) => JSON.parse(text));
  assertEquals(first, second);
  // Halved once, by the second of four steps.
  assertEquals(first.scaler, { scale: 32768, goodSteps: 2 });
});

test("nccl: a loss that is no number in one process ends the training in all", async () => {
  const { code, said } = await processes(2, "f32");
  assertEquals(code, 0, said.join("\n"));
  assert(
    said[0].includes(
      "Cannot go on training: the loss of another process is no finite number at step 1",
    ),
    said[0],
  );
  assert(
    said[1].includes("Cannot go on training: the loss is Infinity at step 1"),
    said[1],
  );
});

test("nccl: a process that is gone is noticed by the others in time", async () => {
  const { said } = await processes(2, "gone");
  assertEquals(said.length, 2);
  assert(
    said[0].includes(
      "Cannot finish allReduce of f32 [2] among 2 ranks: it did not end within 1500 ms",
    ),
    said[0],
  );
});

test("nccl: processes that do not all join are told so", async () => {
  const { said } = await processes(2, "absent");
  assert(
    said[0].includes(
      "Rank 0 on cuda:0 cannot join 2 ranks: not all of them came within 4000 ms",
    ),
    said[0],
  );
});

test("nccl: connections that are not made are given up in time", async () => {
  const { code, said } = await processes(2, "stalled");
  assertEquals(code, 0);
  for (const text of said) {
    assertEquals(
      text,
      "Cannot start allReduce of f32 [2] among 2 ranks: its connections were not made within 1500 ms: some rank did not take part",
    );
  }
});

test("nccl: a group that cannot be finalised is aborted", async () => {
  const { code, said } = await processes(2, "unfinished");
  assertEquals(said, ["done", "done"]);
  assertEquals(code, 0);
});

test("cli: train --devices 0,1 learns what one GPU learns, and goes on on three", async () => {
  await inFolder(async (folder) => {
    await writeDigits(`${folder}/data`, { train: 96, test: 16 });
    const decaf = async (...args: string[]) => {
      const { code, stderr } = await new Deno.Command(Deno.execPath(), {
        args: [
          ...["run", "-A", "--no-check", "--quiet"],
          new URL("./cuda_cli_devices.ts", import.meta.url).href,
          ...["3", ...args],
        ],
        cwd: folder,
        env: { NO_COLOR: "1" },
      }).output();
      assertEquals(code, 0, new TextDecoder().decode(stderr));
    };
    const train = (run: string, ...more: string[]) =>
      decaf(
        ...["train", "mnist", "data", "--model", "mlp", "--batch-size", "16"],
        ...["--epochs", "1", "--log-every", "1", "--no-curve", "--run", run],
        ...more,
      );
    const losses = async (run: string) =>
      (await readMetrics(`${folder}/${run}`)).flatMap((line) =>
        "train/loss" in line ? [Number(line["train/loss"])] : []
      );
    await train("one", "--device", "cuda");
    await train("two", "--devices", "0,1");
    const wanted = await losses("one");
    assertEquals(wanted.length, 6);
    assertClose(await losses("two"), wanted);
    await decaf("resume", "two", "--epochs", "2", "--devices", "0,1,2");
    assertEquals((await losses("two")).length, 12);
  });
});
