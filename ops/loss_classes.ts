/**
 * Losses of classification among many classes: one kernel forward, which
 * stores no probabilities, and one backward.
 *
 * @module
 */

import type { DType } from "../core/dtype.ts";
import { ShapeError, shapeText } from "../core/errors.ts";
import { contiguous, type RowBuilder, runRows } from "../core/row_kernels.ts";
import { operator, type Sample } from "../core/op.ts";
import { sameShape, type Shape } from "../core/shape.ts";
import { Tensor } from "../core/tensor.ts";
import type { Value } from "../core/value.ts";
import * as k from "../kernel/expr.ts";
import type { Expr } from "../kernel/expr.ts";
import type { Output, Stage } from "../kernel/program.ts";
import { div, mul, neg, sub } from "./arithmetic.ts";
import {
  classAxis,
  classLabels,
  holdsLabels,
  oneClass,
  requireClasses,
  requireClassWeight,
  withoutClasses,
} from "./class_labels.ts";
import { Elementwise } from "./engine.ts";
import { reshape, sum } from "./foundation.ts";
import { fused, type FusedContext, type FusedResults } from "./fused.ts";
import {
  checkReduction,
  type LossOptions,
  type LossReduction,
  reduceLoss,
} from "./loss_reduction.ts";
import { inDType, requireFloat } from "./reduce_rows.ts";
import { t } from "./samples.ts";
import { logSoftmax, softmax } from "./softmax.ts";

/** Options of {@linkcode nllLoss}. */
export interface NllOptions extends LossOptions {
  /** Factor of each class's loss, one per class; `mean` divides by the sum of those that count. */
  weight?: Tensor;
  /** Label of rows that do not count; −100 when omitted. */
  ignoreIndex?: number;
}

/** Options of {@linkcode crossEntropy}. */
export interface CrossEntropyOptions extends NllOptions {
  /** Share of each target that is spread over all classes; 0 when omitted. */
  labelSmoothing?: number;
}

interface ClassAttrs {
  readonly reduction: LossReduction;
  readonly ignoreIndex: number;
}

/** What a loss with labels is told. */
interface Setting extends ClassAttrs {
  readonly name: "crossEntropy" | "nllLoss";
  readonly smoothing: number;
}

