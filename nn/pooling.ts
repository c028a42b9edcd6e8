/**
 * Pooling over one to three axes. The number in a name is the number of
 * spatial axes, which is checked; [batch, channels, spatial…] is expected.
 *
 * @module
 */

import { ShapeError, shapeText } from "../core/errors.ts";
import type { Tensor } from "../core/tensor.ts";
import * as ops from "../ops/pooling.ts";
import type { PerAxis } from "../ops/windows.ts";
import { Functional } from "./containers.ts";
import { checkCall, type OperatorCall, show } from "./extents.ts";

function pooling(
  name: string,
  rank: number,
  call: OperatorCall,
  pool: (x: Tensor) => Tensor,
): Functional {
  const full = `${name}${rank}d`;
  checkCall(full, call);
  return new Functional(full, (x) => {
    if (x.rank !== rank + 2) {
      throw new ShapeError(
        `Cannot apply ${full} to a tensor of shape ${
          shapeText(x.shape)
        }: it takes [batch, channels${", extent".repeat(rank)}]`,
      );
    }
    return pool(x);
  }, show({ ...call.args, ...call.options }));
}

/** Options of power-average pooling. */
export interface LpPoolOptions {
  /** Step from window to window; the kernel's extent when omitted. */
  stride?: PerAxis;
  /** Whether windows that reach over the end are kept. */
  ceilMode?: boolean;
}

function maxPool(rank: number, kernel: PerAxis, options?: ops.PoolOptions) {
  return pooling(
    "MaxPool",
    rank,
    { operator: ops.maxPool, args: { kernel }, options },
    (x) => ops.maxPool(x, kernel, options),
  );
}

function avgPool(
  rank: number,
  kernel: PerAxis,
  options?: ops.AveragePoolOptions,
) {
  return pooling(
    "AvgPool",
    rank,
    { operator: ops.avgPool, args: { kernel }, options },
    (x) => ops.avgPool(x, kernel, options),
  );
}

function lpPool(
  rank: number,
  p: number,
  kernel: PerAxis,
  options?: LpPoolOptions,
) {
  return pooling(
    "LPPool",
    rank,
    { operator: ops.lpPool, args: { p, kernel }, options },
    (x) => ops.lpPool(x, p, kernel, options),
  );
}

function adaptive(
  name: "Avg" | "Max",
  rank: number,
  size: PerAxis,
): Functional {
  const pool = name === "Avg" ? ops.adaptiveAvgPool : ops.adaptiveMaxPool;
  return pooling(
    `Adaptive${name}Pool`,
    rank,
    { operator: pool, args: { size } },
    (x) => pool(x, size),
  );
}

/** Largest value of each window over one axis. */
export function maxPool1d(
  kernel: PerAxis,
  options?: ops.PoolOptions,
): Functional {
  return maxPool(1, kernel, options);
}

/** Largest value of each window over two axes. */
export function maxPool2d(
  kernel: PerAxis,
  options?: ops.PoolOptions,
): Functional {
  return maxPool(2, kernel, options);
}

/** Largest value of each window over three axes. */
export function maxPool3d(
  kernel: PerAxis,
  options?: ops.PoolOptions,
): Functional {
  return maxPool(3, kernel, options);
}

/** Mean of each window over one axis. */
export function avgPool1d(
  kernel: PerAxis,
  options?: ops.AveragePoolOptions,
): Functional {
  return avgPool(1, kernel, options);
}

/** Mean of each window over two axes. */
export function avgPool2d(
  kernel: PerAxis,
  options?: ops.AveragePoolOptions,
): Functional {
  return avgPool(2, kernel, options);
}

/** Mean of each window over three axes. */
export function avgPool3d(
  kernel: PerAxis,
  options?: ops.AveragePoolOptions,
): Functional {
  return avgPool(3, kernel, options);
}

/** (Σ |x|ᵖ)^(1/p) of each window over one axis. */
export function lpPool1d(
  p: number,
  kernel: PerAxis,
  options?: LpPoolOptions,
): Functional {
  return lpPool(1, p, kernel, options);
}

/** (Σ |x|ᵖ)^(1/p) of each window over two axes. */
export function lpPool2d(
  p: number,
  kernel: PerAxis,
  options?: LpPoolOptions,
): Functional {
  return lpPool(2, p, kernel, options);
}

/** (Σ |x|ᵖ)^(1/p) of each window over three axes. */
export function lpPool3d(
  p: number,
  kernel: PerAxis,
  options?: LpPoolOptions,
): Functional {
  return lpPool(3, p, kernel, options);
}

/** Mean over windows that divide one axis into `size` parts; 1 is global pooling. */
export function adaptiveAvgPool1d(size: PerAxis): Functional {
  return adaptive("Avg", 1, size);
}

/** Mean over windows that divide two axes into `size` parts; 1 is global pooling. */
export function adaptiveAvgPool2d(size: PerAxis): Functional {
  return adaptive("Avg", 2, size);
}

/** Mean over windows that divide three axes into `size` parts; 1 is global pooling. */
export function adaptiveAvgPool3d(size: PerAxis): Functional {
  return adaptive("Avg", 3, size);
}

/** Largest value over windows that divide one axis into `size` parts; 1 is global pooling. */
export function adaptiveMaxPool1d(size: PerAxis): Functional {
  return adaptive("Max", 1, size);
}

/** Largest value over windows that divide two axes into `size` parts; 1 is global pooling. */
export function adaptiveMaxPool2d(size: PerAxis): Functional {
  return adaptive("Max", 2, size);
}

/** Largest value over windows that divide three axes into `size` parts; 1 is global pooling. */
export function adaptiveMaxPool3d(size: PerAxis): Functional {
  return adaptive("Max", 3, size);
}
