/**
 * What indexing operators share: index tensors checked before their use, and
 * selections and scatters that are not recorded.
 *
 * @module
 */

import { accumulated, type DType } from "../core/dtype.ts";
import type { DeviceFlag, ScatterMode } from "../core/device.ts";
import {
  DTypeError,
  IndexError,
  ShapeError,
  shapeText,
} from "../core/errors.ts";
import { flagFor, refuseFlagged } from "../core/checks.ts";
import { contiguous, runRows } from "../core/row_kernels.ts";
import { type Shape, sizeOf } from "../core/shape.ts";
import { hostData, Tensor } from "../core/tensor.ts";
import { Value } from "../core/value.ts";
import * as k from "../kernel/expr.ts";
import { Elementwise } from "./engine.ts";
import { cast } from "./foundation.ts";
import { axisOf, copyInto, viewOf, type Window } from "./views.ts";

/** Refuses an index that is no integer tensor. */
export function requireIndex(index: Tensor, what: string): void {
  const { dtype } = index;
  if (dtype !== "i64" && dtype !== "i32" && dtype !== "u8" && dtype !== "i8") {
    throw new DTypeError(
      `Cannot ${what} with an index of dtype ${dtype}: it takes i64 or i32; convert with .cast("i64")`,
    );
  }
}

/** What elements of an index must be. */
export interface IndexBounds {
  /** The least. */
  readonly low: number;
  /** The first that is too large. */
  readonly high: number;
  /** What the index is for, after "Cannot". */
  readonly what: string;
}

/** The error about an index that has an element out of bounds. */
function outOfBounds(
  elements: Value,
  { low, high, what }: IndexBounds,
): IndexError {
  const bad = integers(elements).find((i) => i < low || i >= high);
  return new IndexError(
    `Cannot ${what}: index ${bad} is out of range for extent ${high}; ${
      high > 0
        ? `indices must be from ${low} to ${high - 1}`
        : "there is nothing to index"
    }`,
  );
}

/** Whether an element is out of bounds. */
function isOutside(i: k.Expr, from: k.Expr, to: k.Expr): k.Expr {
  return k.or(k.lt(i, from), k.ge(i, to));
}

/** The type in which an index is compared with its bounds. */
function boundType(index: Tensor): "i32" | "i64" {
  return index.dtype === "i64" ? "i64" : "i32";
}

/** Refuses an index tensor with an element outside of `low ≤ i < high`. */
export function checkIndices(
  index: Tensor,
  low: number,
  high: number,
  what: string,
): void {
  requireIndex(index, what);
  if (index.size === 0) return;
  index.materialize();
  const bounds = { low, high, what };
  const failed = (elements: Value) => outOfBounds(elements, bounds);
  const own = flagFor(index.value, failed);
  const type = boundType(index);
  const kernel = {
    space: index.shape,
    streams: [index.value],
    scalars: [low, high],
    scalarTypes: [type, type],
    passes: 1,
  };
  if (own !== undefined) {
    runRows(index.device, {
      ...kernel,
      name: "refuse out of range",
      axes: [],
      flag: own,
      build: ({ streams: [i], scalars: [from, to] }) => ({
        stages: [],
        outputs: [],
        refuses: isOutside(i, from, to),
      }),
    });
    return;
  }
  const [flag] = runRows(index.device, {
    ...kernel,
    name: "out of range",
    axes: index.shape.map((_, d) => d),
    build: ({ streams: [i], scalars: [from, to] }) => ({
      stages: [{ op: "max", value: k.cast(isOutside(i, from, to), "i32") }],
      outputs: [{ dtype: "i32", value: k.stage(0, "i32"), per: "row" }],
    }),
  });
  refuseFlagged(flag, index.value, failed);
}

/** The elements of an integer value. */
export function integers(value: Value): number[] {
  return Array.from(hostData(value) as ArrayLike<number | bigint>, Number);
}

const wrap = new Elementwise(
  "wrapIndex",
  2,
  ([i, extent]) => k.select(k.lt(i, 0), k.add(i, extent), i),
  "promote",
  true,
);