/** A loss with labels, ready for its kernels. */
interface Labelled extends Setting {
  readonly x: Tensor;
  /** Labels, i32, with extent 1 at the axis of the classes. */
  readonly labels: Tensor;
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

/** Runs a kernel over the scores; `build` must be determined by `name`. */
function runLabelled(
  loss: Labelled,
  name: string,
  perRow: boolean,
  rest: readonly Tensor[],
  build: (e: Element) => { stages: Stage[]; outputs: Output[] },
): Value[] {
  const { x, labels, smoothing } = loss;
  const axis = classAxis(x.shape);
  const type = k.computeType(x.dtype);
  const classes = x.shape[axis];
  const smooth = smoothing !== 0;
  const streams = [x.value, labels.value];
  const weight = loss.weight && contiguous(loss.weight.value);
  const weighted = weight !== undefined;
  if (weighted) streams.push(alongClasses(weight, x.shape));
  if (weighted && smooth) streams.push(sum(loss.weight!).value);
  const own = streams.length;
  streams.push(...rest.map((r) => r.value));
  const results = runRows(x.device, {
    name: `${loss.name} ${name}${weighted ? " weighted" : ""}${
      smooth ? " smooth" : ""
    }`,
    space: x.shape,
    axes: perRow ? [axis] : [],
    streams,
    tables: weighted ? [weight] : [],
    scalars: [loss.ignoreIndex, smoothing, classes],
    scalarTypes: ["i32", type, type],
    passes: 2,
    build: ({ streams, scalars, coord, load }: RowBuilder) => {
      const [x, label] = streams;
      const [ignored, epsilon, count] = scalars;
      const one = k.constant(1, type);
      const labelWeight = weighted ? k.cast(load(0, label), type) : one;
      return build({
        x,
        counts: k.ne(label, ignored),
        isLabel: k.eq(coord(axis), label),
        labelWeight,
        weight: weighted ? k.cast(streams[2], type) : one,
        own: smooth ? k.mul(k.sub(1, epsilon), labelWeight) : labelWeight,
        spread: k.div(epsilon, count),
        total: weighted && smooth ? k.cast(streams[3], type) : count,
        rest: streams.slice(own),
      });
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

/** Losses of the rows, their factors in the mean, and (for crossEntropy) log Σ eˣ. */
function rowLosses(loss: Labelled): Value[] {
  const dtype = computeDType(loss.x.dtype);
  const entropy = loss.name === "crossEntropy";
  const smooth = loss.smoothing !== 0;
  return runLabelled(loss, "rows", true, [], (e) => {
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
      ...(entropy ? [logSum] : []),
    ];
    return {
      stages,
      outputs: outputs.map((value) => ({ dtype, per: "row", value })),
    };
  });
}

/** Σ loss / Σ factor as the result, and Σ factor. */
function weightedMean(loss: Tensor, factor: Tensor, dtype: DType): Tensor[] {
  const type = k.computeType(loss.dtype);
  return runRows(loss.device, {
    name: `weighted mean ${dtype}`,
    space: loss.shape,
    axes: loss.shape.map((_, d) => d),
    streams: [loss.value, factor.value],
    passes: 1,
    build: ({ streams }) => {
      const total = k.stage(1, type);
      const mean = k.div(k.stage(0, type), total);
      return {
        stages: streams.map((value) => ({ op: "sum", value })),
        outputs: [
          { dtype, per: "row", value: k.roundTo(mean, dtype) },
          { dtype: loss.dtype, per: "row", value: total },
        ],
      };
    },
  }).map((value) => new Tensor(value));
}

/** Forward: the reduced loss; extras are the labels, the divisor of a mean, and log Σ eˣ. */
function computeLabelled(loss: Labelled): FusedResults {
  const { x, labels, reduction } = loss;
  const [losses, factors, ...logSums] = rowLosses(loss).map((value) =>
    new Tensor(value)
  );
  let output: Tensor;
  let divisor: Tensor;
  if (reduction === "mean") {
    [output, divisor] = weightedMean(losses, factors, x.dtype);
  } else {
    output = inDType(reduction === "sum" ? sum(losses) : losses, x.dtype);
    divisor = factors;
  }
  const kept = logSums.map((s) => reshape(s, oneClass(x.shape)));
  return { outputs: [output], extras: [labels, divisor, ...kept] };
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
  const loss = { ...setting, x, labels, weight };
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

function labelledLoss(
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
    compute: () => {
      const labels = classLabels(name, x, target, ignoreIndex);
      return computeLabelled({ ...setting, x, labels, weight });
    },
    gradient: (context) => [gradientLabelled(setting, context)],
  })[0];
}

// ---- nllLoss ----

/** A loss of scores of classes, [classes] or [batch, classes, …], with targets. */
export type ClassLoss<Options> = (
  x: Tensor,
  target: Tensor,
  options?: Options,
) => Tensor;

function bindClasses<Options extends { weight?: Tensor }>(
  x: Tensor,
  target: Tensor,
  options?: Options,
) {
  const { weight, ...attrs } = options ?? {} as Options;
  return { inputs: [x, target, weight], attrs };
}

function labels(shape: readonly number[], data: readonly number[]) {
  return t(shape, { dtype: "i64", data });
}

const weights = (n: number) => t([n], { low: 0.5, grad: false });

const labelCalls: Sample[] = [
  [t([3, 4]), labels([3], [0, 3, 1])],
  [t([3, 4]), labels([3], [0, 3, 1]), { reduction: "none" }],
  [t([3, 4]), labels([3], [0, 3, 1]), { reduction: "sum" }],
  [t([4]), labels([], [2])],
  [t([2, 3, 2]), labels([2, 2], [0, 2, 1, 1])],
  [t([2, 3, 2, 2]), labels([2, 2, 2], [0, 2, 1, 1, 0, 0, 2, 1]), {
    reduction: "none",
    ignoreIndex: 2,
  }],
  [t([3, 4]), labels([3], [0, -100, 1])],
  [t([3, 4]), labels([3], [0, 3, 1]), { weight: weights(4) }],
  [t([3, 4]), labels([3], [0, -1, 1]), {
    weight: weights(4),
    ignoreIndex: -1,
    reduction: "sum",
  }],
  [t([2, 3], { dtype: "f64" }), labels([2], [0, 2])],
  [t([2, 3], { dtype: "bf16" }), labels([2], [0, 2])],
  [t([0, 3]), labels([0], []), { reduction: "sum" }],
];

/**
 * Negative log-likelihood of labels, given log-probabilities of classes:
 * −w_y·x_y. Scores are [classes] or [batch, classes, …].
 *
 * @throws {ShapeError} when the shapes do not fit.
 * @throws {IndexError} when a label is no class.
 */
export const nllLoss: ClassLoss<NllOptions> = operator<
  ClassLoss<NllOptions>,
  ClassAttrs
>({
  name: "nllLoss",
  family: "loss",
  inputs: ["x", "target", "weight"],
  attrs: { reduction: "mean", ignoreIndex: -100 },
  bind: bindClasses,
  formula: "−w_y·x_y",
  torch: "F.nll_loss(x, target, weight, ignore_index=ignoreIndex," +
    " reduction=reduction)",
  onnx: "NegativeLogLikelihoodLoss",
  run: (operands, attrs) =>
    labelledLoss({ name: "nllLoss", smoothing: 0, ...attrs }, operands),
  samples: labelCalls,
});

// ---- crossEntropy ----

/** −w·((1 − ε)·t + ε/classes)·log p */
const probabilityLoss = new Elementwise(
  "cross entropy of probabilities",
  5,
  ([logP, target, weight, epsilon, share]) => {
    const mixed = k.add(k.mul(k.sub(1, epsilon), target), share);
    return k.neg(k.mul(k.mul(weight, mixed), logP));
  },
  "promote",
  false,
  2,
);

/** Cross entropy with probabilities as targets. */
function softCrossEntropy(
  [x, target, weight]: readonly Tensor[],
  reduction: LossReduction,
  epsilon: number,
): Tensor {
  requireFloat("take the crossEntropy of", x, target);
  requireClasses("crossEntropy", x);
  requireClassWeight("crossEntropy", x, weight);
  checkReduction(reduction);
  if (!sameShape(x.shape, target.shape)) {
    throw new ShapeError(
      `Cannot take the crossEntropy of a tensor of shape ${
        shapeText(x.shape)
      } with targets of shape ${
        shapeText(target.shape)
      } and dtype ${target.dtype}: probabilities need the shape of the scores, and labels (integers) shape ${
        shapeText(withoutClasses(x.shape))
      }`,
    );
  }
  const axis = classAxis(x.shape);
  const classes = x.shape[axis];
  const along = weight === undefined
    ? 1
    : reshape(weight, x.shape.map((n, d) => d === axis ? n : 1));
  const parts = probabilityLoss.apply([
    logSoftmax(x, axis),
    target,
    along,
    epsilon,
    epsilon / classes,
  ]);
  if (reduction === "none") return sum(parts, axis);
  const total = reduceLoss(parts, "sum");
  return reduction === "sum" ? total : div(total, x.size / classes);
}

const shares = (shape: readonly number[]) => t(shape, { low: 0.1, high: 0.9 });

/**
 * Cross entropy of scores (logits) of classes with labels, or with
 * probabilities of the shape of the scores: −w_y·log softmax(x)_y. Scores are
 * [classes] or [batch, classes, …]. No softmax is stored.
 *
 * @throws {ShapeError} when the shapes do not fit.
 * @throws {IndexError} when a label is no class.
 * @throws {RangeError} when the label smoothing is not from 0 to 1.
 *
 * @example
 * ```ts
 * import { tensor } from "@decaf/decaf";
 *
 * const logits = tensor([[2, 1, 0], [0, 0, 9]], { dtype: "f32" });
 * const loss = logits.crossEntropy(tensor([0, 2], { dtype: "i64" }));
 * if (Math.abs(loss.item() - 0.2039) > 1e-4) throw new Error(`${loss.item()}`);
 * ```
 */
export const crossEntropy: ClassLoss<CrossEntropyOptions> = operator<
  ClassLoss<CrossEntropyOptions>,
  ClassAttrs & { labelSmoothing: number }
>({
  name: "crossEntropy",
  family: "loss",
  inputs: ["x", "target", "weight"],
  attrs: { reduction: "mean", ignoreIndex: -100, labelSmoothing: 0 },
  bind: bindClasses,
  formula: "−w_y·log softmax(x)_y",
  torch: "F.cross_entropy(x, target, weight, ignore_index=ignoreIndex," +
    " reduction=reduction, label_smoothing=labelSmoothing)",
  onnx: "SoftmaxCrossEntropyLoss",
  caffe2: "SoftmaxWithLoss",
  run: (operands, { labelSmoothing, ...attrs }) => {
    if (!(labelSmoothing >= 0 && labelSmoothing <= 1)) {
      throw new RangeError(
        `Cannot take the crossEntropy with label smoothing ${labelSmoothing}: it must be from 0 to 1`,
      );
    }
    if (!holdsLabels(operands[1])) {
      return softCrossEntropy(operands, attrs.reduction, labelSmoothing);
    }
    const setting = {
      name: "crossEntropy",
      smoothing: labelSmoothing,
    } as const;
    return labelledLoss({ ...setting, ...attrs }, operands);
  },
  samples: [
    ...labelCalls,
    [t([3, 4]), labels([3], [0, 3, 1]), { labelSmoothing: 0.1 }],
    [t([3, 4]), labels([3], [0, -100, 1]), { labelSmoothing: 0.1 }],
    [t([2, 3, 2]), labels([2, 2], [0, 2, 1, -1]), {
      labelSmoothing: 0.2,
      weight: weights(3),
      ignoreIndex: -1,
    }],
    [t([3, 4]), labels([3], [0, 3, 1]), {
      labelSmoothing: 0.1,
      weight: weights(4),
      reduction: "none",
    }],
    [
      t([2, 3], { data: [1000, 0, -1000, 1e4, 1e4, -1e4] }),
      labels([2], [1, 0]),
    ],
    [
      t([2, 3], { data: [-Infinity, 0, 1, 2, 3, 4], grad: false }),
      labels([2], [
        1,
        0,
      ]),
    ],
    [t([2, 3]), shares([2, 3])],
    [t([3]), shares([3]), { labelSmoothing: 0.3 }],
    [t([2, 3, 2]), shares([2, 3, 2]), {
      weight: weights(3),
      labelSmoothing: 0.1,
      reduction: "none",
    }],
    [t([2, 3]), shares([2, 3]), { reduction: "sum" }],
  ],
});
