/** The CUDA device on the stand-in libraries: copies, order, peers, faults. */

import {
  assert,
  assertEquals,
  assertMatch,
  assertNotMatch,
  assertThrows,
} from "@std/assert";
import type { CudaDevice } from "../devices/cuda/device.ts";
import { cudart, deviceCount } from "../ffi/cudart.ts";
import { addressOf, type CudaStorage } from "../devices/cuda/context.ts";
import { CudaError } from "../ffi/errors.ts";
import {
  chooseDevice,
  closeDevice,
  data,
  DeviceLostError,
  fromHost,
  getDevice,
  manualSeed,
  memory,
  nn,
  optim,
  OutOfMemoryError,
  scope,
  setDefaultDevice,
  type Tensor,
  train,
} from "../mod.ts";
import { embedding } from "../ops/functions.ts";
import { type CudaHost, cudaHost } from "./cuda_host/mod.ts";

const host = await cudaHost();
const MiB = 1 << 20;

const real = Deno.env.get("DECAF_TEST_CUDA") === "real";
const gpus = real ? deviceCount().count : 0;

/** Why a test cannot run here; on a GPU those run that need no power over the machine. */
function absence(needsHost: boolean, devices: number): string | undefined {
  if (!real || needsHost) return host.absent;
  return gpus < devices
    ? `it needs ${devices} GPUs, and there are ${gpus}`
    : undefined;
}

/** Registers a test on a fresh machine; at its end nothing is wrong and nothing is left. */
function test(
  name: string,
  body: (host: CudaHost) => void | Promise<void>,
  devices = 1,
  lost = false,
): void {
  const why = absence(body.length > 0, devices);
  const stand = host.absent === undefined ? host : undefined;
  Deno.test({
    name: why === undefined ? name : `${name} (${why})`,
    ignore: why !== undefined,
    async fn() {
      stand?.reset();
      stand?.clearViolations();
      stand?.devices(devices);
      try {
        await body(stand!);
        assertEquals(stand?.violations() ?? [], []);
        for (let i = 0; i < devices; i++) {
          const { liveBytes } = memory().devices[`cuda:${i}`] ?? {
            liveBytes: 0,
          };
          assertEquals(liveBytes, 0, `bytes are live on cuda:${i}`);
        }
      } finally {
        stand?.release();
        for (let i = 0; i < devices; i++) closeDevice(`cuda:${i}`);
      }
      // What a lost device holds cannot be given back one by one.
      if (!lost) assertEquals(stand?.leaks() ?? [], []);
      assertEquals(stand?.violations() ?? [], []);
    },
  });
}

function cuda(ordinal = 0): CudaDevice {
  return getDevice(`cuda:${ordinal}`) as CudaDevice;
}

/** n numbers that start at `first`. */
function ramp(n: number, first = 0): Float32Array<ArrayBuffer> {
  return Float32Array.from({ length: n }, (_, i) => (first + i) % 8191);
}

function tensorOf(data: Float32Array<ArrayBuffer>, device = "cuda"): Tensor {
  return fromHost(data, "f32", [data.length], { device });
}

/** Milliseconds that a call takes. */
function timed(body: () => void): number {
  const from = performance.now();
  body();
  return performance.now() - from;
}

// ---- names ----

test("cuda is cuda:0, and devices are counted from 0", (_host) => {
  assertEquals(getDevice("cuda"), getDevice("cuda:0"));
  assertEquals(getDevice("cuda:1").name, "cuda:1");
  const error = assertThrows(() => getDevice("cuda:7"), RangeError);
  assertEquals(
    error.message,
    'Cannot use device "cuda:7": there are 2 GPUs, cuda:0 and cuda:1',
  );
  assertThrows(() => getDevice("cuda:x"), RangeError, "none of that name");
}, 2);

test("one GPU: the sentence names it", (_host) => {
  assertThrows(() => getDevice("cuda:1"), RangeError, "there is 1 GPU, cuda:0");
});

test("auto is the GPU where one works", () => {
  assertEquals(chooseDevice().name, "cuda:0");
  try {
    setDefaultDevice("auto");
    scope(() => assertEquals(tensorOf(ramp(3), "auto").device.name, "cuda:0"));
  } finally {
    setDefaultDevice("cpu");
  }
});

