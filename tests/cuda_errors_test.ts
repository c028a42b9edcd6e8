/** DECAF_DEBUG and asynchronous errors on CUDA: who is suspected, what is lost, and what is left. */

import {
  assert,
  assertEquals,
  assertMatch,
  assertNotMatch,
  assertThrows,
} from "@std/assert";
import { cudart } from "../ffi/cudart.ts";
import { CudaError } from "../ffi/errors.ts";
import {
  closeDevice,
  data,
  DeviceLostError,
  fromHost,
  manualSeed,
  memory,
  nn,
  optim,
  scope,
  train,
} from "../mod.ts";
import { cuda, ramp, tensorOf, test } from "./cuda_machine.ts";

// ---- DECAF_DEBUG ----

/** Opens the device under DECAF_DEBUG and calls `body`. */
function debugging<T>(words: string, body: () => T): T {
  const before = Deno.env.get("DECAF_DEBUG");
  Deno.env.set("DECAF_DEBUG", words);
  try {
    cuda(); // reads it
  } finally {
    if (before === undefined) Deno.env.delete("DECAF_DEBUG");
    else Deno.env.set("DECAF_DEBUG", before);
  }
  return body();
}

test("DECAF_DEBUG=sync waits after each launch, library call and copy", (host) =>
  debugging("sync", () =>
    scope(() => {
      const x = tensorOf(ramp(100));
      x.add(1).materialize();
      host.clearCalls();
      x.add(1).materialize();
      assertEquals(host.calls(), ["cuLaunchKernel", "cudaStreamSynchronize"]);
      x.data(); // reserves what copies go through
      host.clearCalls();
      x.data();
      assertEquals(host.calls().slice(0, 2), [
        "cudaMemcpyAsync",
        "cudaStreamSynchronize",
      ]);
      const square = fromHost(ramp(16), "f32", [4, 4], { device: "cuda" });
      square.matmul(square).materialize();
      host.clearCalls();
      square.matmul(square).materialize();
      assertEquals(host.calls(), ["cublasLtMatmul", "cudaStreamSynchronize"]);
    })));

test(
  "DECAF_DEBUG=memory: accesses beyond a block are seen",
  (host) =>
    debugging("memory,1", () => {
      const device = cuda();
      const storage = device.allocate(100);
      host.clearCalls();
      device.allocate(50).release();
      assertEquals(host.calls(), ["cudaMallocAsync", "cudaFreeAsync"]);
      assertThrows(() => device.write(storage, 90, new Uint8Array(20)));
      assert(host.violations().length > 0);
      host.clearViolations();
      storage.release();
    }),
  1,
  true,
);

for (const words of ["sync", "memory", "sync,memory"]) {
  test(`DECAF_DEBUG=${words}: training steps are captured and replayed as without`, async () => {
    const plain = await trainedByGraph();
    closeDevice("cuda");
    const debugged = await debugging(words, trainedByGraph);
    assertEquals(debugged, plain);
    assert(plain.graphs > 0);
  });
}

/** A training whose steps run as a graph: its losses, and how often the graph ran. */
async function trainedByGraph(): Promise<{ losses: number[]; graphs: number }> {
  manualSeed(5);
  cuda();
  using model = nn.sequential(
    nn.linear(6, 8, { device: "cuda" }),
    nn.dropout(0.25),
    nn.linear(8, 3, { device: "cuda" }),
  );
  using optimizer = optim.adamW(model, { lr: 0.1, maxGradientNorm: 1 });
  const losses: number[] = [];
  let graphs = 0;
  cuda().gpu.watcher = {
    before: (what) => void (what === "graph" && graphs++),
    after: () => {},
  };
  const examples = data.arrayDataset(
    { data: ramp(32 * 6).map(Math.sin), shape: [32, 6], dtype: "f32" },
    {
      data: Int32Array.from({ length: 32 }, (_, i) => i % 3),
      shape: [32],
      dtype: "i32",
    },
  );
  await train.fit(model, examples, {
    optimizer,
    graph: true,
    epochs: 2,
    batchSize: 8,
    callbacks: [{ step: ({ batch }) => void losses.push(batch.loss) }],
  });
  optimizer.zeroGrad();
  return { losses, graphs };
}

// ---- faults ----

test(
  "an asynchronous error names the suspects, once, and the device is lost",
  (host) => {
    const illegalAddress = 700;
    const x = tensorOf(ramp(100));
    scope(() => x.add(1).data());
    const before = x.mul(3).materialize();
    host.fail({ function: "cuLaunchKernel", nth: 1, status: 700, later: true });
    const sum = x.add(2).materialize();
    const error = assertThrows(() => sum.data(), CudaError);
    assertEquals(error.call.status, illegalAddress);
    assertMatch(error.message, /cudaErrorIllegalAddress \(700\)/);
    assertMatch(error.message, /on cuda:0/);
    assertMatch(error.message, /suspects are the last \d+ calls, newest first/);
    assertMatch(error.message, /DECAF_DEBUG=sync/);
    for (
      const call of [
        () => before.data(),
        () => scope(() => x.add(1).data()),
        () => tensorOf(ramp(10)),
        () => cuda().synchronize(),
      ]
    ) {
      const lost = assertThrows(call, DeviceLostError);
      assertMatch(lost.message, /Cannot use cuda:0: it was lost when /);
      assertMatch(lost.message, /cudaErrorIllegalAddress/);
    }
    // Freeing is no use of the device.
    for (const tensor of [x, before, sum]) tensor.dispose();
  },
  1,
  true,
);

