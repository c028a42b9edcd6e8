/**
 * What the reductions share: one kernel that reduces some axes of one tensor,
 * checks of its arguments, and the way back from a result to the shape of x.
 *
 * @module
 */

import { type DType, dtypes, isFloat } from "../core/dtype.ts";
import { DTypeError, ShapeError, shapeText } from "../core/errors.ts";
import { runRows } from "../core/row_kernels.ts";
import type { Shape } from "../core/shape.ts";
import type { Tensor } from "../core/tensor.ts";
import type { Value } from "../core/value.ts";
import * as k from "../kernel/expr.ts";
import type { Expr } from "../kernel/expr.ts";
import type { Stage } from "../kernel/program.ts";
import { type Axes, cast, reducedShape, reshape } from "./foundation.ts";

/** Options of reductions. */
export interface ReduceOptions {
  /** Keep the reduced axes, with extent 1. */
  keepDim?: boolean;
}

/** A reduction over some axes of a tensor, all of them when `axes` is left out. */
export type Reduction = (
  x: Tensor,
  axes?: Axes,
  options?: ReduceOptions,
) => Tensor;

/** Attributes of a reduction. */
export interface ReduceAttrs {
  /** Axes as given. */
  readonly axes: Axes | undefined;
  /** Whether reduced axes stay, with extent 1. */
  readonly keepDim: boolean;
}

/** Maps `(x, axes, options)` to operands and attributes. */
export function bindReduction<Options extends object>(
  x: Tensor,
  axes?: Axes,
  options?: Options,
): { inputs: Tensor[]; attrs: { axes: Axes | undefined } & Options } {
  return { inputs: [x], attrs: { axes, ...options! } };
}

/** One result of a kernel that reduces. */
export interface RowResult {
  /** Storage type. */
  readonly dtype: DType;
  /** Value of each row, in terms of the stages. */
  readonly value: Expr;
}

/** A kernel over one tensor with results per row. */
export interface RowReduction {
  /** Determines what `build` returns, with the dtype of x. */
  readonly name: string;
  /** How often x is walked; 1 when omitted. */
  readonly passes?: number;
  /** Run-time scalars, of the type in which x is computed. */
  readonly scalars?: readonly number[];
  /** Stages and results in terms of the element and the scalars. */
  build(
    x: Expr,
    scalars: readonly Expr[],
  ): { stages: Stage[]; results: RowResult[] };
}

/** Runs reductions over `axes` of one tensor. */
export function reduceRows(
  x: Tensor,
  axes: readonly number[],
  { name, passes = 1, scalars = [], build }: RowReduction,
): Value[] {
  const scalarType = x.dtype === "f64" ? "f64" : "f32";
  return runRows(x.device, {
    name,
    space: x.shape,
    axes,
    streams: [x.value],
    scalars,
    scalarTypes: scalars.map(() => scalarType),
    passes,
    build: ({ streams, scalars }) => {
      const { stages, results } = build(streams[0], scalars);
      return {
        stages,
        outputs: results.map(({ dtype, value }) => ({
          dtype,
          per: "row",
          value: k.roundTo(value, dtype),
        })),
      };
    },
  });
}

/** x in another dtype; x itself when it has it. */
export function inDType(x: Tensor, dtype: DType): Tensor {
  return x.dtype === dtype ? x : cast(x, dtype);
}

/** Number of elements in each row. */
export function rowSize(shape: Shape, axes: readonly number[]): number {
  return axes.reduce((size, d) => size * shape[d], 1);
}

/** Brings a result to where it broadcasts against x: extent 1 along the reduced axes. */
export function alongside(
  result: Tensor,
  shape: Shape,
  axes: readonly number[],
): Tensor {
  return reshape(result, reducedShape(shape, axes, true));
}

/** Refuses tensors that are not of a floating-point type; `what` follows "Cannot". */
export function requireFloat(
  what: string,
  ...tensors: readonly Tensor[]
): void {
  for (const x of tensors) {
    if (isFloat(x.dtype)) continue;
    throw new DTypeError(
      `Cannot ${what} a tensor of dtype ${x.dtype}: it takes ${
        floats.join(", ")
      }; convert with .cast("f32")`,
    );
  }
}

const floats = (Object.keys(dtypes) as DType[]).filter(isFloat);

/** Refuses to choose among no elements. */
export function requireElements(
  what: string,
  shape: Shape,
  axes: readonly number[],
): void {
  if (rowSize(shape, axes) > 0) return;
  throw new ShapeError(
    `Cannot take the ${what} of a tensor of shape ${
      shapeText(shape)
    } along axes [${
      axes.join(", ")
    }]: there are no elements to choose from; reduce axes whose extents are at least 1`,
  );
}