test("auto is the CPU where there is no GPU, and says why", (host) => {
  host.devices(0);
  const { name, reason } = chooseDevice();
  assertEquals(name, "cpu");
  assertMatch(reason, /the driver finds no GPU/);
  assertThrows(() => getDevice("cuda"), Error, "the driver finds no GPU");
  host.devices(1);
});

test("what a status of the runtime means, each in its own sentence", (host) => {
  const sentence = (status: number) => {
    host.fail({ function: "cudaGetDeviceCount", nth: 1, status });
    return assertThrows(() => getDevice("cuda"), Error).message;
  };
  assertMatch(
    sentence(35),
    /^Cannot use a CUDA device: the driver supports CUDA \d+\.\d+, and the runtime that was found is for CUDA \d+\.\d+; install a newer driver, or the libraries of CUDA \d+/,
  );
  assertMatch(sentence(100), /the driver finds no GPU/);
  assertMatch(sentence(803), /of different versions; restart the machine/);
  assertMatch(sentence(34), /a stub for linking and drives nothing/);
  assertMatch(sentence(999), /the runtime says cudaErrorUnknown \(999\), /);
  scope(() => assertEquals(tensorOf(ramp(3)).add(1).data(), ramp(3, 1)));
});

test("a GPU that refuses to be opened leaves nothing behind", (host) => {
  host.clearCalls();
  getDevice("cuda");
  const calls = host.calls();
  closeDevice("cuda");
  calls.forEach((name, i) => {
    host.fail({ nth: i + 1, status: 46 });
    const opened = (() => {
      try {
        return getDevice("cuda").name;
      } catch (error) {
        return (error as Error).message;
      }
    })();
    assert(
      opened === "cuda:0" || opened.includes(name) ||
        /the runtime says cudaErrorDevicesUnavailable/.test(opened),
      `${name}: ${opened}`,
    );
    closeDevice("cuda");
    assertEquals(host.leaks(), [], name);
  });
});

// ---- copies ----

test("bytes come back as they went, in every size", () => {
  for (const n of [1, 5, 1000, 20_000, MiB + 1, 2 * MiB, 3 * MiB + 7]) {
    scope(() => {
      const data = ramp(n, n);
      assertEquals(tensorOf(data).data(), data);
    });
  }
  const device = cuda();
  const storage = device.allocate(100);
  device.write(storage, 10, new Uint8Array([1, 2, 3]));
  device.write(storage, 12, new Uint8Array([9]));
  device.write(storage, 0, new Uint8Array(0));
  const back = new Uint8Array(3);
  device.read(storage, 10, back);
  assertEquals([...back], [1, 2, 9]);
  storage.release();
});

test("a write returns before the bytes arrive, and they may change afterwards", (host) => {
  const device = cuda();
  const storage = device.allocate(8 * MiB);
  device.write(storage, 0, new Uint8Array(16)); // page-locked memory is there now
  device.synchronize();
  host.delay("all", 100);
  const bytes = new Uint8Array(16).fill(7);
  assert(timed(() => device.write(storage, 0, bytes)) < 50);
  bytes.fill(1);
  const back = new Uint8Array(16);
  device.read(storage, 0, back);
  host.delay("all", 0);
  assertEquals([...back], new Array(16).fill(7));
  storage.release();
});

test("more bytes than the page-locked ring holds", (host) => {
  const device = cuda();
  const storages = Array.from({ length: 12 }, (_, i) => {
    const storage = device.allocate(5 * MiB);
    if (i === 0) host.delay("all", 2);
    device.write(storage, 0, new Uint8Array(5 * MiB).fill(i + 1));
    return storage;
  });
  const back = new Uint8Array(5 * MiB);
  storages.forEach((storage, i) => {
    device.read(storage, 0, back);
    assert(back.every((byte) => byte === i + 1));
    storage.release();
  });
  host.delay("all", 0);
});

// ---- the order of uploads and compute ----

test("an upload to a block waits for the work of its former owner", (host) => {
  scope(() => {
    const n = 100_000;
    const first = tensorOf(ramp(n));
    first.add(0).materialize().dispose(); // compiles
    cuda().synchronize();
    host.delay(cuda().gpu.stream, 40);
    const sum = first.add(1).materialize();
    const { address } = first.value.storage;
    first.dispose();
    const second = tensorOf(ramp(n, 500));
    assertEquals(second.value.storage.address, address);
    host.delay(cuda().gpu.stream, 0);
    assertEquals(sum.data(), ramp(n).map((x) => x + 1));
    assertEquals(second.data(), ramp(n, 500));
  });
});

