/**
 * One product as cuBLASLt takes it. The library thinks in columns and Decaf in
 * rows, so the factors change places: where Decaf computes c = a·b with rows
 * side by side, the library computes D = A·B with D = cᵀ, A = bᵀ and B = aᵀ,
 * all with columns side by side, which is the same memory.
 *
 * @module
 */

import { ComputeType, DataType, Epilogue } from "../../ffi/cublaslt.ts";

/** Everything that a plan depends on, as numbers. */
export class Problem {
  /** `cublasComputeType_t`. */
  compute = 0;
  /** `cudaDataType_t` of A, which is Decaf's right factor. */
  typeA = 0;
  /** `cudaDataType_t` of B, which is Decaf's left factor. */
  typeB = 0;
  /** `cudaDataType_t` of D. */
  typeD = 0;
  /** `cublasLtEpilogue_t`. */
  epilogue: number = Epilogue.DEFAULT;
  /** Rows of op(A) and D: Decaf's columns. */
  m = 0;
  /** Columns of op(B) and D: Decaf's rows. */
  n = 0;
  /** Columns of op(A), rows of op(B). */
  k = 0;
  /** Leading dimension of A, negative where A is transposed. */
  lda = 0;
  /** Leading dimension of B, negative where B is transposed. */
  ldb = 0;
  /** Leading dimension of D. */
  ldd = 0;
  /** Products in one call. */
  batch = 1;
  /** Step between the matrices A of a batch. */
  strideA = 0;
  /** Step between the matrices B of a batch. */
  strideB = 0;
  /** Step between the matrices D of a batch. */
  strideD = 0;
  /** Leading dimension of the epilogue's second matrix; 0 without one. */
  auxLd = 0;
  /** Alignments of all addresses, {@linkcode alignmentCode} of each. */
  alignment = 0;

  /** Whether there is another way to compute it: a plain product and kernels. */
  get dispensable(): boolean {
    return this.epilogue !== Epilogue.DEFAULT ||
      this.typeA === DataType.R_8F_E4M3 || this.typeA === DataType.R_8F_E5M2;
  }

  /** A number that equal problems share. */
  hash(): number {
    let h = this.m;
    h = Math.imul(h ^ (this.n << 8), 0x9e3779b1);
    h = Math.imul(h ^ this.k ^ (h >>> 15), 0x85ebca6b);
    h = Math.imul(h ^ this.lda ^ (h >>> 13), 0xc2b2ae35);
    h = Math.imul(h ^ this.ldb ^ (h >>> 16), 0x9e3779b1);
    h = Math.imul(h ^ this.batch ^ (this.alignment << 7), 0x85ebca6b);
    h = Math.imul(h ^ this.epilogue ^ (this.typeD << 16), 0xc2b2ae35);
    return h ^ (h >>> 15);
  }

  /** Whether one plan does for both. */
  equals(o: Problem): boolean {
    return this.m === o.m && this.n === o.n && this.k === o.k &&
      this.lda === o.lda && this.ldb === o.ldb && this.ldd === o.ldd &&
      this.batch === o.batch && this.strideA === o.strideA &&
      this.strideB === o.strideB && this.strideD === o.strideD &&
      this.alignment === o.alignment && this.epilogue === o.epilogue &&
      this.auxLd === o.auxLd && this.compute === o.compute &&
      this.typeA === o.typeA && this.typeB === o.typeB &&
      this.typeD === o.typeD;
  }

  /** A problem of its own with the same numbers. */
  copy(): Problem {
    return Object.assign(new Problem(), this);
  }

  /** The numbers as text: the name of the problem in a file of plans. */
  key(): string {
    return Object.values(this).join(" ");
  }

  /** In Decaf's order of factors, for messages. */
  toString(): string {
    const { m, n, k, batch, lda, ldb, ldd } = this;
    const type = (value: number) => nameOf(DataType, value);
    const times = batch === 1 ? "" : `${batch} times `;
    const [a, b, d] = alignments(this.alignment);
    return `${times}[${n}, ${k}] · [${k}, ${m}], ${type(this.typeB)} by ${
      type(this.typeA)
    } to ${type(this.typeD)}, compute type ${
      nameOf(ComputeType, this.compute)
    }, epilogue ${
      nameOf(Epilogue, this.epilogue)
    }, leading dimensions ${ldb}, ${lda} and ${ldd}, alignments ${b}, ${a} and ${d}`;
  }
}

function nameOf(
  values: Readonly<Record<string, number>>,
  value: number,
): string {
  const found = Object.entries(values).find((entry) => entry[1] === value);
  return found?.[0] ?? `${value}`;
}

/**
 * How a matrix [rows, columns] lies: its leading dimension, negative where
 * columns instead of rows lie side by side, 0 where neither do.
 */
export function leadingDimension(
  rows: number,
  columns: number,
  rowStride: number,
  columnStride: number,
): number {
  if (columnStride === 1 || columns === 1) {
    const ld = rows === 1 ? columns : rowStride;
    if (ld >= columns) return ld;
  }
  if (rowStride === 1 || rows === 1) {
    const ld = columns === 1 ? rows : columnStride;
    if (ld >= rows) return -ld;
  }
  return 0;
}

/** Largest power of two up to 256 that divides an address, as its exponent. */
export function alignmentCode(address: number): number {
  const low = address & 255; // of its last 32 bits: exact below 2^53
  return low === 0 ? 8 : 31 - Math.clz32(low & -low);
}

/** Joins the codes of A, B, D, bias and second matrix in one number. */
export function joinAlignments(
  a: number,
  b: number,
  d: number,
  bias: number,
  aux: number,
): number {
  return a | b << 4 | d << 8 | bias << 12 | aux << 16;
}

/** The bytes that {@linkcode joinAlignments} was given: A, B, D, bias, second matrix. */
export function alignments(joined: number): number[] {
  return [0, 4, 8, 12, 16].map((shift) => 1 << (joined >>> shift & 15));
}
