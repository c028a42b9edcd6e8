/**
 * Convolutions and transposed convolutions over one to three axes.
 *
 * @module
 */

import { ShapeError, shapeText } from "../core/errors.ts";
import type { OptionNames } from "../core/options.ts";
import type { Tensor } from "../core/tensor.ts";
import { conv } from "../ops/convolution.ts";
import { convTranspose } from "../ops/transposed_convolution.ts";
import { pad, type PadMode } from "../ops/pad.ts";
import type { Padding, PerAxis } from "../ops/windows.ts";
import {
  checkExtents,
  checkNames,
  moduleNames,
  show,
  withArticle,
} from "./extents.ts";
import { empty } from "./allocate.ts";
import { resetAffine } from "./linear.ts";
import { Module, type ModuleOptions } from "./module.ts";
import { parameter } from "./roles.ts";

/** Options of convolutions. */
export interface ConvOptions extends ModuleOptions {
  /** Step of the filters; 1 when omitted. */
  stride?: PerAxis;
  /** Positions added around the input, or "same", or "valid"; 0 when omitted. */
  padding?: Padding;
  /** Distance of filter taps; 1 when omitted. */
  dilation?: PerAxis;
  /** Groups that channels are split into; 1 when omitted. */
  groups?: number;
  /** Whether a bias is added; true when omitted. */
  bias?: boolean;
  /** What the padding holds; "zeros" when omitted. */
  paddingMode?: "zeros" | Exclude<PadMode, "constant">;
}

/** One number per axis. */
function each(value: PerAxis, rank: number): number[] {
  return typeof value === "number" ? Array(rank).fill(value) : [...value];
}

/** Refuses channels and kernels that do not fit; the kernel per axis. */
function checkKernel(
  who: string,
  rank: number,
  kernel: PerAxis,
  channels: { inChannels: number; outChannels: number; groups: number },
): number[] {
  checkExtents(who, channels);
  const { inChannels, outChannels, groups } = channels;
  if (inChannels % groups !== 0 || outChannels % groups !== 0) {
    throw new RangeError(
      `Cannot make ${who} with ${inChannels} input channels, ${outChannels} output channels and ${groups} groups: the groups must divide both`,
    );
  }
  const extents = each(kernel, rank);
  if (extents.length !== rank) {
    throw new RangeError(
      `Cannot make ${who} with kernel ${
        shapeText(extents)
      }: give one number, or ${rank}`,
    );
  }
  for (const extent of extents) checkExtents(who, { kernel: extent });
  return extents;
}

const convNames: OptionNames<ConvOptions> = {
  ...moduleNames,
  stride: true,
  padding: true,
  dilation: true,
  groups: true,
  bias: true,
  paddingMode: true,
};

/** Base of the convolutions: `weight` [out, in/groups, kernel…], `bias` [out]. */
export abstract class Conv extends Module {
  /** Filters [out, in/groups, kernel…]. */
  readonly weight: Tensor;
  /** One number per output channel, if there is a bias. */
  readonly bias: Tensor | undefined;
  readonly #rank: number;
  readonly #options: ConvOptions;

  /** Makes filters that start as U(±1/√fanIn). */
  constructor(
    rank: number,
    inChannels: number,
    outChannels: number,
    kernel: PerAxis,
    options: ConvOptions,
  ) {
    super();
    const who = withArticle(new.target.name);
    checkNames(who, options, convNames);
    const { groups = 1, bias = true } = options;
    const channels = { inChannels, outChannels, groups };
    const extents = checkKernel(who, rank, kernel, channels);
    this.weight = parameter(
      empty([outChannels, inChannels / groups, ...extents], options),
    );
    this.bias = bias ? parameter(empty([outChannels], options)) : undefined;
    resetAffine(this.weight, this.bias);
    this.#rank = rank;
    this.#options = options;
  }

