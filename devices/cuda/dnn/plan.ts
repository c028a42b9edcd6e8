/**
 * Plans: what cuDNN made of a graph for one device, ready to be run.
 *
 * @module
 */

import { CudaError } from "../../../ffi/errors.ts";
import { checkCudnn, type Cudnn } from "../../../ffi/cudnn.ts";
import {
  AttributeName as A,
  AttributeType as T,
  DescriptorType as D,
} from "../../../ffi/cudnn_enums.ts";
import type { CudaContext } from "../context.ts";
import type { Graph } from "./graph.ts";
import { Descriptors } from "./lower.ts";

const pack = new BigUint64Array(1);
const scratch = new BigUint64Array(1);

/** Where a plan is queued. */
export interface PlanCall {
  /** Device. */
  readonly context: CudaContext;
  /** Handle of the library on the device. */
  readonly handle: bigint;
  /** What the plan computes, for the profiler. */
  readonly what: string;
}

/** A finalized plan with what it needs to run. */
export class Plan {
  /** Scratch memory that a run needs, in bytes. */
  readonly workspace: number;
  readonly #own: Descriptors;
  readonly #plan: bigint;
  readonly #uids: BigInt64Array<ArrayBuffer>;
  readonly #pointers: BigUint64Array<ArrayBuffer>;
  readonly #count: bigint;

  /**
   * Takes over a finalized plan.
   *
   * @param own The descriptors it lives with.
   * @param plan The plan itself.
   * @param graph What it computes.
   */
  constructor(own: Descriptors, plan: bigint, graph: Graph) {
    this.#own = own;
    this.#plan = plan;
    const bytes = new BigInt64Array(1);
    own.get(plan, A.EXECUTION_PLAN_WORKSPACE_SIZE, T.INT64, 1, bytes);
    this.workspace = Number(bytes[0]);
    this.#uids = BigInt64Array.from(graph.bound, (t) => BigInt(t.uid));
    this.#pointers = new BigUint64Array(graph.bound.length);
    this.#count = BigInt(graph.bound.length);
  }

  /**
   * Queues the plan on the stream of the handle.
   *
   * @param call Where.
   * @param addresses Addresses of the bound tensors, in the order in which the graph declared them; those of numbers by value are on the host.
   * @param workspace Address of at least `workspace` bytes; 0 when none are needed.
   * @throws {CudaError} when the library refuses.
   */
  run(
    { context, handle, what }: PlanCall,
    addresses: readonly bigint[],
    workspace: bigint,
  ): void {
    const { cudnn } = this.#own;
    const { symbols } = cudnn;
    for (let i = 0; i < addresses.length; i++) {
      this.#pointers[i] = addresses[i];
    }
    scratch[0] = workspace;
    // The library refuses changes to a finalized pack, so each run has its own.
    const created = symbols.cudnnBackendCreateDescriptor(
      D.VARIANT_PACK_DESCRIPTOR,
      pack,
    );
    checkCudnn(cudnn, "cudnnBackendCreateDescriptor", created);
    const bound = pack[0];
    let failed: "cudnnBackendSetAttribute" | "cudnnBackendFinalize" =
      "cudnnBackendSetAttribute";
    let status = symbols.cudnnBackendSetAttribute(
      bound,
      A.VARIANT_PACK_UNIQUE_IDS,
      T.INT64,
      this.#count,
      this.#uids,
    ) || symbols.cudnnBackendSetAttribute(
      bound,
      A.VARIANT_PACK_DATA_POINTERS,
      T.VOID_PTR,
      this.#count,
      this.#pointers,
    ) || symbols.cudnnBackendSetAttribute(
      bound,
      A.VARIANT_PACK_WORKSPACE,
      T.VOID_PTR,
      1n,
      scratch,
    );
    if (status === 0) {
      status = symbols.cudnnBackendFinalize(bound);
      failed = "cudnnBackendFinalize";
    }
    let executed = 0;
    if (status === 0) {
      context.called(what);
      executed = symbols.cudnnBackendExecute(handle, this.#plan, bound);
    }
    // The texts of failures are those of the last call, so they are read first.
    try {
      if (status !== 0) checkCudnn(cudnn, failed, status, "variant pack");
      if (executed !== 0) checkCudnn(cudnn, "cudnnBackendExecute", executed);
      context.queued();
    } finally {
      symbols.cudnnBackendDestroyDescriptor(bound);
    }
  }

  /** The plan as text that the same version of the library reads again; undefined where it cannot write it. */
  text(): string | undefined {
    const { EXECUTION_PLAN_JSON_REPRESENTATION: name } = A;
    try {
      const room = this.#own.get(this.#plan, name, T.CHAR, 0, new Uint8Array());
      const bytes = new Uint8Array(room);
      this.#own.get(this.#plan, name, T.CHAR, room, bytes);
      const end = bytes.indexOf(0);
      return new TextDecoder().decode(end < 0 ? bytes : bytes.subarray(0, end));
    } catch (error) {
      if (error instanceof CudaError) return undefined;
      throw error;
    }
  }

  /** Destroys the plan. */
  dispose(): void {
    this.#own.dispose();
  }
}

/** Reads a plan that {@linkcode Plan.text} wrote; undefined when the library does not take it. */
export function readPlan(
  cudnn: Cudnn,
  handle: bigint,
  graph: Graph,
  text: string,
): Plan | undefined {
  const own = new Descriptors(cudnn);
  try {
    const plan = own.create(D.EXECUTION_PLAN_DESCRIPTOR);
    const bytes = new TextEncoder().encode(`${text}\0`);
    own.refer(plan, A.EXECUTION_PLAN_HANDLE, handle, T.HANDLE);
    const { EXECUTION_PLAN_JSON_REPRESENTATION } = A;
    own.set(
      plan,
      EXECUTION_PLAN_JSON_REPRESENTATION,
      T.CHAR,
      bytes,
      bytes.length,
    );
    own.finalize(plan, D.EXECUTION_PLAN_DESCRIPTOR);
    return new Plan(own, plan, graph);
  } catch (error) {
    own.dispose();
    if (error instanceof CudaError) return undefined;
    throw error;
  }
}
