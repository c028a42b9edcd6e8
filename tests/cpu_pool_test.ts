import { assert, assertEquals, assertThrows } from "@std/assert";
import {
  allocate,
  allocatePermanent,
  CpuMemoryError,
  heap,
  memoryLimits,
  memoryStats,
  release,
  releasePermanent,
} from "../devices/cpu/memory.ts";
import {
  createKernel,
  KernelError,
  runKernel,
  setThreads,
  startWorkers,
  threads,
} from "../devices/cpu/pool.ts";
import {
  type FunctionBuilder,
  ModuleBuilder,
} from "../kernel/wasm/assembler.ts";

Deno.test("blocks are aligned, do not overlap and are reused", () => {
  const before = memoryStats();
  const sizes = [0, 1, 63, 64, 65, 1000, 4096, 1 << 20, (1 << 20) + 1];
  const blocks = sizes.map((size) => ({ size, at: allocate(size) }));
  blocks.forEach(({ at, size }, i) => {
    assertEquals(at % 64, 0);
    heap.u8.fill(i + 1, at, at + size);
  });
  blocks.forEach(({ at, size }, i) => {
    assert(heap.u8.subarray(at, at + size).every((b) => b === i + 1));
  });
  const live = memoryStats();
  const total = sizes.reduce((a, b) => a + b);
  assertEquals(live.liveBytes - before.liveBytes, total);
  assertEquals(live.blocks - before.blocks, sizes.length);
  assert(live.peakBytes >= live.liveBytes);
  const again = blocks[5].at;
  release(again);
  assertEquals(allocate(1000), again);
  for (const { at } of blocks) release(at);
  assertEquals(memoryStats().liveBytes, before.liveBytes);
  assertEquals(memoryStats().blocks, before.blocks);
});

Deno.test("random allocation and release keeps every block intact", () => {
  const before = memoryStats().liveBytes;
  let state = 1;
  function random(n: number): number {
    state = Math.imul(state, 1103515245) + 12345 >>> 0;
    return (state >>> 8) % n;
  }
  const live: { at: number; size: number; mark: number }[] = [];
  for (let step = 0; step < 20000; step++) {
    if (live.length > 0 && random(100) < (step % 4000 < 2000 ? 40 : 60)) {
      const [block] = live.splice(random(live.length), 1);
      const { at, size, mark } = block;
      for (const i of [0, size >>> 1, size - 1]) {
        assertEquals(heap.u8[at + i], mark);
      }
      release(at);
    } else {
      const size = 1 + random(1 << (1 + random(18)));
      const at = allocate(size), mark = random(256);
      heap.u8.fill(mark, at, at + size);
      live.push({ at, size, mark });
    }
  }
  const spans = live.map(({ at, size }) => [at, at + size])
    .sort((a, b) => a[0] - b[0]);
  for (let i = 1; i < spans.length; i++) {
    assert(spans[i][0] >= spans[i - 1][1]);
  }
  for (const { at } of live) release(at);
  assertEquals(memoryStats().liveBytes, before);
});

Deno.test("freed neighbours merge: all memory is usable in any sizes, up to the last address", () => {
  const { limitBytes } = memoryStats();
  // Fill the memory with blocks of 1/64 of it, then ask for halves of what is left.
  const piece = limitBytes / 64 - 64;
  const pieces: number[] = [];
  assertThrows(() => {
    for (;;) pieces.push(allocate(piece));
  }, CpuMemoryError);
  assert(pieces.length >= 60);
  const last = Math.max(...pieces);
  assert(last > limitBytes / 2);
  heap.u8[last + piece - 1] = 7;
  assertEquals(heap.u8[last + piece - 1], 7);
  for (const at of pieces) release(at);
  const half = allocate(limitBytes / 2);
  release(half);
  const most = allocate(limitBytes * 0.9);
  release(most);
});

Deno.test("a full memory says what was asked, what is live and the limit", () => {
  const { liveBytes, limitBytes } = memoryStats();
  const error = assertThrows(
    () => allocate(limitBytes),
    CpuMemoryError,
    "Cannot allocate 4.0 GiB of CPU memory",
  );
  assertEquals(error.requested, limitBytes);
  assertEquals(error.live, liveBytes);
  assertEquals(error.limit, limitBytes);
  assertThrows(() => allocate(-1), CpuMemoryError);
});

Deno.test("releasing twice, or what was never allocated, is refused", () => {
  const at = allocate(100);
  release(at);
  assertThrows(() => release(at), Error, `Cannot release address ${at}`);
  assertThrows(() => release(at + 4), Error, "no live block");
  const permanent = allocatePermanent(100);
  assertThrows(() => release(permanent), Error, "no live block");
  releasePermanent(permanent);
  assertThrows(() => releasePermanent(permanent), Error, "no permanent block");
});

