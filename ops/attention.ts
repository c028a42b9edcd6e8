/**
 * Scaled dot-product attention.
 *
 * @module
 */

import { detach } from "../core/autograd.ts";
import { ShapeError, shapeText } from "../core/errors.ts";
import { operator } from "../core/op.ts";
import { fromHost, type Tensor } from "../core/tensor.ts";
import { add, mul } from "./arithmetic.ts";
import { eq, where } from "./comparison.ts";
import { max } from "./extrema.ts";
import { cast, expand, reshape } from "./foundation.ts";
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

/** Lower triangle [rows, columns] of true. */
function causalMask(rows: number, columns: number, device: string): Tensor {
  const host = new Uint8Array(rows * columns);
  for (let i = 0; i < rows; i++) {
    host.fill(1, i * columns, i * columns + Math.min(columns, i + 1));
  }
  return fromHost(host, "bool", [rows, columns], { device });
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
  inputs: ["q", "k", "v", "mask"],
  attrs: { causal: false, scale: undefined, dropout: 0, training: true },
  bind: (q, k, v, options) => {
    const { mask, ...attrs } = options ?? {};
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
    const [rows, depth] = q.shape.slice(-2);
    const columns = k.shape[k.rank - 2];
    const keys = repeatHeads(k, q), values = repeatHeads(v, q);
    const factor = scale ?? 1 / Math.sqrt(depth);
    let scores = mul(batchMatmul(q, keys, { transposeB: true }), factor);
    if (causal) {
      scores = where(
        causalMask(rows, columns, q.device.name),
        scores,
        -Infinity,
      );
    }
    if (mask !== undefined) {
      scores = mask.dtype === "bool"
        ? where(mask, scores, -Infinity)
        : add(scores, cast(mask, scores.dtype));
    }
    const weights = mask === undefined || columns === 0
      ? softmax(scores, -1)
      : safeSoftmax(scores);
    const kept = share > 0 && training ? dropout(weights, share) : weights;
    return batchMatmul(kept, values);
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

/** Softmax along the last axis; rows of which everything is hidden weigh nothing, as in PyTorch. */
function safeSoftmax(scores: Tensor): Tensor {
  const hidden = eq(max(detach(scores), -1, { keepDim: true }), -Infinity);
  return where(hidden, 0, softmax(where(hidden, 0, scores), -1));
}

/** Repeats each head of `x` as often as `q` has more of them. */
function repeatHeads(x: Tensor, q: Tensor): Tensor {
  if (x.rank < 3) return x;
  const at = x.rank - 3;
  const heads = q.shape[at], own = x.shape[at];
  if (heads === own || own === 1) return x;
  if (heads % own !== 0) {
    throw new ShapeError(
      `Cannot attend with ${heads} query heads and ${own} key heads: the second number must divide the first`,
    );
  }
  const lead = x.shape.slice(0, at), tail = x.shape.slice(at + 1);
  const copies = expand(reshape(x, [...lead, own, 1, ...tail]), [
    ...lead,
    own,
    heads / own,
    ...tail,
  ]);
  return reshape(copies, [...lead, heads, ...tail]);
}
