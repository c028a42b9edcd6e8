/**
 * Attention by the device's own kernels, which never store the scores.
 *
 * @module
 */

import { gradEnabled } from "../core/autograd.ts";
import { bytesOf } from "../core/dtype.ts";
import { materialize } from "../core/fuse.ts";
import { copy } from "../core/row_kernels.ts";
import { operator } from "../core/op.ts";
import type {
  AttentionGradLayout,
  AttentionSpec,
} from "../core/sequence_kernels.ts";
import { contiguousStrides, sameShape, type Shape } from "../core/shape.ts";
import { Tensor } from "../core/tensor.ts";
import { Value } from "../core/value.ts";
import { add, mul } from "./arithmetic.ts";
import { causalScores, repeatHeads } from "./attention_scores.ts";
import { batchMatmul } from "./matmul.ts";
import { releaseAll } from "./recurrent_steps.ts";
import { t } from "./samples.ts";
import { softmax } from "./softmax.ts";
import { throughDefinition } from "./through_definition.ts";
import { copyInto } from "./views.ts";

/** Attributes of {@linkcode flashAttention}. */
export interface FlashAttrs {
  /** Whether position i sees positions up to i only. */
  causal: boolean;
  /** Factor of the scores. */
  scale: number;
  /** Share of the weights that `kept` drops. */
  dropout: number;
  /** Whether a gradient will be asked for. */
  training: boolean;
}

type Extents4 = readonly [number, number, number, number];

/** What the device needs to know of a case. */
export function attentionSpec(
  [q, k, v, bias]: readonly Tensor[],
  { causal, scale, dropout, training }: FlashAttrs,
): AttentionSpec {
  const [batch, heads, queries, depth] = q.shape;
  return {
    dtype: q.dtype,
    batch,
    heads,
    groups: k.shape[1],
    queries,
    keys: k.shape[2],
    depth,
    width: v.shape[3],
    scale,
    causal,
    bias: bias?.shape as Extents4 | undefined,
    dropout,
    training,
  };
}

/** The same by operators that store the scores. */
function withScores(
  [q, k, v, bias, kept]: readonly Tensor[],
  { causal, scale, dropout }: FlashAttrs,
): Tensor {
  let scores = mul(
    batchMatmul(q, repeatHeads(k, q), { transposeB: true }),
    scale,
  );
  if (bias !== undefined) scores = add(scores, bias);
  if (causal) scores = causalScores(scores);
  let weights = softmax(scores, -1);
  if (kept !== undefined) weights = mul(weights, mul(kept, 1 / (1 - dropout)));
  return batchMatmul(weights, repeatHeads(v, q));
}

/** Bytes that addresses of rows must be multiples of. */
const alignment = 16;

function unitOf({ dtype }: Value): number {
  return alignment / bytesOf(dtype);
}

/** Whether kernels can read the value where it lies: rows without gaps that start at multiples of 16 bytes. */
function fits(value: Value): boolean {
  const { shape, strides, offset } = value;
  const unit = unitOf(value);
  if (offset % unit !== 0 || strides[3] !== 1) return false;
  for (let d = 0; d < 3; d++) {
    if (shape[d] === 1) continue;
    if (!(strides[d] > 0) || strides[d] % unit !== 0) return false;
  }
  return true;
}

/** The value as kernels can read it: itself, or a copy. */
function readable(value: Value): Value {
  materialize(value);
  return fits(value) ? value.retain() : copy(value);
}

/** The same, row-major. */
function rowMajor(value: Value): Value {
  materialize(value);
  const lies = value.contiguous && value.offset % unitOf(value) === 0;
  return lies ? value.retain() : copy(value);
}

/** Steps of the value as kernels will read it. */
function stepsOf(value: Value): readonly number[] {
  materialize(value);
  return fits(value) ? value.strides : contiguousStrides(value.shape);
}

/** Steps of [batch, heads, time, width] in the order of others: by heads or by time. */
function orderedLike(
  steps: readonly number[],
  [, heads, time]: Shape,
  width: number,
): number[] {
  return steps[1] >= steps[2]
    ? [heads * time * width, time * width, width, 1]
    : [heads * time * width, width, heads * width, 1];
}

/** Whether operands of one shape are read where they lie, and together fill a stretch of one block without gaps: the columns of one product, say. */
function fillStretch(values: readonly Value[]): boolean {
  const [first, second] = values;
  const step = second.offset - first.offset;
  const alike = step > 0 &&
    values.every((v, i) =>
      v.storage === first.storage && fits(v) &&
      sameShape(v.shape, first.shape) && sameShape(v.strides, first.strides) &&
      v.offset === first.offset + i * step
    );
  if (!alike) return false;
  const axes = [
    { extent: values.length, step },
    ...first.shape.map((extent, d) => ({ extent, step: first.strides[d] })),
  ].filter(({ extent }) => extent > 1).sort((a, b) => a.step - b.step);
  let inner = 1;
  return axes.every(({ extent, step }) => {
    const dense = step === inner;
    inner *= extent;
    return dense;
  });
}

/** How the operands of a case lie once kernels can read them, and their gradients, where one will be asked for. */
export function attentionLayout(
  [q, k, v]: readonly Tensor[],
  training: boolean,
): AttentionGradLayout {
  const operands = [q, k, v];
  const steps = operands.map((x) => stepsOf(x.value));
  const o = orderedLike(steps[0], q.shape, v.shape[3]);
  // Gradients of operands that fill a block together fill one alike.
  const together = !training || fillStretch(operands.map((x) => x.value));
  const [dq, dk, dv] = together
    ? steps
    : operands.map((x, i) => orderedLike(steps[i], x.shape, x.shape[3]));
  return { q: steps[0], k: steps[1], v: steps[2], o, d: o, dq, dk, dv };
}

