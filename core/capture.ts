/**
 * Captured work: what a device was asked to do, as a graph that runs again
 * without the host's part. Kernels keep their memory; the numbers that change
 * from run to run (a learning rate, the place in a stream of random numbers)
 * are asked for anew.
 *
 * @module
 */

import { withFreshCasts } from "./cast_state.ts";
import type { DeferredCheck, Device, DeviceGraph, Storage } from "./device.ts";
import { DeviceLostError, GraphError, shapeText } from "./errors.ts";
import type { Tensor } from "./tensor.ts";

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
  readonly #memory: readonly { tensor: Tensor; storage: Storage }[];

  /** Takes over what was captured. */
  constructor(
    device: Device,
    graph: DeviceGraph,
    gathered: {
      readonly checks: DeferredCheck[];
      readonly before: (() => void)[];
      readonly after: (() => void)[];
    },
    tensors: readonly Tensor[],
  ) {
    this.#device = device;
    this.#graph = graph;
    this.#session = gathered;
    this.#memory = tensors.map((tensor) => ({
      tensor,
      storage: tensor.value.storage,
    }));
  }

  /** Kernels, products and copies in the graph. */
  get size(): number {
    return this.#graph.size;
  }

  /** A tensor that the graph relies on and that has moved to other memory, if there is one. */
  moved(): Tensor | undefined {
    return this.#memory.find(({ tensor, storage }) =>
      tensor.disposed || tensor.value.storage !== storage
    )?.tensor;
  }

  /**
   * Runs all of it once more; returns when it is queued.
   *
   * @throws {GraphError} when a tensor that it relies on has moved to other memory.
   */
  replay(): void {
    const moved = this.moved();
    if (moved !== undefined) {
      const what = moved.disposed
        ? "a tensor it reads was disposed"
        : `a tensor of shape ${
          shapeText(moved.shape)
        } has moved to other memory`;
      throw new GraphError(
        `Cannot replay a graph: ${what}, and the graph would use the old memory; capture it again`,
      );
    }
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
    try {
      this.#device.synchronize();
    } catch (error) {
      // What a lost device holds went with it.
      if (!(error instanceof DeviceLostError)) throw error;
    } finally {
      for (const check of this.#session.checks) check.release();
      this.#graph[Symbol.dispose]();
    }
  }
}

/**
 * Captures what `body` asks of a device. Nothing of it runs before
 * {@linkcode CapturedGraph.replay}; tensors made by it hold their results after
 * each run.
 *
 * @param device Where the work is.
 * @param tensors What it reads or updates and others might replace, such as parameters: a replay refuses when one of them has moved.
 * @param body Asks for the work.
 * @throws {TypeError} when the device cannot capture, or a capture is in progress.
 * @throws {Error} when `body` does what a graph would silently get wrong: reads results on the host, or writes there.
 */
export function captureGraph(
  device: Device,
  tensors: readonly Tensor[],
  body: () => void,
): CapturedGraph {
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
    // What was converted before would be stale in a replay, and what the capture converts is there after a replay only.
    const graph = device.capture(() => withFreshCasts(body));
    return new CapturedGraph(device, graph, gathered, tensors);
  } catch (error) {
    for (const check of gathered.checks) check.release();
    throw error;
  } finally {
    session = undefined;
  }
}
