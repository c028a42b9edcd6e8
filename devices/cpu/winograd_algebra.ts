/**
 * The algebra of Winograd's minimal filtering with six points per axis: 4×4
 * results of 3×3 filters, or 2×2 results of 5×5 filters, from 36
 * multiplications instead of 144 or 100.
 *
 * In one dimension, y = Aᵀ[(G·w) ⊙ (Bᵀ·d)] evaluates the polynomials of d and
 * w at the points 0, ±p, ±q, ∞ (Toom and Cook; Lavin and Gray, 2015). Rows
 * (columns) of the matrices that belong to ±p differ in the sign of the odd
 * powers only, so each pair costs one sum and one difference.
 *
 * Vectors hold the same element of four neighbouring tiles, or of four filters.
 *
 * @module
 */

import type { FunctionBuilder } from "../../kernel/wasm/assembler.ts";
import { multiplyAdd } from "./emit.ts";

/** Points per axis. */
export const points = 6;

// The points ±p and ±q. With these, rounding errors are half of those with the
// textbook's ±1 and ±2, and the largest a quarter.
const [p, q] = [0.625, 1.5];

/** A matrix, row by row. */
export type Matrix = readonly (readonly number[])[];

/** Powers of the points, for `count` results or coefficients: 6 × count. */
export function powers(count: number): Matrix {
  const rows = [0, p, -p, q, -q].map((x) =>
    Array.from({ length: count }, (_, i) => x ** i)
  );
  const infinity = Array.from(
    { length: count },
    (_, i) => i === count - 1 ? 1 : 0,
  );
  return [...rows, infinity];
}

/** G: evaluation of a filter of `size` taps, scaled by Lagrange's denominators. */
export function filterMatrix(size: number): Matrix {
  const pp = p * p, qq = q * q;
  const scale = [
    pp * qq,
    2 * pp * (pp - qq),
    2 * pp * (pp - qq),
    2 * qq * (qq - pp),
    2 * qq * (qq - pp),
    1,
  ];
  return powers(size).map((row, i) => row.map((x) => x / scale[i]));
}

/** Bᵀ: coefficients of the products of (x − point) over all other points. */
export function inputMatrix(): Matrix {
  const pp = p * p, qq = q * q;
  return [
    [pp * qq, 0, -(pp + qq), 0, 1, 0],
    [0, -p * qq, -qq, p, 1, 0],
    [0, p * qq, -qq, -p, 1, 0],
    [0, -q * pp, -pp, q, 1, 0],
    [0, q * pp, -pp, -q, 1, 0],
    [0, pp * qq, 0, -(pp + qq), 0, 1],
  ];
}

/** The transpose of a matrix. */
export function transpose(a: Matrix): Matrix {
  return a[0].map((_, j) => a.map((row) => row[j]));
}

/** Emits linear maps of vectors, keeping their constants in locals. */
export class Linear {
  readonly #f: FunctionBuilder;
  readonly #constants = new Map<number, number>();
  readonly #sumSoFar: number;
  readonly #addend: number;

  /** Loads the constants of a matrix in a function about to be written. */
  constructor(f: FunctionBuilder, matrix: Matrix) {
    this.#f = f;
    this.#sumSoFar = f.local("v128");
    this.#addend = f.local("v128");
    for (const x of matrix.flat()) {
      const value = Math.fround(x);
      if (value === 0 || Math.abs(value) === 1 || this.#constants.has(value)) {
        continue;
      }
      const local = f.local("v128");
      f.f32(value).op("f32x4.splat").set(local);
      this.#constants.set(value, local);
    }
  }

  /** A local with Σ coefficient · vector, or undefined for the empty sum. */
  #sum(
    coefficients: readonly number[],
    v: readonly number[],
  ): number | undefined {
    const f = this.#f;
    let started = false;
    const terms = coefficients.map((c, i) => ({ c: Math.fround(c), v: v[i] }))
      .filter(({ c }) => c !== 0)
      // A sum starts with a term that needs no multiplication, if there is one.
      .sort((a, b) => Number(b.c === 1) - Number(a.c === 1));
    if (terms.length === 0) return undefined;
    for (const { c, v } of terms) {
      if (!started) {
        f.get(v);
        if (c === -1) f.op("f32x4.neg");
        else if (c !== 1) f.get(this.#constants.get(c)!).op("f32x4.mul");
      } else if (c === 1) f.get(v).op("f32x4.add");
      else if (c === -1) f.get(v).op("f32x4.sub");
      else {
        f.set(this.#sumSoFar).get(v).get(this.#constants.get(c)!);
        f.get(this.#sumSoFar);
        multiplyAdd(f, "f32", this.#addend);
      }
      started = true;
    }
    const local = f.local("v128");
    f.set(local);
    return local;
  }

  #combine(op: "f32x4.add" | "f32x4.sub", a?: number, b?: number): number {
    const local = this.#f.local("v128");
    if (a !== undefined) this.#f.get(a);
    if (b !== undefined) {
      this.#f.get(b);
      if (a !== undefined) this.#f.op(op);
      else if (op === "f32x4.sub") this.#f.op("f32x4.neg");
    }
    this.#f.set(local);
    return local;
  }

  /** matrix · v for a matrix of six rows, whose rows 1, 2 and 3, 4 are pairs. */
  expand(matrix: Matrix, v: readonly number[]): number[] {
    const even = (row: readonly number[]) =>
      row.map((c, i) => i % 2 === 0 ? c : 0);
    const odd = (row: readonly number[]) =>
      row.map((c, i) => i % 2 === 1 ? c : 0);
    const results = [this.#sum(matrix[0], v)!];
    for (const row of [1, 3]) {
      const e = this.#sum(even(matrix[row]), v);
      const o = this.#sum(odd(matrix[row]), v);
      results.push(this.#combine("f32x4.add", e, o));
      results.push(this.#combine("f32x4.sub", e, o));
    }
    return [...results, this.#sum(matrix[5], v)!];
  }

  /** matrix · v for a matrix of six columns, of which 1, 2 and 3, 4 are pairs. */
  reduce(matrix: Matrix, v: readonly number[]): number[] {
    const sums = [
      this.#combine("f32x4.add", v[1], v[2]),
      this.#combine("f32x4.add", v[3], v[4]),
    ];
    const differences = [
      this.#combine("f32x4.sub", v[1], v[2]),
      this.#combine("f32x4.sub", v[3], v[4]),
    ];
    return matrix.map((row, i) => {
      const [s, t] = i % 2 === 0 ? sums : differences;
      return this.#sum(
        [row[0], row[1], row[3], row[5]],
        [v[0], s, t, v[5]],
      )!;
    });
  }

  /** matrix · block · matrixᵀ, where `block` is an array of rows of locals. */
  both(
    map: "expand" | "reduce",
    matrix: Matrix,
    block: readonly (readonly number[])[],
  ): number[][] {
    const columns = block[0].map((_, j) =>
      this[map](matrix, block.map((row) => row[j]))
    );
    return columns[0].map((_, i) =>
      this[map](matrix, columns.map((column) => column[i]))
    );
  }
}