test(
  "a library that hides an asynchronous error: the stream tells it",
  (host) => {
    const x = fromHost(ramp(16), "f32", [4, 4], { device: "cuda" });
    scope(() => void x.matmul(x).materialize());
    // The library refuses by itself: nothing is lost.
    host.fail({ function: "cublasLtMatmul", nth: 1, status: 14 });
    const refused = assertThrows(
      () => scope(() => void x.matmul(x).materialize()),
      CudaError,
    );
    assertNotMatch(refused.message, /suspect/);
    scope(() => void x.matmul(x).materialize());
    // The library refuses because a kernel before it has failed.
    cuda().synchronize();
    host.fail({ function: "cuLaunchKernel", nth: 1, status: 700, later: true });
    scope(() => void x.exp().materialize());
    cudart().cudaStreamSynchronize(cuda().gpu.stream);
    host.fail({ function: "cublasLtMatmul", nth: 1, status: 13 });
    const error = assertThrows(
      () => scope(() => void x.matmul(x).materialize()),
      CudaError,
    );
    assertMatch(error.message, /cublasLtMatmul failed on cuda:0/);
    assertMatch(error.message, /the suspects are .*cublasLtMatmul, /);
    assertThrows(() => cuda().synchronize(), DeviceLostError, "700");
    x.dispose();
  },
  1,
  true,
);

test(
  "waiting after each call finds the very one that fails",
  (host) => {
    const device = cuda();
    const x = tensorOf(ramp(100));
    device.options.sync = true;
    scope(() => void x.sin().materialize());
    host.fail({ function: "cuLaunchKernel", nth: 2, status: 719, later: true });
    scope(() => void x.cos().materialize());
    const error = assertThrows(
      () => scope(() => void x.tan().materialize()),
      CudaError,
    );
    assertMatch(error.message, /the suspect is \w+/);
    assertNotMatch(error.message, /the last/);
    x.dispose();
  },
  1,
  true,
);

for (
  const { fails, suspect } of [
    { fails: "cublasLtMatmul", suspect: "cublasLtMatmul" },
    { fails: "cudaMemcpyAsync", suspect: "upload" },
  ]
) {
  test(
    `waiting after each call: ${fails} that fails is told at once, and alone`,
    (host) => {
      const x = fromHost(ramp(16), "f32", [4, 4], { device: "cuda" });
      cuda().options.sync = true;
      scope(() => void x.matmul(x).materialize());
      host.fail({ function: fails, nth: 1, status: 719, later: true });
      const call = suspect === "upload"
        ? () => tensorOf(ramp(1 << 16))
        : () => x.matmul(x).materialize();
      const error = assertThrows(() => scope(() => void call()), CudaError);
      assertMatch(error.message, new RegExp(`the suspect is ${suspect}; `));
      x.dispose();
    },
    1,
    true,
  );
}

test("every call of a small program made to fail in turn", (host) => {
  const program = () =>
    scope(() => {
      const x = tensorOf(ramp(30_000));
      const y = x.mul(2).add(tensorOf(ramp(1)));
      return [y.sum().item(), ...y.exp().materialize().data().subarray(0, 3)];
    });
  const wanted = program();
  closeDevice("cuda");
  host.clearCalls();
  program();
  const calls = host.calls();
  closeDevice("cuda");
  const wrong: string[] = [];
  calls.forEach((name, i) => {
    host.reset();
    host.clearCalls();
    host.fail({ nth: i + 1, status: name.startsWith("nvrtc") ? 1 : 1 });
    const label = `call ${i + 1}, ${name}`;
    try {
      const got = program();
      // What is only asked to choose may fail unnoticed, but not change results.
      assertEquals(got, wanted, label);
    } catch (error) {
      const { message } = error as Error;
      if (
        !message.includes(name) && !/Cannot use a CUDA device/.test(message)
      ) {
        wrong.push(`${label}: ${message}`);
      }
    }
    const left = memory().devices["cuda:0"]?.liveBytes ?? 0;
    if (left !== 0) wrong.push(`${label}: ${left} bytes are live`);
    // The device goes on, or is made again.
    try {
      assertEquals(program(), wanted, label);
    } catch (error) {
      wrong.push(`${label}, afterwards: ${error}`);
    }
    closeDevice("cuda");
    if (host.leaks().length > 0) wrong.push(`${label}: ${host.leaks()}`);
  });
  assertEquals(wrong, []);
});

test("work of every call that fails later: reported, and the device is lost", (host) => {
  const program = () =>
    scope(() => {
      const x = tensorOf(ramp(30_000));
      return x.mul(2).add(tensorOf(ramp(1))).sum().item();
    });
  const wanted = program();
  closeDevice("cuda");
  host.clearCalls();
  program();
  const queueing = /^(cuLaunchKernel|cudaMemcpyAsync|cudaMallocAsync)$/;
  const calls = host.calls();
  closeDevice("cuda");
  let faults = 0;
  calls.forEach((name, i) => {
    if (!queueing.test(name)) return;
    host.reset();
    host.clearCalls();
    host.fail({ nth: i + 1, status: 719, later: true });
    const label = `call ${i + 1}, ${name}`;
    try {
      assertEquals(program(), wanted, label);
    } catch (error) {
      faults++;
      assert(error instanceof CudaError, `${label}: ${error}`);
      assertEquals(error.call.status, 719, label);
      assertMatch(error.message, /suspect/, label);
      assertThrows(program, DeviceLostError, "it was lost when");
    }
    assertEquals(cuda().stats().liveBytes, 0, label);
    closeDevice("cuda");
  });
  assert(faults >= 4, `${faults} faults were noticed`);
  host.reset();
});