/** Memory for a result that lies so. */
function lying(
  { device, dtype }: Tensor,
  shape: Shape,
  steps: readonly number[],
): Value {
  const whole = Value.empty(device, dtype, shape);
  const view = whole.view(shape, steps, 0);
  whole.release();
  return view;
}

/** Memory for the gradients of queries, keys and values: if those share a block, so do these, and joining them copies nothing. */
function gradientsOf(
  inputs: readonly Tensor[],
  { dq, dk, dv }: AttentionGradLayout,
): Value[] {
  const values = inputs.map((x) => x.value);
  if (!fillStretch(values)) {
    return [dq, dk, dv].map((steps, i) =>
      lying(inputs[i], inputs[i].shape, steps)
    );
  }
  const [{ device, dtype, size, offset }] = values;
  const whole = Value.empty(device, dtype, [values.length * size]);
  const views = values.map((v) =>
    whole.view(v.shape, v.strides, v.offset - offset)
  );
  whole.release();
  return views;
}

/** What a device gets that took a case before and refuses it now. */
function refused({ shape }: Tensor): Error {
  return new Error(
    `Cannot attend with queries of shape [${shape}]: the device took the case and then refused it`,
  );
}

/** Signature of {@linkcode flashAttention}. */
export type FlashAttention = (
  inputs: readonly (Tensor | undefined)[],
  attrs: FlashAttrs,
) => [Tensor];

/**
 * Attention softmax(q·kᵀ·scale + bias)·v without storing scores where the device can.
 *
 * @param inputs q [B, H, T, D], k [B, G, S, D], v [B, G, S, E], bias (f32, broadcast to [B, H, T, S]; finite), kept [B, H, T, S] of zeros and ones.
 * @returns One tensor [B, H, T, E].
 */
export const flashAttention: FlashAttention = operator<
  FlashAttention,
  FlashAttrs
>({
  name: "flashAttention",
  family: "attention",
  inputs: ["q", "k", "v", "bias", "kept"],
  attrs: { causal: false, scale: 1, dropout: 0, training: true },
  bind: (inputs, attrs) => ({ inputs, attrs }),
  formula: "softmax(q·kᵀ·scale + bias)·v",
  onnx: "Attention",
  savesOutputs: true,
  results: () => 1,
  run: (inputs, attrs) => {
    const [q, k, v, bias, kept] = inputs;
    const kernels = q.device.kernels.attention;
    const spec = attentionSpec(inputs, attrs);
    const layout = kernels && attentionLayout(inputs, attrs.training);
    if (layout === undefined || !kernels!.takes(spec, layout)) {
      return [withScores(inputs, attrs)];
    }
    const { batch, heads, queries, width } = spec;
    const o = lying(q, [batch, heads, queries, width], layout.o);
    const stats = Value.empty(q.device, "f32", [batch, heads, queries, 1]);
    const placed = [q, k, v].map((x) => readable(x.value));
    const extras = [bias, kept].map((x) => x && rowMajor(x.value));
    const took = kernels!.forward(spec, {
      q: placed[0],
      k: placed[1],
      v: placed[2],
      bias: extras[0],
      kept: extras[1],
      o,
      stats,
    });
    if (!took) throw refused(q);
    releaseAll([...placed, ...extras]);
    return [new Tensor(o), new Tensor(stats)];
  },
  // with weights p: dv = pᵀ·g, ds = p·(g·vᵀ − Σ g·o), dq = ds·k·scale, dk = dsᵀ·q·scale
  gradient: ({ inputs, outputs, grad, attrs }) => {
    const [q, k, v, bias, kept] = inputs;
    const [o, stats] = outputs;
    if (gradEnabled() || stats === undefined || !attrs.training) {
      return throughDefinition(
        (again) => [withScores(again, attrs)],
        inputs,
        [grad],
      );
    }
    const kernels = q.device.kernels.attention!;
    const spec = attentionSpec(inputs, attrs);
    const layout = attentionLayout(inputs, true);
    const [dq, dk, dv] = gradientsOf([q, k, v], layout);
    const placed = [q, k, v].map((x) => readable(x.value));
    const extras = [bias, kept].map((x) => x && rowMajor(x.value));
    const operands = {
      q: placed[0],
      k: placed[1],
      v: placed[2],
      bias: extras[0],
      kept: extras[1],
      o: o.value,
      stats: stats.value,
    };
    const back = (d: Value) =>
      kernels.backward(spec, operands, { d, dq, dk, dv });
    const arriving = readable(grad.value);
    if (!back(arriving)) {
      // A gradient that lies like the result is what the device was asked about.
      const like = lying(o, o.shape, layout.d);
      copyInto(like, arriving);
      if (!back(like)) throw refused(q);
      like.release();
    }
    releaseAll([...placed, ...extras, arriving]);
    return [new Tensor(dq), new Tensor(dk), new Tensor(dv)];
  },
  samples: [
    [[t([1, 2, 3, 2]), t([1, 2, 4, 2]), t([1, 2, 4, 3])], { scale: 0.7 }],
    [[t([1, 4, 3, 2]), t([1, 2, 3, 2]), t([1, 2, 3, 2])], { causal: true }],
    [[
      t([2, 1, 2, 2]),
      t([2, 1, 3, 2]),
      t([2, 1, 3, 2]),
      t([2, 1, 1, 3], { grad: false }),
      t([2, 1, 2, 3], {
        grad: false,
        data: [1, 0, 1, 1, 1, 1, 0, 1, 1, 1, 1, 0],
      }),
    ], { dropout: 0.25 }],
  ],
});
