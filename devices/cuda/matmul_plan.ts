/**
 * Plans: for each problem, cuBLASLt's descriptions of it and the algorithm that
 * computes it. They are made once, found again by the problem's numbers, and
 * kept until the device goes.
 *
 * @module
 */

import {
  algoBytes,
  check,
  ComputeType,
  createDesc,
  createHandle,
  createLayout,
  createPreference,
  type CublasLt,
  cublasLt,
  DataType,
  Epilogue,
  HeuristicResult,
  Operation,
  ReductionScheme,
  setDesc,
  setLayout,
  setPreference,
  Status,
} from "../../ffi/cublaslt.ts";
import type { CudaContext } from "./context.ts";
import { alignments, type Problem } from "./matmul_problem.ts";
import { PlanCache } from "./plan_cache.ts";
import { mayTime, timeCalls } from "./timing.ts";

const mebibyte = 2 ** 20;

/** How many algorithms are asked for. */
const candidates = 8;

/** Addresses of one call. */
export interface Addresses {
  /** A: Decaf's right factor. */
  a: bigint;
  /** B: Decaf's left factor. */
  b: bigint;
  /** D: the result. */
  d: bigint;
  /** Bias, or bias gradient; 0 without. */
  bias: bigint;
  /** Second matrix of the epilogue; 0 without. */
  aux: bigint;
  /** Scale of A, one f32; 0 without. */
  scaleA: bigint;
  /** Scale of B, one f32; 0 without. */
  scaleB: bigint;
}

/** An algorithm: how the library computes one problem. */
interface Algorithm {
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly workspace: number;
}

/** One problem with its descriptions and its algorithm. */
export class Plan {
  /** The next plan whose problem has the same hash. */
  next: Plan | undefined = undefined;
  /** What to compute with; undefined when the library has nothing for the problem. */
  algorithm: Algorithm | undefined = undefined;
  /** Whether the algorithm is the fastest of those that were timed. */
  timed = false;
  // What the operation's description points to at present.
  bias = 0n;
  aux = 0n;
  scaleA = 0n;
  scaleB = 0n;

  /** Holds a problem and its descriptions. */
  constructor(
    /** The problem. */
    readonly problem: Problem,
    /** `cublasLtMatmulDesc_t`. */
    readonly desc: bigint,
    /** Layout of A. */
    readonly a: bigint,
    /** Layout of B. */
    readonly b: bigint,
    /** Layout of D. */
    readonly d: bigint,
    /** 1 in the scale type. */
    readonly one: Uint8Array<ArrayBuffer>,
    /** 0 in the scale type. */
    readonly zero: Uint8Array<ArrayBuffer>,
  ) {}
}

function bytesOf(
  numbers: Float32Array | Float64Array,
): Uint8Array<ArrayBuffer> {
  return new Uint8Array(numbers.buffer as ArrayBuffer);
}

const one32 = bytesOf(Float32Array.of(1)), zero32 = bytesOf(Float32Array.of(0));
const one64 = bytesOf(Float64Array.of(1)), zero64 = bytesOf(Float64Array.of(0));

