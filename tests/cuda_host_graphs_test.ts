/** The stand-ins' captures and graphs. */

import { assertEquals, assertMatch, assertNotEquals } from "@std/assert";
import { at, got, kind, ok, type Raw, rawTests } from "./cuda_host/raw.ts";

const test = await rawTests();

const mode = { global: 0, threadLocal: 1, relaxed: 2 } as const;

const add = `extern "C" __global__ void k(float *p, long long n) {
  *p += (float)n;
}`;

function capture(raw: Raw, stream: bigint, body: () => void): bigint {
  ok(raw.rt.cudaStreamBeginCapture(stream, mode.relaxed));
  body();
  return got((out) => raw.rt.cudaStreamEndCapture(stream, out));
}

const nodesOf = (raw: Raw, graph: bigint) => {
  const count = new BigUint64Array(1);
  ok(raw.rt.cudaGraphGetNodes(graph, null, count));
  const nodes = new BigUint64Array(Number(count[0]));
  ok(raw.rt.cudaGraphGetNodes(graph, nodes, count));
  return [...nodes];
};

test("captured work runs when its graph is launched, as often as that", (raw) => {
  const { rt, host } = raw;
  const s = raw.stream(), p = raw.allocate(4, s);
  const { module, handle } = raw.kernel(add);
  raw.write(p, [0], s);
  const graph = capture(raw, s, () => {
    ok(raw.launch(handle, s, [p, 1]));
    ok(raw.launch(handle, s, [p, 10]));
  });
  assertEquals(raw.read(p, 1, s), [0]);
  const exec = got((out) => rt.cudaGraphInstantiate(out, graph, 0n));
  for (let i = 0; i < 3; i++) ok(rt.cudaGraphLaunch(exec, s));
  assertEquals(raw.read(p, 1, s), [33]);
  ok(rt.cudaGraphExecDestroy(exec));
  ok(rt.cudaGraphDestroy(graph));
  assertEquals(rt.cudaGraphDestroy(graph), 400);
  ok(rt.cudaFreeAsync(p, s));
  ok(rt.cudaStreamDestroy(s));
  ok(raw.cu.cuModuleUnload(module));
  assertEquals(host.leaks(), []);
});

test("a kernel node takes new parameters", (raw) => {
  const { rt, cu } = raw;
  const s = raw.stream(), p = raw.allocate(4, s);
  const { handle } = raw.kernel(add);
  raw.write(p, [0], s);
  const graph = capture(raw, s, () => ok(raw.launch(handle, s, [p, 1])));
  const exec = got((out) => rt.cudaGraphInstantiate(out, graph, 0n));
  const [node] = nodesOf(raw, graph);
  const type = new Int32Array(1);
  ok(rt.cudaGraphNodeGetType(node, type));
  assertEquals(type[0], 0);
  const params = new BigUint64Array(9); // CUDA_KERNEL_NODE_PARAMS_v2
  ok(cu.cuGraphKernelNodeGetParams_v2(node, params));
  assertEquals(params[0], handle);
  const list = new BigUint64Array(
    Deno.UnsafePointerView.getArrayBuffer(
      Deno.UnsafePointer.create(params[5])!,
      16,
    ),
  );
  const amount = BigInt64Array.of(100n);
  const pointers = BigUint64Array.of(list[0], at(amount));
  params[5] = at(pointers);
  ok(rt.cudaGraphLaunch(exec, s));
  ok(cu.cuGraphExecKernelNodeSetParams_v2(exec, node, params));
  amount[0] = 5n; // taken over by the call
  ok(rt.cudaGraphLaunch(exec, s));
  assertEquals(raw.read(p, 1, s), [101]);
});

