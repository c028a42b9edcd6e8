/**
 * Channels into space and back: pixel and channel shuffles.
 *
 * @module
 */

import { oneOf } from "../core/attributes.ts";
import { ShapeError, shapeText } from "../core/errors.ts";
import { operator } from "../core/op.ts";
import type { Tensor } from "../core/tensor.ts";
import { reshape } from "./foundation.ts";
import { t } from "./samples.ts";
import { permute } from "./shape.ts";

/** Extents of [..., channels, height, width]. */
function planesOf(x: Tensor, what: string, least = 3): {
  lead: readonly number[];
  channels: number;
  height: number;
  width: number;
} {
  if (x.rank < least) {
    throw new ShapeError(
      `Cannot ${what} a tensor of shape ${
        shapeText(x.shape)
      }: it takes [..., channels, height, width], at least ${least} axes`,
    );
  }
  const [channels, height, width] = x.shape.slice(-3);
  return { lead: x.shape.slice(0, -3), channels, height, width };
}

function requireDivisible(
  x: Tensor,
  what: string,
  name: string,
  extent: number,
  by: number,
): void {
  if (!Number.isInteger(by) || by < 1 || extent % by !== 0) {
    throw new ShapeError(
      `Cannot ${what} a tensor of shape ${
        shapeText(x.shape)
      }: its ${name} (${extent}) must be divisible by ${by}`,
    );
  }
}

/** Permutes the axes after the leading ones. */
function permuteTail(
  x: Tensor,
  lead: number,
  order: readonly number[],
): Tensor {
  const front = Array.from({ length: lead }, (_, d) => d);
  return permute(x, [...front, ...order.map((d) => lead + d)]);
}

/** [..., c·b², h, w] to [..., c, h·b, w·b]; channels are c-major ("crd") or block-major ("dcr"). */
function toSpace(
  x: Tensor,
  block: number,
  order: "crd" | "dcr",
  what: string,
): Tensor {
  const { lead, channels, height, width } = planesOf(x, what);
  requireDivisible(x, what, "number of channels", channels, block * block);
  const rest = channels / (block * block);
  const split = order === "crd" ? [rest, block, block] : [block, block, rest];
  const apart = reshape(x, [...lead, ...split, height, width]);
  const woven = permuteTail(
    apart,
    lead.length,
    order === "crd" ? [0, 3, 1, 4, 2] : [2, 3, 0, 4, 1],
  );
  return reshape(woven, [...lead, rest, height * block, width * block]);
}

/** The inverse of {@linkcode toSpace}. */
function toDepth(
  x: Tensor,
  block: number,
  order: "crd" | "dcr",
  what: string,
): Tensor {
  const { lead, channels, height, width } = planesOf(x, what);
  requireDivisible(x, what, "height", height, block);
  requireDivisible(x, what, "width", width, block);
  const [h, w] = [height / block, width / block];
  const apart = reshape(x, [...lead, channels, h, block, w, block]);
  const woven = permuteTail(
    apart,
    lead.length,
    order === "crd" ? [0, 2, 4, 1, 3] : [2, 4, 0, 1, 3],
  );
  return reshape(woven, [...lead, channels * block * block, h, w]);
}

/**
 * Rearranges [..., c·r², h, w] to [..., c, h·r, w·r] (sub-pixel convolution).
 *
 * @throws {ShapeError} when the channels are not divisible by r².
 */
export const pixelShuffle: (x: Tensor, factor: number) => Tensor = operator<
  (x: Tensor, factor: number) => Tensor,
  { factor: number }
>({
  name: "pixelShuffle",
  family: "shape",
  inputs: ["x"],
  attrs: { factor: 1 },
  bind: (x, factor) => ({ inputs: [x], attrs: { factor } }),
  formula: "y[…, c, h · r + i, w · r + j] = x[…, (c · r + i) · r + j, h, w]",
  torch: "F.pixel_shuffle(x, factor)",
  onnx: "DepthToSpace",
  run: ([x], { factor }) => toSpace(x, factor, "crd", "pixel-shuffle"),
  samples: [[t([1, 8, 2, 3]), 2], [t([9, 1, 2]), 3], [t([2, 2, 2]), 1]],
});

/**
 * Rearranges [..., c, h·r, w·r] to [..., c·r², h, w]: the inverse of
 * {@linkcode pixelShuffle}.
 *
 * @throws {ShapeError} when height or width are not divisible by r.
 */
export const pixelUnshuffle: (x: Tensor, factor: number) => Tensor = operator<
  (x: Tensor, factor: number) => Tensor,
  { factor: number }
