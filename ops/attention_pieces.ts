/**
 * Attention piece by piece: where the scores of all heads would take much of a
 * device's memory, those of a few are computed at a time, and again in the
 * backward pass.
 *
 * @module
 */

import { recompute } from "../core/custom.ts";
import type { Device } from "../core/device.ts";
import { bytesOf } from "../core/dtype.ts";
import type { Tensor } from "../core/tensor.ts";
import { concat, split } from "./joining.ts";

/** How much the scores of one piece may take; a test sets it. */
export const pieces: {
  /** Bytes; a sixteenth of the device's memory when undefined. */
  limit: number | undefined;
} = { limit: undefined };

const limits = new WeakMap<Device, number>();

function limitOf(device: Device): number {
  if (pieces.limit !== undefined) return pieces.limit;
  let limit = limits.get(device);
  if (limit === undefined) {
    limits.set(device, limit = device.stats().limitBytes / 16);
  }
  return limit;
}

/**
 * The axis along which attention falls apart, and how many of its positions
 * fit into one piece; undefined when all of it fits, or nothing can be cut.
 */
function cut(
  q: Tensor,
  k: Tensor,
  v: Tensor,
): { axis: number; length: number } | undefined {
  const { rank, shape } = q;
  const scores = (q.size / shape[rank - 1]) * k.shape[rank - 2] *
    bytesOf(q.dtype);
  const limit = limitOf(q.device);
  if (!(scores > limit)) return undefined;
  for (let axis = 0; axis < rank - 2; axis++) {
    const extent = shape[axis];
    const alike = k.shape[axis] === extent && v.shape[axis] === extent;
    if (extent === 1 || !alike) continue;
    const length = Math.max(1, Math.floor(extent * limit / scores));
    return { axis, length };
  }
  return undefined;
}

/**
 * Attention in pieces along an axis of sequences or heads.
 *
 * @param operands Queries, keys and values.
 * @param mask What hides or is added; it goes with the pieces where it has their axis.
 * @param attend Attention of one piece.
 * @returns The result; undefined when all of it may be computed at once.
 */
export function inPieces(
  [q, k, v]: readonly Tensor[],
  mask: Tensor | undefined,
  attend: (q: Tensor, k: Tensor, v: Tensor, mask?: Tensor) => Tensor,
): Tensor | undefined {
  const found = cut(q, k, v);
  if (found === undefined) return undefined;
  const { axis, length } = found;
  const parts = [q, k, v].map((x) => split(x, length, axis));
  const maskAxis = mask === undefined ? -1 : axis - (q.rank - mask.rank);
  const masks = mask !== undefined && maskAxis >= 0 &&
      mask.shape[maskAxis] === q.shape[axis]
    ? split(mask, length, maskAxis)
    : undefined;
  return concat(
    parts[0].map((part, i) => {
      const own = masks?.[i] ?? mask;
      const operands = [part, parts[1][i], parts[2][i]];
      return recompute(
        (q: Tensor, k: Tensor, v: Tensor, mask?: Tensor) =>
          attend(q, k, v, mask),
        ...(own === undefined ? operands : [...operands, own]),
      );
    }),
    axis,
  );
}
