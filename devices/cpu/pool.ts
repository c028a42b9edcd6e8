/**
 * Kernels of the CPU device and the threads that run them.
 *
 * A kernel is a WebAssembly module that exports `run(params, begin, end)` and
 * works on `begin ≤ i < end` of its range. The range is cut into chunks that
 * depend on its length and grain alone; the main thread and the workers claim
 * chunk after chunk. So results do not depend on the number of threads.
 *
 * @module
 */

import { specialFunctions } from "../../kernel/special.ts";
import { allocatePermanent, heap, memory, sharedMemory } from "./memory.ts";
import {
  control,
  failureBytes,
  workerLoop,
  type WorkerStart,
} from "./worker.ts";

/** A compiled kernel. */
export interface CpuKernel {
  /** Name, for errors and profiles. */
  readonly name: string;
  /** Runs part of the range on the calling thread. */
  readonly run: (params: number, begin: number, end: number) => void;
  /** Address of the code in the shared memory, where workers find it. */
  readonly record: number;
}

/** A kernel stopped with a trap: an access outside the memory, a division by zero. */
export class KernelError extends Error {
  /** Name of the class, as shown in stack traces. */
  override name = "KernelError";
}

/** A function of numbers that kernels can import. */
export type MathFunction = (...values: number[]) => number;

// WebAssembly engines call the functions of Math directly when they are imported.
const mathNames = [
  "sin",
  "cos",
  "tan",
  "asin",
  "acos",
  "atan",
  "sinh",
  "cosh",
  "tanh",
  "asinh",
  "acosh",
  "atanh",
  "exp",
  "expm1",
  "log",
  "log1p",
  "log2",
  "log10",
  "cbrt",
  "atan2",
] as const;

// Sent to workers as text, so they refer to nothing but Math.
const ownFunctions: Readonly<Record<string, MathFunction>> = {
  ...specialFunctions,
  exp2: (x) => Math.pow(2, x),
  fmod: (a, b) => a % b,
  // C's, where 1 to any power is 1, and so is −1 to an infinite one.
  pow: (a, b) =>
    a === 1 || (a === -1 && Math.abs(b) === Infinity) ? 1 : Math.pow(a, b),
};

/**
 * Functions that kernels may import from `env`, of one f64 (`pow` and
 * `atan2`: of two) with an f64 result. Besides these there are `env.memory`
 * and the i32 constant `env.thread`, 0 on the main thread.
 */
const mathImports: Readonly<Record<string, MathFunction>> = {
  ...Object.fromEntries(mathNames.map((name) => [name, Math[name]])),
  ...ownFunctions,
};

const words = heap.i32;
const pause = (Atomics as { pause?: () => void }).pause ?? (() => {});
const canWait = sharedMemory && mayWait();
/** A worker is started after parallel tasks took this long since the last start, about what a start costs. */
const spawnMilliseconds = 20;
/** The most threads that can be asked for; numbers of threads are below it. */
export const maxThreads = 256;

let threadCount = sharedMemory
  ? Math.max(1, Math.min(globalThis.navigator?.hardwareConcurrency ?? 1, 64))
  : 1;
let workers = 0;
let workerUrl: string | undefined;
let unhelpedMilliseconds = 0;

/** Whether the main thread may block (a browser's may not). */
function mayWait(): boolean {
  try {
    Atomics.wait(words, control.open, 1, 0);
    return true;
  } catch {
    return false;
  }
}

/** Threads that kernels run on, the main thread included. */
export function threads(): number {
  return threadCount;
}

/**
 * Sets the number of threads that kernels run on, the main thread included;
 * 1 means no workers. Where memory cannot be shared it stays 1.
 *
 * @throws {RangeError} unless `count` is an integer from 1 to 256.
 */
export function setThreads(count: number): void {
  if (!Number.isInteger(count) || count < 1 || count > maxThreads) {
    throw new RangeError(
      `Cannot run on ${count} threads: give an integer from 1 to ${maxThreads}`,
    );
  }
  threadCount = sharedMemory ? count : 1;
  Atomics.store(words, control.threads, threadCount);
}

/** Starts all workers at once, where they would otherwise start one by one when there is work for them. */
export function startWorkers(): void {
  while (workers < threadCount - 1) spawn();
}

/**
 * Compiles a kernel.
 *
 * @throws {WebAssembly.CompileError} when the bytes are no valid module.
 * @throws {WebAssembly.LinkError} when it imports what `mathImports` lacks.
 */
export function createKernel(
  name: string,
  bytes: Uint8Array<ArrayBuffer>,
): CpuKernel {
  const instance = new WebAssembly.Instance(new WebAssembly.Module(bytes), {
    env: { memory, thread: 0, ...mathImports },
  });
  // Workers compile the same bytes; engines share the machine code.
  let record = 0;
  if (sharedMemory) {
    record = allocatePermanent(64 + bytes.length);
    words[record >>> 2] = bytes.length;
    heap.u8.set(bytes, record + 64);
  }
  return { name, run: instance.exports.run as CpuKernel["run"], record };
}

const cache = new Map<string, CpuKernel>();

/** The kernel that `create` made when the key was first asked for. */
export function cachedKernel(key: string, create: () => CpuKernel): CpuKernel {
  let kernel = cache.get(key);
  if (kernel === undefined) {
    kernel = create();
    cache.set(key, kernel);
  }
  return kernel;
}