/** A kernel with the standard parameters around a loop body; the body finds i in local 3. */
function loopKernel(
  name: string,
  body: (f: FunctionBuilder, sin: number, erf: number) => void,
) {
  const m = new ModuleBuilder();
  m.importMemory("env", "memory", memoryLimits);
  const sin = m.importFunction("env", "sin", ["f64"], ["f64"]);
  const erf = m.importFunction("env", "erf", ["f64"], ["f64"]);
  m.func("run", ["i32", "i32", "i32"], [], (f) => {
    const i = f.local("i32");
    f.get(1).set(i);
    f.block((done) => {
      f.loop((again) => {
        f.get(i).get(2).op("i32.ge_s").brIf(done);
        body(f, sin, erf);
        f.get(i).i32(1).op("i32.add").set(i).br(again);
      });
    });
  });
  return createKernel(name, m.toBytes());
}

// out[i] = out[i] + sin(i) + erf(i), where the parameter block holds out's address.
const sines = loopKernel("sines", (f, sin, erf) => {
  f.get(0).load("i32.load").get(3).i32(3).op("i32.shl").op("i32.add");
  f.get(0).load("i32.load").get(3).i32(3).op("i32.shl").op("i32.add");
  f.load("f64.load");
  f.get(3).op("f64.convert_i32_s").call(sin).op("f64.add");
  f.get(3).op("f64.convert_i32_s").call(erf).op("f64.add");
  f.store("f64.store");
});

function withThreads(count: number, body: () => void): void {
  const before = threads();
  setThreads(count);
  try {
    startWorkers();
    body();
  } finally {
    setThreads(before);
  }
}

Deno.test({
  name: "every element is computed exactly once, with any number of threads",
  sanitizeOps: true,
  sanitizeResources: true,
  fn() {
    const n = 1013;
    const params = allocate(64), out = allocate(n * 8);
    heap.u32[params / 4] = out;
    const values = heap.f64.subarray(out / 8, out / 8 + n);
    const erf1 = 0.8427007929497149; // Abramowitz and Stegun, table 7.1
    for (const count of [1, 2, 3, 5]) {
      withThreads(count, () => {
        for (const grain of [1, 7, 64, 1012, 5000]) {
          for (let turn = 0; turn < 30; turn++) {
            values.fill(0);
            runKernel(sines, params, n, grain);
            assert(Math.abs(values[1] - Math.sin(1) - erf1) < 1e-15);
            for (let i = 10; i < n; i++) {
              if (values[i] !== Math.sin(i) + 1) {
                throw new Error(`element ${i} is ${values[i]}`);
              }
            }
          }
        }
      });
    }
    runKernel(sines, params, 0, 10);
    release(params);
    release(out);
  },
});

Deno.test("chunks run at the same time: each waits here until all have begun", () => {
  const params = allocate(64);
  const meeting = loopKernel("meeting", (f) => {
    f.get(0).i32(1).atomic("i32.atomic.rmw.add").drop();
    f.loop((again) => {
      f.get(0).atomic("i32.atomic.load").get(0).load("i32.load", 4);
      f.op("i32.lt_s").brIf(again);
    });
  });
  for (const count of [2, 3]) {
    withThreads(count, () => {
      for (let turn = 0; turn < 20; turn++) {
        heap.i32[params / 4] = 0;
        heap.i32[params / 4 + 1] = count;
        runKernel(meeting, params, count, 1);
        assertEquals(heap.i32[params / 4], count);
      }
    });
  }
  release(params);
});

// Waits for the workers to fall asleep between tasks, so waking up is covered too.
Deno.test("workers that fell asleep wake up", async () => {
  const n = 64;
  const params = allocate(64), out = allocate(n * 8);
  heap.u32[params / 4] = out;
  const values = heap.f64.subarray(out / 8, out / 8 + n);
  const before = threads();
  setThreads(2);
  startWorkers();
  for (let turn = 0; turn < 10; turn++) {
    await new Promise((resolve) => setTimeout(resolve, 2));
    values.fill(0);
    runKernel(sines, params, n, 1);
    assertEquals(values[63], Math.sin(63) + 1);
  }
  setThreads(before);
  release(params);
  release(out);
});

Deno.test("a worker that woke before the number of threads fell takes no part", () => {
  const params = allocate(64);
  const m = new ModuleBuilder();
  m.importMemory("env", "memory", memoryLimits);
  const thread = m.importGlobal("env", "thread", "i32");
  // Notes the largest number of a thread that came by.
  m.func("run", ["i32", "i32", "i32"], [], (f) => {
    f.global(thread).get(0).load("i32.load").op("i32.gt_s").if(() => {
      f.get(0).global(thread).store("i32.store");
    });
  });
  const numbers = createKernel("numbers", m.toBytes());
  const before = threads();
  setThreads(6);
  startWorkers();
  try {
    for (let turn = 0; turn < 4000; turn++) {
      setThreads(6);
      runKernel(numbers, params, 6, 1);
      setThreads(2);
      heap.i32[params / 4] = 0;
      runKernel(numbers, params, 200, 1);
      assert(heap.i32[params / 4] < 2);
    }
  } finally {
    setThreads(before);
    release(params);
  }
});