test("compute waits for an upload when it uses the block, and not before", (host) => {
  scope(() => {
    const n = 100_000;
    const other = tensorOf(ramp(4)).materialize();
    tensorOf(ramp(n)).add(1).materialize().data(); // compiles
    other.add(1).materialize();
    cuda().synchronize();
    host.delay(cuda().gpu.copyStream, 60);
    const x = tensorOf(ramp(n));
    const apart = timed(() => other.add(1).data());
    assert(apart < 50, `other work waited ${apart} ms for the upload`);
    const sum = x.add(1);
    assertEquals(sum.data(), ramp(n).map((x) => x + 1));
    host.delay(cuda().gpu.copyStream, 0);
  });
});

test("a block that is freed while bytes are on their way to it", (host) => {
  scope(() => {
    const n = 100_000;
    tensorOf(ramp(n)).mul(2).materialize();
    host.delay(cuda().gpu.copyStream, 40);
    tensorOf(ramp(n)).dispose();
    const product = tensorOf(ramp(n, 3)).mul(2);
    assertEquals(product.data(), ramp(n, 3).map((x) => 2 * x));
    host.delay(cuda().gpu.copyStream, 0);
  });
});

test("uploads overlap with compute under way", (host) => {
  scope(() => {
    const n = 200_000;
    const device = cuda();
    const { stream, copyStream } = device.gpu;
    const x = tensorOf(ramp(n));
    const m = 150_000; // blocks of another size
    const former = tensorOf(ramp(m));
    x.add(1).materialize();
    former.add(1).materialize();
    former.dispose();
    tensorOf(ramp(50_000)); // the upload of a batch, after the last use of former
    cudart().cudaStreamSynchronize(stream);
    host.delay(stream, 150);
    const work = x.add(1).materialize();
    const next = tensorOf(ramp(m, 7));
    // The upload is done while the work has not begun.
    const waited = timed(() => cudart().cudaStreamSynchronize(copyStream));
    host.delay(stream, 0);
    assert(waited < 100, `the upload waited ${waited} ms for compute`);
    assertEquals(work.data(), ramp(n).map((x) => x + 1));
    assertEquals(next.data(), ramp(m, 7));
  });
});

test("batches take turns, so that each upload overlaps with the step before", (host) => {
  const n = MiB;
  const step = (first: number, waits: boolean) =>
    scope(() => {
      const batch = tensorOf(ramp(n, first));
      const { copyStream } = cuda().gpu;
      const waited = timed(() => cudart().cudaStreamSynchronize(copyStream));
      if (waits) assert(waited < 100, `an upload waited ${waited} ms`);
      const loss = batch.sum();
      loss.item();
      batch.mul(2).materialize(); // the backward pass, which nobody waits for
    });
  for (let i = 0; i < 4; i++) step(i, false);
  host.delay(cuda().gpu.stream, 120);
  for (let i = 0; i < 3; i++) step(i, true);
  host.delay(cuda().gpu.stream, 0);
});

test("overwriting a tensor in use keeps the order, large or small", (host) => {
  scope(() => {
    for (const n of [100, MiB]) {
      const x = tensorOf(ramp(n));
      x.add(1).materialize();
      const { storage } = x.value;
      host.delay(cuda().gpu.stream, 30);
      const before = x.add(1).materialize();
      cuda().write(storage, 0, new Uint8Array(ramp(n, 9).buffer));
      const after = x.add(1);
      assertEquals(before.data(), ramp(n).map((v) => v + 1));
      assertEquals(after.data(), ramp(n, 9).map((v) => v + 1));
      host.delay(cuda().gpu.stream, 0);
    }
  });
});

// ---- memory ----

test("small tensors cost no allocation call once a segment is there", (host) => {
  scope(() => {
    const x = tensorOf(ramp(100));
    x.add(1).materialize();
    host.clearCalls();
    for (let i = 0; i < 50; i++) x.add(i).materialize();
    assertEquals(new Set(host.calls()), new Set(["cuLaunchKernel"]));
    assertEquals(host.calls().length, 50);
  });
});

