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
import type { DeviceFlag } from "../core/device.ts";
import { runRows } from "../core/row_kernels.ts";
import { sameShape, type Shape } from "../core/shape.ts";
import { Tensor } from "../core/tensor.ts";
import type { Value } from "../core/value.ts";
import * as k from "../kernel/expr.ts";
import type { Expr } from "../kernel/expr.ts";
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

/** What labels of one call have to be. */
interface LabelRule {
  /** The operator. */
  readonly what: string;
  readonly classes: number;
  /** Label that is allowed besides the classes. */
  readonly ignoreIndex: number | undefined;
}

function requireLabels(
  { what }: LabelRule,
  x: Tensor,
  target: Tensor,
): void {
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
}

/** The error for labels some of which are no class. */
function noClass(
  { what, classes, ignoreIndex }: LabelRule,
  labels: Value,
): IndexError {
  const bad = integers(labels).find((label) =>
    (label < 0 || label >= classes) && label !== ignoreIndex
  );
  const exception = ignoreIndex === undefined
    ? ""
    : `, or ${ignoreIndex} where they are to be ignored`;
  return new IndexError(
    `Cannot take the ${what} with label ${bad} among ${classes} classes: labels must be from 0 to ${
      classes - 1
    }${exception}`,
  );
}

/** Whether a label is neither a class, of which there are `end`, nor the one that is ignored. */
export function isNoClass(label: Expr, end: Expr, ignored?: Expr): Expr {
  const outside = k.or(k.lt(label, 0), k.ge(label, end));
  return ignored === undefined ? outside : k.and(outside, k.ne(label, ignored));
}

/** Labels as they are, with extent 1 at the axis of the classes. */
function besideScores(value: Value, x: Tensor): Value {
  const axis = classAxis(x.shape);
  const strides = [...value.strides];
  strides.splice(axis, 0, 0);
  return value.view(oneClass(x.shape), strides, value.offset);
}

/** Labels beside scores; whoever asked for them releases them. */
export interface Labels {
  /** Integers, with extent 1 at the axis of the classes, to broadcast against the scores. */
  readonly labels: Value;
  /** What the kernel that reads them sets where {@linkcode isNoClass}; undefined where they have been checked. */
  readonly flag: DeviceFlag | undefined;
}

/**
 * Labels for a kernel that can check them itself.
 *
 * @throws {DTypeError} when they are no integers.
 * @throws {ShapeError} when their shape is not that of the scores without classes.
 * @throws {IndexError} when one is no class and not `ignoreIndex`, unless the kernel finds that out.
 */
export function labelsOf(
  what: string,
  x: Tensor,
  target: Tensor,
  ignoreIndex: number,
): Labels {
  const rule = { what, classes: x.shape[classAxis(x.shape)], ignoreIndex };
  requireLabels(rule, x, target);
  const { value } = target.materialize();
  const flag = target.size === 0
    ? undefined
    : flagFor(value, (labels) => noClass(rule, labels));
  const labels = flag === undefined
    ? checkedLabels(rule, x, value)
    : besideScores(value, x);
  return { labels, flag };
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
  const rule = { what, classes: x.shape[classAxis(x.shape)], ignoreIndex };
  requireLabels(rule, x, target);
  return new Tensor(checkedLabels(rule, x, target.materialize().value));
}

/** The same, by a kernel that checks them. */
function checkedLabels(rule: LabelRule, x: Tensor, value: Value): Value {
  const { classes, ignoreIndex } = rule;
  const { shape } = value;
  const type = k.computeType(value.dtype) as "i32" | "i64";
  const skips = ignoreIndex !== undefined;
  const [labels, flag] = runRows(x.device, {
    name: `class labels${skips ? " or ignored" : ""}`,
    space: shape,
    axes: shape.map((_, d) => d),
    streams: [value],
    scalars: skips ? [classes, ignoreIndex] : [classes],
    scalarTypes: skips ? [type, type] : [type],
    passes: 1,
    build: ({ streams: [label], scalars: [end, ignored] }) => ({
      stages: [{
        op: "max",
        value: k.cast(isNoClass(label, end, ignored), "i32"),
      }],
      outputs: [
        { dtype: "i32", per: "element", value: k.cast(label, "i32") },
        { dtype: "i32", per: "row", value: k.stage(0, "i32") },
      ],
    }),
  });
  if (value.size === 0) flag.release();
  else refuseFlagged(flag, value, (labels) => noClass(rule, labels));
  const beside = besideScores(labels, x);
  labels.release();
  return beside;
}
