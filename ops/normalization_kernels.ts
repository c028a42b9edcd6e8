/**
 * The kernels of all normalisations: rows are brought to mean 0 and variance
 * 1 (or root mean square 1), then scaled and shifted. They differ only in what
 * a row is and along which axes weight and bias stand.
 *
 * @module
 */

import type { DType } from "../core/dtype.ts";
import { materialize } from "../core/fuse.ts";
import { KernelNames } from "../core/kernel_names.ts";
import type { NormKind } from "../core/norm_kernels.ts";
import { runRows } from "../core/row_kernels.ts";
import { contiguousStrides, sameShape, type Shape } from "../core/shape.ts";
import { Tensor } from "../core/tensor.ts";
import type { Value } from "../core/value.ts";
import * as k from "../kernel/expr.ts";
import type { Expr, ScalarType } from "../kernel/expr.ts";
import type { Output, Stage } from "../kernel/program.ts";
import { mul, sub } from "./arithmetic.ts";
import { Elementwise } from "./engine.ts";
import {
  reducedShape,
  reshape,
  reshaped,
  reshapedValue,
  sumTo,
} from "./foundation.ts";
import { fused, type FusedContext } from "./fused.ts";
import { fastForward, fastGradient } from "./norm_fast.ts";
import { inDType, rowSize } from "./reduce_rows.ts";
import { mean } from "./reduction.ts";
import {
  type MovedInPlace,
  movedInPlace,
  moveRunning,
  type Running,
} from "./running_statistics.ts";

/** What is normalised and how. */
export interface Normalization {
  /** Name, for kernels and messages. */
  readonly name: string;
  /** Axes that form a row. */
  readonly axes: readonly number[];
  /** Added to the variance before the root. */
  readonly eps: number;
  /** Whether the mean is subtracted (it is not for the root mean square). */
  readonly centred: boolean;
  /** What a device may do at once, where it is one of those. */
  readonly kind?: NormKind;
  /** Running statistics of a batch, at least one of the two. */
  readonly running?: Running;
  /** Shape in which weight and bias broadcast against x; their own when omitted. */
  readonly affineShape?: Shape;
}

/** The normalisation as a fast path knows it; undefined where there can be none. */
function fastForm({ kind, axes, eps, running }: Normalization) {
  return kind && { kind, axes, eps, running };
}

/** The dtype in which statistics are kept. */
function statisticsDType(dtype: DType): DType {
  return dtype === "f64" ? "f64" : "f32";
}

/** Operands of a kernel, as expressions of the type in which x is computed. */
interface Operands {
  readonly x: Expr;
  readonly weight: Expr | undefined;
  readonly bias: Expr | undefined;
  readonly rest: readonly Expr[];
  /** Running statistics that the kernel moves, and the scalars that say how far. */
  readonly running: readonly Expr[];
  readonly shares: readonly Expr[];
  readonly type: ScalarType;
  /** Elements of a row. */
  readonly count: Expr;
  readonly eps: Expr;
}

/** A kernel of a normalisation. */
interface Kernel {
  /** Names it, with which operands there are. */
  readonly what: string;
  /** Axes that form a row of it. */
  readonly axes: readonly number[];
  /** x, weight, bias, and more. */
  readonly operands: readonly (Tensor | undefined)[];
  /** Shape in which weight, bias and running statistics are read; their own when omitted. */
  readonly along?: Shape;
  /** Running statistics that it moves: its last results, per row. */
  readonly moves?: MovedInPlace;
  /** Number of the results before those; only where it moves any. */
  readonly results?: number;
  /** Stages and results. */
  build(o: Operands): { stages: Stage[]; outputs: Output[] };
}

const kernelNames = new KernelNames();

/** The name of a kernel. */
function nameOf(
  { centred }: Normalization,
  { what, operands: [, weight, bias] }: Kernel,
): string {
  const kind = (centred ? 0 : 4) + (weight ? 2 : 0) + (bias ? 1 : 0);
  return kernelNames.of(
    what,
    kind,
    () =>
      `normalize ${what} ${centred ? "" : "root "}${weight ? "w" : ""}${
        bias ? "b" : ""
      }`,
  );
}

