/**
 * cuBLASLt on one device: plans are made once, found again by the problem's
 * numbers, and kept until the device goes.
 *
 * @module
 */

import {
  check,
  createHandle,
  type CublasLt,
  cublasLt,
  Epilogue,
  setDesc,
  Status,
} from "../../ffi/cublaslt.ts";
import type { CudaContext } from "./context.ts";
import { ask, type Library, recall, refuses } from "./matmul_algorithms.ts";
import {
  type Addresses,
  type Algorithm,
  describe,
  destroy,
  type Plan,
} from "./matmul_plan.ts";
import type { Problem } from "./matmul_problem.ts";
import { PlanCache, planOwner } from "./plan_cache.ts";
import { mayTime, timeCalls } from "./timing.ts";

const mebibyte = 2 ** 20;

/** How many algorithms are asked for. */
const candidates = 8;

/** cuBLASLt on one device, with its plans. */
export class Blas implements Library {
  /** The library. */
  readonly lib: CublasLt;
  readonly #symbols: CublasLt["symbols"];
  /** `cublasLtHandle_t`. */
  readonly handle: bigint;
  readonly #plans = new Map<number, Plan>();
  /** Bytes of scratch memory that an algorithm may need. */
  readonly workspaceLimit: number;
  readonly #timed: PlanCache;

  /**
   * Makes a handle on the device.
   *
   * @throws {LibraryError} when the library cannot be opened.
   */
  constructor(
    /** The device. */
    readonly context: CudaContext,
  ) {
    this.lib = cublasLt();
    this.#symbols = this.lib.symbols;
    context.activate();
    this.handle = createHandle(this.lib);
    // What PyTorch gives it: Hopper's kernels want more.
    this.workspaceLimit = (context.major >= 9 ? 32 : 8) * mebibyte;
    this.#timed = new PlanCache(
      planOwner("cublasLt", this.lib.versionText, context),
    );
    context.onClose(() => this.#close());
  }

  /** The plan for a problem; made when it is new. */
  plan(problem: Problem, addresses: Addresses): Plan {
    const hash = problem.hash();
    const first = this.#plans.get(hash);
    let plan = first;
    while (plan !== undefined && !plan.problem.equals(problem)) {
      plan = plan.next;
    }
    if (plan === undefined) {
      plan = this.#make(problem.copy(), addresses);
      plan.next = first;
      this.#plans.set(hash, plan);
    }
    if (this.context.options.benchmark && !plan.timed) {
      this.#point(plan, addresses);
      this.#search(plan, addresses);
    }
    return plan;
  }

  /**
   * Queues a product.
   *
   * @returns Whether the library took it.
   */
  run(plan: Plan, addresses: Addresses): boolean {
    const { algorithm } = plan;
    if (algorithm === undefined) return false;
    if (plan.problem.epilogue !== Epilogue.DEFAULT || addresses.scaleA !== 0n) {
      this.#point(plan, addresses);
    }
    const status = this.#launch(plan, algorithm, addresses);
    return status === Status.SUCCESS || this.#failed(plan, status);
  }

  /** Throws for a product that failed, or gives its plan up where there is another way. */
  #failed(plan: Plan, status: number): false {
    const { problem } = plan;
    if (!problem.dispensable || !refuses(problem, status)) {
      check(status, "cublasLtMatmul", `${problem}`);
    }
    plan.algorithm = undefined;
    plan.timed = true;
    return false;
  }

  #launch(plan: Plan, algorithm: Algorithm, addresses: Addresses): number {
    const { context } = this;
    const { workspace } = algorithm;
    const { d } = addresses;
    const scratch = workspace === 0 ? 0n : context.workspace(workspace);
    context.called("cublasLtMatmul");
    const status = this.#symbols.cublasLtMatmul(
      this.handle,
      plan.desc,
      plan.one,
      addresses.a,
      plan.a,
      addresses.b,
      plan.b,
      plan.zero,
      d,
      plan.d,
      d,
      plan.d,
      algorithm.bytes,
      scratch,
      workspace === 0 ? 0n : BigInt(workspace),
      context.stream,
    );
    if (status === Status.SUCCESS) context.queued();
    return status;
  }

  /** Makes the operation point to this call's vectors. */
  #point(plan: Plan, { bias, aux, scaleA, scaleB }: Addresses): void {
    const { lib } = this;
    if (bias !== plan.bias) {
      setDesc(lib, plan.desc, "BIAS_POINTER", bias);
      plan.bias = bias;
    }
    if (aux !== plan.aux) {
      setDesc(lib, plan.desc, "EPILOGUE_AUX_POINTER", aux);
      plan.aux = aux;
    }
    if (scaleA !== plan.scaleA) {
      setDesc(lib, plan.desc, "A_SCALE_POINTER", scaleA);
      plan.scaleA = scaleA;
    }
    if (scaleB !== plan.scaleB) {
      setDesc(lib, plan.desc, "B_SCALE_POINTER", scaleB);
      plan.scaleB = scaleB;
    }
  }

  /** A plan with the library's first choice of an algorithm. */
  #make(problem: Problem, addresses: Addresses): Plan {
    const plan = describe(this.lib, problem);
    try {
      this.#point(plan, addresses); // the choice depends on the alignment of the vectors
      plan.algorithm = this.#ask(plan, 3).at(0);
      plan.timed = plan.algorithm === undefined;
      return plan;
    } catch (error) {
      destroy(this.lib, plan);
      throw error;
    }
  }

  #ask(plan: Plan, count: number): Algorithm[] {
    return ask(this, plan, count);
  }

  /** Takes the fastest of the library's first choices; a file of plans may know it. */
  #search(plan: Plan, addresses: Addresses): void {
    const key = plan.problem.key();
    const known = this.#timed.get(key);
    const remembered = known && recall(this, plan, known);
    if (remembered !== undefined) {
      plan.algorithm = remembered;
      plan.timed = true;
      return;
    }
    if (!mayTime()) return; // the first choice does until it can be timed
    const list = this.#ask(plan, candidates);
    const times = timeCalls(
      this.context,
      list.map((algorithm) => () =>
        this.#launch(plan, algorithm, addresses) === Status.SUCCESS
      ),
    );
    let best: number | undefined;
    times.forEach((time, i) => {
      if (time < (best === undefined ? Infinity : times[best])) best = i;
    });
    plan.timed = true;
    if (best === undefined) return;
    plan.algorithm = list[best];
    this.#timed.set(key, list[best].bytes);
  }

  #close(): void {
    for (const first of this.#plans.values()) {
      let plan: Plan | undefined = first;
      while (plan !== undefined) {
        destroy(this.lib, plan);
        plan = plan.next;
      }
    }
    this.#plans.clear();
    this.#symbols.cublasLtDestroy(this.handle);
  }
}