  /** x [N, in, spatial…] to [N, out, spatial…]. */
  override forward(x: Tensor): Tensor {
    const { stride, dilation, groups, paddingMode = "zeros" } = this.#options;
    let { padding } = this.#options;
    checkRank(this.constructor.name, x, this.#rank);
    if (paddingMode !== "zeros") {
      const widths = this.#widths(padding ?? 0);
      x = pad(x, widths, { mode: paddingMode });
      padding = 0;
    }
    return conv(x, this.weight, this.bias, {
      stride,
      padding,
      dilation,
      groups,
    });
  }

  /** Padding before and after each axis, the last axis first, as `pad` takes it. */
  #widths(padding: Padding): number[] {
    const rank = this.#rank;
    const dilation = each(this.#options.dilation ?? 1, rank);
    const room = dilation.map((d, i) => d * (this.weight.shape[2 + i] - 1));
    let before: number[], after: number[];
    if (padding === "same") {
      before = room.map((n) => Math.floor(n / 2));
      after = room.map((n) => Math.ceil(n / 2));
    } else {
      const list = each(padding === "valid" ? 0 : padding, rank);
      before = list.slice(0, rank);
      after = list.slice(-rank);
    }
    return before.flatMap((_, i) => {
      const axis = rank - 1 - i;
      return [before[axis], after[axis]];
    });
  }

  /** Channels, kernel and options. */
  protected override details(): string {
    const { dtype: _, device: __, ...options } = this.#options;
    const [outChannels, perGroup, ...kernel] = this.weight.shape;
    const inChannels = perGroup * (options.groups ?? 1);
    return show({ inChannels, outChannels, kernel, ...options });
  }
}

function checkRank(who: string, x: Tensor, rank: number): void {
  if (x.rank !== rank + 2) {
    throw new ShapeError(
      `Cannot apply ${who} to a tensor of shape ${
        shapeText(x.shape)
      }: it takes [batch, channels${", extent".repeat(rank)}]`,
    );
  }
}

/** Convolution over one axis: [N, in, L] to [N, out, L′]. */
export class Conv1d extends Conv {
  /** Makes filters of the given kernel size. @throws {RangeError} for extents or groups that do not fit. */
  constructor(
    inChannels: number,
    outChannels: number,
    kernel: PerAxis,
    options: ConvOptions = {},
  ) {
    super(1, inChannels, outChannels, kernel, options);
  }
}

/** Convolution over two axes: [N, in, H, W] to [N, out, H′, W′]. */
export class Conv2d extends Conv {
  /** Makes filters of the given kernel size. @throws {RangeError} for extents or groups that do not fit. */
  constructor(
    inChannels: number,
    outChannels: number,
    kernel: PerAxis,
    options: ConvOptions = {},
  ) {
    super(2, inChannels, outChannels, kernel, options);
  }
}

/** Convolution over three axes: [N, in, D, H, W] to [N, out, D′, H′, W′]. */
export class Conv3d extends Conv {
  /** Makes filters of the given kernel size. @throws {RangeError} for extents or groups that do not fit. */
  constructor(
    inChannels: number,
    outChannels: number,
    kernel: PerAxis,
    options: ConvOptions = {},
  ) {
    super(3, inChannels, outChannels, kernel, options);
  }
}

/** A {@linkcode Conv1d}. @throws {RangeError} for extents or groups that do not fit. */
export function conv1d(
  inChannels: number,
  outChannels: number,
  kernel: PerAxis,
  options: ConvOptions = {},
): Conv1d {
  return new Conv1d(inChannels, outChannels, kernel, options);
}

/** A {@linkcode Conv2d}. @throws {RangeError} for extents or groups that do not fit. */
export function conv2d(
  inChannels: number,
  outChannels: number,
  kernel: PerAxis,
  options: ConvOptions = {},
): Conv2d {
  return new Conv2d(inChannels, outChannels, kernel, options);
}

/** A {@linkcode Conv3d}. @throws {RangeError} for extents or groups that do not fit. */
export function conv3d(
  inChannels: number,
  outChannels: number,
  kernel: PerAxis,
  options: ConvOptions = {},
): Conv3d {
  return new Conv3d(inChannels, outChannels, kernel, options);
}

/** Options of transposed convolutions. */
export interface ConvTransposeOptions extends ModuleOptions {
  /** Step of the filters in the output; 1 when omitted. */
  stride?: PerAxis;
  /** Positions cut off around the output; 0 when omitted. */
  padding?: PerAxis;
  /** Positions added at the end of the output; 0 when omitted. */
  outputPadding?: PerAxis;
  /** Distance of filter taps; 1 when omitted. */
  dilation?: PerAxis;
  /** Groups that channels are split into; 1 when omitted. */
  groups?: number;
  /** Whether a bias is added; true when omitted. */
  bias?: boolean;
}

const transposedNames: OptionNames<ConvTransposeOptions> = {
  ...moduleNames,
  stride: true,
  padding: true,
  outputPadding: true,
  dilation: true,
  groups: true,
  bias: true,
};

/** Base of the transposed convolutions: `weight` [in, out/groups, kernel…], `bias` [out]. */
export abstract class ConvTranspose extends Module {
  /** Filters [in, out/groups, kernel…]. */
  readonly weight: Tensor;
  /** One number per output channel, if there is a bias. */
  readonly bias: Tensor | undefined;
  readonly #rank: number;
  readonly #options: ConvTransposeOptions;