>({
  name: "pixelUnshuffle",
  family: "shape",
  inputs: ["x"],
  attrs: { factor: 1 },
  bind: (x, factor) => ({ inputs: [x], attrs: { factor } }),
  formula: "y[…, (c · r + i) · r + j, h, w] = x[…, c, h · r + i, w · r + j]",
  torch: "F.pixel_unshuffle(x, factor)",
  run: ([x], { factor }) => toDepth(x, factor, "crd", "pixel-unshuffle"),
  samples: [[t([1, 2, 4, 6]), 2], [t([1, 3, 6]), 3]],
});

/**
 * Interleaves groups of channels: channel j of group i goes to j·groups + i.
 *
 * @throws {ShapeError} when the channels are not divisible by the groups.
 */
export const channelShuffle: (x: Tensor, groups: number) => Tensor = operator<
  (x: Tensor, groups: number) => Tensor,
  { groups: number }
>({
  name: "channelShuffle",
  family: "shape",
  inputs: ["x"],
  attrs: { groups: 1 },
  bind: (x, groups) => ({ inputs: [x], attrs: { groups } }),
  formula: "y[n, j · groups + i, …] = x[n, i · C / groups + j, …]",
  torch: "F.channel_shuffle(x, groups)",
  caffe2: "ChannelShuffle",
  run: ([x], { groups }) => {
    if (x.rank < 3) {
      throw new ShapeError(
        `Cannot shuffle the channels of a tensor of shape ${
          shapeText(x.shape)
        }: it takes [batch, channels, ...], at least 3 axes`,
      );
    }
    const [batch, channels, ...rest] = x.shape;
    requireDivisible(
      x,
      "shuffle the channels of",
      "number of channels",
      channels,
      groups,
    );
    const apart = reshape(x, [batch, groups, channels / groups, ...rest]);
    const tail = rest.map((_, d) => 3 + d);
    return reshape(permute(apart, [0, 2, 1, ...tail]), x.shape);
  },
  samples: [[t([1, 6, 2, 2]), 3], [t([2, 4, 1, 1]), 2]],
});

/** Which part of the channels' number says where in the block an element goes. */
export type DepthOrder = "DCR" | "CRD";

/**
 * Moves blocks of channels to space: [n, c·b², h, w] to [n, c, h·b, w·b].
 * `"DCR"` takes the place in the block from the slow part of the channel's
 * number, `"CRD"` from the fast one (then it is {@linkcode pixelShuffle}).
 *
 * @throws {ShapeError} when the channels are not divisible by b².
 */
export const depthToSpace: (
  x: Tensor,
  block: number,
  options?: { order?: DepthOrder },
) => Tensor = operator<
  (x: Tensor, block: number, options?: { order?: DepthOrder }) => Tensor,
  { block: number; order: DepthOrder }
>({
  name: "depthToSpace",
  family: "shape",
  inputs: ["x"],
  attrs: { block: 1, order: "DCR" },
  rules: { order: oneOf("DCR", "CRD") },
  bind: (x, block, options) => ({ inputs: [x], attrs: { block, ...options } }),
  formula:
    "y[n, c, h · b + i, w · b + j] = x[n, (i · b + j) · C + c, h, w], c < C; with CRD x[n, (c · b + i) · b + j, h, w]",
  torch:
    'F.pixel_shuffle(x if order == "CRD" else x.reshape(x.shape[0], block * block, -1, *x.shape[2:]).transpose(1, 2).reshape(x.shape), block)',
  onnx: "DepthToSpace",
  run: ([x], { block, order }) =>
    toSpace(x, block, order === "DCR" ? "dcr" : "crd", "move to space"),
  samples: [
    [t([1, 8, 2, 2]), 2],
    [t([1, 8, 1, 2]), 2, { order: "CRD" }],
  ],
});

/**
 * Moves blocks of space to channels: [n, c, h·b, w·b] to [n, b²·c, h, w], the
 * inverse of {@linkcode depthToSpace} in its `"DCR"` order.
 *
 * @throws {ShapeError} when height or width are not divisible by b.
 */
export const spaceToDepth: (x: Tensor, block: number) => Tensor = operator<
  (x: Tensor, block: number) => Tensor,
  { block: number }
>({
  name: "spaceToDepth",
  family: "shape",
  inputs: ["x"],
  attrs: { block: 1 },
  bind: (x, block) => ({ inputs: [x], attrs: { block } }),
  formula:
    "y[n, (i · b + j) · C + c, h, w] = x[n, c, h · b + i, w · b + j], c < C",
  torch:
    "F.pixel_unshuffle(x, block).reshape(x.shape[0], -1, block * block, x.shape[2] // block, x.shape[3] // block).transpose(1, 2).reshape(x.shape[0], -1, x.shape[2] // block, x.shape[3] // block)",
  onnx: "SpaceToDepth",
  run: ([x], { block }) => toDepth(x, block, "dcr", "move to depth"),
  samples: [[t([1, 2, 4, 2]), 2]],
});
