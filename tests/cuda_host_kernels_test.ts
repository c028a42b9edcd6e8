/** The stand-ins' kernels: blocks, barriers, warps, limits, compile errors. */

import { assert, assertEquals, assertMatch } from "@std/assert";
import { got, ok, type Raw, rawTests } from "./cuda_host/raw.ts";

const test = await rawTests();

/** Runs a kernel with parameters `(float *out, long long n)`; what it wrote. */
function run(
  raw: Raw,
  body: string,
  count: number,
  geometry: { grid?: number; block?: number; shared?: number },
): number[] {
  const s = raw.stream(), p = raw.allocate(4 * count, s);
  const { handle } = raw.kernel(
    `extern "C" __global__ void k(float *out, long long n) {${body}}`,
  );
  ok(raw.launch(handle, s, [p, count], geometry));
  const values = raw.read(p, count, s);
  ok(raw.rt.cudaFreeAsync(p, s));
  ok(raw.rt.cudaStreamDestroy(s));
  return values;
}

test("threads know where they are", (raw) => {
  const values = run(
    raw,
    `out[blockIdx.x * blockDim.x + threadIdx.x] =
       1000 * blockIdx.x + threadIdx.x + 0.5f * (gridDim.x == 3);`,
    12,
    { grid: 3, block: 4 },
  );
  assertEquals(values.slice(0, 5), [0.5, 1.5, 2.5, 3.5, 1000.5]);
  assertEquals(values[11], 2003.5);
  assertEquals(raw.host.violations(), []);
});

test("shared memory and barriers", (raw) => {
  const values = run(
    raw,
    `__shared__ float a[96];
     extern __shared__ float b[];
     int t = threadIdx.x;
     a[t] = t;
     __syncthreads();
     b[t] = a[95 - t] + blockIdx.x;
     __syncthreads();
     out[blockIdx.x * 96 + t] = b[(t + 1) % 96];`,
    192,
    { grid: 2, block: 96, shared: 96 * 4 },
  );
  assertEquals(values[0], 94);
  assertEquals(values[95], 95);
  assertEquals(values[96], 95);
  assertEquals(raw.host.violations(), []);
});

test("shared memory holds no value at the start of a block", (raw) => {
  const values = run(
    raw,
    `__shared__ float a[32];
     if (threadIdx.x == 0) a[5] = 1;
     __syncthreads();
     out[blockIdx.x] = a[6];`,
    1,
    { block: 32 },
  );
  assert(Number.isNaN(values[0]));
});

test("shuffles and votes of a warp", (raw) => {
  const values = run(
    raw,
    `int t = threadIdx.x, lane = t % 32;
     float v = t;
     for (int o = 16; o > 0; o >>= 1) v += __shfl_xor_sync(0xffffffffu, v, o);
     double up = __shfl_up_sync(0xffffffffu, (double)t, 1);
     long long down = __shfl_down_sync(0xffffffffu, (long long)t, 2, 8);
     int first = __shfl_sync(0xffffffffu, t, 0);
     unsigned odd = __ballot_sync(0xffffffffu, t & 1);
     int any = __any_sync(0xffffffffu, t == 40);
     if (lane == 9) {
       float *o = out + 6 * (t / 32);
       o[0] = v; o[1] = (float)up; o[2] = (float)down; o[3] = first;
       o[4] = odd == 0xaaaaaaaau; o[5] = any;
     }`,
    12,
    { block: 64 },
  );
  assertEquals(values, [496, 8, 11, 0, 1, 0, 1520, 40, 43, 32, 1, 1]);
  assertEquals(raw.host.violations(), []);
});

test("lanes that a mask names may shuffle while others do not", (raw) => {
  const values = run(
    raw,
    `int t = threadIdx.x;
     if (t < 8) {
       float v = t;
       for (int o = 4; o > 0; o >>= 1) v += __shfl_down_sync(0xffu, v, o, 8);
       if (t == 0) out[0] = v;
     }`,
    1,
    { block: 32 },
  );
  assertEquals(values, [28]);
  assertEquals(raw.host.violations(), []);
});

test("atomics add up over all blocks", (raw) => {
  const s = raw.stream(), p = raw.allocate(4, s);
  raw.write(p, [0], s);
  const { handle } = raw.kernel(
    `extern "C" __global__ void k(float *p) { atomicAdd(p, 1.0f); }`,
  );
  ok(raw.launch(handle, s, [p], { grid: 40, block: 50 }));
  assertEquals(raw.read(p, 1, s), [2000]);
});

test("a barrier that some threads miss is told, and no hang", (raw) => {
  const s = raw.stream();
  const { handle } = raw.kernel(
    `extern "C" __global__ void k(float *out) {
       if (threadIdx.x < 40)
         __syncthreads();
     }`,
  );
  ok(raw.launch(handle, s, [0], { block: 64 }));
  assertEquals(raw.rt.cudaStreamSynchronize(s), 719);
  assertMatch(
    raw.host.violations()[0],
    /threads 0–39 wait at the barrier of line 3, threads 40–63 have ended/,
  );
});

