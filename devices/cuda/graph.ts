/**
 * Captured work: what is queued on the compute stream becomes a CUDA graph,
 * which is queued again with one call. It has memory of its own, and launches
 * whose scalars change from run to run are given new ones before each run.
 *
 * @module
 */

import type { DeviceGraph, Launch } from "../../core/device.ts";
import { GraphError } from "../../core/errors.ts";
import {
  check as checkDriver,
  cuda,
  kernelNodeParams as field,
} from "../../ffi/cuda.ts";
import { captureMode, check, cudaError, cudart } from "../../ffi/cudart.ts";
import type { CudaContext } from "./context.ts";
import type { Gpu } from "./gpu.ts";
import { BlockCache } from "./memory.ts";

/** Kernels of a graph whose scalars change. */
interface LiveNodes {
  readonly launches: readonly Launch[];
  /** Nodes in the order in which the launches make them. */
  readonly nodes: bigint[];
}

/** Queues row programs, those of one call together. */
export type Launcher = (
  context: CudaContext,
  launches: readonly Launch[],
) => void;

const out = new BigUint64Array(1);
const status = new Int32Array(1);
const id = new BigUint64Array(1);
const graphOut = new BigUint64Array(1);
const dependencies = new BigUint64Array(1);
const count = new BigUint64Array(1);

/** The argument of the kernel whose node is renewed, and what leads to it. */
const argumentBytes = new Uint8Array(4096);
const argumentPointer = new BigUint64Array(1);
const nodeBytes = new Uint8Array(field.bytes);
const nodeView = new DataView(nodeBytes.buffer);

function addressOf(bytes: Uint8Array<ArrayBuffer>): bigint {
  return BigInt(Deno.UnsafePointer.value(Deno.UnsafePointer.of(bytes)));
}

/** Makes the node's description lead to the argument. */
function linkArgument(): void {
  argumentPointer[0] = addressOf(argumentBytes);
  const pointers = addressOf(new Uint8Array(argumentPointer.buffer));
  nodeView.setBigUint64(field.kernelParams, pointers, true);
}

/** A capture in progress on one GPU. */
export class Capture {
  readonly #gpu: Gpu;
  readonly #launch: Launcher;
  readonly #live: LiveNodes[] = [];
  readonly #blocks: BlockCache;

