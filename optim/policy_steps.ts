/**
 * Learning-rate policies: functions from the iteration, counted from 0, to a
 * factor on the learning rate. These are Caffe2's, under Caffe2's names; its
 * trainers count from 1, and `shift(policy, 1)` gives their sequence.
 *
 * @module
 */

import {
  checkNumber,
  count,
  countOrZero,
  finite,
  nonNegative,
  positive,
  type Range,
} from "./hyper.ts";
import type { Policy } from "./method.ts";

/** Refuses an option of a policy that is out of its range. */
export function checkOptions(
  policy: string,
  options: object,
  ranges: Readonly<Record<string, Range>>,
): void {
  const given = options as Readonly<Record<string, unknown>>;
  for (const [name, range] of Object.entries(ranges)) {
    checkNumber(`policy ${policy}`, name, given[name], range);
  }
}

/** Always 1. */
export function fixed(): Policy {
  return () => 1;
}

/** Options of {@linkcode step}. */
export interface StepOptions {
  /** Iterations between changes. */
  stepSize: number;
  /** γ, the factor of each change. */
  gamma: number;
}

/** γ^⌊i / stepSize⌋. @throws {RangeError} for an option out of its range. */
export function step(options: StepOptions): Policy {
  checkOptions("step", options, { stepSize: count, gamma: positive });
  const { stepSize, gamma } = options;
  return (i) => gamma ** Math.floor(i / stepSize);
}

/** γ^i. @throws {RangeError} when γ is not above 0. */
export function exp(options: { gamma: number }): Policy {
  checkOptions("exp", options, { gamma: positive });
  return (i) => options.gamma ** i;
}

/** Options of {@linkcode inv}. */
export interface InvOptions {
  /** γ, how fast it falls. */
  gamma: number;
  /** p, the power. */
  power: number;
}

/** (1 + γ·i)^−p. @throws {RangeError} for an option out of its range. */
export function inv(options: InvOptions): Policy {
  checkOptions("inv", options, { gamma: positive, power: positive });
  const { gamma, power } = options;
  return (i) => (1 + gamma * i) ** -power;
}

/** Options of {@linkcode poly}. */
export interface PolyOptions {
  /** p, the power. */
  power: number;
  /** Iteration at which the factor reaches 0, and stays there. */
  iterations: number;
}

/** (1 − i/n)^p, 0 from n on. @throws {RangeError} for an option out of its range. */
export function poly(options: PolyOptions): Policy {
  checkOptions("poly", options, { power: positive, iterations: count });
  const { power, iterations } = options;
  return (i) => Math.max(0, 1 - i / iterations) ** power;
}

/** Options of {@linkcode linearWarmup}. */
export interface LinearWarmupOptions {
  /** First factor, above 0. */
  start: number;
  /** Iteration at which the factor reaches 1. */
  iterations: number;
}

/** From `start` to 1 in a straight line. @throws {RangeError} for an option out of its range. */
export function linearWarmup(options: LinearWarmupOptions): Policy {
  checkOptions("linearWarmup", options, {
    start: positive,
    iterations: countOrZero,
  });
  const { start, iterations } = options;
  return (i) => i >= iterations ? 1 : start + (1 - start) * i / iterations;
}

/** Options of {@linkcode constantWarmup}. */
export interface ConstantWarmupOptions {
  /** Factor during the warm-up; 0.5 when omitted. */
  multiplier?: number;
  /** Iterations of the warm-up. */
  iterations: number;
}

/** A constant, then 1. @throws {RangeError} for an option out of its range. */
export function constantWarmup(options: ConstantWarmupOptions): Policy {
  const { multiplier = 0.5, iterations } = options;
  checkOptions("constantWarmup", { multiplier, iterations }, {
    multiplier: positive,
    iterations: countOrZero,
  });
  return (i) => i >= iterations ? 1 : multiplier;
}

/** Options of {@linkcode alter}. */
export interface AlterOptions {
  /** Iterations that learn. */
  activePeriod: number;
  /** Iterations that do not. */
  inactivePeriod: number;
  /** Whether the active period comes first; true when omitted. */
  activeFirst?: boolean;
}

/** 1 and 0 in turns. @throws {RangeError} for an option out of its range. */
export function alter(options: AlterOptions): Policy {
  checkOptions("alter", options, {
    activePeriod: countOrZero,
    inactivePeriod: countOrZero,
  });
  const { activePeriod, inactivePeriod, activeFirst = true } = options;
  const period = activePeriod + inactivePeriod;
  if (period === 0) {
    throw new RangeError(
      "Cannot make policy alter of two periods of 0 iterations: one must be above 0",
    );
  }
  return (i) =>
    activeFirst
      ? Number(i % period < activePeriod)
      : Number(i % period >= inactivePeriod);
}

/** Options of {@linkcode hill}. */
export interface HillOptions {
  /** Iterations of the way up. */
  iterations: number;
  /** First factor, above 0. */
  start: number;
  /** γ of the way down. */
  gamma: number;
  /** p of the way down. */
  power: number;
  /** Least factor of the way down. */
  end: number;
}

/** A linear warm-up, then max(end, (1 + γ·(i − n))^−p). @throws {RangeError} for an option out of its range. */
export function hill(options: HillOptions): Policy {
  checkOptions("hill", options, { iterations: countOrZero, end: nonNegative });
  const { iterations, start, gamma, power, end } = options;
  const up = linearWarmup({ start, iterations });
  const down = inv({ gamma, power });
  return (i) => i < iterations ? up(i) : Math.max(end, down(i - iterations));
}

/** Options of {@linkcode gate}. */
export interface GateOptions {
  /** Factor before the gate. */
  before: number;
  /** Factor from the gate on. */
  after: number;
  /** Where the gate is. */
  iterations: number;
}

/** One factor, then another. @throws {RangeError} for an option out of its range. */
export function gate(options: GateOptions): Policy {
  checkOptions("gate", options, {
    before: finite,
    after: finite,
    iterations: countOrZero,
  });
  const { before, after, iterations } = options;
  return (i) => i >= iterations ? after : before;
}

/** Options of {@linkcode pieceWarmup}. */
export interface PieceWarmupOptions {
  /** Factors of the three pieces. */
  multipliers: readonly [number, number, number];
  /** Iterations at which the second and the third piece begin. */
  ends: readonly [number, number];
}

/** Three constants, one after the other. @throws {RangeError} for an option out of its range. */
export function pieceWarmup(options: PieceWarmupOptions): Policy {
  const { multipliers: [m1, m2, m3], ends: [n1, n2] } = options;
  checkOptions("pieceWarmup", { m1, m2, m3, n1, n2 }, {
    m1: finite,
    m2: finite,
    m3: finite,
    n1: countOrZero,
    n2: countOrZero,
  });
  return (i) => i < n1 ? m1 : i < n2 ? m2 : m3;
}

/** Options of {@linkcode constantThenLinearWarmup}. */
export interface TwoWarmupsOptions {
  /** Factor of the constant warm-up, where the linear one starts. */
  start: number;
  /** Iterations of the constant warm-up. */
  constantIterations: number;
  /** Iterations of the linear warm-up. */
  linearIterations: number;
}

/** A constant, then a line up to 1. @throws {RangeError} for an option out of its range. */
export function constantThenLinearWarmup(options: TwoWarmupsOptions): Policy {
  const { start, constantIterations, linearIterations } = options;
  checkOptions("constantThenLinearWarmup", options, {
    constantIterations: countOrZero,
    linearIterations: countOrZero,
  });
  const line = linearWarmup({ start, iterations: linearIterations });
  return (i) => i < constantIterations ? start : line(i - constantIterations);
}