Deno.test("a trap on any thread is an error of the caller, and the pool lives on", () => {
  const params = allocate(64);
  // Notes the number of elements done, then traps at the last one.
  const trap = loopKernel("broken", (f) => {
    f.get(0).i32(1).atomic("i32.atomic.rmw.add").drop();
    f.get(3).i32(999).op("i32.eq").if(() => f.op("unreachable"));
  });
  for (const count of [1, 2, 4]) {
    withThreads(count, () => {
      for (let turn = 0; turn < 20; turn++) {
        for (const grain of [1, 100, 1000]) {
          heap.i32[params / 4] = 0;
          assertThrows(
            () => runKernel(trap, params, 1000, grain),
            KernelError,
            "Kernel broken failed: unreachable",
          );
          runKernel(trap, params, 999, 10);
        }
      }
    });
  }
  release(params);
});

Deno.test("an access beyond the memory is a trap, not a wild write", () => {
  const wild = loopKernel("wild", (f) => {
    f.i32(-1).f64(1).store("f64.store", 2 ** 31);
  });
  assertThrows(() => runKernel(wild, 0, 1, 1), KernelError, "out of bounds");
});

Deno.test("a number of threads out of range is refused", () => {
  for (const count of [0, -1, 1.5, 257, NaN]) {
    assertThrows(() => setThreads(count), RangeError, `${count} threads`);
  }
});

/** Runs a script in a process of its own, without permissions, and returns what it prints. */
async function runScript(script: string): Promise<string> {
  const command = new Deno.Command(Deno.execPath(), {
    args: [
      "run",
      "--no-config",
      "--no-prompt",
      "--no-check",
      `data:text/javascript,${encodeURIComponent(script)}`,
    ],
    signal: AbortSignal.timeout(20000),
  });
  const { stdout, stderr } = await command.output();
  const decoder = new TextDecoder();
  return decoder.decode(stdout) + decoder.decode(stderr);
}

const [pool, memory, gemm, assembler] = [
  "../devices/cpu/pool.ts",
  "../devices/cpu/memory.ts",
  "../devices/cpu/gemm.ts",
  "../kernel/wasm/assembler.ts",
].map((path) => new URL(path, import.meta.url).href);

// A kernel whose chunks all wait until as many have begun as word 1 says.
const meetingScript = `
  const { ModuleBuilder } = await import("${assembler}");
  const { allocate, heap, memoryLimits } = await import("${memory}");
  const pool = await import("${pool}");
  const m = new ModuleBuilder();
  m.importMemory("env", "memory", memoryLimits);
  m.func("run", ["i32", "i32", "i32"], [], (f) => {
    f.get(0).i32(1).atomic("i32.atomic.rmw.add").drop();
    f.loop((again) => {
      f.get(0).atomic("i32.atomic.load").get(0).load("i32.load", 4);
      f.op("i32.lt_s").brIf(again);
    });
  });
  const kernel = pool.createKernel("meeting", m.toBytes());
  const block = allocate(64);
  heap.i32[block / 4] = 0;
  heap.i32[block / 4 + 1] = 3;
  pool.setThreads(3);
  pool.startWorkers();
  // Workers of a page start when the page's script gives way.
  await new Promise((resolve) => setTimeout(resolve, 500));
  pool.runKernel(kernel, block, 3, 1);
`;

Deno.test("a script that used workers ends by itself, without permissions", async () => {
  assertEquals(
    await runScript(`${meetingScript} console.log("met");`),
    "met\n",
  );
});

Deno.test("workers start as in a browser where there is no node:worker_threads", async () => {
  const printed = await runScript(`
    delete globalThis.process;
    ${meetingScript}
    console.log("met");
    Deno.exit();
  `);
  assertEquals(printed, "met\n");
});

Deno.test("without SharedArrayBuffer everything runs on the main thread", async () => {
  const printed = await runScript(`
    delete globalThis.SharedArrayBuffer;
    const { allocate, heap, memory, sharedMemory } = await import("${memory}");
    const pool = await import("${pool}");
    const { matmul } = await import("${gemm}");
    pool.setThreads(4);
    const n = 200;
    const [a, b, c] = [0, 0, 0].map(() => allocate(n * n * 4));
    heap.f32.fill(2, a / 4, a / 4 + n * n);
    heap.f32.fill(3, b / 4, b / 4 + n * n);
    const square = (address) => ({ address, rowStride: n, columnStride: 1 });
    matmul({
      dtype: "f32", m: n, n, k: n, a: square(a), b: square(b), c: square(c),
    });
    console.log(sharedMemory, pool.threads(), heap.f32[c / 4 + n * n - 1]);
  `);
  assertEquals(printed, "false 1 1200\n");
});
