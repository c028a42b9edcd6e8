/**
 * Attention by the device's own kernels, which never store the scores.
 *
 * @module
 */

import { gradEnabled } from "../core/autograd.ts";
import { bytesOf } from "../core/dtype.ts";
import { contiguous, copy, materialize } from "../core/fuse.ts";
import { operator } from "../core/op.ts";
import type { AttentionSpec } from "../core/sequence_kernels.ts";
import { Tensor } from "../core/tensor.ts";
import { Value } from "../core/value.ts";
import { add, mul } from "./arithmetic.ts";
import { causalScores, repeatHeads } from "./attention_scores.ts";
import { batchMatmul } from "./matmul.ts";
import { releaseAll } from "./recurrent_steps.ts";
import { t } from "./samples.ts";
import { softmax } from "./softmax.ts";
import { throughDefinition } from "./through_definition.ts";

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

/** The value as kernels can read it where it lies: rows without gaps that start at multiples of 16 bytes; otherwise a copy. */
function readable(value: Value): Value {
  materialize(value);
  const { strides, offset, dtype } = value;
  const unit = alignment / bytesOf(dtype);
  const fits = strides[3] === 1 && offset % unit === 0 &&
    strides.slice(0, 3).every((n) => n > 0 && n % unit === 0);
  return fits ? value.retain() : copy(value);
}

/** Memory for [batch, heads, time, width] in the order in which `like` lies: by heads or by time. */
function resultLike(like: Value, width: number): Value {
  const [batch, heads, time] = like.shape;
  const { device, dtype, strides } = like;
  if (strides[1] >= strides[2]) {
    return Value.empty(device, dtype, [batch, heads, time, width]);
  }
  const whole = Value.empty(device, dtype, [batch, time, heads, width]);
  const steps = [time * heads * width, width, heads * width, 1];
  const view = whole.view([batch, heads, time, width], steps, 0);
  whole.release();
  return view;
}

/** Runs a kernel on operands where they lie, and on copies where it does not take that. */
function run(
  values: readonly (Value | undefined)[],
  kernel: (values: readonly (Value | undefined)[]) => boolean,
): void {
  const placed = values.map((v) => v && readable(v));
  const took = kernel(placed);
  releaseAll(placed);
  if (took) return;
  const dense = values.map((v) => v && contiguous(v));
  if (!kernel(dense)) {
    throw new Error(
      `Cannot attend with operands of shapes ${
        values.map((v) => v && `[${v.shape}]`).join(", ")
      }: the device took the case and then refused it`,
    );
  }
  releaseAll(dense);
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
  savesOutputs: true,
  results: () => 1,
  run: (inputs, attrs) => {
    const [q, k, v, bias, kept] = inputs;
    const kernels = q.device.kernels.attention;
    const spec = attentionSpec(inputs, attrs);
    if (!kernels?.takes(spec)) return [withScores(inputs, attrs)];
    materialize(q.value);
    const o = resultLike(q.value, spec.width);
    const { batch, heads, queries } = spec;
    const stats = Value.empty(q.device, "f32", [batch, heads, queries, 1]);
    run(
      [q, k, v, bias, kept].map((x) => x?.value),
      ([q, k, v, bias, kept]) =>
        kernels.forward(spec, {
          q: q!,
          k: k!,
          v: v!,
          bias,
          kept,
          o,
          stats,
        }),
    );
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
    for (const x of [q, k, v]) materialize(x.value);
    const dq = resultLike(q.value, spec.depth);
    const dk = resultLike(k.value, spec.depth);
    const dv = resultLike(v.value, spec.width);
    run(
      [q, k, v, bias, kept, o, grad].map((x) => x?.value),
      ([q, k, v, bias, kept, o, d]) =>
        kernels.backward(spec, {
          q: q!,
          k: k!,
          v: v!,
          bias,
          kept,
          o: o!,
          stats: stats.value,
        }, { d: d!, dq, dk, dv }),
    );
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
