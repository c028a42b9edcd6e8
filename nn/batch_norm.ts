/**
 * Batch and instance normalisation with running statistics.
 *
 * @module
 */

import { noGrad } from "../core/autograd.ts";
import { ShapeError, shapeText } from "../core/errors.ts";
import type { OptionNames } from "../core/options.ts";
import { scope } from "../core/scope.ts";
import type { Tensor } from "../core/tensor.ts";
import { update } from "../core/update.ts";
import * as k from "../kernel/expr.ts";
import { batchNorm, instanceNorm } from "../ops/normalization.ts";
import { mean as meanOver } from "../ops/reduction.ts";
import { moments } from "../ops/statistics.ts";
import { filled } from "./allocate.ts";
import { checkExtents, checkNames, show, withArticle } from "./extents.ts";
import { Module } from "./module.ts";
import { checkEps, normNames, type NormOptions } from "./norm.ts";
import { buffer, parameter } from "./roles.ts";

/** Options of instance normalisation. */
export interface InstanceNormOptions extends NormOptions {
  /** Share of the new batch in the running statistics; 0.1 when omitted. */
  momentum?: number;
  /** Whether running statistics are kept, and used outside of training; false when omitted. */
  trackRunningStats?: boolean;
}

/** Options of batch normalisation. */
export interface BatchNormOptions extends NormOptions {
  /** Share of the new batch in the running statistics, or "average" for the mean of all batches; 0.1 when omitted. */
  momentum?: number | "average";
  /** Whether running statistics are kept, and used outside of training; true when omitted. */
  trackRunningStats?: boolean;
}

/**
 * Base of both. Parameters: `weight`, `bias` [channels]; buffers:
 * `running_mean`, `running_var` [channels], `num_batches_tracked`.
 */
export abstract class RunningNorm extends Module {
  /** w [channels], if there is one. */
  readonly weight: Tensor | undefined;
  /** b [channels], if there is one. */
  readonly bias: Tensor | undefined;
  /** Mean of each channel over past batches, if they are tracked. */
  readonly runningMean: Tensor | undefined;
  /** Variance of each channel over past batches, if they are tracked. */
  readonly runningVar: Tensor | undefined;
  /** Batches seen in training. */
  readonly numBatchesTracked: Tensor | undefined;
  /** ε, added to the variance. */
  protected readonly eps: number;
  readonly #channels: number;
  readonly #ranks: readonly number[];
  /** Share of a new batch in the running statistics. */
  protected readonly momentum: number | "average";

  /** Makes weights of 1 and biases of 0; `ranks` are the numbers of axes that inputs may have. */
  constructor(
    channels: number,
    ranks: readonly number[],
    options: Required<Pick<NormOptions, "affine">> & BatchNormOptions,
  ) {
    super();
    const { eps = 1e-5, affine, trackRunningStats, momentum = 0.1 } = options;
    const who = withArticle(new.target.name);
    checkExtents(who, { channels });
    if (momentum !== "average" && !(momentum >= 0 && momentum <= 1)) {
      throw new RangeError(
        `Cannot make ${who} with momentum ${momentum}: it must be a number from 0 to 1, or "average"`,
      );
    }
    this.eps = checkEps(who, eps);
    this.#channels = channels;
    this.#ranks = ranks;
    this.momentum = momentum;
    if (affine) {
      this.weight = parameter(filled([channels], 1, options));
      this.bias = parameter(filled([channels], 0, options));
    }
    if (trackRunningStats) {
      this.runningMean = buffer(filled([channels], 0, options));
      this.runningVar = buffer(filled([channels], 1, options));
      this.numBatchesTracked = buffer(
        filled([], 0, { ...options, dtype: "i64" }),
      );
    }
  }

  /** Refuses inputs of the wrong rank or number of channels. */
  protected check(x: Tensor): void {
    if (this.#ranks.includes(x.rank) && x.shape[1] === this.#channels) return;
    const takes = this.#ranks.map((rank) =>
      `[batch, ${this.#channels}${", extent".repeat(rank - 2)}]`
    );
    throw new ShapeError(
      `Cannot apply ${this.constructor.name} to a tensor of shape ${
        shapeText(x.shape)
      }: it takes ${takes.join(" or ")}`,
    );
  }