test("forked streams join, and the graph keeps their order only", (raw) => {
  const { rt } = raw;
  const a = raw.stream(), b = raw.stream(), p = raw.allocate(16, a);
  const fork = raw.event(), join = raw.event();
  const graph = capture(raw, a, () => {
    ok(rt.cudaMemsetAsync(p, 0, 16n, a));
    ok(rt.cudaEventRecord(fork, a));
    ok(rt.cudaStreamWaitEvent(b, fork, 0));
    ok(rt.cudaMemsetAsync(p, 1, 4n, b));
    ok(rt.cudaMemsetAsync(p + 4n, 2, 4n, a));
    ok(rt.cudaEventRecord(join, b));
    ok(rt.cudaStreamWaitEvent(a, join, 0));
    ok(rt.cudaMemsetAsync(p + 8n, 3, 4n, a));
  });
  const nodes = nodesOf(raw, graph);
  const count = BigUint64Array.of(8n);
  const from = new BigUint64Array(8), to = new BigUint64Array(8);
  ok(rt.cudaGraphGetEdges(graph, from, to, null, count));
  const edges = Array.from(
    { length: Number(count[0]) },
    (_, i) => [nodes.indexOf(from[i]), nodes.indexOf(to[i])].join("→"),
  );
  assertEquals(edges.sort(), ["0→1", "0→2", "1→3", "2→3"]);
});

test("work that is not joined spoils the capture", (raw) => {
  const { rt } = raw;
  const a = raw.stream(), b = raw.stream(), p = raw.allocate(16, a);
  const fork = raw.event();
  ok(rt.cudaStreamBeginCapture(a, mode.relaxed));
  ok(rt.cudaEventRecord(fork, a));
  ok(rt.cudaStreamWaitEvent(b, fork, 0));
  ok(rt.cudaMemsetAsync(p, 1, 4n, b));
  const graph = new BigUint64Array(1);
  assertEquals(rt.cudaStreamEndCapture(b, graph), 903);
  assertEquals(rt.cudaStreamEndCapture(a, graph), 904);
  assertEquals(graph[0], 0n);
  ok(rt.cudaMemsetAsync(p, 1, 4n, b));
});

test("waiting inside a capture is refused and spoils it", (raw) => {
  const { rt } = raw;
  const s = raw.stream(), p = raw.allocate(16, s), event = raw.event();
  ok(rt.cudaEventRecord(event, s));
  const status = new Int32Array(1), graph = new BigUint64Array(1);
  const tries: [number, () => number][] = [
    [900, () => rt.cudaStreamSynchronize(s)],
    [900, () => rt.cudaStreamQuery(s)],
    [905, () => rt.cudaStreamWaitEvent(s, event, 0)],
  ];
  for (const [wanted, call] of tries) {
    ok(rt.cudaStreamBeginCapture(s, mode.relaxed));
    ok(rt.cudaStreamIsCapturing(s, status));
    assertEquals(status[0], 1);
    assertEquals(call(), wanted);
    ok(rt.cudaStreamIsCapturing(s, status));
    assertEquals(status[0], 2);
    assertEquals(rt.cudaMemsetAsync(p, 0, 4n, s), 901);
    assertEquals(rt.cudaStreamEndCapture(s, graph), 901);
  }
  ok(rt.cudaStreamSynchronize(s));
});

test("an event of a capture is not for waiting", (raw) => {
  const { rt } = raw;
  const s = raw.stream(), event = raw.event();
  ok(rt.cudaStreamBeginCapture(s, mode.relaxed));
  ok(rt.cudaEventRecord(event, s));
  assertEquals(rt.cudaEventQuery(event), 907);
  assertEquals(rt.cudaEventSynchronize(event), 907);
  got((out) => rt.cudaStreamEndCapture(s, out));
});

test("allocation and whole-device waits depend on the mode of the capture", (raw) => {
  const { rt } = raw;
  const s = raw.stream(), out = new BigUint64Array(1);
  for (const m of [mode.global, mode.threadLocal]) {
    ok(rt.cudaStreamBeginCapture(s, m));
    assertEquals(rt.cudaMalloc(out, 16n), 900);
    assertEquals(rt.cudaStreamEndCapture(s, out), 901);
  }
  ok(rt.cudaStreamBeginCapture(s, mode.relaxed));
  ok(rt.cudaMalloc(out, 16n));
  ok(rt.cudaFree(out[0]));
  got((graph) => rt.cudaStreamEndCapture(s, graph));
});