/** cuBLASLt on one device, with its plans. */
export class Blas {
  /** The library. */
  readonly lib: CublasLt;
  readonly #symbols: CublasLt["symbols"];
  readonly #handle: bigint;
  readonly #plans = new Map<number, Plan>();
  readonly #workspaceLimit: number;
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
    context.called("cublasLtCreate");
    this.#handle = createHandle(this.lib);
    // What PyTorch gives it: Hopper's kernels want more.
    this.#workspaceLimit = (context.major >= 9 ? 32 : 8) * mebibyte;
    const { major, minor, multiprocessors } = context;
    this.#timed = new PlanCache({
      library: "cublasLt",
      version: this.lib.versionText,
      gpu: `sm_${major}${minor} with ${multiprocessors} multiprocessors`,
    });
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
      plan = this.#make(problem.copy());
      this.#point(plan, addresses);
      this.#choose(plan);
      plan.next = first;
      this.#plans.set(hash, plan);
    }
    if (this.context.options.benchmark && !plan.timed) {
      this.#point(plan, addresses);
      this.#search(plan, addresses);
    }
    return plan;
  }

  /** Queues a product. */
  run(plan: Plan, addresses: Addresses): void {
    const { context } = this;
    context.called("cublasLtMatmul");
    if (plan.problem.epilogue !== Epilogue.DEFAULT || addresses.scaleA !== 0n) {
      this.#point(plan, addresses);
    }
    const status = this.#launch(plan, plan.algorithm!, addresses);
    if (status !== Status.SUCCESS) {
      check(status, "cublasLtMatmul", `${plan.problem}`);
    }
  }

  #launch(plan: Plan, algorithm: Algorithm, addresses: Addresses): number {
    const { context } = this;
    const { workspace } = algorithm;
    const { d } = addresses;
    return this.#symbols.cublasLtMatmul(
      this.#handle,
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
      workspace === 0 ? 0n : context.workspace(workspace),
      workspace === 0 ? 0n : BigInt(workspace),
      context.stream,
    );
  }

  /** Makes the operation point to this call's vectors. */
  #point(plan: Plan, { bias, aux, scaleA, scaleB }: Addresses): void {
    const { lib } = this;
    if (bias !== plan.bias) {
      setDesc(lib, plan.desc, "BIAS_POINTER", plan.bias = bias);
    }
    if (aux !== plan.aux) {
      setDesc(lib, plan.desc, "EPILOGUE_AUX_POINTER", plan.aux = aux);
    }
    if (scaleA !== plan.scaleA) {
      setDesc(lib, plan.desc, "A_SCALE_POINTER", plan.scaleA = scaleA);
    }
    if (scaleB !== plan.scaleB) {
      setDesc(lib, plan.desc, "B_SCALE_POINTER", plan.scaleB = scaleB);
    }
  }

  /** Describes a problem to the library. */
  #make(problem: Problem): Plan {
    const { lib } = this;
    const { compute, typeA, typeB, typeD, m, n, k, lda, ldb, ldd } = problem;
    const double = compute === ComputeType.C_64F;
    const made: [destroy: (x: bigint) => number, x: bigint][] = [];
    try {
      const desc = createDesc(
        lib,
        compute,
        double ? DataType.R_64F : DataType.R_32F,
      );
      made.push([this.#symbols.cublasLtMatmulDescDestroy, desc]);
      if (lda < 0) setDesc(lib, desc, "TRANSA", Operation.T);
      if (ldb < 0) setDesc(lib, desc, "TRANSB", Operation.T);
      if (problem.epilogue !== Epilogue.DEFAULT) {
        setDesc(lib, desc, "EPILOGUE", problem.epilogue);
      }
      if (problem.auxLd !== 0) {
        setDesc(lib, desc, "EPILOGUE_AUX_LD", problem.auxLd);
      }
      const layout = (
        type: number,
        rows: number,
        columns: number,
        ld: number,
        stride: number,
      ) => {
        const made_ = ld < 0
          ? createLayout(lib, type, columns, rows, -ld)
          : createLayout(lib, type, rows, columns, ld);
        made.push([this.#symbols.cublasLtMatrixLayoutDestroy, made_]);
        if (problem.batch > 1) {
          setLayout(lib, made_, "BATCH_COUNT", problem.batch);
          setLayout(lib, made_, "STRIDED_BATCH_OFFSET", stride);
        }
        return made_;
      };
      return new Plan(
        problem,
        desc,
        layout(typeA, m, k, lda, problem.strideA),
        layout(typeB, k, n, ldb, problem.strideB),
        layout(typeD, m, n, ldd, problem.strideD),
        double ? one64 : one32,
        double ? zero64 : zero32,
      );
    } catch (error) {
      for (const [destroy, x] of made) destroy(x);
      throw error;
    }
  }

  /** Asks the library which algorithms it would take, the best first. */
  #ask(plan: Plan, count: number): Algorithm[] {
    const { lib, context } = this;
    const { problem } = plan;
    const [alignA, alignB, alignD] = alignments(problem.alignment);
    const preference = createPreference(lib);
    try {
      setPreference(
        lib,
        preference,
        "MAX_WORKSPACE_BYTES",
        this.#workspaceLimit,
      );
      setPreference(lib, preference, "MIN_ALIGNMENT_A_BYTES", alignA);
      setPreference(lib, preference, "MIN_ALIGNMENT_B_BYTES", alignB);
      setPreference(lib, preference, "MIN_ALIGNMENT_C_BYTES", alignD);
      setPreference(lib, preference, "MIN_ALIGNMENT_D_BYTES", alignD);
      // Sums that are computed in parts stay in the wide type until the end.
      setPreference(
        lib,
        preference,
        "REDUCTION_SCHEME_MASK",
        ReductionScheme.COMPUTE_TYPE,
      );
      const results = new Uint8Array(count * HeuristicResult.bytes);
      const found = new Int32Array(1);
      context.called("cublasLtMatmulAlgoGetHeuristic");
      const status = this.#symbols.cublasLtMatmulAlgoGetHeuristic(
        this.#handle,
        plan.desc,
        plan.a,
        plan.b,
        plan.d,
        plan.d,
        preference,
        count,
        results,
        new Uint8Array(found.buffer),
      );
      if (status === Status.NOT_SUPPORTED) return [];
      check(status, "cublasLtMatmulAlgoGetHeuristic", `${problem}`);
      const view = new DataView(results.buffer);
      const list: Algorithm[] = [];
      for (let i = 0; i < found[0]; i++) {
        const at = i * HeuristicResult.bytes;
        if (view.getInt32(at + HeuristicResult.state, true) !== 0) continue;
        list.push({
          bytes: results.slice(at, at + algoBytes),
          workspace: Number(
            view.getBigUint64(at + HeuristicResult.workspaceSize, true),
          ),
        });
      }
      return list;
    } finally {
      this.#symbols.cublasLtMatmulPreferenceDestroy(preference);
    }
  }

  /** Takes the library's first choice. */
  #choose(plan: Plan): void {
    plan.algorithm = this.#ask(plan, 1).at(0);
    plan.timed = plan.algorithm === undefined;
  }

  /** Takes the fastest of the library's first choices; a file of plans may know it. */
  #search(plan: Plan, addresses: Addresses): void {
    const key = plan.problem.key();
    const known = this.#timed.get(key);
    const remembered = known && this.#check(plan, known);
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

  /** Whether an algorithm from a file can be used here; undefined when not. */
  #check(
    plan: Plan,
    bytes: Uint8Array<ArrayBuffer>,
  ): Algorithm | undefined {
    if (bytes.length !== algoBytes) return undefined;
    const result = new Uint8Array(HeuristicResult.bytes);
    const status = this.#symbols.cublasLtMatmulAlgoCheck(
      this.#handle,
      plan.desc,
      plan.a,
      plan.b,
      plan.d,
      plan.d,
      bytes,
      result,
    );
    const view = new DataView(result.buffer);
    const workspace = Number(
      view.getBigUint64(HeuristicResult.workspaceSize, true),
    );
    return status === Status.SUCCESS && workspace <= this.#workspaceLimit
      ? { bytes, workspace }
      : undefined;
  }

  #close(): void {
    for (const first of this.#plans.values()) {
      for (
        let plan: Plan | undefined = first;
        plan !== undefined;
        plan = plan.next
      ) {
        this.#symbols.cublasLtMatmulDescDestroy(plan.desc);
        for (const layout of [plan.a, plan.b, plan.d]) {
          this.#symbols.cublasLtMatrixLayoutDestroy(layout);
        }
      }
    }
    this.#plans.clear();
    this.#symbols.cublasLtDestroy(this.#handle);
  }
}