test("threads at different barriers are told", (raw) => {
  const s = raw.stream();
  const { handle } = raw.kernel(
    `extern "C" __global__ void k(float *out) {
       if (threadIdx.x < 40)
         __syncthreads();
       else
         __syncthreads();
     }`,
  );
  ok(raw.launch(handle, s, [0], { block: 64 }));
  assertEquals(raw.rt.cudaStreamSynchronize(s), 719);
  assertMatch(raw.host.violations()[0], /different barriers, of lines 3 and 5/);
});

test("a shuffle in divergent code is told, and no hang", (raw) => {
  const s = raw.stream(), p = raw.allocate(4, s);
  const { handle } = raw.kernel(
    `extern "C" __global__ void k(float *out) {
       float v = threadIdx.x;
       if (threadIdx.x < 16)
         v += __shfl_xor_sync(0xffffffffu, v, 16);
       *out = v;
     }`,
  );
  ok(raw.launch(handle, s, [p], { block: 32 }));
  assertEquals(raw.rt.cudaStreamSynchronize(s), 719);
  assertMatch(
    raw.host.violations()[0],
    /threads 0–15 wait in the warp operation of line 4 .*, threads 16–31 have/,
  );
});

test("dynamic shared memory has an end", (raw) => {
  const s = raw.stream();
  const { handle } = raw.kernel(
    `extern __shared__ float b[];
     extern "C" __global__ void k(long long i) { b[i] = 1; __syncthreads(); }`,
  );
  ok(raw.launch(handle, s, [31], { shared: 128 }));
  ok(raw.rt.cudaStreamSynchronize(s));
  ok(raw.launch(handle, s, [32], { shared: 128 }));
  assertEquals(raw.rt.cudaStreamSynchronize(s), 700);
});

test("launches beyond the limits are refused", (raw) => {
  const s = raw.stream();
  const { handle } = raw.kernel(
    `extern "C" __global__ void __launch_bounds__(128) k(long long i) {}`,
  );
  const launch = (grid: number, block: number, shared: number) =>
    raw.launch(handle, s, [0], { grid, block, shared });
  assertEquals(launch(1, 128, 48 * 1024), 0);
  assertEquals(launch(0, 128, 0), 1);
  assertEquals(launch(1, 0, 0), 1);
  assertEquals(launch(1, 129, 0), 1);
  assertEquals(launch(2 ** 31, 1, 0), 1);
  assertEquals(launch(1, 1, 48 * 1024 + 1), 1);
  ok(raw.cu.cuFuncSetAttribute(handle, 8, 227 * 1024));
  assertEquals(launch(1, 1, 227 * 1024), 0);
  assertEquals(raw.cu.cuFuncSetAttribute(handle, 8, 227 * 1024 + 1), 1);
});

test("a kernel with an error is refused with the line of its source", (raw) => {
  const { status, log } = raw.compile(
    `extern "C" __global__ void k(float *out) {\n  int x = 1;\n  out[0] = y;\n}`,
  );
  assertEquals(status, 6);
  assertMatch(log, /^test\.cu: In function .*\n?test\.cu:3:12: error: 'y' was/);
});

test("options that NVRTC does not know are refused", (raw) => {
  const { status, log } = raw.compile("", ["--gpu-architecture=sm_90", "-x"]);
  assertEquals(status, 5);
  assertMatch(log, /unrecognized option -x/);
  assertEquals(raw.compile("", ["--gpu-architecture=sm_91"]).status, 5);
});

test("machine code is refused when it is damaged or for another GPU", (raw) => {
  const source = `extern "C" __global__ void k() {}`;
  const { code } = raw.compile(source);
  const out = new BigUint64Array(1);
  const damaged = code.slice();
  damaged[damaged.length - 3] ^= 1;
  assertEquals(raw.cu.cuModuleLoadData(out, damaged), 200);
  assertEquals(raw.cu.cuModuleLoadData(out, new Uint8Array(64)), 200);
  const other = raw.compile(source, ["--gpu-architecture=sm_80"]).code;
  assertEquals(raw.cu.cuModuleLoadData(out, other), 209);
  ok(raw.cu.cuModuleLoadData(out, code));
  const name = new TextEncoder().encode("nothing\0");
  const handle = new BigUint64Array(1);
  assertEquals(raw.cu.cuModuleGetFunction(handle, out[0], name), 500);
});

test("kernels of an unloaded module are not launched", (raw) => {
  const s = raw.stream();
  const { module, handle } = raw.kernel(
    `extern "C" __global__ void k(long long i) {}`,
  );
  ok(raw.launch(handle, s, [0]));
  ok(raw.cu.cuModuleUnload(module));
  assertEquals(raw.launch(handle, s, [0]), 400);
  assertEquals(raw.cu.cuModuleUnload(module), 400);
  assertMatch(raw.host.violations()[0], /function 0x.* was destroyed before/);
});