test("the legacy stream is refused while a blocking stream is captured", (raw) => {
  const { rt } = raw;
  const s = raw.stream(0), p = raw.allocate(16, s);
  ok(rt.cudaStreamBeginCapture(s, mode.relaxed));
  assertEquals(rt.cudaMemsetAsync(p, 0, 4n, 0n), 906);
  assertEquals(rt.cudaStreamBeginCapture(0n, mode.relaxed), 900);
  got((graph) => rt.cudaStreamEndCapture(s, graph));
});

test("memory that is allocated in a capture belongs to the graph", (raw) => {
  const { rt, host } = raw;
  const s = raw.stream(), p = raw.allocate(4, s);
  const { handle } = raw.kernel(
    `extern "C" __global__ void k(float *out, float *t) {
       *out = *t != *t; *t = 1;
     }`,
  );
  const graph = capture(raw, s, () => {
    const t = raw.allocate(4, s);
    assertNotEquals(t, p);
    ok(raw.launch(handle, s, [p, t]));
    ok(rt.cudaFreeAsync(t, s));
    assertEquals(rt.cudaFreeAsync(p, s), 1);
  });
  assertMatch(host.violations()[0], /is no allocation of the graph/);
  const exec = got((out) => rt.cudaGraphInstantiate(out, graph, 0n));
  for (let i = 0; i < 2; i++) {
    ok(rt.cudaGraphLaunch(exec, s));
    assertEquals(raw.read(p, 1, s), [1]); // fresh at each launch
  }
  ok(rt.cudaGraphExecDestroy(exec));
  ok(rt.cudaGraphDestroy(graph));
  const blocks = host.leaks().filter((line) => line.startsWith("block"));
  assertEquals(blocks.length, 1);
});

test("a graph that refers to freed memory is told when it is launched", (raw) => {
  const { rt, host } = raw;
  const s = raw.stream(), p = raw.allocate(4, s);
  const { handle } = raw.kernel(add);
  const graph = capture(raw, s, () => ok(raw.launch(handle, s, [p, 1])));
  const exec = got((out) => rt.cudaGraphInstantiate(out, graph, 0n));
  ok(rt.cudaFreeAsync(p, s));
  ok(rt.cudaGraphLaunch(exec, s));
  assertMatch(host.violations()[0], /kernel k: the address at byte 0 .* freed/);
});

test("copies in a graph read the host at each launch", (raw) => {
  const { rt } = raw;
  const s = raw.stream(), p = raw.allocate(4, s);
  const { address, values } = raw.pinned(1);
  const graph = capture(
    raw,
    s,
    () => ok(rt.cudaMemcpyAsync(p, address, 4n, kind.up, s)),
  );
  const exec = got((out) => rt.cudaGraphInstantiate(out, graph, 0n));
  for (const value of [3, 4]) {
    values[0] = value;
    ok(rt.cudaGraphLaunch(exec, s));
    assertEquals(raw.read(p, 1, s), [value]);
  }
});

test("launches of one graph take turns, on whatever streams", (raw) => {
  const { rt, host } = raw;
  const a = raw.stream(), b = raw.stream(), p = raw.allocate(4, a);
  const { handle } = raw.kernel(add);
  raw.write(p, [0], a);
  const graph = capture(raw, a, () => ok(raw.launch(handle, a, [p, 1])));
  const exec = got((out) => rt.cudaGraphInstantiate(out, graph, 0n));
  host.hang("cudaGraphLaunch");
  ok(rt.cudaGraphLaunch(exec, a));
  host.release();
  host.delay(a, 30);
  ok(rt.cudaGraphLaunch(exec, a));
  ok(rt.cudaGraphLaunch(exec, b));
  assertEquals(raw.read(p, 1, b), [3]);
});