  /**
   * Nothing is captured before {@linkcode Capture.run}.
   *
   * @param gpu Device.
   * @param launch Queues row programs.
   */
  constructor(gpu: Gpu, launch: Launcher) {
    this.#gpu = gpu;
    this.#launch = launch;
    // Not of the pool: an allocation there would be queued, and so captured.
    this.#blocks = new BlockCache(
      {
        lasting: true,
        reserve(bytes) {
          const status = cudart().cudaMalloc(out, BigInt(bytes));
          if (status === cudaError.MemoryAllocation) {
            cudart().cudaGetLastError();
            return undefined;
          }
          check(status, "cudaMalloc", `${bytes} bytes`);
          return out[0];
        },
        release(pointer) {
          gpu.activate();
          check(cudart().cudaFree(pointer), "cudaFree");
        },
      },
      () => gpu.faults.count,
    );
  }

  /** Captures what `body` queues. */
  run(body: () => void): DeviceGraph {
    const gpu = this.#gpu;
    gpu.activate();
    // Scratch memory of a graph is its own.
    gpu.memory.clear();
    gpu.memory.capture(this.#blocks);
    let captured = 0n;
    let work: CapturedWork | undefined;
    try {
      check(
        cudart().cudaStreamBeginCapture(gpu.stream, captureMode.Relaxed),
        "cudaStreamBeginCapture",
      );
      let done = false;
      try {
        body();
        done = true;
      } finally {
        // Ends the capture in either case; a failure of the body is the one to tell.
        const ended = cudart().cudaStreamEndCapture(gpu.stream, out);
        if (ended === 0) captured = out[0];
        else {
          // Whatever was refused: the stream must not stay in the capture.
          if (cudart().cudaStreamEndCapture(gpu.stream, out) === 0) {
            captured = out[0];
          }
          if (done) check(ended, "cudaStreamEndCapture");
          else cudart().cudaGetLastError();
        }
      }
      work = new CapturedWork(
        gpu,
        this.#launch,
        captured,
        this.#live,
        this.#blocks,
      );
      return work;
    } finally {
      gpu.memory.capture();
      if (!gpu.gone) {
        gpu.memory.dropWorkspace();
        if (work === undefined) {
          if (captured !== 0n) cudart().cudaGraphDestroy(captured);
          gpu.memory.retire(this.#blocks);
        }
      }
    }
  }

  /** Queues launches whose scalars change from run to run. */
  live(launches: readonly Launch[]): void {
    const gpu = this.#gpu;
    const nodes: bigint[] = [];
    gpu.redirect = (...kernel) => {
      const { redirect } = gpu;
      gpu.redirect = undefined;
      gpu.launch(...kernel);
      gpu.redirect = redirect;
      nodes.push(this.#lastNode());
    };
    try {
      this.#launch(gpu, launches);
    } finally {
      gpu.redirect = undefined;
    }
    this.#live.push({ launches, nodes });
  }

  /** The node that was captured last: the only one that what follows depends on. */
  #lastNode(): bigint {
    const info = cuda().cuStreamGetCaptureInfo_v2;
    if (info === null) {
      throw new GraphError(
        "Cannot capture a graph with numbers that change from step to step: the driver is older than CUDA 11.3; install a newer one",
      );
    }
    checkDriver(
      info(this.#gpu.stream, status, id, graphOut, dependencies, count),
      "cuStreamGetCaptureInfo_v2",
    );
    const list = Deno.UnsafePointer.create(dependencies[0]);
    if (count[0] !== 1n || list === null) {
      throw new GraphError(
        `Cannot capture a graph whose work is not one after the other: ${
          count[0]
        } pieces are at its end`,
      );
    }
    return new Deno.UnsafePointerView(list).getBigUint64();
  }
}

/** An instantiated graph. */
class CapturedWork implements DeviceGraph {
  readonly size: number;
  readonly #gpu: Gpu;
  readonly #launch: Launcher;
  readonly #live: readonly LiveNodes[];
  readonly #blocks: BlockCache;
  readonly #graph: bigint;
  readonly #exec: bigint;

  constructor(
    gpu: Gpu,
    launch: Launcher,
    graph: bigint,
    live: readonly LiveNodes[],
    blocks: BlockCache,
  ) {
    this.#gpu = gpu;
    this.#launch = launch;
    this.#graph = graph;
    this.#live = live;
    this.#blocks = blocks;
    check(
      // Without a list, only their number is asked for.
      cudart().cudaGraphGetNodes(graph, null, count),
      "cudaGraphGetNodes",
    );
    this.size = Number(count[0]);
    const instantiate = cudart().cudaGraphInstantiateWithFlags;
    if (instantiate === null) {
      throw new GraphError(
        "Cannot run a captured graph: the CUDA runtime is older than 11.4; install a newer one",
      );
    }
    linkArgument();
    check(instantiate(out, graph, 0n), "cudaGraphInstantiateWithFlags");
    this.#exec = out[0];
  }

  /** Queues the graph, with new scalars where they change. */
  replay(): void {
    const gpu = this.#gpu;
    gpu.activate();
    if (this.#live.length > 0) this.#renew();
    gpu.called("graph");
    check(cudart().cudaGraphLaunch(this.#exec, gpu.stream), "cudaGraphLaunch");
    gpu.queued();
  }

  /** Gives kernels whose scalars change new ones: each is launched as at first, but into its node. */
  #renew(): void {
    const gpu = this.#gpu;
    const name = "cuGraphExecKernelNodeSetParams";
    const set = cuda().cuGraphExecKernelNodeSetParams_v2 ?? cuda()[name];
    let nodes: readonly bigint[] = [];
    let next = 0;
    gpu.redirect = (fn, gridX, gridY, gridZ, blockX, shared, argument) => {
      argumentBytes.set(argument);
      nodeView.setBigUint64(field.func, fn.handle, true);
      nodeView.setUint32(field.gridDimX, gridX, true);
      nodeView.setUint32(field.gridDimY, gridY, true);
      nodeView.setUint32(field.gridDimZ, gridZ, true);
      nodeView.setUint32(field.blockDimX, blockX, true);
      nodeView.setUint32(field.blockDimY, 1, true);
      nodeView.setUint32(field.blockDimZ, 1, true);
      nodeView.setUint32(field.sharedMemBytes, shared, true);
      checkDriver(set(this.#exec, nodes[next++], nodeBytes), name, fn.entry);
    };
    try {
      for (const { launches, nodes: own } of this.#live) {
        nodes = own;
        next = 0;
        this.#launch(
          gpu,
          launches.map((l) => ({ ...l, scalars: l.live?.() ?? l.scalars })),
        );
      }
    } finally {
      gpu.redirect = undefined;
    }
  }

  /** Destroys the graph; its memory goes when no tensor lies in it any more. */
  [Symbol.dispose](): void {
    const gpu = this.#gpu;
    if (gpu.gone) return;
    try {
      gpu.synchronize();
    } finally {
      const exec = cudart().cudaGraphExecDestroy(this.#exec);
      const graph = cudart().cudaGraphDestroy(this.#graph);
      if (!gpu.gone) gpu.memory.retire(this.#blocks);
      check(exec, "cudaGraphExecDestroy");
      check(graph, "cudaGraphDestroy");
    }
  }
}
