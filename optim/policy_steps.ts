/**
 * Learning-rate policies: functions from the iteration, counted from 0, to a
 * factor on the learning rate. These are Caffe2's, under Caffe2's names; its
 * trainers count from 1, and `shift(policy, 1)` gives their sequence.
 *
 * @module
 */

import { count, countOrZero, finite, nonNegative, positive } from "./hyper.ts";
import type { Policy } from "./method.ts";
import { checkNumbers, settle } from "./policy_options.ts";

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
  const rules = { stepSize: count, gamma: positive };
  const { stepSize, gamma } = settle("step", options, rules);
  return (i) => gamma ** Math.floor(i / stepSize);
}

/** γ^i. @throws {RangeError} when γ is not above 0. */
export function exp(options: { gamma: number }): Policy {
  const { gamma } = settle("exp", options, { gamma: positive });
  return (i) => gamma ** i;
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
  const rules = { gamma: positive, power: positive };
  const { gamma, power } = settle("inv", options, rules);
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
  const rules = { power: positive, iterations: count };
  const { power, iterations } = settle("poly", options, rules);
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
  const rules = { start: positive, iterations: countOrZero };
  const { start, iterations } = settle("linearWarmup", options, rules);
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
  const { multiplier, iterations } = settle("constantWarmup", options, {
    multiplier: positive,
    iterations: countOrZero,
  }, { multiplier: 0.5 });
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
  const { activePeriod, inactivePeriod, activeFirst } = settle(
    "alter",
    options,
    {
      activePeriod: countOrZero,
      inactivePeriod: countOrZero,
      activeFirst: "true or false",
    },
    { activeFirst: true },
  );
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
  const { iterations, start, gamma, power, end } = settle("hill", options, {
    iterations: countOrZero,
    start: positive,
    gamma: positive,
    power: positive,
    end: nonNegative,
  });
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
  const { before, after, iterations } = settle("gate", options, {
    before: finite,
    after: finite,
    iterations: countOrZero,
  });
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
  const { multipliers, ends } = settle("pieceWarmup", options, {
    multipliers: "its own",
    ends: "its own",
  });
  checkNumbers("pieceWarmup", "multipliers", multipliers, 3, finite);
  checkNumbers("pieceWarmup", "ends", ends, 2, countOrZero);
  const [m1, m2, m3] = multipliers;
  const [n1, n2] = ends;
  if (n1 > n2) {
    throw new RangeError(
      `Cannot make policy pieceWarmup with ends [${n1}, ${n2}]: the second piece must end at ${n1} or later`,
    );
  }
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
  const { start, constantIterations, linearIterations } = settle(
    "constantThenLinearWarmup",
    options,
    {
      start: positive,
      constantIterations: countOrZero,
      linearIterations: countOrZero,
    },
  );
  const line = linearWarmup({ start, iterations: linearIterations });
  return (i) => i < constantIterations ? start : line(i - constantIterations);
}
