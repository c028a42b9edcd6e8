/**
 * Plans: cuBLASLt's descriptions of a problem, and the algorithm that computes
 * it.
 *
 * @module
 */

import {
  ComputeType,
  createDesc,
  createLayout,
  type CublasLt,
  DataType,
  Epilogue,
  Operation,
  setDesc,
  setLayout,
} from "../../ffi/cublaslt.ts";
import type { Problem } from "./matmul_problem.ts";

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
export interface Algorithm {
  /** `cublasLtMatmulAlgo_t`. */
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** Bytes of scratch memory that it needs. */
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
  /** Bias that the operation's description points to at present. */
  bias = 0n;
  /** Second matrix that it points to. */
  aux = 0n;
  /** Scale of A that it points to. */
  scaleA = 0n;
  /** Scale of B that it points to. */
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

/** Describes a problem to the library. */
export function describe(lib: CublasLt, problem: Problem): Plan {
  const { symbols } = lib;
  const { compute, typeA, typeB, typeD, m, n, k, lda, ldb, ldd } = problem;
  const double = compute === ComputeType.C_64F;
  const made: [destroy: (x: bigint) => number, x: bigint][] = [];
  try {
    const desc = createDesc(
      lib,
      compute,
      double ? DataType.R_64F : DataType.R_32F,
    );
    made.push([symbols.cublasLtMatmulDescDestroy, desc]);
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
      const matrix = ld < 0
        ? createLayout(lib, type, columns, rows, -ld)
        : createLayout(lib, type, rows, columns, ld);
      made.push([symbols.cublasLtMatrixLayoutDestroy, matrix]);
      if (problem.batch > 1) {
        setLayout(lib, matrix, "BATCH_COUNT", problem.batch);
        setLayout(lib, matrix, "STRIDED_BATCH_OFFSET", stride);
      }
      return matrix;
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

/** Destroys a plan's descriptions. */
export function destroy({ symbols }: CublasLt, plan: Plan): void {
  symbols.cublasLtMatmulDescDestroy(plan.desc);
  for (const layout of [plan.a, plan.b, plan.d]) {
    symbols.cublasLtMatrixLayoutDestroy(layout);
  }
}