/**
 * Runs a kernel over `0 ≤ i < total` in chunks of `grain`.
 *
 * @throws {KernelError} when the kernel traps on any thread.
 */
export function runKernel(
  kernel: CpuKernel,
  params: number,
  total: number,
  grain: number,
): void {
  if (total <= 0) return;
  if (total <= grain || threadCount === 1) {
    try {
      for (let begin = 0; begin < total; begin += grain) {
        kernel.run(params, begin, Math.min(begin + grain, total));
      }
    } catch (error) {
      throw trapped(kernel, error);
    }
    return;
  }
  if (workers >= threadCount - 1) {
    runTogether(kernel, params, total, grain);
    return;
  }
  const start = performance.now();
  runTogether(kernel, params, total, grain);
  unhelpedMilliseconds += performance.now() - start;
  if (unhelpedMilliseconds > spawnMilliseconds) spawn();
}

function runTogether(
  kernel: CpuKernel,
  params: number,
  total: number,
  grain: number,
): void {
  const chunks = Math.ceil(total / grain);
  const task = control.task;
  words[task] = kernel.record;
  words[task + 1] = params;
  words[task + 2] = total;
  words[task + 3] = grain;
  words[task + 4] = chunks;
  Atomics.store(words, control.next, 0);
  Atomics.store(words, control.open, 1);
  Atomics.add(words, control.epoch, 1);
  // Asked once per sleep: who was woken and has no core yet is not called again.
  if (
    Atomics.load(words, control.sleepers) > 0 &&
    Atomics.exchange(words, control.sleepers, 0) > 0
  ) Atomics.notify(words, control.epoch, Infinity);
  let error: unknown;
  let failed = false;
  try {
    for (;;) {
      const chunk = Atomics.add(words, control.next, 1);
      if (chunk >= chunks) break;
      const begin = chunk * grain;
      kernel.run(params, begin, Math.min(begin + grain, total));
    }
  } catch (e) {
    failed = true;
    error = e;
    Atomics.store(words, control.next, chunks);
  }
  Atomics.store(words, control.open, 0);
  awaitWorkers();
  if (Atomics.load(words, control.failure) !== 0) {
    const failure = takeFailure();
    if (!failed) error = failure;
    failed = true;
  }
  if (failed) throw trapped(kernel, error);
}

/** Turns of waiting awake, about 50 µs: what a worker's last chunk takes when it has a core. */
const awakeTurns = 2000;

/** Returns when no worker is looking at the task any more. */
function awaitWorkers(): void {
  for (let turn = 1;; turn++) {
    const active = Atomics.load(words, control.active);
    if (active === 0) return;
    pause();
    // Long waits mean that a worker has no core: leave it this one, until it is done.
    if (canWait && turn > awakeTurns) {
      Atomics.store(words, control.waiting, 1);
      Atomics.wait(words, control.active, active, 1);
      Atomics.store(words, control.waiting, 0);
    }
  }
}

function takeFailure(): string {
  const at = (control.failure + 2) * 4;
  const text = heap.u8.slice(at, at + words[control.failure + 1]);
  Atomics.store(words, control.failure, 0);
  return new TextDecoder().decode(text);
}

function trapped(kernel: CpuKernel, cause: unknown): KernelError {
  const reason = cause instanceof Error ? cause.message : String(cause);
  return new KernelError(`Kernel ${kernel.name} failed: ${reason}`, { cause });
}

/** The part of node:worker_threads that is needed here. */
interface WorkerThreads {
  readonly Worker: new (url: URL) => {
    unref(): void;
    on(event: "error", listener: () => void): void;
    postMessage(message: unknown): void;
  };
}

function spawn(): void {
  unhelpedMilliseconds = 0;
  workers++;
  Atomics.store(words, control.threads, threadCount);
  const message: WorkerStart = {
    memory,
    index: workers,
    control,
    failureBytes,
  };
  const process = (globalThis as {
    process?: { getBuiltinModule?: (name: string) => unknown };
  }).process;
  const node = process?.getBuiltinModule?.("node:worker_threads") as
    | WorkerThreads
    | undefined;
  if (node !== undefined) {
    // Only these workers can be told not to keep the process alive.
    workerUrl ??= `data:text/javascript,${encodeURIComponent(workerSource())}`;
    const worker = new node.Worker(new URL(workerUrl));
    worker.on("error", () => {});
    worker.postMessage(message);
    worker.unref();
  } else {
    workerUrl ??= URL.createObjectURL(
      new Blob([workerSource()], { type: "text/javascript" }),
    );
    new Worker(workerUrl, { type: "module" }).postMessage(message);
  }
}

/** The script of a worker: the loop, the functions that kernels import, and the wait for the first message. */
function workerSource(): string {
  const own = Object.entries(ownFunctions)
    .map(([name, f]) => `${name}: ${f}`);
  const math = mathNames.map((name) => `${name}: Math.${name}`);
  return `
const env = { ${[...math, ...own].join(", ")} };
const loop = ${workerLoop};
const port = globalThis.process?.getBuiltinModule?.("node:worker_threads")
  ?.parentPort;
if (port) port.on("message", (start) => loop(start, env));
else globalThis.onmessage = (event) => loop(event.data, env);
`;
}
