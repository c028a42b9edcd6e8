/**
 * What a worker of the CPU pool runs, and the words of shared memory through
 * which it and the main thread speak.
 *
 * @module
 */

/** Indices, in 32-bit words, of the pool's control words; each has a cache line of its own. */
export const control = {
  /** Counts tasks; workers spin and sleep on it. */
  epoch: 16,
  /** 1 while a task may be joined. */
  open: 32,
  /** Next chunk to be claimed. */
  next: 48,
  /** Workers that are looking at the task. */
  active: 64,
  /** 1 while the main thread sleeps on `active`. */
  waiting: 72,
  /** Not 0 when workers may have gone to sleep on `epoch` since they were last woken. */
  sleepers: 80,
  /** Threads that may take part, the main thread included. */
  threads: 96,
  /** The task: address of the kernel's record, of its parameters, total, grain, chunks. */
  task: 112,
  /** 1 when a kernel failed in a worker; then the length of the message, then the message. */
  failure: 1024,
} as const;

/** Bytes that a failure's message may take. */
export const failureBytes = 2048;

/** What a worker is sent once, at its start. */
export interface WorkerStart {
  /** The shared memory. */
  readonly memory: WebAssembly.Memory;
  /** Number of the worker, from 1. */
  readonly index: number;
  /** The control words. */
  readonly control: typeof control;
  /** Room for a failure's message. */
  readonly failureBytes: number;
}

/**
 * Waits for tasks and runs chunks of them, for ever.
 *
 * The source of this function is sent to the worker as text, so it refers to
 * nothing outside but its arguments and the platform.
 */
export function workerLoop(
  start: WorkerStart,
  env: Readonly<Record<string, (...values: number[]) => number>>,
): void {
  type Run = (params: number, begin: number, end: number) => void;
  const { memory, index, control, failureBytes } = start;
  const words = new Int32Array(memory.buffer);
  const bytes = new Uint8Array(memory.buffer);
  const kernels = new Map<number, Run | undefined>();
  const imports = { env: { memory, thread: index, ...env } };
  const pause = (Atomics as { pause?: () => void }).pause ?? (() => {});
  const spinMilliseconds = 0.1;

  function compile(record: number): Run | undefined {
    try {
      const length = words[record >>> 2];
      const code = bytes.slice(record + 64, record + 64 + length);
      const instance = new WebAssembly.Instance(
        new WebAssembly.Module(new Uint8Array(code)),
        imports,
      );
      return instance.exports.run as Run;
    } catch {
      // Without the kernel this worker leaves all chunks to the others.
      return undefined;
    }
  }

  function report(error: unknown): void {
    if (Atomics.compareExchange(words, control.failure, 0, 2) !== 0) return;
    const text = new TextEncoder().encode(
      error instanceof Error ? error.message : String(error),
    ).subarray(0, failureBytes);
    bytes.set(text, (control.failure + 2) * 4);
    words[control.failure + 1] = text.length;
    Atomics.store(words, control.failure, 1);
  }

  /** Returns when the epoch is no longer `seen`. */
  function wait(seen: number, spin: boolean): number {
    const until = spin ? performance.now() + spinMilliseconds : 0;
    for (let turn = 1;; turn++) {
      const epoch = Atomics.load(words, control.epoch);
      if (epoch !== seen) return epoch;
      pause();
      if (!spin || (turn % 64 === 0 && performance.now() > until)) break;
    }
    Atomics.add(words, control.sleepers, 1);
    Atomics.wait(words, control.epoch, seen);
    return Atomics.load(words, control.epoch);
  }

  let epoch = Atomics.load(words, control.epoch) - 1;
  let invited = true;
  for (;;) {
    epoch = wait(epoch, invited);
    invited = index < Atomics.load(words, control.threads);
    if (!invited) continue;
    const record = Atomics.load(words, control.task) >>> 0;
    if (record === 0) continue;
    let run = kernels.get(record);
    if (run === undefined && !kernels.has(record)) {
      run = compile(record);
      kernels.set(record, run);
    }
    if (run === undefined) continue;
    // While `active` counts this worker, the main thread leaves the task as it is.
    Atomics.add(words, control.active, 1);
    if (
      Atomics.load(words, control.open) === 1 &&
      words[control.task] >>> 0 === record &&
      // Asked again: a task may have begun for fewer threads since the worker woke.
      index < Atomics.load(words, control.threads)
    ) {
      const params = words[control.task + 1];
      const total = words[control.task + 2];
      const grain = words[control.task + 3];
      const chunks = words[control.task + 4];
      try {
        for (;;) {
          const chunk = Atomics.add(words, control.next, 1);
          if (chunk >= chunks) break;
          const begin = chunk * grain;
          run(params, begin, Math.min(begin + grain, total));
        }
      } catch (error) {
        report(error);
      }
    }
    Atomics.sub(words, control.active, 1);
    if (Atomics.load(words, control.waiting) === 1) {
      Atomics.notify(words, control.active, 1);
    }
  }
}
