/**
 * Checks and shapes that the normalisations share.
 *
 * @module
 */

import { ShapeError, shapeText } from "../core/errors.ts";
import { sameShape, type Shape } from "../core/shape.ts";
import type { Tensor } from "../core/tensor.ts";
import { reshape, reshaped } from "./foundation.ts";

/** Options of normalisations. */
export interface NormalizationOptions {
  /** Added to the variance before its root is taken. */
  eps?: number;
}

/** Refuses parameters of another shape than `shape`. */
export function requireShape(
  what: string,
  x: Tensor,
  shape: Shape,
  parameters: Readonly<Record<string, Tensor | undefined>>,
): void {
  for (const name in parameters) {
    const parameter = parameters[name];
    if (parameter === undefined || sameShape(parameter.shape, shape)) continue;
    throw new ShapeError(
      `Cannot take the ${what} of a tensor of shape ${
        shapeText(x.shape)
      } with a ${name} of shape ${shapeText(parameter.shape)}: it must be ${
        shapeText(shape)
      }`,
    );
  }
}

/** Refuses tensors without an axis of channels. */
export function requireChannels(what: string, x: Tensor, least = 2): number {
  if (x.rank < least) {
    throw new ShapeError(
      `Cannot take the ${what} of a tensor of shape ${
        shapeText(x.shape)
      }: it needs at least ${least} axes, [batch, channels${
        least > 2 ? ", position" : ""
      }, …]`,
    );
  }
  return x.shape[1];
}

/** The shape in which a vector of one number per channel broadcasts against x. */
export function channelShape(x: Tensor): number[] {
  // Made like other shapes: V8 compiles again and again what sees arrays of `fill` or `map` among them.
  const shape = new Array<number>(x.rank);
  for (let d = 0; d < shape.length; d++) shape[d] = d === 1 ? x.shape[1] : 1;
  return shape;
}

/** A vector of one number per channel, in that shape. */
export function perChannel(vector: Tensor, shape: Shape): Tensor {
  return vector.requiresGrad ? reshape(vector, shape) : reshaped(vector, shape);
}