test("the driver needs a context", (raw) => {
  const current = () => got((out) => raw.cu.cuCtxGetCurrent(out));
  const context = current();
  const { code } = raw.compile(`extern "C" __global__ void k() {}`);
  ok(raw.cu.cuCtxSetCurrent(0n));
  assertEquals(raw.cu.cuModuleLoadData(new BigUint64Array(1), code), 201);
  ok(raw.rt.cudaSetDevice(0));
  assertEquals(current(), context);
  ok(raw.cu.cuCtxSetCurrent(0n));
  ok(raw.cu.cuCtxSetCurrent(context));
  ok(raw.cu.cuModuleLoadData(new BigUint64Array(1), code));
});

test("an integer division by zero is told", (raw) => {
  const s = raw.stream(), p = raw.allocate(4, s);
  const { handle } = raw.kernel(
    `extern "C" __global__ void k(int *p, long long n) { *p = 7 / (int)n; }`,
  );
  ok(raw.launch(handle, s, [p, 0]));
  assertEquals(raw.rt.cudaStreamSynchronize(s), 700);
  assertMatch(raw.host.violations()[0], /integer division by zero/);
});

test("a misaligned vector access is told with its place", (raw) => {
  const s = raw.stream(), p = raw.allocate(64, s);
  const { handle } = raw.kernel(
    `extern "C" __global__ void k(float *p, long long i) {
       *(float4 *)(p + i) = make_float4(1, 2, 3, 4);
     }`,
  );
  ok(raw.launch(handle, s, [p, 4]));
  ok(raw.rt.cudaStreamSynchronize(s));
  ok(raw.launch(handle, s, [p, 1]));
  assertEquals(raw.rt.cudaStreamSynchronize(s), 716);
  assertMatch(
    raw.host.violations()[0],
    /test\.cu:2:\d+: misaligned access to '.*float4' .* 16 bytes needed/,
  );
});

test("an index outside a shared array is told with its place", (raw) => {
  const s = raw.stream(), p = raw.allocate(64, s);
  const { handle } = raw.kernel(
    `extern "C" __global__ void k(float *p, long long i) {
       __shared__ float a[32];
       a[i] = 1;
       __syncthreads();
       *p = a[i];
     }`,
  );
  ok(raw.launch(handle, s, [p, 31]));
  ok(raw.rt.cudaStreamSynchronize(s));
  ok(raw.launch(handle, s, [p, 32]));
  assertEquals(raw.rt.cudaStreamSynchronize(s), 716);
  assertMatch(
    raw.host.violations()[0],
    /test\.cu:3:\d+: index 32 is outside the array 'float \[32\]'/,
  );
});

test("blocks run in no order to rely on", (raw) => {
  const values = run(raw, `if (blockIdx.x < 2) *out = blockIdx.x;`, 1, {
    grid: 3,
  });
  assertEquals(values, [0]);
});

test("votes of a block are those of its own barrier", (raw) => {
  const values = run(
    raw,
    `int a = __syncthreads_count(threadIdx.x < 10);
     int b = __syncthreads_count(threadIdx.x < 20);
     int c = __syncthreads_or(threadIdx.x == 3);
     int d = __syncthreads_and(threadIdx.x < 63);
     if (threadIdx.x == 40) {
       out[0] = a; out[1] = b; out[2] = c; out[3] = d;
     }`,
    4,
    { block: 64 },
  );
  assertEquals(values, [10, 20, 1, 0]);
});

test("processes may compile the same kernels at once", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const program = `
      const { cudaHost } = await import(${here("mod.ts")});
      const { Raw } = await import(${here("raw.ts")});
      const host = await cudaHost();
      Deno.env.set("DECAF_CUDA_HOST_KERNELS", ${JSON.stringify(folder)});
      const raw = new Raw(host);
      raw.rt.cudaSetDevice(0);
      for (let i = 0; i < 4; i++) {
        raw.kernel(\`extern "C" __global__ void k(int *p) { *p = \${i}; }\`);
      }
      console.log(host.leaks().length);`;
    const runs = Array.from(
      { length: 3 },
      () =>
        new Deno.Command(Deno.execPath(), {
          args: ["eval", "--quiet", program],
        }).output(),
    );
    for (const { stdout, stderr } of await Promise.all(runs)) {
      const decoder = new TextDecoder();
      assertEquals(decoder.decode(stderr), "");
      assertEquals(decoder.decode(stdout).trim(), "4");
    }
    const names = [...Deno.readDirSync(folder)].map(({ name }) => name);
    assertEquals(names.filter((name) => !/^[0-9a-f]{32}\.so$/.test(name)), []);
    assertEquals(names.length, 4);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

function here(name: string): string {
  return JSON.stringify(new URL(`cuda_host/${name}`, import.meta.url).href);
}

test("a missing barrier shows, whichever neighbour a thread looks at", (raw) => {
  for (const neighbour of ["t - 1", "t + 1"]) {
    const values = run(
      raw,
      `__shared__ float a[64];
       int t = threadIdx.x;
       a[t] = t;
       int other = (${neighbour} + 64) % 64;
       out[64 * blockIdx.x + t] = a[other] == other;
       __syncthreads();`,
      128,
      { block: 64, grid: 2 },
    );
    assert(values.slice(0, 64).includes(0), neighbour);
    assert(values.slice(64).includes(0), neighbour);
  }
});
