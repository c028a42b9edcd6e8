/**
 * How normalisations ask a device for a fast path.
 *
 * @module
 */

import type { NormKernels, NormKind, NormSpec } from "../core/norm_kernels.ts";
import { contiguous, dense } from "../core/row_kernels.ts";
import { type Shape, sizeOf } from "../core/shape.ts";
import { Tensor } from "../core/tensor.ts";
import { Value } from "../core/value.ts";
import { fill, reducedShape } from "./foundation.ts";
import type { FusedContext } from "./fused.ts";
import { liesFree, type Running } from "./running_statistics.ts";

/** A normalisation that a device may do at once. */
export interface FastNorm {
  /** What is normalised together. */
  readonly kind: NormKind;
  /** Axes that are. */
  readonly axes: readonly number[];
  /** Added to the variance before the root. */
  readonly eps: number;
  /** Running statistics, where they are kept. */
  readonly running?: Running;
}

/** What a fast path computed: the result, and what its gradient wants. */
export interface FastResult {
  /** Result. */
  readonly y: Tensor;
  /** Means, with extent 1 along the axes. */
  readonly mean: Tensor;
  /** Reciprocal deviations, likewise. */
  readonly inverse: Tensor;
}

/** A normalisation as a device sees it; undefined where it has no fast path. */
function asked(
  { kind, axes, eps }: FastNorm,
  x: Tensor,
): { kernels: NormKernels; spec: NormSpec } | undefined {
  const { normalization: kernels } = x.device.kernels;
  if (kernels === undefined || x.size === 0) return undefined;
  const { dtype } = x;
  let shape: Shape = x.shape;
  let channelsLast = false;
  if (kind === "batch") {
    // Channels that are alone at their position lie last.
    channelsLast = x.rank === 2 || x.value.channelsLast;
  } else {
    const elements = sizeOf(axes.map((d) => shape[d]));
    shape = kind === "instance"
      ? [shape[0], shape[1], elements]
      : [x.size / elements, elements];
  }
  const spec = { kind, dtype, shape, channelsLast, eps };
  return kernels.takes(spec) ? { kernels, spec } : undefined;
}

/** The order of memory of the result, where it is not row by row. */
function orderOf(
  { channelsLast }: NormSpec,
  { value }: Tensor,
): readonly number[] | undefined {
  return channelsLast && value.channelsLast ? value.strides : undefined;
}

/** Whether a parameter is a vector of f32. */
function plain(parameter: Tensor | undefined): parameter is Tensor {
  return parameter?.dtype === "f32";
}

/** Normalises by a fast path; undefined when there is none. */
export function fastForward(
  n: FastNorm,
  x: Tensor,
  weight: Tensor | undefined,
  bias: Tensor | undefined,
): FastResult | undefined {
  const found = asked(n, x);
  if (found === undefined || !plain(weight)) return undefined;
  const centred = n.kind !== "rms";
  if (centred !== plain(bias)) return undefined;
  const running = runningOf(n.running);
  if (running === "not in place") return undefined;
  const { kernels, spec } = found;
  const { device, dtype, shape } = x;
  const order = orderOf(spec, x);
  const kept = reducedShape(shape, n.axes, true);
  const operands: Value[] = [];
  try {
    operands.push(dense(x.value, order), contiguous(weight.value));
    if (centred) operands.push(contiguous(bias!.value));
    const y = new Tensor(Value.empty(device, dtype, shape, order));
    const inverse = new Tensor(Value.empty(device, "f32", kept));
    const mean = centred
      ? new Tensor(Value.empty(device, "f32", kept))
      : undefined;
    const done = kernels.forward(spec, {
      x: operands[0],
      weight: operands[1],
      bias: operands[2],
      running,
      y: y.value,
      mean: mean?.value,
      inverse: inverse.value,
    });
    if (done) {
      for (const overwritten of [running?.mean, running?.variance]) {
        if (overwritten !== undefined) overwritten.writes++;
      }
      return { y, inverse, mean: mean ?? fill(kept, 0, "f32", device) };
    }
    for (const unused of [y, inverse, mean]) unused?.dispose();
    return undefined;
  } finally {
    for (const value of operands) value.release();
  }
}

/** Running statistics that can be overwritten where they lie. */
function runningOf(running: Running | undefined) {
  if (running === undefined) return undefined;
  const { mean, variance, momentum } = running;
  if (!liesFree(mean, "f32") || !liesFree(variance, "f32")) {
    return "not in place";
  }
  return { mean: mean.value, variance: variance.value, share: momentum };
}

/** The gradients of x, weight and bias by a fast path; undefined when there is none. */
export function fastGradient(
  n: FastNorm,
  { inputs: [x, weight, bias], extras: [mean, inverse], grad }: FusedContext,
): (Tensor | undefined)[] | undefined {
  const found = asked(n, x);
  if (found === undefined || !plain(weight)) return undefined;
  const centred = n.kind !== "rms";
  if (centred !== plain(bias)) return undefined;
  const { kernels, spec } = found;
  const { device, dtype, shape } = x;
  const order = orderOf(spec, x);
  const operands: Value[] = [];
  try {
    operands.push(dense(x.value, order), dense(grad.value, order));
    for (const each of [weight, inverse]) {
      operands.push(contiguous(each.value));
    }
    if (centred) operands.push(contiguous(mean.value));
    const dx = new Tensor(Value.empty(device, dtype, shape, order));
    const like = () => new Tensor(Value.empty(device, "f32", weight.shape));
    const dweight = like();
    const dbias = centred ? like() : undefined;
    const done = kernels.gradient(spec, {
      x: operands[0],
      dy: operands[1],
      weight: operands[2],
      inverse: operands[3],
      mean: operands[4],
      dx: dx.value,
      dweight: dweight.value,
      dbias: dbias?.value,
    });
    if (done) return [dx, dweight, dbias];
    for (const unused of [dx, dweight, dbias]) unused?.dispose();
    return undefined;
  } finally {
    for (const value of operands) value.release();
  }
}
