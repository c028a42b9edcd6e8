/**
 * Learning-rate policies made of others, milestones, and the one that
 * observes the training.
 *
 * @module
 */

import { showValue } from "../core/attributes.ts";
import {
  checkNumber,
  count,
  countOrZero,
  finite,
  fraction,
  nonNegative,
  positive,
} from "./hyper.ts";
import type { Policy } from "./method.ts";
import { settle } from "./policy_options.ts";

/** Options of {@linkcode multiStep}. */
export interface MultiStepOptions {
  /** Iterations at which the factor changes, ascending. */
  milestones: readonly number[];
  /** γ, the factor of each change; 0.1 when omitted. */
  gamma?: number;
}

/** γ^(number of milestones reached). @throws {RangeError} for an option out of its range. */
export function multiStep(options: MultiStepOptions): Policy {
  const { milestones, gamma } = settle("multiStep", options, {
    milestones: "its own",
    gamma: positive,
  }, { gamma: 0.1 });
  checkAscending("multiStep", milestones);
  return (i) => gamma ** milestones.filter((m) => m <= i).length;
}

function checkAscending(policy: string, milestones: readonly number[]): void {
  const start = `Cannot make policy ${policy} with milestones ${
    showValue(milestones)
  }: they must be whole numbers of at least 0 in ascending order`;
  if (!Array.isArray(milestones)) throw new RangeError(`${start}, in a list`);
  const bad = milestones.find((m, n) =>
    !Number.isInteger(m) || m < 0 || (n > 0 && m <= milestones[n - 1])
  );
  if (bad !== undefined) throw new RangeError(`${start}, and ${bad} is not`);
}

/** Options of {@linkcode linear}. */
export interface LinearOptions {
  /** First factor. */
  start: number;
  /** Last factor. */
  end: number;
  /** Iterations between them. */
  iterations: number;
}

/** A line from one factor to another, which then stays. @throws {RangeError} for an option out of its range. */
export function linear(options: LinearOptions): Policy {
  const { start, end, iterations } = settle("linear", options, {
    start: finite,
    end: finite,
    iterations: count,
  });
  return (i) => start + (end - start) * Math.min(1, i / iterations);
}

/** A piece of a {@linkcode composite} policy. */
export interface Piece {
  /** Its length. */
  iterations: number;
  /** The policy, which sees the iteration of the whole. */
  policy: Policy;
  /** Factor on it; 1 when omitted. */
  scale?: number;
}

/**
 * Pieces one after the other, as in Caffe2: the first one covers iteration 0
 * and the `iterations` that follow, each policy sees the iteration of the
 * whole, and the last piece does not end.
 *
 * @throws {RangeError} when there is no piece, or one has no length.
 */
export function composite(pieces: readonly Piece[]): Policy {
  if (pieces.length === 0) {
    throw new RangeError(
      "Cannot make policy composite of no pieces: give at least one { iterations, policy }",
    );
  }
  let next = 1;
  const starts = pieces.map(({ iterations, scale = 1 }) => {
    checkNumber("policy composite", "iterations", iterations, count);
    checkNumber("policy composite", "scale", scale, finite);
    const start = next;
    next += iterations;
    return start;
  });
  return (i) => {
    const at = Math.max(0, starts.findLastIndex((start) => start <= i));
    const { policy, scale = 1 } = pieces[at];
    return scale * policy(i);
  };
}

/** A part of a {@linkcode join}. */
export interface Part {
  /** The policy, which counts from the start of its part. */
  policy: Policy;
  /** Its length; the last part has none. */
  iterations?: number;
}

/**
 * Policies one after the other, each counting from its own start, such as a
 * warm-up and a cosine.
 *
 * @throws {RangeError} when a part but the last has no length.
 */
export function join(...parts: readonly Part[]): Policy {
  if (parts.length === 0) {
    throw new RangeError(
      "Cannot join no policies: give at least one { policy, iterations }",
    );
  }
  const lengths = parts.map(({ iterations }, n) => {
    if (n === parts.length - 1 && iterations === undefined) return Infinity;
    return checkNumber(
      `policy join, part ${n},`,
      "iterations",
      iterations,
      count,
    );
  });
  return (i) => {
    let n = 0;
    while (n < parts.length - 1 && i >= lengths[n]) i -= lengths[n++];
    return parts[n].policy(i);
  };
}

/** The policy as it is `by` iterations later. @throws {RangeError} when `by` is no whole number. */
export function shift(policy: Policy, by: number): Policy {
  checkNumber("policy shift", "by", by, {
    text: "a whole number",
    holds: Number.isSafeInteger,
  });
  return (i) => policy(i + by);
}

/** The product of policies. */
export function product(...policies: readonly Policy[]): Policy {
  return (i) => policies.reduce((factor, policy) => factor * policy(i), 1);
}

/** Options of {@linkcode reduceOnPlateau}. */
export interface PlateauOptions {
  /** Whether less or more is better; "min" when omitted. */
  mode?: "min" | "max";
  /** What the learning rate is multiplied by; 0.1 when omitted. */
  factor?: number;
  /** Observations without improvement that are let pass; 10 when omitted. */
  patience?: number;
  /** What counts as an improvement; 10⁻⁴ when omitted. */
  threshold?: number;
  /** Whether the threshold is a share of the best value or a distance; "relative" when omitted. */
  thresholdMode?: "relative" | "absolute";
  /** Observations after a reduction during which nothing is counted; 0 when omitted. */
  cooldown?: number;
  /** Least factor; 0 when omitted. */
  min?: number;
}

/** A policy that is told how the training goes. */
export interface PlateauPolicy extends Policy {
  /** Takes a metric into account, usually once per epoch. */
  observe(metric: number): void;
  /** What it remembers. */
  state: Record<string, number>;
}

/**
 * Multiplies the learning rate by `factor` when the observed metric has not
 * improved for more than `patience` observations, as PyTorch's
 * ReduceLROnPlateau. Its memory is saved with the optimizer.
 *
 * @throws {RangeError} for an option out of its range.
 */
export function reduceOnPlateau(options: PlateauOptions = {}): PlateauPolicy {
  const { mode, factor, patience, threshold, thresholdMode, cooldown, min } =
    settle("reduceOnPlateau", options, {
      mode: ["min", "max"],
      factor: fraction,
      patience: countOrZero,
      threshold: nonNegative,
      thresholdMode: ["relative", "absolute"],
      cooldown: countOrZero,
      min: nonNegative,
    }, {
      mode: "min",
      factor: 0.1,
      patience: 10,
      threshold: 1e-4,
      thresholdMode: "relative",
      cooldown: 0,
      min: 0,
    });
  const sign = mode === "min" ? -1 : 1;
  const better = (x: number, best: number) => {
    const bound = thresholdMode === "relative"
      ? best * (1 + sign * threshold)
      : best + sign * threshold;
    return mode === "min" ? x < bound : x > bound;
  };
  const policy = (() => policy.state.current) as unknown as PlateauPolicy;
  policy.state = { current: 1, seen: 0, best: 0, bad: 0, cooling: 0 };
  policy.observe = (metric) => {
    const s = policy.state;
    // NaN is no improvement, not even at first.
    if (better(metric, s.seen === 0 ? -sign * Infinity : s.best)) {
      s.seen = 1;
      s.best = metric;
      s.bad = 0;
    } else s.bad++;
    if (s.cooling > 0) {
      s.cooling--;
      s.bad = 0;
    }
    if (s.bad > patience) {
      s.current = Math.max(s.current * factor, min);
      s.cooling = cooldown;
      s.bad = 0;
    }
  };
  return policy;
}
