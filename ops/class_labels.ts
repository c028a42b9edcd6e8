/**
 * Class labels of losses: their check, and the kernel-friendly form.
 *
 * @module
 */

import { dtypes } from "../core/dtype.ts";
import {
  DTypeError,
  IndexError,
  ShapeError,
  shapeText,
} from "../core/errors.ts";
import { flagFor, refuseFlagged } from "../core/checks.ts";
import { type RowBuilder, runRows } from "../core/row_kernels.ts";
import { sameShape, type Shape } from "../core/shape.ts";
import { Tensor } from "../core/tensor.ts";
import type { Value } from "../core/value.ts";
import * as k from "../kernel/expr.ts";
import type { Output } from "../kernel/program.ts";
import { integers } from "./index_values.ts";

/** Axis of the classes: 1, or the only one. */
export function classAxis(shape: Shape): number {
  return shape.length === 1 ? 0 : 1;
}

/** Shape without the axis of the classes. */
export function withoutClasses(shape: Shape): number[] {
  const axis = classAxis(shape);
  return shape.filter((_, d) => d !== axis);
}

/** Shape with extent 1 at the axis of the classes. */
export function oneClass(shape: Shape): number[] {
  const axis = classAxis(shape);
  return shape.map((n, d) => d === axis ? 1 : n);
}

/** Whether the target holds class numbers (and not probabilities). */
export function holdsLabels(target: Tensor): boolean {
  return dtypes[target.dtype].kind === "int";
}

/** Refuses scores that have no axis of classes. */
export function requireClasses(what: string, x: Tensor): void {
  if (x.rank > 0) return;
  throw new ShapeError(
    `Cannot take the ${what} of a tensor of shape []: it needs an axis of classes, as in [classes] or [batch, classes, …]`,
  );
}

/** Refuses class weights that are no vector of one number per class. */
export function requireClassWeight(
  what: string,
  x: Tensor,
  weight: Tensor | undefined,
): void {
  if (weight === undefined) return;
  const classes = x.shape[classAxis(x.shape)];
  if (weight.rank === 1 && weight.shape[0] === classes) return;
  throw new ShapeError(
    `Cannot take the ${what} over ${classes} classes with weights of shape ${
      shapeText(weight.shape)
    }: there must be one per class, shape [${classes}]`,
  );
}

/**
 * The labels as i32 with extent 1 at the axis of the classes, to broadcast
 * against the scores.
 *
 * @throws {DTypeError} when they are no integers.
 * @throws {ShapeError} when their shape is not that of the scores without classes.
 * @throws {IndexError} when one is no class and not `ignoreIndex` (if there is one).
 */
export function classLabels(
  what: string,
  x: Tensor,
  target: Tensor,
  ignoreIndex?: number,
): Tensor {
  const expected = withoutClasses(x.shape);
  if (!holdsLabels(target)) {
    throw new DTypeError(
      `Cannot take the ${what} with labels of dtype ${target.dtype}: labels are class numbers; convert with .cast("i64")`,
    );
  }
  if (!sameShape(target.shape, expected)) {
    throw new ShapeError(
      `Cannot take the ${what} of a tensor of shape ${
        shapeText(x.shape)
      } with labels of shape ${
        shapeText(target.shape)
      }: there must be one label per row, shape ${shapeText(expected)}`,
    );
  }
  target.materialize();
  const type = k.computeType(target.dtype) as "i32" | "i64";
  const classes = x.shape[classAxis(x.shape)];
  const skips = ignoreIndex !== undefined;
  const failed = (elements: Value) => {
    const bad = integers(elements).find((label) =>
      (label < 0 || label >= classes) && label !== ignoreIndex
    );
    const exception = skips
      ? `, or ${ignoreIndex} where they are to be ignored`
      : "";
    return new IndexError(
      `Cannot take the ${what} with label ${bad} among ${classes} classes: labels must be from 0 to ${
        classes - 1
      }${exception}`,
    );
  };
  const own = target.size === 0 ? undefined : flagFor(target.value, failed);
  const form = skips ? " or ignored" : "";
  const kernel = {
    space: expected,
    streams: [target.value],
    scalars: skips ? [classes, ignoreIndex] : [classes],
    scalarTypes: skips ? [type, type] : [type],
    passes: 1,
  };
  const parts = ({ streams: [label], scalars: [end, ignored] }: RowBuilder) => {
    const outside = k.or(k.lt(label, 0), k.ge(label, end));
    return {
      label: {
        dtype: "i32",
        per: "element",
        value: k.cast(label, "i32"),
      } satisfies Output,
      wrong: ignored === undefined
        ? outside
        : k.and(outside, k.ne(label, ignored)),
    };
  };
  const [labels, flag] = own !== undefined
    ? runRows(x.device, {
      ...kernel,
      name: `class labels${form} or refuse`,
      axes: [],
      flag: own,
      build: (builder) => {
        const { label, wrong } = parts(builder);
        return { stages: [], outputs: [label], refuses: wrong };
      },
    })
    : runRows(x.device, {
      ...kernel,
      name: `class labels${form}`,
      axes: expected.map((_, d) => d),
      build: (builder) => {
        const { label, wrong } = parts(builder);
        const found = k.stage(0, "i32");
        return {
          stages: [{ op: "max", value: k.cast(wrong, "i32") }],
          outputs: [label, { dtype: "i32", per: "row", value: found }],
        };
      },
    });
  if (target.size === 0) flag.release();
  else if (flag !== undefined) refuseFlagged(flag, target.value, failed);
  const shape = oneClass(x.shape);
  const strides = shape.map((_, d) =>
    shape.slice(d + 1).reduce((a, b) => a * b, 1)
  );
  const view = labels.view(shape, strides, 0);
  labels.release();
  return new Tensor(view);
}