/** Runs a kernel over x and what stands beside it. */
function runNormalization(n: Normalization, kernel: Kernel): Value[] {
  const { axes, operands, along, moves, results = 0, build } = kernel;
  const [x, weight, bias] = operands;
  const { dtype, shape, device } = x!;
  const type = k.computeType(dtype);
  const streams: Value[] = [], views: Value[] = [];
  let steps: readonly number[] | undefined;
  const view = (value: Value) => {
    materialize(value);
    const made = value.contiguous
      ? value.view(along!, steps ??= contiguousStrides(along!), value.offset)
      : reshapedValue(value, along!);
    views.push(made);
    streams.push(made);
  };
  for (let i = 0; i < operands.length; i++) {
    const value = operands[i]?.value;
    if (value === undefined) continue;
    if (along !== undefined && (i === 1 || i === 2)) view(value);
    else streams.push(value);
  }
  const beside = streams.length;
  const scalars = [rowSize(shape, n.axes), n.eps];
  let into: (Value | undefined)[] | undefined;
  if (moves !== undefined) {
    into = new Array(results);
    for (const target of moves.targets) {
      view(target.value);
      into.push(target.value);
    }
    scalars.push(...moves.scalars);
  }
  const values = runRows(device, {
    name: nameOf(n, kernel),
    space: shape,
    axes,
    streams,
    scalars,
    scalarTypes: type === "f32" ? undefined : scalars.map(() => type),
    into,
    keepsOrder: true,
    passes: 3,
    build: ({ streams, scalars: [count, eps, ...shares] }) => {
      const exprs = streams.map((s) => k.cast(s, type));
      const running = exprs.splice(beside);
      const x = exprs.shift()!;
      return build({
        x,
        weight: weight && exprs.shift(),
        bias: bias && exprs.shift(),
        rest: exprs,
        running,
        shares,
        type,
        count,
        eps,
      });
    },
  });
  for (const made of views) made.release();
  for (const target of moves?.targets ?? []) target.value.writes++;
  return values;
}

/** An element's distance from the mean of its row. */
function centredBy(n: Normalization, x: Expr, mean: Expr): Expr {
  return n.centred ? k.sub(x, mean) : x;
}

/** What a forward kernel does besides: nothing, move running statistics (by which there are), or tell those of the batch. */
const besides = [
  "",
  " moving the mean",
  " moving the variance",
  " moving both",
  " and statistics",
];
const forwardNames = ["", " for a gradient"].flatMap((gradient) =>
  besides.map((more) => `forward${gradient}${more}`)
);

/** Normalised x, and what its gradient wants; moves the running statistics. */
function forward(
  n: Normalization,
  operands: readonly (Tensor | undefined)[],
  gradient: boolean,
): { y: Tensor; extras: Tensor[] } {
  const { dtype, shape } = operands[0]!;
  const kept = statisticsDType(dtype);
  const elements = rowSize(shape, n.axes);
  const { running } = n;
  const moves = running && movedInPlace(running, kept, elements);
  const statistics = running !== undefined && moves === undefined;
  const what = forwardNames[
    (gradient ? besides.length : 0) + (statistics ? 4 : moves?.which ?? 0)
  ];
  const perRow = (value: Expr): Output => ({ dtype: kept, per: "row", value });
  const [y, ...found] = runNormalization(n, {
    what,
    axes: n.axes,
    operands,
    along: n.affineShape,
    moves,
    results: gradient ? 3 : 1,
    build: (o) => {
      const { type, count } = o;
      const stages: Stage[] = n.centred ? [{ op: "sum", value: o.x }] : [];
      const mean = n.centred
        ? k.div(k.stage(0, type), count)
        : k.constant(0, type);
      const d = centredBy(n, o.x, mean);
      const variance = k.div(k.stage(stages.length, type), count);
      stages.push({ op: "sum", value: k.mul(d, d) });
      const scale = k.div(1, k.sqrt(k.add(variance, o.eps)));
      const factor = o.weight === undefined ? scale : k.mul(scale, o.weight);
      const y = o.bias === undefined
        ? k.mul(d, factor)
        : k.fma(d, factor, o.bias);
      const outputs: Output[] = [
        { dtype, per: "element", value: k.roundTo(y, dtype) },
      ];
      if (gradient) outputs.push(perRow(mean), perRow(scale));
      if (statistics) outputs.push(perRow(mean), perRow(variance));
      if (moves !== undefined) {
        const next = moves.next(o.running, mean, variance, o.shares);
        outputs.push(...next.map(perRow));
      }
      return { stages, outputs };
    },
  });
  const rows = found.slice(0, (gradient ? 2 : 0) + (statistics ? 2 : 0))
    .map((value) => new Tensor(value));
  if (statistics) {
    const [mean, variance] = rows.slice(-2);
    moveRunning(running!, { mean, variance }, elements);
  }
  return {
    y: new Tensor(y),
    extras: gradient
      ? rows.slice(0, 2).map((r) =>
        reshaped(r, reducedShape(shape, n.axes, true))
      )
      : [],
  };
}

/** Axes of x along which a weight of `shape` repeats. */
function repeatedAxes(shape: Shape, x: Shape): number[] {
  const lead = x.length - shape.length;
  return x.map((_, d) => d).filter((d) => d < lead || shape[d - lead] === 1);
}

