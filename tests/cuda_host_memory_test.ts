/** The stand-ins' memory: what is misused is found, and nothing else is. */

import { assert, assertEquals, assertMatch } from "@std/assert";
import { at, got, kind, ok, rawTests } from "./cuda_host/raw.ts";

const test = await rawTests();

const store = `extern "C" __global__ void k(float *p, long long i) {
  p[i] = 1.0f;
}`;
const sum =
  `extern "C" __global__ void k(float *out, const float *in, long long n) {
  float total = 0;
  for (long long i = 0; i < n; i++) total += in[i];
  *out = total;
}`;

test("right use leaves no violation and no leak", (raw) => {
  const { rt, host } = raw;
  const s = raw.stream(), p = raw.allocate(4096, s);
  raw.write(p, [1, 2, 3], s);
  assertEquals(raw.read(p, 3, s), [1, 2, 3]);
  ok(rt.cudaFreeAsync(p, s));
  ok(rt.cudaStreamSynchronize(s));
  ok(rt.cudaStreamDestroy(s));
  assertEquals(host.violations(), []);
  assertEquals(host.leaks(), []);
});

test("what is alive at the end is listed", (raw) => {
  const s = raw.stream();
  raw.allocate(300, s);
  raw.event();
  const leaks = raw.host.leaks().map((line) => line.replace(/ 0x.*/, ""));
  assertEquals(leaks.sort(), [
    "block of 300 bytes on device 0",
    "event",
    "stream",
  ]);
});

test("new memory is poisoned, and so is freed memory", (raw) => {
  const s = raw.stream(), p = raw.allocate(64, s);
  assert(raw.read(p, 16, s).every(Number.isNaN));
  raw.write(p, [1], s);
  const { handle } = raw.kernel(sum);
  const out = raw.allocate(4, s);
  ok(raw.rt.cudaFreeAsync(p, s));
  ok(raw.launch(handle, s, [out, p, 1]));
  assert(Number.isNaN(raw.read(out, 1, s)[0]));
  assertMatch(
    raw.host.violations().join("\n"),
    /kernel k: the address at byte 8 of its parameters: .* was freed/,
  );
});

test("copies out of freed memory and past the end are refused", (raw) => {
  const { rt, host } = raw;
  const s = raw.stream(), p = raw.allocate(100, s);
  const bytes = new Uint8Array(128);
  assertEquals(rt.cudaMemcpyAsync(p, at(bytes), 101n, kind.up, s), 1);
  ok(rt.cudaMemcpyAsync(p, at(bytes), 100n, kind.up, s));
  assertMatch(host.violations()[0], /101 bytes .* 1 bytes past its end/);
  ok(rt.cudaFreeAsync(p, s));
  assertEquals(rt.cudaMemcpyAsync(at(bytes), p, 4n, kind.down, s), 1);
  assertMatch(host.violations()[1], /a block of 100 bytes that was freed/);
});

test("the direction of a copy must fit its addresses", (raw) => {
  const { rt, host } = raw;
  const s = raw.stream(), p = raw.allocate(16, s), bytes = new Uint8Array(16);
  assertEquals(rt.cudaMemcpyAsync(p, at(bytes), 16n, kind.down, s), 1);
  assertEquals(rt.cudaMemcpyAsync(p, at(bytes), 16n, kind.across, s), 1);
  ok(rt.cudaMemcpyAsync(p, at(bytes), 16n, kind.any, s));
  assertEquals(host.violations().length, 2);
});

test("a second free and the free of an address inside are refused", (raw) => {
  const { rt, host } = raw;
  const s = raw.stream(), p = raw.allocate(100, s);
  assertEquals(rt.cudaFreeAsync(p + 4n, s), 1);
  ok(rt.cudaFreeAsync(p, s));
  assertEquals(rt.cudaFreeAsync(p, s), 1);
  assertMatch(host.violations()[0], /is not the start of a block/);
  assertMatch(host.violations()[1], /was freed before/);
});

