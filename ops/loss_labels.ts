/**
 * Losses of scores of classes with labels: one kernel forward, which stores no
 * probabilities, and one backward.
 *
 * @module
 */

import type { DeviceFlag } from "../core/device.ts";
import type { DType } from "../core/dtype.ts";
import { KernelNames } from "../core/kernel_names.ts";
import { contiguous, type RowBuilder, runRows } from "../core/row_kernels.ts";
import type { Shape } from "../core/shape.ts";
import { Tensor } from "../core/tensor.ts";
import type { Value } from "../core/value.ts";
import * as k from "../kernel/expr.ts";
import type { Expr } from "../kernel/expr.ts";
import type { Output, Stage } from "../kernel/program.ts";
import { div, mul, neg, sub } from "./arithmetic.ts";
import {
  classAxis,
  isNoClass,
  labelsOf,
  oneClass,
  requireClasses,
  requireClassWeight,
} from "./class_labels.ts";
import { reshape, sum } from "./foundation.ts";
import { fused, type FusedContext, type FusedResults } from "./fused.ts";
import { checkReduction, type LossReduction } from "./loss_reduction.ts";
import { inDType, requireFloat } from "./reduce_rows.ts";
import { softmax } from "./softmax.ts";

/** Attributes of losses with labels. */
export interface ClassAttrs {
  /** How the losses of the rows become one. */
  readonly reduction: LossReduction;
  /** Label of rows that do not count. */
  readonly ignoreIndex: number;
}

/** What a loss with labels is told. */
export interface Setting extends ClassAttrs {
  /** The loss. */
  readonly name: "crossEntropy" | "nllLoss";
  /** Share of each target that is spread over all classes. */
  readonly smoothing: number;
}

/** A loss with labels, ready for its kernels. */
interface Labelled extends Setting {
  readonly x: Tensor;
  /** Labels, with extent 1 at the axis of the classes. */
  readonly labels: Value;
  /** Set by the kernel of the rows where a label is no class. */
  readonly flag?: DeviceFlag;
  readonly weight: Tensor | undefined;
}

/** The storage type in which losses are kept until the end. */
function computeDType(dtype: DType): DType {
  return dtype === "f64" ? "f64" : "f32";
}

/** What a kernel knows at one element. */
interface Element {
  readonly x: Expr;
  /** Whether the row counts. */
  readonly counts: Expr;
  /** Whether the element is the one of the label. */
  readonly isLabel: Expr;
  /** Weight of the label's class. */
  readonly labelWeight: Expr;
  /** Weight of the element's class. */
  readonly weight: Expr;
  /** (1 − ε)·w_y: the part of the label itself. */
  readonly own: Expr;
  /** ε / classes: what is spread over each class, times its weight. */
  readonly spread: Expr;
  /** Sum of the weights of all classes. */
  readonly total: Expr;
  /** Further streams. */
  readonly rest: readonly Expr[];
}

const kernelNames = new KernelNames();

/** The name of a kernel. */
function nameOf(
  { name, weight, smoothing, flag }: Labelled,
  what: string,
): string {
  const smooth = smoothing !== 0;
  const code = (name === "crossEntropy" ? 8 : 0) + (weight ? 4 : 0) +
    (smooth ? 2 : 0) + (flag ? 1 : 0);
  return kernelNames.of(
    what,
    code,
    () =>
      `${name} ${what}${weight ? " weighted" : ""}${smooth ? " smooth" : ""}${
        flag ? " or refuse" : ""
      }`,
  );
}