/** Indices that count from the end when negative, checked and made non-negative. */
export function wrapIndices(
  index: Tensor,
  extent: number,
  what: string,
): Tensor {
  checkIndices(index, -extent, extent, what);
  return wrap.apply([index, extent]);
}

/** The index as contiguous i64, as devices take it. */
function deviceIndex(index: Tensor): Tensor {
  return new Tensor(
    contiguous((index.dtype === "i64" ? index : cast(index, "i64")).value),
  );
}

/** Extents before, at and after an axis. */
export function around(
  shape: Shape,
  axis: number,
): { outer: number; extent: number; inner: number } {
  return {
    outer: sizeOf(shape.slice(0, axis)),
    extent: shape[axis],
    inner: sizeOf(shape.slice(axis + 1)),
  };
}

/** The shape with the axis replaced by other axes. */
export function withAxis(shape: Shape, axis: number, by: Shape): number[] {
  return [...shape.slice(0, axis), ...by, ...shape.slice(axis + 1)];
}

/** Where a kernel finds elements of a table. */
export interface Lookup {
  /** Names what `place` returns. */
  readonly name: string;
  /** Extents of the result. */
  readonly space: Shape;
  /** What the elements of the index must be. */
  readonly bounds: IndexBounds;
  /** Numbers for `place`. */
  readonly scalars: readonly number[];
  /** The place in the table's contiguous memory, from the element of the index, the coordinates and the scalars. */
  place(
    at: k.Expr,
    coord: (axis: number) => k.Expr,
    scalars: readonly k.Expr[],
  ): k.Expr;
}

/**
 * Elements of a table at the places that an index names, whose elements are
 * checked: by the same kernel, on devices where kernels can refuse elements.
 *
 * @param index Broadcast to the space of the result.
 * @throws {IndexError} when an element is out of bounds.
 */
export function lookUp(
  table: Tensor,
  index: Tensor,
  { name, space, bounds, scalars, place }: Lookup,
): Tensor {
  requireIndex(index, bounds.what);
  index.materialize();
  let flag: DeviceFlag | undefined;
  if (index.size > 0) {
    // A kernel with no result looks at no index.
    if (sizeOf(space) > 0) {
      flag = flagFor(index.value, (elements) => outOfBounds(elements, bounds));
    }
    if (flag === undefined) {
      checkIndices(index, bounds.low, bounds.high, bounds.what);
    }
  }
  const type = boundType(index);
  const own = scalars.length;
  const types = scalars.map((): k.ScalarType => "i32");
  const [value] = runRows(table.device, {
    name: flag === undefined ? name : `${name} or refuse`,
    space,
    axes: [],
    streams: [index.value],
    tables: [table.value],
    scalars: flag === undefined
      ? scalars
      : [...scalars, bounds.low, bounds.high],
    scalarTypes: flag === undefined ? types : [...types, type, type],
    passes: 1,
    flag,
    build: ({ streams: [at], scalars, coord, load }) => ({
      stages: [],
      outputs: [{
        dtype: table.dtype,
        value: load(
          0,
          place(k.cast(at, "i32"), coord, scalars.slice(0, own)),
        ),
        per: "element",
      }],
      refuses: flag && isOutside(at, scalars[own], scalars[own + 1]),
    }),
  });
  return new Tensor(value);
}

/** A fresh contiguous tensor with the elements of `x`, which may be pending or strided. */
function freshCopy(x: Tensor, dtype: DType): Tensor {
  const value = Value.empty(x.device, dtype, x.shape);
  copyInto(value, x.value);
  return new Tensor(value);
}

/**
 * A copy of `x` into which the source is scattered along an axis. The index,
 * which was checked, has the shape of the source, or is one vector along the axis.
 */
export function scattered(
  x: Tensor,
  axis: number,
  index: Tensor,
  source: Tensor,
  mode: ScatterMode,
  perElement: boolean,
): Tensor {
  const dtype = mode === "set" ? x.dtype : accumulated(x.dtype);
  const target = freshCopy(x, dtype);
  const { outer, inner } = around(source.shape, axis);
  const values = source.dtype === dtype
    ? new Tensor(contiguous(source.value))
    : freshCopy(source, dtype);
  const positions = deviceIndex(index);
  if (source.size > 0) {
    x.device.scatter({
      dtype,
      mode,
      outer,
      inner,
      targetSize: x.shape[axis],
      sourceSize: source.shape[axis],
      target: target.value,
      source: values.value,
      index: positions.value,
      perElement,
    });
  }
  return dtype === x.dtype ? target : freshCopy(target, x.dtype);
}

