/**
 * The kernels around a product: copies of operands, results without any
 * products in them, and biases where the library does not add them.
 *
 * @module
 */

import type {
  Block,
  Launch,
  MatmulSpec,
  MatrixOperand,
  Strided,
} from "../../core/device.ts";
import type { DType } from "../../core/dtype.ts";
import {
  add,
  computeType,
  constant,
  type Expr,
  input,
  roundTo,
} from "../../kernel/expr.ts";
import { type Program, program } from "../../kernel/program.ts";
import type { CudaContext } from "./context.ts";
import { launch } from "./launch.ts";

/** What the kernels do with each element. */
const kinds = {
  zero: (dtype: DType) => constant(0, computeType(dtype)),
  copy: (dtype: DType) => input(0, computeType(dtype)),
  add: (dtype: DType) =>
    add(input(0, computeType(dtype)), input(1, computeType(dtype))),
} as const satisfies Record<string, (dtype: DType) => Expr>;

const operands: Readonly<Record<keyof typeof kinds, number>> = {
  zero: 0,
  copy: 1,
  add: 2,
};

const programs = new Map<string, Program>();

function programOf(kind: keyof typeof kinds, dtype: DType): Program {
  const key = `${kind} ${dtype}`;
  let found = programs.get(key);
  if (found === undefined) {
    const inputs = new Array<DType>(operands[kind]).fill(dtype);
    found = program(inputs, [], [], [
      { dtype, per: "element", value: roundTo(kinds[kind](dtype), dtype) },
    ]);
    programs.set(key, found);
  }
  return found;
}

function run(
  context: CudaContext,
  kind: keyof typeof kinds,
  dtype: DType,
  sizes: readonly number[],
  inputs: readonly Strided[],
  output: Strided,
): void {
  const l: Launch = {
    program: programOf(kind, dtype),
    sizes,
    outerRank: sizes.length - 1,
    inputs,
    limits: [],
    outputs: [output],
    scalars: [],
  };
  launch(context, l);
}

function matrices(o: MatrixOperand, dtype: DType): Strided {
  const { storage, offset, batchStrides, rowStride, columnStride } = o;
  const strides = [...batchStrides, rowStride, columnStride];
  return { storage, offset, dtype, strides };
}

/** The vector over the last axis, the same for all rows. */
function perColumn(
  { storage, offset }: Block,
  { dtype, batchShape }: MatmulSpec,
): Strided {
  return {
    storage,
    offset,
    dtype,
    strides: [...batchShape.map(() => 0), 0, 1],
  };
}

function sizesOf({ batchShape, m, n }: MatmulSpec): number[] {
  return [...batchShape, m, n];
}

/** Copies matrices of `sizes` [batch…, rows, columns]. */
export function copyMatrices(
  context: CudaContext,
  dtype: DType,
  from: MatrixOperand,
  to: MatrixOperand,
  sizes: readonly number[],
): void {
  run(
    context,
    "copy",
    dtype,
    sizes,
    [matrices(from, dtype)],
    matrices(to, dtype),
  );
}

/** The result of a product with nothing to sum: the bias in each row, or zeros. */
export function fillRows(context: CudaContext, spec: MatmulSpec): void {
  const { dtype, bias, c } = spec;
  run(
    context,
    bias === undefined ? "zero" : "copy",
    dtype,
    sizesOf(spec),
    bias === undefined ? [] : [perColumn(bias, spec)],
    matrices(c, dtype),
  );
}

/** Adds a vector to each row of the result. */
export function addBias(
  context: CudaContext,
  spec: MatmulSpec,
  bias: Block,
): void {
  const { dtype, c } = spec;
  const result = matrices(c, dtype);
  run(
    context,
    "add",
    dtype,
    sizesOf(spec),
    [result, perColumn(bias, spec)],
    result,
  );
}
