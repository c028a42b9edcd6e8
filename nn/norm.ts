/**
 * Normalisation within examples: over layers, groups, root mean squares and
 * neighbouring channels.
 *
 * @module
 */

import type { OptionNames } from "../core/options.ts";
import type { Shape } from "../core/shape.ts";
import type { Tensor } from "../core/tensor.ts";
import * as ops from "../ops/normalization.ts";
import {
  localResponseNorm as respond,
  type ResponseOptions,
} from "../ops/response_norm.ts";
import { filled } from "./allocate.ts";
import { Functional } from "./containers.ts";
import {
  checkCall,
  checkExtents,
  checkNames,
  moduleNames,
  show,
} from "./extents.ts";
import { Module, type ModuleOptions } from "./module.ts";
import { parameter } from "./roles.ts";

/** Options of normalisations. */
export interface NormOptions extends ModuleOptions {
  /** ε, added to the variance; 10⁻⁵ when omitted. */
  eps?: number;
  /** Whether there are weights (and biases); true when omitted. */
  affine?: boolean;
}

/** The names of {@linkcode NormOptions}. */
export const normNames: OptionNames<NormOptions> = {
  ...moduleNames,
  eps: true,
  affine: true,
};

/** Options of {@linkcode layerNorm}. */
export interface LayerNormOptions extends NormOptions {
  /** Whether there are biases beside weights; true when omitted. */
  bias?: boolean;
}

/** Refuses an ε that is no positive number. */
export function checkEps(who: string, eps: number): number {
  if (!(eps > 0 && Number.isFinite(eps))) {
    throw new RangeError(
      `Cannot make ${who} with eps ${eps}: it must be a finite number above 0`,
    );
  }
  return eps;
}

function checkShape(who: string, shape: number | Shape): Shape {
  const extents = typeof shape === "number" ? [shape] : [...shape];
  for (const extent of extents) checkExtents(who, { extent });
  return extents;
}

/** (x − mean)/√(variance + ε)·w + b over the last axes. Parameters: `weight`, `bias` of their shape. */
export class LayerNorm extends Module {
  /** w, of the normalised shape, if there is one. */
  readonly weight: Tensor | undefined;
  /** b, of the normalised shape, if there is one. */
  readonly bias: Tensor | undefined;
  readonly #shape: Shape;
  readonly #eps: number;

  /** Makes weights of 1 and biases of 0. @throws {RangeError} for extents or ε out of their range. */
  constructor(shape: number | Shape, options: LayerNormOptions = {}) {
    super();
    checkNames("a LayerNorm", options, { ...normNames, bias: true });
    const { eps = 1e-5, affine = true, bias = true } = options;
    this.#shape = checkShape("a LayerNorm", shape);
    this.#eps = checkEps("a LayerNorm", eps);
    if (!affine) return;
    this.weight = parameter(filled(this.#shape, 1, options));
    if (bias) this.bias = parameter(filled(this.#shape, 0, options));
  }

  /** Normalises the last axes. */
  override forward(x: Tensor): Tensor {
    const { weight, bias } = this;
    return ops.layerNorm(x, this.#shape, weight, bias, { eps: this.#eps });
  }

  /** The shape and ε. */
  protected override details(): string {
    return show({ shape: this.#shape, eps: this.#eps });
  }
}

/** A {@linkcode LayerNorm}. @throws {RangeError} for extents or ε out of their range. */
export function layerNorm(
  shape: number | Shape,
  options: LayerNormOptions = {},
): LayerNorm {
  return new LayerNorm(shape, options);
}

/** x/√(mean x² + ε)·w over the last axes. Parameter: `weight` of their shape. */
export class RMSNorm extends Module {
  /** w, of the normalised shape, if there is one. */
  readonly weight: Tensor | undefined;
  readonly #shape: Shape;
  readonly #eps: number | undefined;

  /** Makes weights of 1; ε is the machine epsilon when omitted. @throws {RangeError} for extents or ε out of their range. */
  constructor(shape: number | Shape, options: NormOptions = {}) {
    super();
    checkNames("an RMSNorm", options, normNames);
    const { eps, affine = true } = options;
    this.#shape = checkShape("an RMSNorm", shape);
    this.#eps = eps === undefined ? eps : checkEps("an RMSNorm", eps);
    if (affine) this.weight = parameter(filled(this.#shape, 1, options));
  }

  /** Normalises the last axes. */
  override forward(x: Tensor): Tensor {
    return ops.rmsNorm(x, this.#shape, this.weight, { eps: this.#eps });
  }

  /** The shape and ε. */
  protected override details(): string {
    return show({ shape: this.#shape, eps: this.#eps });
  }
}

/** An {@linkcode RMSNorm}. @throws {RangeError} for extents or ε out of their range. */
export function rmsNorm(
  shape: number | Shape,
  options: NormOptions = {},
): RMSNorm {
  return new RMSNorm(shape, options);
}

/** Normalises groups of channels of each example. Parameters: `weight`, `bias` [channels]. */
export class GroupNorm extends Module {
  /** w [channels], if there is one. */
  readonly weight: Tensor | undefined;
  /** b [channels], if there is one. */
  readonly bias: Tensor | undefined;
  readonly #groups: number;
  readonly #eps: number;

  /** Makes weights of 1 and biases of 0. @throws {RangeError} when the groups do not divide the channels. */
  constructor(groups: number, channels: number, options: NormOptions = {}) {
    super();
    checkNames("a GroupNorm", options, normNames);
    const { eps = 1e-5, affine = true } = options;
    checkExtents("a GroupNorm", { groups, channels });
    if (channels % groups !== 0) {
      throw new RangeError(
        `Cannot make a GroupNorm of ${channels} channels in ${groups} groups: the groups must divide the channels`,
      );
    }
    this.#groups = groups;
    this.#eps = checkEps("a GroupNorm", eps);
    if (!affine) return;
    this.weight = parameter(filled([channels], 1, options));
    this.bias = parameter(filled([channels], 0, options));
  }

  /** [batch, channels, …], normalised. */
  override forward(x: Tensor): Tensor {
    const { weight, bias } = this;
    return ops.groupNorm(x, this.#groups, weight, bias, { eps: this.#eps });
  }

  /** The groups and ε. */
  protected override details(): string {
    return show({ groups: this.#groups, eps: this.#eps });
  }
}

/** A {@linkcode GroupNorm}. @throws {RangeError} when the groups do not divide the channels. */
export function groupNorm(
  groups: number,
  channels: number,
  options: NormOptions = {},
): GroupNorm {
  return new GroupNorm(groups, channels, options);
}

/** x / (k + α/size·Σ x²)^β, the sum running over `size` neighbouring channels. */
export function localResponseNorm(
  size: number,
  options?: ResponseOptions,
): Functional {
  checkExtents("a LocalResponseNorm", { size });
  checkCall("LocalResponseNorm", {
    operator: respond,
    args: { size },
    options,
  });
  return new Functional(
    "LocalResponseNorm",
    (x) => respond(x, size, options),
    show({ size, ...options }),
  );
}
