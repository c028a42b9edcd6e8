/**
 * Learning-rate policies that follow a cosine or a triangle.
 *
 * @module
 */

import { count, nonNegative, positive, share } from "./hyper.ts";
import type { Policy } from "./method.ts";
import { settle } from "./policy_options.ts";
import {
  constantThenLinearWarmup,
  type TwoWarmupsOptions,
} from "./policy_steps.ts";

/** Options of {@linkcode cyclical}. */
export interface CyclicalOptions {
  /** Factor at the top; the bottom is 1. */
  max: number;
  /** Iterations from bottom to top. */
  stepSize: number;
  /** Factor on the height after each cycle; 1 when omitted. */
  decay?: number;
}

/**
 * A triangle between 1 and `max` (Smith, 2017):
 * 1 + (max − 1)·max(0, 1 − |i/s − 2c + 1|)·decay^(c − 1) in cycle c = ⌊i/2s⌋ + 1.
 *
 * @throws {RangeError} for an option out of its range.
 */
export function cyclical(options: CyclicalOptions): Policy {
  const { max, stepSize, decay } = settle("cyclical", options, {
    max: nonNegative,
    stepSize: count,
    decay: positive,
  }, { decay: 1 });
  return (i) => {
    const done = Math.floor(i / (2 * stepSize));
    const x = Math.abs(i / stepSize - 2 * (done + 1) + 1);
    return 1 + (max - 1) * Math.max(0, 1 - x) * decay ** done;
  };
}

/** Options of {@linkcode cosine}. */
export interface CosineOptions {
  /** Factor at the bottom; 0 when omitted. */
  min?: number;
  /** Factor at the top, where each period starts; 1 when omitted. */
  max?: number;
  /** Iterations of the first period. */
  period: number;
  /** Factor on the length of each following period; 1 when omitted. */
  periodFactor?: number;
  /** Factor on both bounds in each following period; 1 when omitted. */
  shrink?: number;
}

/**
 * A cosine from `max` to `min` with warm restarts (Loshchilov and Hutter, 2017):
 * min + ½·(max − min)·(1 + cos(π·t/T)) at iteration t of a period of T.
 *
 * @throws {RangeError} for an option out of its range.
 */
export function cosine(options: CosineOptions): Policy {
  const { min, max, period, periodFactor, shrink } = settle("cosine", options, {
    min: nonNegative,
    max: nonNegative,
    period: count,
    periodFactor: positive,
    shrink: positive,
  }, { min: 0, max: 1, periodFactor: 1, shrink: 1 });
  return (i) => {
    const { number, start, length } = periodOf(i, period, periodFactor);
    const turn = (1 + Math.cos(Math.PI * (i - start) / length)) / 2;
    return shrink ** number * (min + (max - min) * turn);
  };
}

/** The period that an iteration lies in, the lengths forming a geometric series. */
function periodOf(
  i: number,
  period: number,
  factor: number,
): { number: number; start: number; length: number } {
  if (factor === 1) {
    const number = Math.floor(i / period);
    return { number, start: number * period, length: period };
  }
  let number = 0, start = 0, length = period;
  // Periods that shrink add up to less than any i beyond their sum: the last one then lasts.
  while (i >= start + length && length > 1e-9) {
    start += length;
    length *= factor;
    number++;
  }
  return { number, start, length };
}

/** {@linkcode cosine} after both warm-ups. @throws {RangeError} for an option out of its range. */
export function compositeCosine(
  options: TwoWarmupsOptions & CosineOptions,
): Policy {
  return afterWarmups(options, cosine);
}

/** {@linkcode cyclical} after both warm-ups. @throws {RangeError} for an option out of its range. */
export function compositeCyclical(
  options: TwoWarmupsOptions & CyclicalOptions,
): Policy {
  return afterWarmups(options, cyclical);
}

function afterWarmups<O extends object>(
  options: TwoWarmupsOptions & O,
  make: (rest: O) => Policy,
): Policy {
  const { start, constantIterations, linearIterations, ...rest } = options;
  const warmup = constantThenLinearWarmup({
    start,
    constantIterations,
    linearIterations,
  });
  const policy = make(rest as unknown as O);
  const length = constantIterations + linearIterations;
  return (i) => i < length ? warmup(i) : policy(i - length);
}

/** Options of {@linkcode cosineAnnealing}. */
export interface CosineAnnealingOptions {
  /** Iterations from 1 down to `min`. */
  iterations: number;
  /** Last factor; 0 when omitted. */
  min?: number;
  /** Iterations of a linear warm-up from 1/(warmup + 1) before; 0 when omitted. */
  warmup?: number;
}

/**
 * One half cosine from 1 to `min`, which then stays; after a linear warm-up
 * if one is asked for, inside the given number of iterations.
 *
 * @throws {RangeError} for an option out of its range, or a warm-up as long as everything.
 */
export function cosineAnnealing(options: CosineAnnealingOptions): Policy {
  const { iterations, min, warmup } = settle("cosineAnnealing", options, {
    iterations: count,
    min: nonNegative,
    warmup: {
      text: `a whole number of at least 0 and below ${options?.iterations}`,
      holds: (x) => Number.isInteger(x) && x >= 0 && x < options.iterations,
    },
  }, { min: 0, warmup: 0 });
  const length = iterations - warmup;
  return (i) => {
    if (i < warmup) return (i + 1) / (warmup + 1);
    const part = Math.min(1, (i - warmup) / length);
    return min + (1 - min) * (1 + Math.cos(Math.PI * part)) / 2;
  };
}

/** Options of {@linkcode oneCycle}. */
export interface OneCycleOptions {
  /** All iterations. */
  iterations: number;
  /** Share of them that goes up; 0.3 when omitted. */
  rise?: number;
  /** The first factor is 1/startDivisor; 25 when omitted. */
  startDivisor?: number;
  /** The last factor is 1/(startDivisor·endDivisor); 10 000 when omitted. */
  endDivisor?: number;
  /** Whether to move along a cosine or a line; "cosine" when omitted. */
  curve?: "cosine" | "linear";
}

/**
 * Up to 1, then down far below the start (Smith and Topin, 2018), as PyTorch's
 * OneCycleLR with two phases; the learning rate given beside it is the largest.
 *
 * @throws {RangeError} for an option out of its range.
 */
export function oneCycle(options: OneCycleOptions): Policy {
  const { iterations, rise, startDivisor, endDivisor, curve } = settle(
    "oneCycle",
    options,
    {
      iterations: count,
      rise: share,
      startDivisor: positive,
      endDivisor: positive,
      curve: ["cosine", "linear"],
    },
    { rise: 0.3, startDivisor: 25, endDivisor: 1e4, curve: "cosine" },
  );
  const start = 1 / startDivisor, end = start / endDivisor;
  const top = rise * iterations - 1, last = iterations - 1;
  const between = (from: number, to: number, part: number) =>
    curve === "linear"
      ? from + (to - from) * part
      : to + (from - to) * (1 + Math.cos(Math.PI * part)) / 2;
  return (i) => {
    if (i < top) return between(start, 1, i / top);
    if (i === top || last === top) return 1;
    return between(1, end, Math.min(1, (i - top) / (last - top)));
  };
}
