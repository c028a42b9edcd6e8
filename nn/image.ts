/**
 * Modules that rearrange, resize and pad planes.
 *
 * @module
 */

import {
  channelShuffle as shuffleChannels,
  pixelShuffle as shuffle,
  pixelUnshuffle as unshuffle,
} from "../ops/blocks.ts";
import { interpolate, type InterpolateOptions } from "../ops/interpolation.ts";
import { pad as padded, type PadOptions } from "../ops/pad.ts";
import {
  fold as foldColumns,
  unfold as unfoldWindows,
  type UnfoldOptions,
} from "../ops/windows.ts";
import type { PerAxis } from "../ops/windows.ts";
import type { Tensor } from "../core/tensor.ts";
import { Functional } from "./containers.ts";
import { checkCall, type OperatorCall, show } from "./extents.ts";

/** A module that calls an operator of one tensor. */
function calling(
  name: string,
  call: OperatorCall,
  f: (x: Tensor) => Tensor,
): Functional {
  checkCall(name, call);
  return new Functional(name, f, show({ ...call.args, ...call.options }));
}

/** [..., c·r², h, w] to [..., c, h·r, w·r]. */
export function pixelShuffle(factor: number): Functional {
  return calling(
    "PixelShuffle",
    { operator: shuffle, args: { factor } },
    (x) => shuffle(x, factor),
  );
}

/** [..., c, h·r, w·r] to [..., c·r², h, w]. */
export function pixelUnshuffle(factor: number): Functional {
  return calling(
    "PixelUnshuffle",
    { operator: unshuffle, args: { factor } },
    (x) => unshuffle(x, factor),
  );
}

/** Interleaves groups of channels. */
export function channelShuffle(groups: number): Functional {
  return calling("ChannelShuffle", {
    operator: shuffleChannels,
    args: { groups },
  }, (x) => shuffleChannels(x, groups));
}

/**
 * Resizes the spatial axes of [batch, channels, spatial…].
 *
 * @throws {TypeError} unless exactly one of `size` and `scaleFactor` is given.
 */
export function upsample(options: InterpolateOptions): Functional {
  const { size, scaleFactor } = options ?? {};
  if ((size === undefined) === (scaleFactor === undefined)) {
    throw new TypeError(
      "Cannot make an Upsample: give either size or scaleFactor",
    );
  }
  return calling(
    "Upsample",
    { operator: interpolate, options },
    (x) => interpolate(x, options),
  );
}

/** Adds positions before and after axes; `widths` names the last axis first. */
export function pad(
  widths: readonly number[],
  options?: PadOptions,
): Functional {
  return calling(
    "Pad",
    { operator: padded, args: { widths }, options },
    (x) => padded(x, widths, options),
  );
}

/** Windows of [batch, channels, spatial…] as columns [batch, channels·taps, windows]. */
export function unfold(kernel: PerAxis, options?: UnfoldOptions): Functional {
  return calling("Unfold", {
    operator: unfoldWindows,
    args: { kernel },
    options,
  }, (x) => unfoldWindows(x, kernel, options));
}

/** Sums columns back into planes of the given size: the adjoint of {@linkcode unfold}. */
export function fold(
  size: readonly number[],
  kernel: PerAxis,
  options?: UnfoldOptions,
): Functional {
  return calling("Fold", {
    operator: foldColumns,
    args: { size, kernel },
    options,
  }, (x) => foldColumns(x, size, kernel, options));
}