/** Gradients of x, weight and bias by one or two kernels. */
function fusedGradient(
  n: Normalization,
  { inputs, extras, grad, needs }: FusedContext,
): (Tensor | undefined)[] {
  const [x, weight, bias] = inputs;
  const [average, scale] = extras;
  const affine: Tensor | undefined = weight ?? bias;
  const repeated = affine === undefined
    ? []
    : repeatedAxes(affine.shape, x.shape);
  const perRow = affine === undefined ||
    sameShape(repeated, [...n.axes]);
  const dtype = statisticsDType(x.dtype);
  const operands = [x, weight, undefined, grad, average, scale];
  const partial = (what: string, perRow: boolean, withX: boolean) =>
    runNormalization(n, {
      what,
      axes: perRow ? n.axes : repeated,
      operands,
      build: (o) => {
        const [g, mean, scale] = o.rest;
        const normal = k.mul(centredBy(n, o.x, mean), scale);
        // A weight that is one number per row leaves the sums.
        const inside = o.weight !== undefined && !rowWeight;
        const gw = inside && withX ? k.mul(g, o.weight!) : g;
        const sums = [k.stage(0, o.type), k.stage(1, o.type)];
        const outputs: Output[] = [];
        if (withX) {
          const [first, second] = sums.map((s) => k.div(s, o.count));
          const off = n.centred ? k.sub(gw, first) : gw;
          const factor = rowWeight && o.weight !== undefined
            ? k.mul(scale, o.weight)
            : scale;
          const slope = k.mul(factor, k.sub(off, k.mul(normal, second)));
          outputs.push({
            dtype: x.dtype,
            per: "element",
            value: k.roundTo(slope, x.dtype),
          });
        }
        outputs.push({ dtype, per: "row", value: sums[1] });
        outputs.push({ dtype, per: "row", value: sums[0] });
        return {
          stages: [
            { op: "sum", value: gw },
            { op: "sum", value: k.mul(gw, normal) },
          ],
          outputs,
        };
      },
    }).map((value) => new Tensor(value));
  const rowWeight = perRow;
  const result: (Tensor | undefined)[] = [];
  let sums: Tensor[] | undefined;
  if (needs(0) || (perRow && affine !== undefined)) {
    const [dx, ...rest] = partial(
      perRow ? "gradient per row" : "gradient",
      true,
      true,
    );
    result[0] = dx;
    if (perRow) sums = rest;
  }
  if (affine !== undefined && (needs(1) || needs(2))) {
    sums ??= partial("sums", false, false);
    const shaped = sums.map((s) => reshaped(s, affine.shape));
    if (weight !== undefined) result[1] = inDType(shaped[0], weight.dtype);
    if (bias !== undefined) result[2] = inDType(shaped[1], bias.dtype);
  }
  return result;
}

const reciprocalRoot = new Elementwise(
  "reciprocal root",
  2,
  ([v, eps]) => k.div(1, k.sqrt(k.add(v, eps))),
  "promote",
  false,
  1,
);

/** The same gradients in operators, so that they can be differentiated. */
function composedGradient(
  n: Normalization,
  { inputs: [x, weight, bias], grad }: FusedContext,
): (Tensor | undefined)[] {
  const kept = { keepDim: true };
  const d = n.centred ? sub(x, mean(x, n.axes, kept)) : x;
  const scale = reciprocalRoot.apply([mean(mul(d, d), n.axes, kept), n.eps]);
  const normal = mul(d, scale);
  const g = weight === undefined ? grad : mul(grad, weight);
  const off = n.centred ? sub(g, mean(g, n.axes, kept)) : g;
  const along = mean(mul(g, normal), n.axes, kept);
  // ∂x: scale·(g·w − mean(g·w) − x̂·mean(g·w·x̂));  ∂w: Σ g·x̂;  ∂b: Σ g
  return [
    inDType(mul(scale, sub(off, mul(normal, along))), x.dtype),
    weight && inDType(sumTo(mul(grad, normal), weight.shape), weight.dtype),
    bias && inDType(sumTo(grad, bias.shape), bias.dtype),
  ];
}

/**
 * Normalises the rows of x, then multiplies by the weight and adds the bias
 * (both of one shape, which broadcasts against x). Running statistics move.
 */
export function normalizeRows(
  n: Normalization,
  x: Tensor,
  weight: Tensor | undefined,
  bias: Tensor | undefined,
): Tensor {
  const inputs = [x, weight, bias];
  const fast = fastForm(n);
  const { affineShape: along } = n;
  return fused({
    name: n.name,
    inputs,
    compute: (gradient) => {
      const done = fast && fastForward(fast, x, weight, bias);
      if (done !== undefined) {
        return { outputs: [done.y], extras: [done.mean, done.inverse] };
      }
      const { y, extras } = forward(n, inputs, gradient);
      return { outputs: [y], extras };
    },
    gradient: (context) => {
      const [x, ...affine] = context.inputs;
      const shape = context.differentiable ? reshape : reshaped;
      const shaped: FusedContext = along === undefined ? context : {
        ...context,
        inputs: [x, ...affine.map((p) => p && shape(p, along))],
      };
      const grads = context.differentiable
        ? composedGradient(n, shaped)
        : (fast && fastGradient(fast, shaped)) ?? fusedGradient(n, shaped);
      if (along === undefined) return grads;
      return grads.map((g, i) =>
        g && i > 0 ? shape(g, affine[i - 1].shape) : g
      );
    },
  })[0];
}
