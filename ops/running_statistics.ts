/**
 * Running statistics of batch normalisations, which each batch moves:
 * r ← (1 − momentum)·r + momentum·batch, with the unbiased variance.
 *
 * @module
 */

import type { DType } from "../core/dtype.ts";
import type { Tensor } from "../core/tensor.ts";
import { exclusive, update } from "../core/update.ts";
import * as k from "../kernel/expr.ts";
import type { Expr } from "../kernel/expr.ts";

/** Running statistics of a batch normalisation. */
export interface Running {
  /** Means. */
  readonly mean: Tensor | undefined;
  /** Variances. */
  readonly variance: Tensor | undefined;
  /** Share of the new batch. */
  readonly momentum: number;
}

/** Statistics of the rows, in the shape of x without the axes of a row. */
export interface Statistics {
  /** Means. */
  readonly mean: Tensor;
  /** Variances, divided by the number of elements. */
  readonly variance: Tensor;
}

/** Whether a statistic is kept in `dtype` and may be overwritten where it lies. */
export function liesFree(x: Tensor | undefined, dtype: DType): x is Tensor {
  return x !== undefined && x.dtype === dtype && exclusive(x.value);
}

/** A running statistic, and where it moves. */
interface Moving {
  readonly running: Tensor;
  readonly batch: Tensor;
  /** Share of the batch. */
  readonly share: number;
}

/** How much of a batch of `count` elements per channel the running mean and variance take. */
function sharesOf({ momentum }: Running, count: number): [number, number] {
  return [momentum, momentum * (count / (count - 1))];
}

function moved(running: Expr, batch: Expr, stay: Expr, share: Expr): Expr {
  return k.add(k.mul(running, stay), k.mul(batch, share));
}

function moveAll(stay: number, moving: readonly Moving[]): void {
  const targets = moving.map(({ running }) => running);
  if (targets.some(({ dtype }) => dtype !== targets[0].dtype)) {
    for (const each of moving) moveAll(stay, [each]);
    return;
  }
  update({
    name: `running statistics ${targets.length}`,
    targets,
    operands: moving.map(({ batch }) => batch),
    scalars: [stay, ...moving.map(({ share }) => share)],
    define: (running, batch, [stay, ...shares]) =>
      running.map((r, i) => moved(r, batch[i], stay, shares[i])),
  });
}

/** Moves running statistics towards those of a batch with `count` elements per channel, together. */
export function moveRunning(
  running: Running,
  batch: Statistics,
  count: number,
): void {
  const [ofMean, ofVariance] = sharesOf(running, count);
  const moving: Moving[] = [];
  const add = (of: Tensor | undefined, batch: Tensor, share: number) => {
    if (of !== undefined) moving.push({ running: of, batch, share });
  };
  add(running.mean, batch.mean, ofMean);
  add(running.variance, batch.variance, ofVariance);
  moveAll(1 - running.momentum, moving);
}

/** Running statistics that the kernel which finds those of the batch moves itself. */
export class MovedInPlace {
  /** What is overwritten: [channels] each. */
  readonly targets: readonly Tensor[];
  /** 1 − momentum, then the share of the batch in each. */
  readonly scalars: readonly number[];
  /** Which there are: 1 the mean, 2 the variance, 3 both. */
  readonly which: number;
  readonly #mean: boolean;

  /**
   * Takes running statistics.
   *
   * @param running Each of them {@linkcode liesFree}, where it is kept.
   * @param count Elements of the batch per channel.
   */
  constructor(running: Running, count: number) {
    const { mean, variance } = running;
    const [ofMean, ofVariance] = sharesOf(running, count);
    const targets: Tensor[] = [], scalars = [1 - running.momentum];
    if (mean !== undefined) {
      targets.push(mean);
      scalars.push(ofMean);
    }
    if (variance !== undefined) {
      targets.push(variance);
      scalars.push(ofVariance);
    }
    this.targets = targets;
    this.scalars = scalars;
    this.#mean = mean !== undefined;
    this.which = (this.#mean ? 1 : 0) + (variance !== undefined ? 2 : 0);
  }

  /** Their new values, from expressions of what they are, of the statistics of the batch, and of the scalars. */
  next(
    targets: readonly Expr[],
    mean: Expr,
    variance: Expr,
    [stay, ...shares]: readonly Expr[],
  ): Expr[] {
    return targets.map((target, i) =>
      moved(target, i === 0 && this.#mean ? mean : variance, stay, shares[i])
    );
  }
}

/** How a kernel moves running statistics; undefined where some are kept in another dtype than `dtype`, or may not be overwritten. */
export function movedInPlace(
  running: Running,
  dtype: DType,
  count: number,
): MovedInPlace | undefined {
  for (const x of [running.mean, running.variance]) {
    if (x !== undefined && !liesFree(x, dtype)) return undefined;
  }
  return new MovedInPlace(running, count);
}
