/**
 * Kernels over windows of images in either memory order: [N, C, spatial…] row
 * by row, or [N, spatial…, C] where the channels lie last. Space and results
 * are laid out as the images are, so that neighbours in memory are computed
 * together.
 *
 * @module
 */

import type { Shape } from "../core/shape.ts";
import { Tensor } from "../core/tensor.ts";
import type { Value } from "../core/value.ts";
import * as k from "../kernel/expr.ts";
import type { Expr } from "../kernel/expr.ts";
import { offsetOf } from "./windows.ts";

/** An order of the axes of images. */
export class ImageOrder {
  /** Part of a kernel's name. */
  readonly name: string;

  /** Chooses an order for images with `rank` spatial axes. */
  constructor(
    /** Whether the channels lie last. */
    readonly last: boolean,
    /** Spatial axes. */
    readonly rank: number,
  ) {
    this.name = last ? " NHWC" : "";
  }

  /** The order in which images lie. */
  static of({ value, rank }: Tensor): ImageOrder {
    return new ImageOrder(value.channelsLast, rank - 2);
  }

  /** Extents [N, C, spatial…] in this order. */
  extents([n, c, ...spatial]: Shape): number[] {
    return this.last ? [n, ...spatial, c] : [n, c, ...spatial];
  }

  /** Images as a table in this order: the view whose rows follow each other. */
  table(images: Value): Value {
    if (!this.last) return images.retain();
    const { shape, strides, offset } = images;
    return images.view(this.extents(shape), this.extents(strides), offset);
  }

  /** A result in this order as images [N, C, spatial…]; takes it over. */
  images(result: Value): Tensor {
    if (!this.last) return new Tensor(result);
    const back = (list: readonly number[]) => {
      const [n, ...rest] = list;
      const c = rest.pop()!;
      return [n, c, ...rest];
    };
    const { shape, strides, offset } = result;
    const view = result.view(back(shape), back(strides), offset);
    view.madeBy = result.madeBy;
    result.release();
    return new Tensor(view);
  }

  /** Coordinates of a position of the space, whose first axes are those of images. */
  position(coord: (axis: number) => Expr): {
    example: Expr;
    channel: Expr;
    spatial: Expr[];
  } {
    const first = this.last ? 1 : 2;
    return {
      example: coord(0),
      channel: coord(this.last ? 1 + this.rank : 1),
      spatial: Array.from({ length: this.rank }, (_, d) => coord(first + d)),
    };
  }

  /** Offset of an element in a table of the given spatial extents and channels. */
  offset(
    at: { example: Expr; channel: Expr; spatial: readonly Expr[] },
    extents: readonly Expr[],
    channels: Expr,
  ): Expr {
    const { example, channel, spatial } = at;
    if (this.last) {
      const from = [example, ...spatial, channel];
      return offsetOf(from, [example, ...extents, channels]);
    }
    const plane = k.add(k.mul(example, channels), channel);
    return offsetOf([plane, ...spatial], [plane, ...extents]);
  }
}