/** Runs a kernel over the scores; `build` must be determined by `name`. */
function runLabelled(
  loss: Labelled,
  name: string,
  perRow: boolean,
  rest: readonly Tensor[],
  build: (e: Element) => { stages: Stage[]; outputs: Output[] },
): Value[] {
  const { x, labels, smoothing, flag } = loss;
  const axis = classAxis(x.shape);
  const type = k.computeType(x.dtype);
  const labelType = k.computeType(labels.dtype);
  const classes = x.shape[axis];
  const smooth = smoothing !== 0;
  const streams = [x.value, labels];
  const weight = loss.weight && contiguous(loss.weight.value);
  const weighted = weight !== undefined;
  if (weighted) streams.push(alongClasses(weight, x.shape));
  if (weighted && smooth) streams.push(sum(loss.weight!).value);
  const own = streams.length;
  streams.push(...rest.map((r) => r.value));
  const results = runRows(x.device, {
    name: nameOf(loss, name),
    space: x.shape,
    axes: perRow ? [axis] : [],
    streams,
    tables: weighted ? [weight] : [],
    scalars: [loss.ignoreIndex, smoothing, classes, classes],
    scalarTypes: [labelType, type, type, labelType],
    flag,
    passes: 2,
    build: ({ streams, scalars, coord, load }: RowBuilder) => {
      const [x, label] = streams;
      const [ignored, epsilon, count, end] = scalars;
      const one = k.constant(1, type);
      const at = k.cast(label, "i32");
      const labelWeight = weighted ? k.cast(load(0, at), type) : one;
      const built = build({
        x,
        counts: k.ne(label, ignored),
        isLabel: k.eq(coord(axis), at),
        labelWeight,
        weight: weighted ? k.cast(streams[2], type) : one,
        own: smooth ? k.mul(k.sub(1, epsilon), labelWeight) : labelWeight,
        spread: k.div(epsilon, count),
        total: weighted && smooth ? k.cast(streams[3], type) : count,
        rest: streams.slice(own),
      });
      return flag === undefined
        ? built
        : { ...built, refuses: isNoClass(label, end, ignored) };
    },
  });
  if (weighted) {
    streams[2].release();
    weight.release();
  }
  return results;
}

/** A view of one number per class that broadcasts against the scores. */
function alongClasses(weight: Value, shape: Shape): Value {
  const axis = classAxis(shape);
  const stride = weight.strides[0];
  return weight.view(
    shape.map((n, d) => d === axis ? n : 1),
    shape.map((_, d) => d === axis ? stride : 0),
    weight.offset,
  );
}

/** Losses of the rows, their factors in the mean, and (where crossEntropy will want it for its gradient) log Σ eˣ. */
function rowLosses(loss: Labelled, wanted: boolean): Value[] {
  const dtype = computeDType(loss.x.dtype);
  const entropy = loss.name === "crossEntropy";
  const smooth = loss.smoothing !== 0;
  const what = wanted ? "rows for a gradient" : "rows";
  return runLabelled(loss, what, true, [], (e) => {
    const { type } = e.x;
    const zero = k.constant(0, type);
    const stages: Stage[] = [
      { op: "sum", value: k.select(e.isLabel, e.x, zero) },
    ];
    if (smooth) stages.push({ op: "sum", value: k.mul(e.weight, e.x) });
    const picked = k.stage(0, type), blended = k.stage(1, type);
    let logSum = zero;
    if (entropy) {
      const top = k.stage(stages.length, type);
      stages.push({ op: "max", value: e.x });
      logSum = k.add(top, k.log(k.stage(stages.length, type)));
      stages.push({ op: "sum", value: k.exp(k.sub(e.x, top)) });
    }
    let value = k.mul(e.own, k.sub(logSum, picked));
    if (smooth) {
      const all = k.sub(k.mul(e.total, logSum), blended);
      value = k.add(value, k.mul(e.spread, all));
    }
    const outputs = [
      k.select(e.counts, value, zero),
      k.select(e.counts, e.labelWeight, zero),
      ...(entropy && wanted ? [logSum] : []),
    ];
    return {
      stages,
      outputs: outputs.map((value) => ({ dtype, per: "row", value })),
    };
  });
}

const meanNames = new KernelNames();

/** Σ loss / Σ factor as the result, and (where a gradient will want it) Σ factor. */
function weightedMean(
  loss: Value,
  factor: Value,
  dtype: DType,
  wanted: boolean,
): Tensor[] {
  const type = k.computeType(loss.dtype);
  return runRows(loss.device, {
    name: meanNames.of(
      dtype,
      wanted ? 1 : 0,
      () => `weighted mean ${dtype}${wanted ? " and its divisor" : ""}`,
    ),
    space: loss.shape,
    axes: loss.shape.map((_, d) => d),
    streams: [loss, factor],
    passes: 1,
    build: ({ streams }) => {
      const total = k.stage(1, type);
      const mean = k.div(k.stage(0, type), total);
      const result: Output = {
        dtype,
        per: "row",
        value: k.roundTo(mean, dtype),
      };
      const divisor: Output = { dtype: loss.dtype, per: "row", value: total };
      return {
        stages: streams.map((value) => ({ op: "sum", value })),
        outputs: wanted ? [result, divisor] : [result],
      };
    },
  }).map((value) => new Tensor(value));
}

