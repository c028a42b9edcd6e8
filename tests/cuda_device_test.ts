/** The CUDA device: how it is opened, its memory, checks of elements, and kernels that are compiled. */

import { assert, assertEquals, assertMatch, assertThrows } from "@std/assert";
import { CudaError } from "../ffi/errors.ts";
import {
  chooseDevice,
  closeDevice,
  fromHost,
  getDevice,
  OutOfMemoryError,
  scope,
  setDefaultDevice,
} from "../mod.ts";
import { embedding } from "../ops/functions.ts";
import { cuda, MiB, ramp, tensorOf, test } from "./cuda_machine.ts";

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

test("closed devices: what lived there is gone, and a new one is opened", () => {
  const x = tensorOf(ramp(10));
  closeDevice("cuda");
  assertThrows(() => x.data(), Error, "Cannot use cuda:0 after it was closed");
  x.dispose();
  scope(() => assertEquals(tensorOf(ramp(3)).add(1).data(), ramp(3, 1)));
});
