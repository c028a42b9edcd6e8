/**
 * cuDNN on one device: its handle, and the plans that were found.
 *
 * @module
 */

import type { DType } from "../../../core/dtype.ts";
import { checkCudnn, type Cudnn, cudnnLibrary } from "../../../ffi/cudnn.ts";
import { LibraryError, tryLibrary } from "../../../ffi/library.ts";
import type { CudaContext } from "../context.ts";
import type { Graph } from "./graph.ts";
import type { Plan } from "./plan.ts";
import { PlanTable } from "./plan_table.ts";
import { findPlans } from "./search.ts";

/** An address of nothing. */
export const noAddress = 0n;

const none: readonly number[] = [];

/** A number of bytes, rounded up so that what follows starts at a multiple of 256. */
function aligned(bytes: number): number {
  return Math.ceil(bytes / 256) * 256;
}

/** Largest scratch memory of a plan, in bytes. */
const workspaceLimit = 2 ** 30;

/** The library on one device. */
export class Dnn {
  /** The library. */
  readonly cudnn: Cudnn;
  /** Its handle, which queues on the device's stream. */
  readonly handle: bigint;
  readonly #context: CudaContext;
  /** Plans by problem; undefined where the library has none. */
  readonly #plans = new PlanTable<{ plan: Plan | undefined }>();

  /** Makes a handle that queues on the device's stream. */
  constructor(context: CudaContext, cudnn: Cudnn) {
    this.#context = context;
    this.cudnn = cudnn;
    context.activate();
    const { symbols } = cudnn;
    const made = new BigUint64Array(1);
    checkCudnn(cudnn, "cudnnCreate", symbols.cudnnCreate(made));
    const handle = this.handle = made[0];
    context.onClose(() => this.#close());
    const status = symbols.cudnnSetStream(handle, context.stream);
    checkCudnn(cudnn, "cudnnSetStream", status);
  }

  #close(): void {
    for (const { plan } of this.#plans.values()) plan?.dispose();
    this.cudnn.symbols.cudnnDestroy(this.handle);
  }

  /**
   * The plan for a problem, found at the first call.
   *
   * @param key Numbers that tell the problem from all others; not kept.
   * @param dtype Element type of the operands.
   * @param build Makes the graph; undefined where the library cannot express it.
   * @returns The plan; undefined where the library has none.
   */
  plan(
    key: number[],
    dtype: DType,
    build: () => Graph | undefined,
  ): Plan | undefined {
    const rounded = dtype !== "f32" || this.#context.options.tf32;
    key.push(rounded ? 1 : 0);
    const known = this.#plans.get(key);
    if (known !== undefined) return known.plan;
    const plan = this.#find(build(), rounded);
    this.#plans.add(key, { plan });
    return plan;
  }

  #find(graph: Graph | undefined, rounded: boolean): Plan | undefined {
    if (graph === undefined) return undefined;
    this.#context.activate();
    const found = findPlans(
      this.cudnn,
      graph,
      { handle: this.handle },
      { rounded, workspace: workspaceLimit, count: 1 },
    );
    return Array.isArray(found) ? found[0] : undefined;
  }

  /**
   * Queues a plan.
   *
   * @param plan The plan.
   * @param addresses Addresses in the order in which its graph declared the tensors.
   * @param what Name of the call, for the profiler.
   * @param scratch Bytes of tensors that the graph declared last and whose values nobody needs afterwards.
   */
  run(
    plan: Plan,
    addresses: readonly bigint[],
    what: string,
    scratch: readonly number[] = none,
  ): void {
    const context = this.#context;
    context.activate();
    context.called(what);
    let bytes = scratch.reduce((sum, n) => sum + aligned(n), 0);
    const own = bytes;
    bytes += plan.workspace;
    let address = bytes > 0 ? context.workspace(bytes) : noAddress;
    if (own === 0) return plan.run(this.handle, addresses, address);
    const all = [...addresses];
    for (const n of scratch) {
      all.push(address);
      address += BigInt(aligned(n));
    }
    plan.run(this.handle, all, plan.workspace > 0 ? address : noAddress);
  }
}

const opened = new WeakMap<CudaContext, { dnn: Dnn | undefined }>();

/** cuDNN on a device, opened at the first call; undefined where there is none, which is said once. */
export function dnnOf(context: CudaContext): Dnn | undefined {
  let known = opened.get(context);
  if (known === undefined) {
    const library = tryLibrary(cudnnLibrary);
    if (library instanceof LibraryError) {
      warn(
        `${library.message}. Until then convolutions run as Decaf's own kernels, which are slower`,
      );
      known = { dnn: undefined };
    } else known = { dnn: new Dnn(context, library) };
    opened.set(context, known);
  }
  return known.dnn;
}

let warned = false;

function warn(sentence: string): void {
  if (!warned) console.warn(sentence);
  warned = true;
}

/** The largest power of two, 16 at most, that divides addresses which were joined by "or". */
export function alignmentOf(addresses: bigint): number {
  const low = Number(addresses & 15n);
  return low === 0 ? 16 : low & -low;
}