  /** Channels and options. */
  protected override details(): string {
    const { eps } = this;
    return show({ channels: this.#channels, eps, momentum: this.momentum });
  }
}

const runningNames: OptionNames<BatchNormOptions & InstanceNormOptions> = {
  ...normNames,
  momentum: true,
  trackRunningStats: true,
};

/** Base of the batch normalisations. */
export abstract class BatchNorm extends RunningNorm {
  /** Makes weights and running statistics. */
  constructor(
    channels: number,
    ranks: readonly number[],
    options: BatchNormOptions,
  ) {
    checkNames(withArticle(new.target.name), options, runningNames);
    super(channels, ranks, {
      ...options,
      affine: options.affine ?? true,
      trackRunningStats: options.trackRunningStats ?? true,
    });
  }

  /** Normalises with the batch's statistics in training, with the running ones otherwise. */
  override forward(x: Tensor): Tensor {
    this.check(x);
    const { runningMean, runningVar, weight, bias, eps } = this;
    const training = this.training || runningMean === undefined;
    const momentum = training ? this.#count() : 0;
    return batchNorm(x, runningMean, runningVar, weight, bias, {
      training,
      momentum,
      eps,
    });
  }

  /** Counts a batch; the share that it has in the running statistics. */
  #count(): number {
    const { momentum, numBatchesTracked: seen } = this;
    if (seen === undefined) return 0;
    update({
      name: "count batches",
      targets: [seen],
      operands: [],
      scalars: [],
      define: ([n]) => [k.add(n, k.constant(1, n.type))],
    });
    return momentum === "average" ? 1 / seen.item() : momentum;
  }
}

/** Batch normalisation of [batch, channels] or [batch, channels, L] (Ioffe and Szegedy, 2015). */
export class BatchNorm1d extends BatchNorm {
  /** Makes weights and running statistics. @throws {RangeError} for options out of their range. */
  constructor(channels: number, options: BatchNormOptions = {}) {
    super(channels, [2, 3], options);
  }
}

/** Batch normalisation of [batch, channels, H, W] (Ioffe and Szegedy, 2015). */
export class BatchNorm2d extends BatchNorm {
  /** Makes weights and running statistics. @throws {RangeError} for options out of their range. */
  constructor(channels: number, options: BatchNormOptions = {}) {
    super(channels, [4], options);
  }
}

/** Batch normalisation of [batch, channels, D, H, W] (Ioffe and Szegedy, 2015). */
export class BatchNorm3d extends BatchNorm {
  /** Makes weights and running statistics. @throws {RangeError} for options out of their range. */
  constructor(channels: number, options: BatchNormOptions = {}) {
    super(channels, [5], options);
  }
}

/** A {@linkcode BatchNorm1d}. @throws {RangeError} for options out of their range. */
export function batchNorm1d(
  channels: number,
  options: BatchNormOptions = {},
): BatchNorm1d {
  return new BatchNorm1d(channels, options);
}

/** A {@linkcode BatchNorm2d}. @throws {RangeError} for options out of their range. */
export function batchNorm2d(
  channels: number,
  options: BatchNormOptions = {},
): BatchNorm2d {
  return new BatchNorm2d(channels, options);
}

/** A {@linkcode BatchNorm3d}. @throws {RangeError} for options out of their range. */
export function batchNorm3d(
  channels: number,
  options: BatchNormOptions = {},
): BatchNorm3d {
  return new BatchNorm3d(channels, options);
}

/** Base of the instance normalisations. */
export abstract class InstanceNorm extends RunningNorm {
  /** Makes weights and running statistics where they are asked for. */
  constructor(
    channels: number,
    rank: number,
    options: InstanceNormOptions,
  ) {
    checkNames(withArticle(new.target.name), options, runningNames);
    super(channels, [rank], { ...options, affine: options.affine ?? false });
  }

  /** Normalises each channel of each example; with the running statistics outside of training, if there are any. */
  override forward(x: Tensor): Tensor {
    this.check(x);
    const { runningMean, runningVar, weight, bias, eps } = this;
    if (runningMean === undefined || runningVar === undefined) {
      return instanceNorm(x, weight, bias, { eps });
    }
    if (!this.training) {
      return batchNorm(x, runningMean, runningVar, weight, bias, { eps });
    }
    const share = Number(this.momentum);
    noGrad(() =>
      scope(() => {
        const axes = x.shape.map((_, d) => d).slice(2);
        const [mean, variance] = moments(x, axes, { correction: 1 });
        follow(runningMean, meanOver(mean, 0), share);
        follow(runningVar, meanOver(variance, 0), share);
      })
    );
    return instanceNorm(x, weight, bias, { eps });
  }
}

/** r ← (1 − s)·r + s·x */
function follow(running: Tensor, x: Tensor, share: number): void {
  update({
    name: "running instance statistics",
    targets: [running],
    operands: [x],
    scalars: [1 - share, share],
    define: ([r], [x], [stay, move]) => [k.add(k.mul(r, stay), k.mul(x, move))],
  });
}

/** Instance normalisation of [batch, channels, L] (Ulyanov et al., 2016). */
export class InstanceNorm1d extends InstanceNorm {
  /** Makes weights and running statistics where they are asked for. @throws {RangeError} for options out of their range. */
  constructor(channels: number, options: InstanceNormOptions = {}) {
    super(channels, 3, options);
  }
}

/** Instance normalisation of [batch, channels, H, W] (Ulyanov et al., 2016). */
export class InstanceNorm2d extends InstanceNorm {
  /** Makes weights and running statistics where they are asked for. @throws {RangeError} for options out of their range. */
  constructor(channels: number, options: InstanceNormOptions = {}) {
    super(channels, 4, options);
  }
}

/** Instance normalisation of [batch, channels, D, H, W] (Ulyanov et al., 2016). */
export class InstanceNorm3d extends InstanceNorm {
  /** Makes weights and running statistics where they are asked for. @throws {RangeError} for options out of their range. */
  constructor(channels: number, options: InstanceNormOptions = {}) {
    super(channels, 5, options);
  }
}

/** An {@linkcode InstanceNorm1d}. @throws {RangeError} for options out of their range. */
export function instanceNorm1d(
  channels: number,
  options: InstanceNormOptions = {},
): InstanceNorm1d {
  return new InstanceNorm1d(channels, options);
}

/** An {@linkcode InstanceNorm2d}. @throws {RangeError} for options out of their range. */
export function instanceNorm2d(
  channels: number,
  options: InstanceNormOptions = {},
): InstanceNorm2d {
  return new InstanceNorm2d(channels, options);
}

/** An {@linkcode InstanceNorm3d}. @throws {RangeError} for options out of their range. */
export function instanceNorm3d(
  channels: number,
  options: InstanceNormOptions = {},
): InstanceNorm3d {
  return new InstanceNorm3d(channels, options);
}
