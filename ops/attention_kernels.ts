/**
 * When attention goes to the device's own kernels, and how operands of any
 * rank, masks and dropout are brought into the form that those take.
 *
 * @module
 */

import { gradEnabled, noGrad } from "../core/autograd.ts";
import { anyRequiresGrad } from "../core/op.ts";
import { type Shape, sizeOf } from "../core/shape.ts";
import type { Tensor } from "../core/tensor.ts";
import * as k from "../kernel/expr.ts";
import { causalScores } from "./attention_scores.ts";
import { ne, where } from "./comparison.ts";
import { Elementwise } from "./engine.ts";
import { max } from "./extrema.ts";
import {
  attentionLayout,
  attentionSpec,
  flashAttention,
  type FlashAttrs,
} from "./flash_attention.ts";
import { cast, expand, fill, reshape } from "./foundation.ts";
import { dropout } from "./random.ts";

/** What hides a key: finite, so that rows that see nothing give no NaN, and far below any score. */
const hides = -1e30;

const shown = new Elementwise(
  "mask as bias",
  1,
  ([seen]) => k.select(seen, 0, hides),
  "float",
  true,
);

const bounded = new Elementwise(
  "bounded bias",
  1,
  ([bias]) => k.max(bias, hides),
  "float",
  true,
);

const hidden = new Elementwise(
  "sees nothing",
  1,
  ([most]) => k.le(most, hides),
  "bool",
  true,
);

/** [..., H, T, D] as [B, H, T, D]. */
function four(x: Tensor): Tensor {
  const { shape, rank } = x;
  if (rank === 4) return x;
  const [heads, time, width] = [1, ...shape].slice(-3);
  const batch = sizeOf(shape.slice(0, Math.max(0, rank - 3)));
  return reshape(x, [batch, heads, time, width]);
}

/** A mask as what is added to the scores, in f32, with its extents for [B, H, T, S]; undefined where it does not fit. */
function biasOf(mask: Tensor, q: Tensor, keys: number): Tensor | undefined {
  const { rank, shape } = q;
  if (mask.rank > rank) return undefined;
  const scores = [...shape.slice(0, -1), keys];
  const own = [...new Array<number>(rank - mask.rank).fill(1), ...mask.shape];
  if (own.some((n, d) => n !== 1 && n !== scores[d])) return undefined;
  // Several leading axes become one, which cannot be 1 in part.
  const lead = own.slice(0, Math.max(0, rank - 3));
  const whole = scores.slice(0, lead.length);
  const together = sizeOf(lead) === 1 || sizeOf(lead) === sizeOf(whole);
  const placed = reshape(mask, own);
  const spread = together
    ? placed
    : expand(placed, [...whole, ...own.slice(lead.length)]);
  const [heads, rows, columns] = [1, ...own].slice(-3);
  const batch = together ? sizeOf(lead) : sizeOf(whole);
  const form = reshape(spread, [batch, heads, rows, columns]);
  // A number per query that all its keys share would change nothing but what is hidden.
  const wide = columns === keys
    ? form
    : expand(form, [batch, heads, rows, keys]);
  return mask.dtype === "bool"
    ? shown.apply([wide])
    : bounded.apply([cast(wide, "f32")]);
}

/** Zeros and ones [B, H, T, S] of a dropout, by the random numbers that the composed definition draws. */
function keptWeights(q: Tensor, keys: number, share: number): Tensor {
  const shape = [...q.shape.slice(0, -1), keys];
  const ones = fill(shape, 1, q.dtype, q.device);
  return cast(ne(dropout(ones, share), 0), q.dtype);
}

/** Whether shapes are the same but for so many of their last extents. */
function sameBut(a: Shape, b: Shape, last: number): boolean {
  if (a.length !== b.length) return false;
  for (let d = 0; d < a.length - last; d++) if (a[d] !== b[d]) return false;
  return true;
}

/**
 * Attention by the device's own kernels.
 *
 * @returns The result; undefined where the composed definition has to compute it.
 */
export function byKernels(
  [q, key, v]: readonly Tensor[],
  mask: Tensor | undefined,
  attrs: Omit<FlashAttrs, "training">,
): Tensor | undefined {
  const kernels = q.device.kernels.attention;
  if (kernels === undefined || mask?.requiresGrad && gradEnabled()) {
    return undefined;
  }
  const keys = key.shape[key.rank - 2];
  const fits = q.dtype === key.dtype && q.dtype === v.dtype &&
    q.size > 0 && key.size > 0 && v.size > 0 && attrs.dropout < 1 &&
    sameBut(q.shape, key.shape, 3) && sameBut(key.shape, v.shape, 1);
  if (!fits) return undefined;
  const training = gradEnabled() && anyRequiresGrad([q, key, v]);
  const [queries, groups, values] = [four(q), four(key), four(v)];
  if (queries.shape[1] % groups.shape[1] !== 0) return undefined;
  const bias = mask && noGrad(() => biasOf(mask, q, keys));
  if (mask !== undefined && bias === undefined) return undefined;
  const operands = [queries, groups, values, bias];
  const all = { ...attrs, training };
  const spec = attentionSpec(operands as Tensor[], all);
  if (!kernels.takes(spec, attentionLayout(operands as Tensor[], training))) {
    return undefined;
  }
  const kept = attrs.dropout > 0
    ? noGrad(() => four(keptWeights(q, keys, attrs.dropout)))
    : undefined;
  const [result] = flashAttention([...operands, kept], all);
  const seen = bias === undefined
    ? result
    : where(noGrad(() => seesNothing(bias, queries, attrs.causal)), 0, result);
  if (q.rank === 4) return seen;
  return reshape(seen, [...q.shape.slice(0, -1), v.shape[v.rank - 1]]);
}

/** Which queries have no key at all [B or 1, H or 1, T, 1]. */
function seesNothing(bias: Tensor, q: Tensor, causal: boolean): Tensor {
  const [batch, heads, , keys] = bias.shape;
  const scores = causal
    ? causalScores(expand(bias, [batch, heads, q.shape[2], keys]))
    : bias;
  return hidden.apply([max(scores, -1, { keepDim: true })]);
}