  /** Makes filters that start as U(±1/√fanIn). */
  constructor(
    rank: number,
    inChannels: number,
    outChannels: number,
    kernel: PerAxis,
    options: ConvTransposeOptions,
  ) {
    super();
    const who = withArticle(new.target.name);
    checkNames(who, options, transposedNames);
    const { groups = 1, bias = true } = options;
    const channels = { inChannels, outChannels, groups };
    const extents = checkKernel(who, rank, kernel, channels);
    this.weight = parameter(
      empty([inChannels, outChannels / groups, ...extents], options),
    );
    this.bias = bias ? parameter(empty([outChannels], options)) : undefined;
    resetAffine(this.weight, this.bias);
    this.#rank = rank;
    this.#options = options;
  }

  /** x [N, in, spatial…] to [N, out, spatial…]. */
  override forward(x: Tensor): Tensor {
    const { stride, padding, outputPadding, dilation, groups } = this.#options;
    checkRank(this.constructor.name, x, this.#rank);
    return convTranspose(x, this.weight, this.bias, {
      stride,
      padding,
      outputPadding,
      dilation,
      groups,
    });
  }

  /** Channels, kernel and options. */
  protected override details(): string {
    const { dtype: _, device: __, ...options } = this.#options;
    const [inChannels, perGroup, ...kernel] = this.weight.shape;
    const outChannels = perGroup * (options.groups ?? 1);
    return show({ inChannels, outChannels, kernel, ...options });
  }
}

/** Transposed convolution over one axis. */
export class ConvTranspose1d extends ConvTranspose {
  /** Makes filters of the given kernel size. @throws {RangeError} for extents or groups that do not fit. */
  constructor(
    inChannels: number,
    outChannels: number,
    kernel: PerAxis,
    options: ConvTransposeOptions = {},
  ) {
    super(1, inChannels, outChannels, kernel, options);
  }
}

/** Transposed convolution over two axes. */
export class ConvTranspose2d extends ConvTranspose {
  /** Makes filters of the given kernel size. @throws {RangeError} for extents or groups that do not fit. */
  constructor(
    inChannels: number,
    outChannels: number,
    kernel: PerAxis,
    options: ConvTransposeOptions = {},
  ) {
    super(2, inChannels, outChannels, kernel, options);
  }
}

/** Transposed convolution over three axes. */
export class ConvTranspose3d extends ConvTranspose {
  /** Makes filters of the given kernel size. @throws {RangeError} for extents or groups that do not fit. */
  constructor(
    inChannels: number,
    outChannels: number,
    kernel: PerAxis,
    options: ConvTransposeOptions = {},
  ) {
    super(3, inChannels, outChannels, kernel, options);
  }
}

/** A {@linkcode ConvTranspose1d}. @throws {RangeError} for extents or groups that do not fit. */
export function convTranspose1d(
  inChannels: number,
  outChannels: number,
  kernel: PerAxis,
  options: ConvTransposeOptions = {},
): ConvTranspose1d {
  return new ConvTranspose1d(inChannels, outChannels, kernel, options);
}

/** A {@linkcode ConvTranspose2d}. @throws {RangeError} for extents or groups that do not fit. */
export function convTranspose2d(
  inChannels: number,
  outChannels: number,
  kernel: PerAxis,
  options: ConvTransposeOptions = {},
): ConvTranspose2d {
  return new ConvTranspose2d(inChannels, outChannels, kernel, options);
}

/** A {@linkcode ConvTranspose3d}. @throws {RangeError} for extents or groups that do not fit. */
export function convTranspose3d(
  inChannels: number,
  outChannels: number,
  kernel: PerAxis,
  options: ConvTransposeOptions = {},
): ConvTranspose3d {
  return new ConvTranspose3d(inChannels, outChannels, kernel, options);
}
