/**
 * Windows of pooling: geometry, and where a tap lies.
 *
 * @module
 */

import { DTypeError, ShapeError, shapeText } from "../core/errors.ts";
import type { Shape } from "../core/shape.ts";
import type { Tensor } from "../core/tensor.ts";
import * as k from "../kernel/expr.ts";
import type { Expr } from "../kernel/expr.ts";
import {
  allOf,
  type Geometry,
  geometry,
  type PerAxis,
  perAxis,
  type windowExprs,
} from "./windows.ts";

/** Attributes of maximum pooling. */
export interface PoolAttrs {
  /** Extents of the windows. */
  kernel: PerAxis;
  /** Steps from window to window; the kernel's extents when undefined. */
  stride: PerAxis | undefined;
  /** Cells around the input. */
  padding: PerAxis;
  /** Distance of the cells of a window. */
  dilation: PerAxis;
  /** Whether windows that reach over the end are kept. */
  ceilMode: boolean;
}

/** Defaults of maximum pooling. */
export const poolDefaults: PoolAttrs = {
  kernel: 1,
  stride: undefined,
  padding: 0,
  dilation: 1,
  ceilMode: false,
};

/**
 * The spatial extents of a tensor that is to be pooled.
 *
 * @throws {ShapeError} unless there are one to three of them.
 */
export function spatialOf(x: Shape): Shape {
  const spatial = x.slice(2);
  if (spatial.length < 1 || spatial.length > 3) {
    throw new ShapeError(
      `Cannot pool a tensor of shape ${
        shapeText(x)
      }: it must be [N, C, spatial…] with one to three spatial axes`,
    );
  }
  return spatial;
}

/** Refuses truth values. */
export function requireNumbers({ dtype }: Tensor): void {
  if (dtype !== "bool") return;
  throw new DTypeError(
    `Cannot pool a tensor of dtype bool: it takes numbers; convert it with cast(x, "f32")`,
  );
}

/** The windows of a pooling. */
export function poolGeometry(
  x: Shape,
  a: Omit<PoolAttrs, "dilation"> & { dilation?: PerAxis },
): Geometry {
  const spatial = spatialOf(x);
  const kernel = perAxis(a.kernel, spatial.length, "kernel");
  const padding = perAxis(a.padding, spatial.length, "padding");
  padding.forEach((n, d) => {
    if (2 * n > kernel[d]) {
      throw new RangeError(
        `Cannot pool with kernel ${shapeText(kernel)} and padding ${
          shapeText(padding)
        }: padding must be at most half of the kernel`,
      );
    }
  });
  return geometry("pool", spatial, kernel, {
    ...a,
    padding,
    stride: a.stride ?? a.kernel,
  });
}

/** Coordinates in the input of the tap at hand, and whether it lies inside. */
export function tap(
  w: ReturnType<typeof windowExprs>,
  window: readonly Expr[],
  taps: readonly Expr[],
): { at: Expr[]; inside: Expr } {
  const at = taps.map((c, d) =>
    k.add(
      k.sub(k.mul(window[d], w.stride[d]), w.before[d]),
      k.mul(c, w.dilation[d]),
    )
  );
  return {
    at,
    inside: allOf(at.map((p, d) => k.and(k.ge(p, 0), k.lt(p, w.input[d])))),
  };
}

/** The window in which the cell at hand is the given tap, and whether there is one. */
export function windowOver(
  w: ReturnType<typeof windowExprs>,
  cell: readonly Expr[],
  taps: readonly Expr[],
): { window: Expr[]; hit: Expr } {
  const shifted = cell.map((c, d) =>
    k.sub(k.add(c, w.before[d]), k.mul(taps[d], w.dilation[d]))
  );
  const window = shifted.map((p, d) => k.div(p, w.stride[d]));
  const hit = allOf(shifted.flatMap((p, d) => [
    k.ge(p, 0),
    k.eq(k.mul(window[d], w.stride[d]), p),
    k.lt(window[d], w.output[d]),
  ]));
  return { window, hit };
}

/** The smallest value of a type. */
export function lowest(type: k.ScalarType): Expr {
  return k.constant(
    type === "i32" ? -(2 ** 31) : type === "i64" ? -(2n ** 63n) : -Infinity,
    type,
  );
}
