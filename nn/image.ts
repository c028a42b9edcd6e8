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
import { Functional } from "./containers.ts";
import { show } from "./extents.ts";

/** [..., c·r², h, w] to [..., c, h·r, w·r]. */
export function pixelShuffle(factor: number): Functional {
  return new Functional(
    "PixelShuffle",
    (x) => shuffle(x, factor),
    show({ factor }),
  );
}

/** [..., c, h·r, w·r] to [..., c·r², h, w]. */
export function pixelUnshuffle(factor: number): Functional {
  return new Functional(
    "PixelUnshuffle",
    (x) => unshuffle(x, factor),
    show({ factor }),
  );
}

/** Interleaves groups of channels. */
export function channelShuffle(groups: number): Functional {
  return new Functional(
    "ChannelShuffle",
    (x) => shuffleChannels(x, groups),
    show({ groups }),
  );
}

/** Resizes the spatial axes of [batch, channels, spatial…]. */
export function upsample(options: InterpolateOptions): Functional {
  return new Functional(
    "Upsample",
    (x) => interpolate(x, options),
    show({ ...options }),
  );
}

/** Adds positions before and after axes; `widths` names the last axis first. */
export function pad(
  widths: readonly number[],
  options?: PadOptions,
): Functional {
  return new Functional(
    "Pad",
    (x) => padded(x, widths, options),
    show({ widths, ...options }),
  );
}

/** Windows of [batch, channels, spatial…] as columns [batch, channels·taps, windows]. */
export function unfold(kernel: PerAxis, options?: UnfoldOptions): Functional {
  return new Functional(
    "Unfold",
    (x) => unfoldWindows(x, kernel, options),
    show({ kernel, ...options }),
  );
}

/** Sums columns back into planes of the given size: the adjoint of {@linkcode unfold}. */
export function fold(
  size: readonly number[],
  kernel: PerAxis,
  options?: UnfoldOptions,
): Functional {
  return new Functional(
    "Fold",
    (x) => foldColumns(x, size, kernel, options),
    show({ size, kernel, ...options }),
  );
}
