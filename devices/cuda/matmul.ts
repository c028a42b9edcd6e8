/**
 * Products of matrices by cuBLASLt.
 *
 * @module
 */

import type { Block, MatmulSpec, MatrixOperand } from "../../core/device.ts";
import { bytesOf } from "../../core/dtype.ts";
import { ComputeType, DataType, Epilogue } from "../../ffi/cublaslt.ts";
import { addressOf, type CudaContext } from "./context.ts";
import { Copies, stepsEvenly } from "./matmul_copies.ts";
import { addBias, fillRows } from "./matmul_launches.ts";
import { type Batch, mergeBatch, walk } from "./matmul_batch.ts";
import { Blas } from "./matmul_blas.ts";
import type { Addresses } from "./matmul_plan.ts";
import {
  alignmentCode,
  joinAlignments,
  leadingDimension,
  Problem,
} from "./matmul_problem.ts";

/** Element types that are multiplied. */
export type MatmulDType = MatmulSpec["dtype"];

/** `cudaDataType_t` of each element type. */
export const dataTypes: Readonly<Record<MatmulDType, number>> = {
  f32: DataType.R_32F,
  f64: DataType.R_64F,
  f16: DataType.R_16F,
  bf16: DataType.R_16BF,
};

const all = new WeakMap<CudaContext, Blas>();
let last: Blas | undefined;

/**
 * cuBLASLt on a device, opened at its first product.
 *
 * @throws {LibraryError} when the library cannot be opened.
 */
export function blasOf(context: CudaContext): Blas {
  if (last !== undefined && last.context === context) return last;
  let blas = all.get(context);
  if (blas === undefined) all.set(context, blas = new Blas(context));
  return last = blas;
}

/** What happens to a product before it is stored. */
export interface Ending {
  /** `cublasLtEpilogue_t`. */
  readonly epilogue: number;
  /** Bias [n], or its gradient. */
  readonly bias?: Block;
  /** Address of the second matrix. */
  readonly aux?: bigint;
  /** Leading dimension of the second matrix. */
  readonly auxLd?: number;
}

const plain: Ending = { epilogue: Epilogue.DEFAULT };

// Filled anew by each call, so that a product makes no garbage.
const problem = new Problem();
const addresses: Addresses = {
  a: 0n,
  b: 0n,
  d: 0n,
  bias: 0n,
  aux: 0n,
  scaleA: 0n,
  scaleB: 0n,
};

/** c = a·b (+ bias), for each matrix of the batch. */
export function matmul(context: CudaContext, spec: MatmulSpec): void {
  const { m, n, k, batchShape, bias } = spec;
  if (m === 0 || n === 0 || batchShape.includes(0)) return;
  context.activate();
  if (k === 0) return fillRows(context, spec);
  if (bias === undefined) return multiply(context, spec);
  if (!product(context, spec, { epilogue: Epilogue.BIAS, bias })) {
    multiply(context, spec);
    addBias(context, spec, bias);
  }
}

function multiply(context: CudaContext, spec: MatmulSpec): void {
  if (!product(context, spec, plain)) {
    throw new Error(
      `Cannot multiply matrices on ${context.name}: cuBLASLt has no algorithm for ${problem}`,
    );
  }
}

/**
 * Queues a product whose extents are not 0; operands that lie as cuBLASLt
 * cannot read them are copied first.
 *
 * @returns Whether the library has an algorithm for it; nothing was done if not.
 */
export function product(
  context: CudaContext,
  spec: MatmulSpec,
  ending: Ending,
): boolean {
  const { m, n, k, a, b, c } = spec;
  const ldb = leadingDimension(m, k, a.rowStride, a.columnStride);
  const lda = leadingDimension(k, n, b.rowStride, b.columnStride);
  const ldd = leadingDimension(m, n, c.rowStride, c.columnStride);
  if (lda !== 0 && ldb !== 0 && ldd > 0) {
    return queue(context, spec, ending, lda, ldb, ldd);
  }
  return rearranged(context, spec, ending, lda, ldb, ldd);
}

