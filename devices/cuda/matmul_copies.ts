/**
 * Copies of matrices that lie as cuBLASLt cannot read or write them.
 *
 * @module
 */

import type { Block, MatmulSpec, MatrixOperand } from "../../core/device.ts";
import { bytesOf } from "../../core/dtype.ts";
import type { CudaContext } from "./context.ts";
import { copyMatrices } from "./matmul_launches.ts";

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

  /** Contiguous matrices for an operand, filled from it or not; repeated matrices are copied once. */
  of(
    from: MatrixOperand,
    rows: number,
    columns: number,
    fill: boolean,
  ): MatrixOperand {
    const { dtype, batchShape } = this.spec;
    let size = rows * columns;
    const batchStrides = batchShape.map(() => 0);
    for (let d = batchShape.length - 1; d >= 0; d--) {
      if (from.batchStrides[d] === 0) continue;
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
    if (fill) this.store(from, copy, rows, columns);
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
