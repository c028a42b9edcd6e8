/**
 * Copies of matrices that lie as cuBLASLt cannot read or write them.
 *
 * @module
 */

import type { Block, MatmulSpec, MatrixOperand } from "../../core/device.ts";
import { bytesOf } from "../../core/dtype.ts";
import type { CudaContext } from "./context.ts";
import { copyMatrices } from "./matmul_launches.ts";

/** What a copy is made like. */
export interface CopyOptions {
  /** Rows of each matrix. */
  readonly rows: number;
  /** Columns of each matrix. */
  readonly columns: number;
  /** Whether it is left empty, to be written. */
  readonly empty?: boolean;
  /** Whether matrices that repeat are copied as often as they do. */
  readonly spread?: boolean;
}

/** Whether the matrices of a batch step evenly, so that its axes may be walked as one. */
export function stepsEvenly(
  { batchStrides }: MatrixOperand,
  shape: readonly number[],
): boolean {
  let next = -1;
  for (let d = shape.length - 1; d >= 0; d--) {
    if (shape[d] === 1) continue;
    if (next >= 0 && batchStrides[d] !== batchStrides[next] * shape[next]) {
      return false;
    }
    next = d;
  }
  return true;
}

/** Contiguous copies of operands, which live until the call that reads them is queued. */
export class Copies implements Disposable {
  readonly #blocks: Block[] = [];

  /** Copies operands of one product. */
  constructor(
    /** The device. */
    readonly context: CudaContext,
    /** The product. */
    readonly spec: MatmulSpec,
  ) {}

  /** Contiguous matrices for an operand, filled from it. */
  of(
    from: MatrixOperand,
    { rows, columns, empty = false, spread = false }: CopyOptions,
  ): MatrixOperand {
    const { dtype, batchShape } = this.spec;
    let size = rows * columns;
    const batchStrides = batchShape.map(() => 0);
    for (let d = batchShape.length - 1; d >= 0; d--) {
      if (from.batchStrides[d] === 0 && !spread) continue;
      batchStrides[d] = size;
      size *= batchShape[d];
    }
    const storage = from.storage.device.allocate(size * bytesOf(dtype));
    const copy = {
      storage,
      offset: 0,
      rowStride: columns,
      columnStride: 1,
      batchStrides,
    };
    this.#blocks.push(copy);
    if (!empty) this.store(from, copy, rows, columns);
    return copy;
  }

  /** Copies matrices. */
  store(
    from: MatrixOperand,
    to: MatrixOperand,
    rows: number,
    columns: number,
  ): void {
    const { dtype, batchShape } = this.spec;
    copyMatrices(this.context, dtype, from, to, [
      // Where the target repeats, so does the source.
      ...batchShape.map((extent, d) => to.batchStrides[d] === 0 ? 1 : extent),
      rows,
      columns,
    ]);
  }

  /** Gives the memory back; work that is queued may still use it. */
  [Symbol.dispose](): void {
    for (const { storage } of this.#blocks) storage.release();
  }
}