test("a kernel that writes past a small block is found at once", (raw) => {
  const s = raw.stream(), p = raw.allocate(40, s);
  const { handle } = raw.kernel(store);
  ok(raw.launch(handle, s, [p, 9]));
  assertEquals(raw.host.violations(), []);
  ok(raw.launch(handle, s, [p, 10]));
  ok(raw.launch(handle, s, [p, -1]));
  const [past, before] = raw.host.violations();
  assertMatch(past, /k: written \d+ bytes past a block of 40 bytes/);
  assertMatch(before, /k: written \d+ bytes before a block of 40 bytes/);
});

test("a kernel that leaves a large block loses the device until it is reset", (raw) => {
  const { rt, host } = raw;
  const s = raw.stream(), p = raw.allocate(1 << 20, s);
  const { handle } = raw.kernel(store);
  ok(raw.launch(handle, s, [p, (1 << 18) - 1]));
  ok(rt.cudaStreamSynchronize(s));
  ok(raw.launch(handle, s, [p, 1 << 18]));
  assertEquals(rt.cudaStreamSynchronize(s), 700);
  assertMatch(host.violations()[0], /k on device 0: illegal access at 0x/);
  assertEquals(rt.cudaGetLastError(), 700);
  assertEquals(rt.cudaGetLastError(), 700);
  assertEquals(rt.cudaMallocAsync(new BigUint64Array(1), 16n, s), 700);
  assertEquals(raw.launch(handle, s, [p, 0]), 700);
  ok(rt.cudaDeviceReset());
  ok(rt.cudaMallocAsync(new BigUint64Array(1), 16n, s));
});

test("a kernel that reads through a null pointer loses the device", (raw) => {
  const s = raw.stream();
  const { handle } = raw.kernel(store);
  ok(raw.launch(handle, s, [0, 0]));
  assertEquals(raw.rt.cudaStreamSynchronize(s), 700);
});

test("a write after the free is found when the memory is used again", (raw) => {
  const { rt, host } = raw;
  const s = raw.stream(), other = raw.stream(), p = raw.allocate(64, s);
  const { handle } = raw.kernel(store);
  host.hang("cuLaunchKernel");
  ok(raw.launch(handle, other, [p, 3]));
  ok(rt.cudaFreeAsync(p, s)); // does not wait for the other stream
  ok(rt.cudaStreamSynchronize(s));
  host.release();
  ok(rt.cudaStreamSynchronize(other));
  // Fills the quarantine, so that its oldest block is looked at.
  for (let i = 0; i < 70; i++) {
    ok(rt.cudaFreeAsync(raw.allocate(1 << 20, s), s));
  }
  assertMatch(
    host.violations().join("\n"),
    /a block of 64 bytes on device 0 was written after its free, at byte 12/,
  );
});

test("memory runs out where the test says", (raw) => {
  const { rt, host } = raw;
  host.limitMemory(1 << 20);
  const s = raw.stream(), big = 768 * 1024;
  const p = raw.allocate(big, s);
  const out = new BigUint64Array(1);
  assertEquals(rt.cudaMallocAsync(out, BigInt(big), s), 2);
  assertEquals(rt.cudaGetLastError(), 2);
  assertEquals(rt.cudaGetLastError(), 0);
  ok(rt.cudaFreeAsync(p, s));
  ok(rt.cudaFreeAsync(raw.allocate(big, s), s));
  // The pool keeps what it has until the next synchronize.
  assertEquals(rt.cudaMalloc(out, BigInt(big)), 2);
  ok(rt.cudaStreamSynchronize(s));
  ok(rt.cudaMalloc(out, BigInt(big)));
  const free = new BigUint64Array(1), total = new BigUint64Array(1);
  ok(rt.cudaMemGetInfo(free, total));
  assertEquals([free[0], total[0]], [256n * 1024n, 1024n * 1024n]);
});