/** Refuses two tensors that must agree in rank. */
export function requireRank(
  x: Tensor,
  index: Tensor,
  what: string,
): void {
  if (x.rank !== index.rank) {
    throw new ShapeError(
      `Cannot ${what} a tensor of shape ${
        shapeText(x.shape)
      } with an index of shape ${
        shapeText(index.shape)
      }: both must have the same number of axes`,
    );
  }
}

// ---- scatters with an index per element ----

/** Checks the operands of a scatter; returns the axis counted from the front. */
export function checkScatter(
  x: Tensor,
  axis: number,
  index: Tensor,
  source: Tensor | undefined,
): number {
  const what = "scatter into";
  const at = axisOf(x, axis, what);
  requireRank(x, index, what);
  if (source !== undefined) {
    requireRank(source, index, "scatter from");
    if (source.dtype !== x.dtype) {
      throw new DTypeError(
        `Cannot scatter a tensor of dtype ${source.dtype} into one of dtype ${x.dtype}: convert it with .cast("${x.dtype}")`,
      );
    }
  }
  const over = index.shape.findIndex((n, d) =>
    (d !== at && n > x.shape[d]) ||
    (source !== undefined && n > source.shape[d])
  );
  if (over >= 0) {
    throw new ShapeError(
      `Cannot scatter${
        source === undefined
          ? ""
          : ` a tensor of shape ${shapeText(source.shape)}`
      } into one of shape ${shapeText(x.shape)} with an index of shape ${
        shapeText(index.shape)
      } along axis ${at}: the index is larger on axis ${over}`,
    );
  }
  checkIndices(index, 0, x.shape[at], `scatter along axis ${at}`);
  return at;
}

/** The first elements of each axis. */
function corner(extents: readonly number[]): Window {
  return ({ strides, offset }) => ({ shape: extents, strides, offset });
}

/** Scatters after the checks; the index may be smaller than `x` and the source. */
export function scatterAlong(
  x: Tensor,
  at: number,
  index: Tensor,
  source: Tensor,
  mode: ScatterMode,
): Tensor {
  const part = `${source.shape}` === `${index.shape}`
    ? source
    : viewOf(source, corner(index.shape));
  const touched = index.shape.map((n, d) => d === at ? x.shape[at] : n);
  if (`${touched}` === `${x.shape}`) {
    return scattered(x, at, index, part, mode, true);
  }
  const result = freshCopy(x, x.dtype);
  const box = viewOf(result, corner(touched));
  const changed = scattered(box, at, index, part, mode, true);
  copyInto(box.value, changed.value);
  return result;
}

// ---- parts of gradients ----

/** 1 where two tensors are equal, else 0, in their dtype; a constant to differentiation. */
export const equals = new Elementwise(
  "equals",
  2,
  ([a, b]) =>
    k.select(
      k.eq(a, b),
      k.constant(1, a.type),
      k.constant(0, a.type),
    ),
  "promote",
  true,
);
/** `mask ? a : b`, the mask being 0 or 1. */
export const choose = new Elementwise(
  "choose",
  3,
  ([mask, a, b]) => k.select(k.ne(mask, 0), a, b),
  "promote",
  false,
);
/** a / b of two operands. */
export const quotient = new Elementwise(
  "quotient",
  2,
  ([a, b]) => {
    const q = k.div(a, b);
    if (a.type === "f32" || a.type === "f64") return q;
    // Integers round down, as PyTorch's mean does.
    const inexact = k.ne(k.mul(q, b), a);
    const negative = k.ne(k.lt(a, 0), k.lt(b, 0));
    return k.select(k.and(inexact, negative), k.sub(q, 1), q);
  },
  "promote",
  false,
);
