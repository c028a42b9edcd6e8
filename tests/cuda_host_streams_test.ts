/** The stand-ins' streams and events: asynchronous, and strict about handles. */

import { assert, assertEquals, assertMatch } from "@std/assert";
import { at, got, kind, ok, rawTests } from "./cuda_host/raw.ts";

const test = await rawTests();

test("a missing event between two streams gives a wrong result", (raw) => {
  const { rt, host } = raw;
  const a = raw.stream(), b = raw.stream(), p = raw.allocate(16, a);
  raw.write(p, [0, 0, 0, 0], a);
  host.hang("cudaMemsetAsync");
  ok(rt.cudaMemsetAsync(p, 0x3f, 16n, a));
  assertEquals(raw.read(p, 1, b), [0]);
  host.release();
  host.delay(a, 20);
  ok(rt.cudaMemsetAsync(p, 0x3f, 16n, a));
  const event = raw.event();
  ok(rt.cudaEventRecord(event, a));
  ok(rt.cudaStreamWaitEvent(b, event, 0));
  assertEquals(raw.read(p, 1, b), [0.7470588088035583]);
  assertEquals(host.violations(), []);
});

test("calls return before the work is done", (raw) => {
  const { rt, host } = raw;
  const s = raw.stream(), p = raw.allocate(16, s), event = raw.event();
  host.hang("cudaMemsetAsync");
  ok(rt.cudaMemsetAsync(p, 0, 16n, s));
  ok(rt.cudaEventRecord(event, s));
  assertEquals(rt.cudaStreamQuery(s), 600);
  assertEquals(rt.cudaEventQuery(event), 600);
  host.release();
  ok(rt.cudaEventSynchronize(event));
  ok(rt.cudaEventQuery(event));
});

test("an event waits for its latest recording at the time of the wait", (raw) => {
  const { rt, host } = raw;
  const a = raw.stream(), b = raw.stream(), p = raw.allocate(4, a);
  raw.write(p, [1], a);
  const event = raw.event();
  ok(rt.cudaStreamWaitEvent(b, event, 0)); // never recorded: no wait
  ok(rt.cudaEventRecord(event, a));
  ok(rt.cudaStreamWaitEvent(b, event, 0));
  host.hang("cudaMemsetAsync");
  ok(rt.cudaMemsetAsync(p, 0, 4n, a));
  ok(rt.cudaEventRecord(event, a)); // after the wait: does not count
  assertEquals(raw.read(p, 1, b), [1]);
  host.release();
});

test("the time between events is that of their stream", async (raw) => {
  const { rt, host } = raw;
  const s = raw.stream(), p = raw.allocate(4, s);
  const [begin, end, untimed] = [raw.event(0), raw.event(0), raw.event(2)];
  const ms = new Float32Array(1);
  assertEquals(rt.cudaEventElapsedTime(ms, begin, end), 400);
  ok(rt.cudaEventRecord(begin, s));
  ok(rt.cudaStreamSynchronize(s));
  host.hang("cudaMemsetAsync");
  ok(rt.cudaMemsetAsync(p, 0, 4n, s));
  ok(rt.cudaEventRecord(end, s));
  ok(rt.cudaEventRecord(untimed, s));
  assertEquals(rt.cudaEventElapsedTime(ms, begin, end), 600);
  await new Promise((resolve) => setTimeout(resolve, 30));
  host.release();
  ok(rt.cudaStreamSynchronize(s));
  ok(rt.cudaEventElapsedTime(ms, begin, end));
  assert(ms[0] >= 25 && ms[0] < 60_000, `${ms[0]} ms`);
  assertEquals(rt.cudaEventElapsedTime(ms, begin, untimed), 400);
});

test("the legacy stream takes turns with blocking streams only", (raw) => {
  const { rt, host } = raw;
  const blocking = raw.stream(0), free = raw.stream(1);
  const p = got((out) => rt.cudaMalloc(out, 4n));
  const read = () => {
    const value = new Float32Array(1);
    ok(rt.cudaMemcpy(at(value), p, 4n, kind.down));
    return value[0];
  };
  raw.write(p, [1], free);
  host.delay(blocking, 40);
  ok(rt.cudaMemsetAsync(p, 0, 4n, blocking));
  assertEquals(read(), 0);
  host.delay(blocking, 0);
  host.hang("cudaMemsetAsync");
  ok(rt.cudaMemsetAsync(p, 0xff, 4n, free));
  assertEquals(read(), 0);
  host.release();
  ok(rt.cudaStreamSynchronize(free));
  host.delay(0n, 40);
  ok(rt.cudaMemsetAsync(p, 0x3f, 4n, 0n));
  assertEquals(raw.read(p, 1, blocking), [0.7470588088035583]);
});

test("handles are checked", (raw) => {
  const { rt, host } = raw;
  const s = raw.stream(), event = raw.event();
  assertEquals(rt.cudaStreamSynchronize(event), 400);
  assertEquals(rt.cudaStreamSynchronize(0xdead0n), 400);
  assertEquals(rt.cudaEventRecord(s, s), 400);
  ok(rt.cudaStreamDestroy(s));
  assertEquals(rt.cudaStreamDestroy(s), 400);
  assertEquals(rt.cudaEventRecord(event, s), 400);
  ok(rt.cudaEventDestroy(event));
  assertEquals(rt.cudaEventDestroy(event), 400);
  assertEquals(rt.cudaStreamDestroy(0n), 400);
  const found = host.violations();
  assertEquals(found.length, 7);
  assertMatch(found[0], /stream 0x.* is a handle of another kind: event/);
  assertMatch(found[1], /stream 0xdead0 was never made/);
  assertMatch(found[3], /stream 0x.* was destroyed before/);
});

test("an event belongs to the device of its stream", (raw) => {
  const { rt, host } = raw;
  host.devices(2);
  const event = raw.event();
  ok(rt.cudaSetDevice(1));
  const s = raw.stream();
  assertEquals(rt.cudaEventRecord(event, s), 400);
  assertMatch(host.violations()[0], /event of device 0 .* of device 1/);
});

test("a destroyed stream finishes its work", (raw) => {
  const { rt, host } = raw;
  const s = raw.stream(), other = raw.stream(), p = raw.allocate(4, s);
  const event = raw.event();
  host.delay(s, 20);
  ok(rt.cudaMemsetAsync(p, 0, 4n, s));
  ok(rt.cudaEventRecord(event, s));
  ok(rt.cudaStreamDestroy(s));
  ok(rt.cudaStreamWaitEvent(other, event, 0));
  assertEquals(raw.read(p, 1, other), [0]);
});

test("with jitter, streams that do not wait for each other run in any order", (raw) => {
  const { rt, host } = raw;
  const a = raw.stream(), b = raw.stream(), p = raw.allocate(4, a);
  raw.write(p, [0], a);
  host.jitter(300);
  const seen = new Set<number>();
  for (let i = 0; i < 200 && seen.size < 2; i++) {
    ok(rt.cudaMemsetAsync(p, 0x11, 4n, a));
    ok(rt.cudaMemsetAsync(p, 0x22, 4n, b));
    ok(rt.cudaStreamSynchronize(a));
    ok(rt.cudaStreamSynchronize(b));
    seen.add(raw.read(p, 1, a)[0]);
  }
  host.jitter(0);
  assertEquals(seen.size, 2);
});
