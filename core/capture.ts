/**
 * Captured work: what a device was asked to do, as a graph that runs again
 * without the host's part. Kernels keep their memory; the numbers that change
 * from run to run (a learning rate, the place in a stream of random numbers)
 * are asked for anew.
 *
 * @module
 */

import type { DeferredCheck, Device, DeviceGraph } from "./device.ts";

/** What a capture in progress gathers besides the device's work. */
interface Session {
  readonly checks: DeferredCheck[];
  readonly before: (() => void)[];
  readonly after: (() => void)[];
}

let session: Session | undefined;

/** Whether a capture is in progress: then nothing runs, and host numbers are fixed unless they are {@linkcode Launch.live}. */
export function capturing(): boolean {
  return session !== undefined;
}

/** Has a function called before each later run of the work that is being captured. */
export function beforeReplay(change: () => void): void {
  session?.before.push(change);
}

/** Has a function called after each later run of the work that is being captured. */
export function afterReplay(change: () => void): void {
  session?.after.push(change);
}

/** Leaves a check to the capture in progress, if there is one: it is made after each run. */
export function noteCheck(check: DeferredCheck): boolean {
  session?.checks.push(check);
  return session !== undefined;
}

/** Work of a device that runs again as a whole. */
export class CapturedGraph implements Disposable {
  readonly #device: Device;
  readonly #graph: DeviceGraph;
  readonly #session: Session;

  /** Takes over what was captured. */
  constructor(
    device: Device,
    graph: DeviceGraph,
    gathered: {
      readonly checks: DeferredCheck[];
      readonly before: (() => void)[];
      readonly after: (() => void)[];
    },
  ) {
    this.#device = device;
    this.#graph = graph;
    this.#session = gathered;
  }

  /** Kernels, products and copies in the graph. */
  get size(): number {
    return this.#graph.size;
  }

  /** Runs all of it once more; returns when it is queued. */
  replay(): void {
    const { checks, before, after } = this.#session;
    for (const change of before) change();
    this.#graph.replay();
    for (const { flag, failed } of checks) {
      this.#device.defer!({ flag, failed, release() {} });
    }
    for (const change of after) change();
  }

  /** Frees the graph and the memory that only it uses. */
  [Symbol.dispose](): void {
    // What was deferred refers to flags that are about to go.
    this.#device.synchronize();
    for (const check of this.#session.checks) check.release();
    this.#graph[Symbol.dispose]();
  }
}

/**
 * Captures what `body` asks of a device. Nothing of it runs before
 * {@linkcode CapturedGraph.replay}; tensors made by it hold their results after
 * each run.
 *
 * @throws {TypeError} when the device cannot capture, or a capture is in progress.
 * @throws {Error} when `body` does what a graph would silently get wrong: reads results on the host, or writes there.
 */
export function captureGraph(device: Device, body: () => void): CapturedGraph {
  if (device.capture === undefined) {
    throw new TypeError(
      `Cannot capture a graph on ${device.name}: only CUDA devices have graphs; leave the option out`,
    );
  }
  if (session !== undefined) {
    throw new TypeError("Cannot capture a graph inside another capture");
  }
  const gathered: Session = session = {
    checks: [],
    before: [],
    after: [],
  };
  try {
    const graph = device.capture(body);
    return new CapturedGraph(device, graph, gathered);
  } catch (error) {
    for (const check of gathered.checks) check.release();
    throw error;
  } finally {
    session = undefined;
  }
}
