/**
 * Affine and bilinear maps, and changes of shape.
 *
 * @module
 */

import type { Shape } from "../core/shape.ts";
import type { Tensor } from "../core/tensor.ts";
import { feedForward } from "../ops/feed_forward.ts";
import * as ops from "../ops/linear.ts";
import {
  type LinearActivation,
  linearActivation,
} from "../ops/linear_activation.ts";
import {
  flatten as flattenAxes,
  unflatten as splitAxis,
} from "../ops/shape.ts";
import { type AffineMap, Functional } from "./containers.ts";
import {
  checkCall,
  checkExtents,
  checkNames,
  moduleNames,
  show,
} from "./extents.ts";
import { empty } from "./allocate.ts";
import { kaimingUniform, uniform } from "./init.ts";
import { Module, type ModuleOptions } from "./module.ts";
import { parameter } from "./roles.ts";

/** Options of {@linkcode linear} and {@linkcode bilinear}. */
export interface LinearOptions extends ModuleOptions {
  /** Whether a bias is added; true when omitted. */
  bias?: boolean;
}

const names = { ...moduleNames, bias: true } as const;

/** y = x·Wᵀ + b over the last axis. Parameters: `weight` [out, in], `bias` [out]. */
export class Linear extends Module implements AffineMap {
  /** W [out, in]. */
  readonly weight: Tensor;
  /** b [out], if there is one. */
  readonly bias: Tensor | undefined;

  /**
   * Makes an affine map; W and b start as U(±1/√in).
   *
   * @throws {RangeError} when an extent is no positive whole number.
   */
  constructor(
    inFeatures: number,
    outFeatures: number,
    options: LinearOptions = {},
  ) {
    super();
    checkExtents("a Linear", { inFeatures, outFeatures });
    checkNames("a Linear", options, names);
    const { bias = true } = options;
    this.weight = parameter(empty([outFeatures, inFeatures], options));
    this.bias = bias ? parameter(empty([outFeatures], options)) : undefined;
    resetAffine(this.weight, this.bias);
  }

  /** x [..., in] to [..., out]. */
  override forward(x: Tensor): Tensor {
    return ops.linear(x, this.weight, this.bias);
  }

  /** f(x·Wᵀ + b). */
  activated(x: Tensor, f: LinearActivation): Tensor {
    const options = { activation: f };
    return linearActivation(x, this.weight, this.bias, options);
  }

  /** Another affine map of f(x·Wᵀ + b). */
  activatedInto(x: Tensor, f: LinearActivation, next: AffineMap): Tensor {
    const { weight, bias } = this;
    const options = { activation: f };
    return feedForward(x, weight, bias, next.weight, next.bias, options);
  }

  /** The extents. */
  protected override details(): string {
    const [outFeatures, inFeatures] = this.weight.shape;
    return show({ inFeatures, outFeatures, bias: this.bias !== undefined });
  }
}

/** PyTorch's default: W by Kaiming's rule with a = √5, b in ± 1/√fanIn. */
export function resetAffine(weight: Tensor, bias: Tensor | undefined): void {
  kaimingUniform(weight, { slope: Math.sqrt(5) });
  if (bias === undefined) return;
  const fanIn = weight.size / weight.shape[0];
  const bound = fanIn > 0 ? 1 / Math.sqrt(fanIn) : 0;
  uniform(bias, -bound, bound);
}

/** A {@linkcode Linear}. @throws {RangeError} when an extent is no positive whole number. */
export function linear(
  inFeatures: number,
  outFeatures: number,
  options: LinearOptions = {},
): Linear {
  return new Linear(inFeatures, outFeatures, options);
}

/** y = x₁·W·x₂ + b. Parameters: `weight` [out, in1, in2], `bias` [out]. */
export class Bilinear extends Module<[a: Tensor, b: Tensor]> {
  /** W [out, in1, in2]. */
  readonly weight: Tensor;
  /** b [out], if there is one. */
  readonly bias: Tensor | undefined;

  /**
   * Makes a bilinear map; W and b start as U(±1/√in1).
   *
   * @throws {RangeError} when an extent is no positive whole number.
   */
  constructor(
    in1Features: number,
    in2Features: number,
    outFeatures: number,
    options: LinearOptions = {},
  ) {
    super();
    checkExtents("a Bilinear", { in1Features, in2Features, outFeatures });
    checkNames("a Bilinear", options, names);
    const { bias = true } = options;
    this.weight = parameter(
      empty([outFeatures, in1Features, in2Features], options),
    );
    this.bias = bias ? parameter(empty([outFeatures], options)) : undefined;
    const bound = 1 / Math.sqrt(in1Features);
    uniform(this.weight, -bound, bound);
    if (this.bias !== undefined) uniform(this.bias, -bound, bound);
  }

  /** a [..., in1] and b [..., in2] to [..., out]. */
  override forward(a: Tensor, b: Tensor): Tensor {
    return ops.bilinear(a, b, this.weight, this.bias);
  }

  /** The extents. */
  protected override details(): string {
    const [outFeatures, in1Features, in2Features] = this.weight.shape;
    return show({ in1Features, in2Features, outFeatures });
  }
}

/** A {@linkcode Bilinear}. @throws {RangeError} when an extent is no positive whole number. */
export function bilinear(
  in1Features: number,
  in2Features: number,
  outFeatures: number,
  options: LinearOptions = {},
): Bilinear {
  return new Bilinear(in1Features, in2Features, outFeatures, options);
}

/** Joins the axes from `start` (1: all but the batch) to `end`. */
export function flatten(start = 1, end = -1): Functional {
  const args = { start, end };
  checkCall("Flatten", { operator: flattenAxes, args });
  return new Functional(
    "Flatten",
    (x) => flattenAxes(x, start, end),
    show(args),
  );
}

/** Splits an axis into several. */
export function unflatten(axis: number, sizes: Shape): Functional {
  const args = { axis, sizes };
  checkCall("Unflatten", { operator: splitAxis, args });
  return new Functional(
    "Unflatten",
    (x) => splitAxis(x, axis, sizes),
    show(args),
  );
}