test("steps like those before make no allocation call, for large tensors too", (host) => {
  const step = () =>
    scope(() => {
      const x = tensorOf(ramp(3 * MiB));
      x.mul(2).materialize().add(1).sum().item();
    });
  step();
  step();
  host.clearCalls();
  step();
  const calls = host.calls().filter((name) => /Malloc|Free/.test(name));
  assertEquals(calls, []);
});

test("statistics count what is asked for", () => {
  const device = cuda();
  const before = device.stats();
  const a = device.allocate(1000);
  const b = device.allocate(5 * MiB);
  const { liveBytes, blocks, limitBytes } = device.stats();
  assertEquals(liveBytes - before.liveBytes, 1000 + 5 * MiB);
  assertEquals(blocks - before.blocks, 2);
  assert(limitBytes >= 2 ** 30);
  b.release();
  a.release();
  assertEquals(device.stats().liveBytes, before.liveBytes);
  assertEquals(device.stats().peakBytes, 1000 + 5 * MiB);
});

test("out of memory: what is idle is given back and asked for again", (host) => {
  host.limitMemory(100 * MiB);
  scope(() => {
    for (const mebibytes of [30, 40, 50, 60, 70, 80]) {
      tensorOf(ramp(mebibytes * MiB / 4)).dispose();
    }
  });
});