/** A product whose operands all lie as the library can read them. */
function queue(
  context: CudaContext,
  spec: MatmulSpec,
  ending: Ending,
  lda: number,
  ldb: number,
  ldd: number,
): boolean {
  const { dtype, a, b, c } = spec;
  const { epilogue, bias, aux = 0n, auxLd = 0 } = ending;
  const batch = spec.batchShape.length === 0
    ? undefined
    : batchOf(spec, ldb, ldd);
  if (batch !== undefined && isScattered(spec, batch)) {
    return gathered(context, spec, ending);
  }
  const blas = blasOf(context);
  const type = dataTypes[dtype];
  problem.compute = dtype === "f64"
    ? ComputeType.C_64F
    : dtype === "f32" && context.options.tf32
    ? ComputeType.C_32F_FAST_TF32
    : ComputeType.C_32F;
  problem.typeA = problem.typeB = problem.typeD = type;
  problem.epilogue = epilogue;
  problem.m = spec.n;
  problem.n = batch === undefined ? spec.m : batch.rows;
  problem.k = spec.k;
  problem.lda = lda;
  problem.ldb = ldb;
  problem.ldd = ldd;
  problem.auxLd = auxLd;
  if (batch === undefined || batch.inner.extent === 1) {
    problem.batch = 1;
    problem.strideA = problem.strideB = problem.strideD = 0;
  } else {
    const { inner } = batch;
    problem.batch = inner.extent;
    problem.strideA = inner.b;
    problem.strideB = inner.a;
    problem.strideD = inner.c;
  }
  const size = bytesOf(dtype);
  addresses.a = addressOf(b, dtype);
  addresses.b = addressOf(a, dtype);
  addresses.d = addressOf(c, dtype);
  addresses.bias = bias === undefined ? 0n : addressOf(bias, dtype);
  addresses.aux = aux;
  addresses.scaleA = addresses.scaleB = 0n;
  if (batch !== undefined && batch.outer.length > 0) {
    return queueAll(blas, batch, size);
  }
  problem.alignment = joinAlignments(
    codeOf(b, size),
    codeOf(a, size),
    codeOf(c, size),
    bias === undefined ? 8 : codeOf(bias, size),
    aux === 0n ? 8 : alignmentCode(Number(aux)),
  );
  return blas.run(blas.plan(problem, addresses), addresses);
}

function codeOf(block: Block, size: number): number {
  return alignmentCode(block.storage.address + block.offset * size);
}

function batchOf(spec: MatmulSpec, ldb: number, ldd: number): Batch {
  return mergeBatch({
    shape: spec.batchShape,
    a: spec.a.batchStrides,
    b: spec.b.batchStrides,
    c: spec.c.batchStrides,
    rows: spec.m,
    rowA: ldb > 0 ? ldb : 0,
    rowC: ldd,
  });
}

/** Calls from which on copies are worth while. */
const manyCalls = 4;
/** Multiplications in one call that keep a GPU busy for as long as a call takes. */
const busy = 2 ** 28;
/** Elements that are copied at most. */
const fewElements = 2 ** 23;

/** Whether copies make one call of many small ones. */
function isScattered(spec: MatmulSpec, { inner, outer }: Batch): boolean {
  const { m, n, k, a, b, c, batchShape } = spec;
  const calls = outer.reduce((product, axis) => product * axis.extent, 1);
  const matrices = calls * inner.extent;
  return calls > manyCalls && inner.extent * m * n * k < busy &&
    matrices * k * (m + n) < fewElements && stepsEvenly(c, batchShape) &&
    !(stepsEvenly(a, batchShape) && stepsEvenly(b, batchShape));
}

/** The product of copies whose matrices lie one after the other. */
function gathered(
  context: CudaContext,
  spec: MatmulSpec,
  ending: Ending,
): boolean {
  const { m, n, k, a, b, batchShape } = spec;
  using copies = new Copies(context, spec);
  const left = { rows: m, columns: k, spread: true };
  const right = { rows: k, columns: n, spread: true };
  return product(context, {
    ...spec,
    a: stepsEvenly(a, batchShape) ? a : copies.of(a, left),
    b: stepsEvenly(b, batchShape) ? b : copies.of(b, right),
  }, ending);
}

/** One call for each position of the axes that fit in none. */
function queueAll(blas: Blas, batch: Batch, size: number): boolean {
  const { a, b, d } = addresses;
  let known = true;
  walk(batch.outer, (stepB, stepA, stepD) => {
    if (!known) return;
    addresses.a = a + BigInt(stepA * size);
    addresses.b = b + BigInt(stepB * size);
    addresses.d = d + BigInt(stepD * size);
    problem.alignment = joinAlignments(
      alignmentCode(Number(addresses.a)),
      alignmentCode(Number(addresses.b)),
      alignmentCode(Number(addresses.d)),
      alignmentCode(Number(addresses.bias)),
      alignmentCode(Number(addresses.aux)),
    );
    known = blas.run(blas.plan(problem, addresses), addresses);
  });
  return known;
}

function turned(o: MatrixOperand): MatrixOperand {
  return { ...o, rowStride: o.columnStride, columnStride: o.rowStride };
}

/** A product with an operand that lies otherwise: turned over, or by way of a copy. */
function rearranged(
  context: CudaContext,
  spec: MatmulSpec,
  ending: Ending,
  lda: number,
  ldb: number,
  ldd: number,
): boolean {
  const { m, n, k, a, b, c, bias: _, ...rest } = spec;
  if (ldd < 0 && ending === plain) {
    // Columns of c lie side by side: cᵀ = bᵀ·aᵀ has its rows side by side.
    return product(context, {
      ...rest,
      m: n,
      n: m,
      k,
      a: turned(b),
      b: turned(a),
      c: turned(c),
    }, ending);
  }
  using copies = new Copies(context, spec);
  const left = ldb === 0 ? copies.of(a, { rows: m, columns: k }) : a;
  const right = lda === 0 ? copies.of(b, { rows: k, columns: n }) : b;
  const result = ldd > 0
    ? c
    : copies.of(c, { rows: m, columns: n, empty: true });
  const found = product(
    context,
    { ...spec, a: left, b: right, c: result },
    ending,
  );
  if (found && result !== c) copies.store(result, c, m, n);
  return found;
}
