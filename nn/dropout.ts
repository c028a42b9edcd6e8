/**
 * Dropout of elements and of whole channels.
 *
 * @module
 */

import { ShapeError, shapeText } from "../core/errors.ts";
import type { Generator } from "../core/random.ts";
import type { Tensor } from "../core/tensor.ts";
import { mul } from "../ops/arithmetic.ts";
import { fill } from "../ops/foundation.ts";
import { dropout as drop } from "../ops/random.ts";
import { checkNames, checkProbability, show, withArticle } from "./extents.ts";
import { Module } from "./module.ts";

/** Options of the dropout modules. */
export interface DropoutOptions {
  /** Where random numbers come from; the default generator when omitted. */
  generator?: Generator;
}

/** In training, drops each element with probability p and scales the others by 1/(1 − p). */
export class Dropout extends Module {
  /** Probability of an element to be dropped. */
  readonly p: number;
  /** Where random numbers come from. */
  protected readonly generator: Generator | undefined;

  /** Makes a dropout. @throws {RangeError} when p is no probability. */
  constructor(p = 0.5, options: DropoutOptions = {}) {
    super();
    const who = withArticle(new.target.name);
    checkProbability(who, p);
    checkNames(who, options, { generator: true });
    this.p = p;
    this.generator = options.generator;
  }

  /** The input, some of it dropped in training. */
  override forward(x: Tensor): Tensor {
    if (!this.training || this.p === 0) return x;
    return drop(x, this.p, { generator: this.generator });
  }

  /** The probability. */
  protected override details(): string {
    return show({ p: this.p });
  }
}

/** A {@linkcode Dropout}. @throws {RangeError} when p is no probability. */
export function dropout(p = 0.5, options: DropoutOptions = {}): Dropout {
  return new Dropout(p, options);
}

/** Base of the dropouts of whole channels of [batch, channels, spatial…]. */
export abstract class ChannelDropout extends Dropout {
  /** Number of spatial axes. */
  protected abstract readonly rank: number;

  /** The input, some of its channels dropped in training. */
  override forward(x: Tensor): Tensor {
    if (x.rank !== this.rank + 2) {
      throw new ShapeError(
        `Cannot apply ${this.constructor.name} to a tensor of shape ${
          shapeText(x.shape)
        }: it takes [batch, channels${", extent".repeat(this.rank)}]`,
      );
    }
    if (!this.training || this.p === 0) return x;
    const shape = x.shape.map((n, d) => d < 2 ? n : 1);
    const ones = fill(shape, 1, x.dtype, x.device);
    return mul(x, drop(ones, this.p, { generator: this.generator }));
  }
}

/** Drops whole channels of [batch, channels, L] in training. */
export class Dropout1d extends ChannelDropout {
  /** Number of spatial axes. */
  protected override readonly rank = 1;
}

/** Drops whole channels of [batch, channels, H, W] in training. */
export class Dropout2d extends ChannelDropout {
  /** Number of spatial axes. */
  protected override readonly rank = 2;
}

/** Drops whole channels of [batch, channels, D, H, W] in training. */
export class Dropout3d extends ChannelDropout {
  /** Number of spatial axes. */
  protected override readonly rank = 3;
}

/** A {@linkcode Dropout1d}. @throws {RangeError} when p is no probability. */
export function dropout1d(p = 0.5, options: DropoutOptions = {}): Dropout1d {
  return new Dropout1d(p, options);
}

/** A {@linkcode Dropout2d}. @throws {RangeError} when p is no probability. */
export function dropout2d(p = 0.5, options: DropoutOptions = {}): Dropout2d {
  return new Dropout2d(p, options);
}

/** A {@linkcode Dropout3d}. @throws {RangeError} when p is no probability. */
export function dropout3d(p = 0.5, options: DropoutOptions = {}): Dropout3d {
  return new Dropout3d(p, options);
}
