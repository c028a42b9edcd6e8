/**
 * Matrices on a device for the tests of products: made of plain numbers, read
 * back as numbers, multiplied by plain loops.
 */

import { assert } from "@std/assert";
import type {
  Block,
  Device,
  MatmulSpec,
  MatrixOperand,
} from "../core/device.ts";
import { bytesOf, getElement, hostArray, setElement } from "../core/dtype.ts";

/** Element types of products. */
export type Float = MatmulSpec["dtype"];

/** How the elements of a matrix lie: rows or columns side by side, with room between rows, every second element, or one row for all. */
export type Placing = "rows" | "columns" | "padded" | "gaps" | "repeated";

/** A matrix, or a batch of them, with the numbers it was made of. */
export interface Matrix extends MatrixOperand {
  /** Rows of each matrix. */
  readonly rows: number;
  /** Columns of each matrix. */
  readonly columns: number;
  /** Every element of the block, those between rows included. */
  readonly elements: number[];
}

/** What lies between the elements of a result, and must still lie there afterwards. */
const untouched = 77;

/** What a matrix is made like. */
export interface MatrixOptions {
  /** How its elements lie; "rows" when omitted. */
  placing?: Placing;
  /** Extents of the batch axes. */
  batch?: readonly number[];
  /** Batch axes along which the matrix repeats. */
  repeat?: readonly number[];
  /** Elements after the matrices along each batch axis. */
  slack?: number;
  /** First element. */
  offset?: number;
  /** Multiplies the elements; 0 makes a result to be filled. */
  seed?: number;
}

/** Rounds to what the dtype can hold. */
export function rounded(dtype: Float, value: number): number {
  const one = hostArray(dtype, 1);
  setElement(one, dtype, 0, value);
  return getElement(one, dtype, 0);
}

/** Copies numbers to a new block. */
export function upload(
  device: Device,
  dtype: Float | "u8",
  values: readonly number[],
): Block {
  const host = hostArray(dtype, values.length);
  values.forEach((value, i) => setElement(host, dtype, i, value));
  const storage = device.allocate(Math.max(1, host.byteLength));
  device.write(storage, 0, new Uint8Array(host.buffer as ArrayBuffer));
  return { storage, offset: 0 };
}

/** The first elements of a block as numbers. */
export function download(
  { storage, offset }: Block,
  dtype: Float | "u8",
  count: number,
): number[] {
  const host = hostArray(dtype, count);
  const bytes = new Uint8Array(host.buffer as ArrayBuffer);
  storage.device.read(storage, offset * bytesOf(dtype), bytes);
  return Array.from({ length: count }, (_, i) => getElement(host, dtype, i));
}

/** A matrix on the device. */
export function matrix(
  device: Device,
  dtype: Float,
  [rows, columns]: readonly [number, number],
  options: MatrixOptions = {},
): Matrix {
  const { placing = "rows", batch = [], repeat = [], offset = 0 } = options;
  const { seed = 1, slack = 0 } = options;
  const [rowStride, columnStride] = {
    rows: [columns, 1],
    columns: [1, rows],
    padded: [columns + 3, 1],
    gaps: [2 * columns + 1, 2],
    repeated: [0, 1],
  }[placing];
  let size = Math.max(
    1,
    placing === "repeated" ? columns : Math.max(rows, 1) * rowStride,
    Math.max(columns, 1) * columnStride * (placing === "columns" ? 1 : 1),
    placing === "columns" ? rows * columns : 0,
  );
  const batchStrides = batch.map(() => 0);
  for (let d = batch.length - 1; d >= 0; d--) {
    if (repeat.includes(d)) continue;
    batchStrides[d] = size;
    size = size * batch[d] + slack;
  }
  const elements = Array.from(
    { length: offset + size + 5 },
    (_, i) => seed === 0 ? untouched : rounded(dtype, Math.sin(seed + 1.7 * i)),
  );
  const { storage } = upload(device, dtype, elements);
  return {
    storage,
    offset,
    rowStride,
    columnStride,
    batchStrides,
    rows,
    columns,
    elements,
  };
}

/** Calls `visit` with the offset that each operand has at every batch index. */
function forEachMatrix(
  shape: readonly number[],
  operands: readonly MatrixOperand[],
  visit: (...offsets: number[]) => void,
): void {
  const walk = (d: number, offsets: number[]): void => {
    if (d === shape.length) return visit(...offsets);
    for (let i = 0; i < shape[d]; i++) {
      walk(d + 1, offsets.map((at, o) => at + i * operands[o].batchStrides[d]));
    }
  };
  walk(0, operands.map((o) => o.offset));
}

/** |computed − exact| ≤ bound · (1 + |exact|). */
export const bounds: Readonly<Record<Float, number>> = {
  f32: 1e-5,
  f64: 1e-13,
  f16: 2e-3,
  bf16: 1.6e-2,
};

/** Checks that two lists of numbers are near. */
export function assertNear(
  actual: readonly number[],
  expected: readonly number[],
  bound: number,
  what: string,
): void {
  assert(
    actual.length === expected.length,
    `${what}: ${actual.length} numbers, expected ${expected.length}`,
  );
  actual.forEach((a, i) => {
    const e = expected[i];
    assert(
      Object.is(a, e) || Math.abs(a - e) <= bound * (1 + Math.abs(e)),
      `${what}: element ${i} is ${a}, expected ${e}`,
    );
  });
}

/** Everything that the block of c must hold after c = a·b + bias: results, and what lay between them. */
export function expectedProduct(
  a: Matrix,
  b: Matrix,
  c: Matrix,
  shape: readonly number[],
  bias?: readonly number[],
): number[] {
  const all = [...c.elements];
  forEachMatrix(shape, [a, b, c], (atA, atB, atC) => {
    for (let i = 0; i < a.rows; i++) {
      for (let j = 0; j < b.columns; j++) {
        let sum = bias?.[j] ?? 0;
        for (let l = 0; l < a.columns; l++) {
          sum += a.elements[atA + i * a.rowStride + l * a.columnStride] *
            b.elements[atB + l * b.rowStride + j * b.columnStride];
        }
        all[atC + i * c.rowStride + j * c.columnStride] = sum;
      }
    }
  });
  return all;
}
