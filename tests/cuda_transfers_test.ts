/** Bytes on their way to the CUDA device and back: their order with compute, and how long blocks are kept. */

import { assert, assertEquals, assertThrows } from "@std/assert";
import { cudart } from "../ffi/cudart.ts";
import { CudaError } from "../ffi/errors.ts";
import { addressOf, type CudaStorage } from "../devices/cuda/context.ts";
import { getDevice, scope } from "../mod.ts";
import { cuda, MiB, ramp, tensorOf, test, timed } from "./cuda_machine.ts";

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

test("an upload that fails half way writes nothing into what gets its memory next", (host) => {
  const device = cuda();
  const { copyStream } = device.gpu;
  const storage = device.allocate(6 * MiB);
  host.delay(copyStream, 100);
  host.fail({ function: "cudaMemcpyAsync", nth: 2, status: 1 });
  assertThrows(
    () => device.write(storage, 0, new Uint8Array(6 * MiB).fill(7)),
    CudaError,
    "cudaMemcpyAsync failed",
  );
  const { address } = storage;
  storage.release();
  const next = device.allocate(6 * MiB);
  assertEquals(next.address, address);
  device.write(next, 0, new Uint8Array(16).fill(1));
  device.synchronize();
  host.delay(copyStream, 0);
  assertEquals(cudart().cudaStreamSynchronize(copyStream), 0);
  const back = new Uint8Array(16);
  device.read(next, 0, back);
  assertEquals([...back], new Array(16).fill(1));
  next.release();
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