test("a pool keeps memory up to its threshold", (raw) => {
  const { rt } = raw;
  const s = raw.stream();
  const pool = got((out) => rt.cudaDeviceGetDefaultMemPool(out, 0));
  const attribute = (which: number) =>
    got((out) => rt.cudaMemPoolGetAttribute(pool, which, out));
  const p = raw.allocate(1 << 20, s);
  assertEquals([attribute(5), attribute(7)], [1n << 20n, 1n << 20n]);
  ok(rt.cudaFreeAsync(p, s));
  assertEquals([attribute(5), attribute(7)], [1n << 20n, 0n]);
  const threshold = new BigUint64Array([1n << 19n]);
  ok(rt.cudaMemPoolSetAttribute(pool, 4, threshold));
  ok(rt.cudaStreamSynchronize(s));
  assertEquals(attribute(5), 1n << 19n);
  ok(rt.cudaMemPoolTrimTo(pool, 0n));
  assertEquals(attribute(5), 0n);
  assertEquals(attribute(8), 1n << 20n);
});

test("pageable memory may be used again at once, pinned memory not", (raw) => {
  const { rt, host } = raw;
  const s = raw.stream(), p = raw.allocate(4, s);
  ok(rt.cudaStreamSynchronize(s));
  host.hang("cudaMemcpyAsync");
  const pageable = Float32Array.of(1);
  ok(rt.cudaMemcpyAsync(p, at(pageable), 4n, kind.up, s));
  pageable[0] = 2;
  host.release();
  assertEquals(raw.read(p, 1, s), [1]);
  const { address, values } = raw.pinned(1);
  values[0] = 1;
  host.hang("cudaMemcpyAsync");
  ok(rt.cudaMemcpyAsync(p, address, 4n, kind.up, s));
  values[0] = 2; // too early
  host.release();
  assertEquals(raw.read(p, 1, s), [2]);
  ok(rt.cudaFreeHost(address));
  assertEquals(rt.cudaFreeHost(address), 1);
  assertMatch(host.violations()[0], /was freed before/);
});

test("devices have memory of their own", (raw) => {
  const { rt, host } = raw;
  host.devices(2);
  const count = new Int32Array(1);
  ok(rt.cudaGetDeviceCount(count));
  assertEquals(count[0], 2);
  const s0 = raw.stream(), p0 = raw.allocate(4, s0);
  ok(rt.cudaSetDevice(1));
  const s1 = raw.stream(), p1 = raw.allocate(4, s1);
  raw.write(p0, [5], s0);
  ok(rt.cudaMemcpyPeerAsync(p1, 1, p0, 0, 4n, s1));
  assertEquals(raw.read(p1, 1, s1), [5]);
  assertEquals(rt.cudaMemcpyPeerAsync(p1, 0, p0, 0, 4n, s1), 1);
  const { handle } = raw.kernel(store);
  ok(raw.launch(handle, s1, [p0, 0]));
  assertMatch(host.violations()[0], /belongs to device 0, to which it has no/);
  host.clearViolations();
  ok(rt.cudaDeviceEnablePeerAccess(0, 0));
  assertEquals(rt.cudaDeviceEnablePeerAccess(0, 0), 704);
  ok(raw.launch(handle, s1, [p0, 0]));
  assertEquals(rt.cudaFreeAsync(p0, s1), 1);
  assertMatch(host.violations()[0], /belongs to another device/);
  assertEquals(rt.cudaSetDevice(2), 101);
});

test("arguments in structs are checked, numbers that look like addresses are not", (raw) => {
  const { host, rt } = raw;
  const s = raw.stream(), p = raw.allocate(64, s), gone = raw.allocate(64, s);
  const { handle } = raw.kernel(
    `struct Params { float *out; long long n; const float *in[2]; int m; };
     extern "C" __global__ void k(const Params p) { *p.out = 1; }`,
  );
  ok(rt.cudaFreeAsync(gone, s));
  const launch = (...values: bigint[]) => {
    const params = BigInt64Array.from(values);
    const list = BigUint64Array.of(at(params));
    ok(raw.cu.cuLaunchKernel(
      ...[handle, 1, 1, 1, 1, 1, 1, 0, s, at(list), 0n] as const,
    ));
    return host.violations();
  };
  assertEquals(launch(p, gone, p, 0n, gone), []);
  assertMatch(launch(p, 0n, p, gone, 0n)[0], /byte 24 .* was freed/);
  host.clearViolations();
  assertMatch(launch(p, 0n, 0x5000n, 0n, 0n)[0], /byte 16 .* none of a device/);
});