test("out of memory: says what was asked, what is live, and who holds it", (host) => {
  host.limitMemory(100 * MiB);
  scope(() => {
    const kept = tensorOf(ramp(40 * MiB / 4));
    const error = assertThrows(
      () => tensorOf(new Float32Array(80 * MiB / 4)),
      OutOfMemoryError,
    );
    assertMatch(error.message, /Cannot allocate 80\.0 MiB on cuda:0/);
    assertMatch(error.message, /40\.0 MiB of 100\.0 MiB are live in 1 blocks/);
    assertMatch(error.message, /, 60\.0 MiB are free: /);
    assertMatch(error.message, /40\.0 MiB in 1 × \(f32 \[10485760\]/);
    // The device goes on.
    assertEquals(kept.sum().item() > 0, true);
  });
});

// ---- peers ----

test("tensors move between GPUs without the host", (host) => {
  scope(() => {
    const x = tensorOf(ramp(1000), "cuda:0");
    const doubled = x.mul(2);
    cuda(1);
    host.clearCalls();
    const moved = doubled.to("cuda:1");
    assertEquals(moved.device.name, "cuda:1");
    const calls = host.calls();
    assert(calls.includes("cudaMemcpyPeerAsync"), `${calls}`);
    assert(!calls.includes("cudaMemcpyAsync"), `${calls}`);
    assertEquals(moved.add(1).data(), ramp(1000).map((v) => 2 * v + 1));
    assertEquals(moved.to("cuda:0").data(), ramp(1000).map((v) => 2 * v));
    assertEquals(moved.to("cpu").data(), ramp(1000).map((v) => 2 * v));
  });
}, 2);

test("copies between GPUs keep the order of both", (host) => {
  scope(() => {
    const n = 1000;
    const x = tensorOf(ramp(n), "cuda:0");
    x.add(1).materialize();
    tensorOf(ramp(n), "cuda:1").add(1).materialize();
    x.to("cuda:1").dispose();
    // The source is late: the copy must wait for it.
    host.delay(cuda(0).gpu.stream, 30);
    const late = x.add(5).materialize().to("cuda:1");
    assertEquals(late.data(), ramp(n).map((v) => v + 5));
    host.delay(cuda(0).gpu.stream, 0);
    // The target is late: the source may not be overwritten before.
    host.delay(cuda(1).gpu.stream, 30);
    const y = x.add(6).materialize();
    const copy = y.to("cuda:1");
    y.dispose();
    const over = x.add(7).materialize();
    host.delay(cuda(1).gpu.stream, 0);
    assertEquals(copy.data(), ramp(n).map((v) => v + 6));
    assertEquals(over.data(), ramp(n).map((v) => v + 7));
  });
}, 2);

test(
  "an upload into memory that a peer still reads waits for the peer",
  (host) => {
    scope(() => {
      const n = 1 << 16;
      const y = tensorOf(ramp(n), "cuda:0").add(6).materialize();
      tensorOf(ramp(1), "cuda:1").to("cuda:0");
      // Nothing is under way when the copy is queued.
      cuda(0).synchronize();
      host.delay(cuda(1).gpu.stream, 30);
      const copy = y.to("cuda:1");
      y.dispose();
      const fresh = Array.from(
        { length: 4 },
        () => tensorOf(ramp(n), "cuda:0"),
      );
      host.delay(cuda(1).gpu.stream, 0);
      const got = copy.data();
      assert(
        ramp(n).every((v, i) => got[i] === v + 6),
      );
      assertEquals(fresh.length, 4);
    });
  },
  2,
);

test("tensors on different devices in one operator", () => {
  scope(() => {
    const a = tensorOf(ramp(4), "cuda:0");
    const b = tensorOf(ramp(4), "cuda:1");
    const c = tensorOf(ramp(4), "cpu");
    assertThrows(() => a.add(b), Error, 'bring them to one device with .to("');
    assertThrows(() => a.add(c), Error, "cuda:0 and cpu");
  });
}, 2);

test("copies within a device, and what cannot be copied directly", () => {
  const device = cuda();
  const [a, b] = [device.allocate(64), device.allocate(64)];
  device.write(a, 0, new Uint8Array(64).map((_, i) => i));
  assert(device.copy(b, 8, a, 16, 4));
  assert(device.copy(b, 0, a, 0, 0));
  const back = new Uint8Array(4);
  device.read(b, 8, back);
  assertEquals([...back], [16, 17, 18, 19]);
  const onCpu = getDevice("cpu").allocate(64);
  assertEquals(device.copy(b, 0, onCpu, 0, 4), false);
  assertThrows(
    () => addressOf({ storage: onCpu, offset: 0 }, "f32"),
    TypeError,
    "Cannot use memory of cpu in a CUDA kernel",
  );
  for (const storage of [a, b, onCpu]) storage.release();
});

test("GPUs that know each other already are introduced once", (host) => {
  scope(() => {
    const x = tensorOf(ramp(10), "cuda:0");
    cuda(1);
    const already = 704;
    host.fail({
      function: "cudaDeviceEnablePeerAccess",
      nth: 1,
      status: already,
    });
    assertEquals(x.to("cuda:1").data(), ramp(10));
    host.clearCalls();
    assertEquals(x.to("cuda:1").data(), ramp(10));
    assert(!host.calls().includes("cudaDeviceCanAccessPeer"));
  });
}, 2);

test("x.to(cuda) is x on cuda:0", () => {
  scope(() => {
    const x = tensorOf(ramp(4));
    assertEquals(x.to("cuda"), x);
    assertEquals(x.to("cuda:0"), x);
  });
});

// ---- checks that wait ----

test("an index out of range is reported at the next read", () => {
  scope(() => {
    const table = fromHost(ramp(12), "f32", [4, 3], { device: "cuda" });
    const at = (...index: number[]) =>
      fromHost(Int32Array.from(index), "i32", [index.length], {
        device: "cuda",
      });
    assertEquals(embedding(at(1, 3), table).toArray(), [[3, 4, 5], [
      9,
      10,
      11,
    ]]);
    const wrong = embedding(at(1, 4), table);
    assertThrows(() => wrong.data(), RangeError, "4");
    // It is reported once.
    assertEquals(table.sum().item(), 66);
  });
});

test("more checks than there are places for", () => {
  scope(() => {
    const table = fromHost(ramp(12), "f32", [4, 3], { device: "cuda" });
    const index = fromHost(Int32Array.from([2]), "i32", [1], {
      device: "cuda",
    });
    for (let i = 0; i < 600; i++) embedding(index, table).materialize();
    assertEquals(embedding(index, table).toArray(), [[6, 7, 8]]);
  });
});

test("a check that failed long ago is told at the next read, and later checks are made", () => {
  scope(() => {
    const table = fromHost(ramp(12), "f32", [4, 3], { device: "cuda" });
    const at = (index: number) =>
      fromHost(Int32Array.of(index), "i32", [1], { device: "cuda" });
    embedding(at(4), table).materialize();
    const good = at(2);
    // None of these is to blame.
    for (let i = 0; i < 600; i++) embedding(good, table).materialize();
    const error = assertThrows(() => cuda().synchronize(), RangeError);
    assertMatch(error.message, /index 4/);
    // The one that comes when there is no place left is not lost.
    for (let i = 0; i < 256; i++) embedding(good, table).materialize();
    embedding(at(5), table).materialize();
    const late = assertThrows(() => cuda().synchronize(), RangeError);
    assertMatch(late.message, /index 5/);
    assertEquals(embedding(good, table).toArray(), [[6, 7, 8]]);
  });
});

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

// ---- kernels ----

test("a kernel with errors: the message shows the lines", () => {
  const source = `struct Params { float *x; };
extern "C" __global__ void bad(const Params p) {
  p.x[threadIdx.x] = undeclared;
}
`;
  const error = assertThrows(() => cuda().gpu.compile(source, "bad"), Error);
  assertMatch(error.message, /Cannot compile a kernel for cuda:0 \(sm_\d+/);
  assertMatch(error.message, /undeclared/);
  assertMatch(error.message, /line 3: p\.x\[threadIdx\.x\] = undeclared;/);
});

test("a kernel that was compiled before comes from the disk", (host) => {
  const source = `struct Params { float *x; int tag; };
extern "C" __global__ void mark(const Params p) {
  p.x[threadIdx.x] = threadIdx.x + ${Date.now() % 1e6}.0f;
}
`;
  cuda().gpu.compile(source, "mark");
  assert(host.calls().includes("nvrtcCompileProgram"));
  closeDevice("cuda");
  host.clearCalls();
  const fn = cuda().gpu.compile(source, "mark");
  assertEquals(cuda().gpu.compile(source, "mark"), fn);
  const calls = host.calls();
  assert(!calls.includes("nvrtcCompileProgram"), `${calls}`);
  assertEquals(calls.filter((c) => c === "cuModuleLoadData").length, 1);
});

test("shared memory beyond 48 KiB is asked for, and refused with the device's limit", (host) => {
  const source = `struct Params { float *x; };
extern "C" __global__ void big(const Params p) {
  extern __shared__ float room[];
  room[threadIdx.x] = threadIdx.x;
  __syncthreads();
  p.x[threadIdx.x] = room[threadIdx.x];
}
`;
  const { gpu } = cuda();
  const fn = gpu.compile(source, "big");
  const storage = cuda().allocate(4 * 32);
  const params = new Uint8Array(
    new BigUint64Array([
      BigInt(storage.address),
    ]).buffer,
  );
  gpu.launch(fn, 1, 1, 1, 32, 64 << 10, params);
  gpu.launch(fn, 1, 1, 1, 32, 64 << 10, params);
  const calls = host.calls().filter((name) => name === "cuFuncSetAttribute");
  assertEquals(calls.length, 1);
  const back = new Float32Array(32);
  cuda().read(storage, 0, new Uint8Array(back.buffer));
  assertEquals(back, ramp(32));
  const error = assertThrows(
    () => gpu.launch(fn, 1, 1, 1, 32, 1 << 20, params),
    CudaError,
  );
  assertMatch(error.message, /of which the device has \d+ per block/);
  storage.release();
});

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

test("uploads that nobody uses do not keep their memory for ever", () => {
  const device = cuda();
  const storages = Array.from({ length: 40 }, () => {
    const storage = device.allocate(100_000) as CudaStorage;
    device.write(storage, 0, new Uint8Array(100_000));
    return storage;
  });
  const waiting = storages.filter(({ upload }) => upload !== undefined);
  assert(waiting.length > 0 && waiting.length < 20, `${waiting.length}`);
  for (const storage of storages) storage.release();
});

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

test(
  "a device that is lost leaves the others alone",
  (host) => {
    const a = tensorOf(ramp(10), "cuda:0");
    const b = tensorOf(ramp(10), "cuda:1");
    host.fail({ function: "cuLaunchKernel", nth: 1, status: 700, later: true });
    scope(() => void a.add(1).materialize());
    assertThrows(() => a.data(), CudaError);
    assertThrows(() => a.data(), DeviceLostError);
    scope(() => assertEquals(b.add(1).data(), ramp(10, 1)));
    a.dispose();
    b.dispose();
  },
  2,
  true,
);

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

test("closed devices: what lived there is gone, and a new one is opened", () => {
  const x = tensorOf(ramp(10));
  closeDevice("cuda");
  assertThrows(() => x.data(), Error, "Cannot use cuda:0 after it was closed");
  x.dispose();
  scope(() => assertEquals(tensorOf(ramp(3)).add(1).data(), ramp(3, 1)));
});
