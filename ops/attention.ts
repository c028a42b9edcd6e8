/**
 * Scaled dot-product attention.
 *
 * @module
 */

import { ShapeError, shapeText } from "../core/errors.ts";
import { operator } from "../core/op.ts";
import type { Tensor } from "../core/tensor.ts";
import { add, mul } from "./arithmetic.ts";
import { byKernels } from "./attention_kernels.ts";
import { inPieces } from "./attention_pieces.ts";
import { causalScores, repeatHeads, safeSoftmax } from "./attention_scores.ts";
import { where } from "./comparison.ts";
import type { FlashAttrs } from "./flash_attention.ts";
import { cast } from "./foundation.ts";
import { batchMatmul } from "./matmul.ts";
import { dropout } from "./random.ts";
import { t } from "./samples.ts";
import { softmax } from "./softmax.ts";

/** Options of {@linkcode scaledDotProductAttention}. */
export interface AttentionOptions {
  /** Whether position i sees positions up to i only. */
  causal?: boolean;
  /** bool [..., T, S]: false hides; floats are added to the scores. */
  mask?: Tensor;
  /** Factor of the scores; 1/√D by default. */
  scale?: number;
  /** Share of the weights that is dropped. */
  dropout?: number;
  /** Whether dropout is active; true by default, as in PyTorch's functional form. */
  training?: boolean;
}

interface Attrs {
  causal: boolean;
  scale: number | undefined;
  dropout: number;
  training: boolean;
}

/** Signature of {@linkcode scaledDotProductAttention}. */
export type Attention = (
  q: Tensor,
  k: Tensor,
  v: Tensor,
  options?: AttentionOptions,
) => Tensor;

/** Attention by operators, all scores at once. */
function byScores(
  [q, k, v]: readonly Tensor[],
  mask: Tensor | undefined,
  { causal, scale, dropout: share }: Omit<FlashAttrs, "training">,
): Tensor {
  const keys = repeatHeads(k, q), values = repeatHeads(v, q);
  let scores = mul(batchMatmul(q, keys, { transposeB: true }), scale);
  if (causal) scores = causalScores(scores);
  if (mask !== undefined) {
    scores = mask.dtype === "bool"
      ? where(mask, scores, -Infinity)
      : add(scores, cast(mask, scores.dtype));
  }
  const weights = mask === undefined || keys.shape[keys.rank - 2] === 0
    ? softmax(scores, -1)
    : safeSoftmax(scores);
  const kept = share > 0 ? dropout(weights, share) : weights;
  return batchMatmul(kept, values);
}

/**
 * Attention: softmax(q·kᵀ·scale + mask)·v.
 *
 * @param q Queries [..., H, T, D].
 * @param k Keys [..., G, S, D]; G divides H, and each key head serves H/G query heads.
 * @param v Values [..., G, S, E].
 * @returns Tensor [..., H, T, E].
 * @throws {ShapeError} when the extents do not fit.
 */
export const scaledDotProductAttention: Attention = operator<Attention, Attrs>({
  name: "scaledDotProductAttention",
  family: "attention",
  onnx: "Attention",
  inputs: ["q", "k", "v", "mask"],
  attrs: { causal: false, scale: undefined, dropout: 0, training: true },
  bind: (q, k, v, options) => {
    if (options === undefined || options === null) {
      return { inputs: [q, k, v, undefined] };
    }
    const { mask, ...attrs } = options;
    return { inputs: [q, k, v, mask], attrs };
  },
  formula: "softmax(q·kᵀ/√d + mask)·v",
  torch:
    "F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=0.0, is_causal=causal, scale=scale, enable_gqa=q.dim() > 2 and q.shape[-3] != k.shape[-3])",
  run: ([q, k, v, mask], { causal, scale, dropout: share, training }) => {
    const fits = q.rank >= 2 && k.rank === q.rank && v.rank === q.rank &&
      q.shape[q.rank - 1] === k.shape[k.rank - 1] &&
      k.shape[k.rank - 2] === v.shape[v.rank - 2];
    if (!fits) {
      throw new ShapeError(
        `Cannot attend with queries ${shapeText(q.shape)}, keys ${
          shapeText(k.shape)
        } and values ${
          shapeText(v.shape)
        }: they must be [..., T, D], [..., S, D] and [..., S, E]`,
      );
    }
    const depth = q.shape[q.rank - 1];
    const factor = scale ?? 1 / Math.sqrt(depth);
    const attrs = { causal, scale: factor, dropout: training ? share : 0 };
    const fast = byKernels([q, k, v], mask, attrs);
    if (fast !== undefined) return fast;
    // Random numbers are drawn for all scores at once.
    const cut = attrs.dropout > 0 ? undefined : inPieces(
      [q, k, v],
      mask,
      (q, k, v, mask) => byScores([q, k, v], mask, attrs),
    );
    return cut ?? byScores([q, k, v], mask, attrs);
  },
  samples: [
    [t([2, 3, 4]), t([2, 5, 4]), t([2, 5, 3])],
    [t([1, 2, 4, 3]), t([1, 2, 4, 3]), t([1, 2, 4, 3]), { causal: true }],
    [t([1, 4, 3, 2]), t([1, 2, 3, 2]), t([1, 2, 3, 2]), { scale: 0.5 }],
    [t([3, 2]), t([4, 2]), t([4, 2]), {
      mask: t([3, 4], {
        dtype: "bool",
        data: [1, 1, 0, 0, 1, 0, 1, 0, 1, 1, 1, 1],
      }),
    }],
    [t([2, 3, 4]), t([2, 5, 4]), t([2, 5, 3]), { mask: t([3, 5]) }],
    [t([2, 2]), t([3, 2]), t([3, 2]), {
      mask: t([2, 3], { dtype: "bool", data: [0, 0, 0, 0, 1, 1] }),
    }],
  ],
});
