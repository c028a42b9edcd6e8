/**
 * Parts of attention that every way of computing it needs: heads that serve
 * several queries, the causal triangle, rows that see nothing.
 *
 * @module
 */

import { detach } from "../core/autograd.ts";
import { ShapeError } from "../core/errors.ts";
import type { Tensor } from "../core/tensor.ts";
import * as k from "../kernel/expr.ts";
import { eq, where } from "./comparison.ts";
import { Elementwise } from "./engine.ts";
import { max } from "./extrema.ts";
import { expand, reshape } from "./foundation.ts";
import { arange } from "./sequences.ts";
import { narrow } from "./slicing.ts";
import { softmax } from "./softmax.ts";

const visible = new Elementwise(
  "causal mask",
  3,
  ([score, row, column]) => k.select(k.le(column, row), score, -Infinity),
  "promote",
  false,
  2,
);

/** Scores [..., T, S] with −∞ where the key comes after the query. */
export function causalScores(scores: Tensor): Tensor {
  const [rows, columns] = scores.shape.slice(-2);
  const { device } = scores;
  const positions = arange(Math.max(rows, columns), {
    dtype: "i32",
    device: device.name,
  });
  return visible.apply([
    scores,
    reshape(narrow(positions, 0, 0, rows), [rows, 1]),
    narrow(positions, 0, 0, columns),
  ]);
}

/** Softmax along the last axis; rows of which everything is hidden weigh nothing, as in PyTorch. */
export function safeSoftmax(scores: Tensor): Tensor {
  const hidden = eq(max(detach(scores), -1, { keepDim: true }), -Infinity);
  return where(hidden, 0, softmax(where(hidden, 0, scores), -1));
}

/**
 * Repeats each head of `x` as often as `q` has more of them.
 *
 * @throws {ShapeError} when the heads of `q` are no multiple of those of `x`.
 */
export function repeatHeads(x: Tensor, q: Tensor): Tensor {
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