/** Forward, which takes the labels over: the reduced loss; extras, where a gradient is wanted, are the labels, the divisor of a mean, and log Σ eˣ. */
function computeLabelled(loss: Labelled, wanted: boolean): FusedResults {
  const { x, labels, reduction } = loss;
  const [losses, factors, ...logSums] = rowLosses(loss, wanted);
  let output: Tensor;
  let divisor: Tensor | undefined;
  if (reduction === "mean") {
    [output, divisor] = weightedMean(losses, factors, x.dtype, wanted);
    losses.release();
    factors.release();
  } else {
    const rows = new Tensor(losses);
    output = inDType(reduction === "sum" ? sum(rows) : rows, x.dtype);
    divisor = new Tensor(factors);
  }
  if (!wanted) {
    labels.release();
    return { outputs: [output], extras: [] };
  }
  const kept = logSums.map((s) => reshape(new Tensor(s), oneClass(x.shape)));
  return {
    outputs: [output],
    extras: [new Tensor(labels), divisor!, ...kept],
  };
}

/** The arriving gradient, as it stands beside the rows. */
function rowGradient(
  grad: Tensor,
  reduction: LossReduction,
  shape: Shape,
): Tensor {
  return reduction === "none" ? reshape(grad, oneClass(shape)) : grad;
}

/** The share of each class in the target, times its weight; 0 in rows that do not count. */
function targetOf(e: Element, smooth: boolean): Expr {
  const zero = k.constant(0, e.x.type);
  const own = k.select(e.isLabel, e.own, zero);
  const target = smooth ? k.add(own, k.mul(e.spread, e.weight)) : own;
  return k.select(e.counts, target, zero);
}

/** The sum of a row's targets. */
function massOf(e: Element, smooth: boolean): Expr {
  const mass = smooth ? k.add(e.own, k.mul(e.spread, e.total)) : e.own;
  return k.select(e.counts, mass, k.constant(0, e.x.type));
}

/** ∂: g·(R·softmax x − T), with T the targets and R their sum; for log-probabilities −g·T. */
function gradientLabelled(
  setting: Setting,
  { inputs: [x, weight], extras, grad, differentiable }: FusedContext,
): Tensor {
  const [labels, divisor, logSum] = extras;
  const loss = { ...setting, x, labels: labels.value, weight };
  const entropy = loss.name === "crossEntropy";
  const smooth = loss.smoothing !== 0;
  const dtype = computeDType(x.dtype);
  const arriving = rowGradient(grad, loss.reduction, x.shape);
  const averaged = loss.reduction === "mean";
  if (differentiable) {
    const g = averaged ? div(arriving, divisor) : arriving;
    const [targets, masses] = runLabelled(loss, "targets", false, [], (e) => ({
      stages: [],
      outputs: [targetOf(e, smooth), massOf(e, smooth)].map((value) => ({
        dtype,
        per: "element",
        value,
      })),
    })).map((value) => new Tensor(value));
    if (!entropy) return inDType(neg(mul(g, targets)), x.dtype);
    const expected = mul(masses, softmax(x, classAxis(x.shape)));
    return inDType(mul(g, sub(expected, targets)), x.dtype);
  }
  const rest = [
    arriving,
    ...averaged ? [divisor] : [],
    ...entropy ? [logSum] : [],
  ];
  const what = averaged ? "gradient of the mean" : "gradient";
  const [value] = runLabelled(loss, what, false, rest, (e) => {
    const { type } = e.x;
    const read = e.rest.map((r) => k.cast(r, type));
    const g = averaged ? k.div(read[0], read[1]) : read[0];
    const logSum = read[read.length - 1];
    const target = targetOf(e, smooth);
    const slope = entropy
      ? k.sub(k.mul(massOf(e, smooth), k.exp(k.sub(e.x, logSum))), target)
      : k.neg(target);
    return {
      stages: [],
      outputs: [{
        dtype: x.dtype,
        per: "element",
        value: k.roundTo(k.mul(g, slope), x.dtype),
      }],
    };
  });
  return new Tensor(value);
}

/** The loss of scores x with labels and, perhaps, a weight for each class. */
export function labelledLoss(
  setting: Setting,
  [x, target, weight]: readonly Tensor[],
): Tensor {
  const { name, reduction, ignoreIndex } = setting;
  requireFloat(`take the ${name} of`, x);
  requireClasses(name, x);
  requireClassWeight(name, x, weight);
  checkReduction(reduction);
  return fused({
    name,
    inputs: [x, weight],
    compute: (wanted) => {
      const { labels, flag } = labelsOf(name, x, target, ignoreIndex);
      const { smoothing } = setting;
      return computeLabelled({
        name,
        smoothing,
        reduction,
        ignoreIndex,
        x,
        weight,
        labels,
        flag,
      }, wanted);
    },
    gradient: (context) => [gradientLabelled(setting, context)],
  })[0];
}
