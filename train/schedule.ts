/**
 * Learning-rate policies by name, with their settings: what `optim.policies`
 * offers to somebody who writes code, for configuration files and flags.
 *
 * @module
 */

import {
  count,
  countOrZero,
  fraction,
  nonNegative,
  positive,
  share,
} from "../optim/hyper.ts";
import type { Policy } from "../optim/mod.ts";
import { policies } from "../optim/mod.ts";
import { numberSetting, type Settings, type Values } from "./settings.ts";

/** A policy with its settings. */
export interface Schedule<S extends Settings = Settings> {
  /** What it does, as a formula where there is one. */
  readonly help: string;
  /** Its settings. */
  readonly settings: S;
  /** Makes the policy for a training of so many steps. */
  readonly make: (values: Values<S>, steps: number) => Policy;
}

function schedule<S extends Settings>(
  help: string,
  settings: S,
  make: (values: Values<S>, steps: number) => Policy,
): Schedule {
  return { help, settings, make: make as Schedule["make"] };
}

const gamma = numberSetting(0.5, "factor γ of each change", {
  range: positive,
});
const power = numberSetting(1, "exponent p", { range: positive });
const minimum = numberSetting(0, "last factor on the learning rate", {
  range: nonNegative,
});

/** Every policy that can be named. */
export const schedules = {
  fixed: schedule("the learning rate stays", {}, () => policies.fixed()),
  step: schedule(
    "γ^⌊i / s⌋",
    {
      policyGamma: gamma,
      policyStepSize: numberSetting(1000, "s", { range: count, unit: "steps" }),
    },
    (v) => policies.step({ gamma: v.policyGamma, stepSize: v.policyStepSize }),
  ),
  exp: schedule(
    "γ^i",
    { policyGamma: { ...gamma, default: 0.999 } },
    (v) => policies.exp({ gamma: v.policyGamma }),
  ),
  inv: schedule(
    "(1 + γ·i)^−p, Caffe's for LeNet",
    {
      policyGamma: { ...gamma, default: 1e-4 },
      policyPower: { ...power, default: 0.75 },
    },
    (v) => policies.inv({ gamma: v.policyGamma, power: v.policyPower }),
  ),
  poly: schedule(
    "(1 − i/n)^p over all n steps",
    { policyPower: power },
    (v, iterations) => policies.poly({ power: v.policyPower, iterations }),
  ),
  linear: schedule(
    "in a line from 1 to the last factor over all steps",
    { policyMin: minimum },
    (v, iterations) =>
      policies.linear({ start: 1, end: v.policyMin, iterations }),
  ),
  cosineAnnealing: schedule(
    "half a cosine from 1 to the last factor over all steps",
    { policyMin: minimum },
    (v, iterations) =>
      policies.cosineAnnealing({ iterations, min: v.policyMin }),
  ),
  cosine: schedule(
    "cosines with warm restarts",
    {
      policyMin: minimum,
      policyPeriod: numberSetting(1000, "first period", {
        range: count,
        unit: "steps",
      }),
      policyPeriodFactor: numberSetting(1, "factor on each next period", {
        range: positive,
      }),
    },
    (v) =>
      policies.cosine({
        min: v.policyMin,
        period: v.policyPeriod,
        periodFactor: v.policyPeriodFactor,
      }),
  ),
  cyclical: schedule(
    "a triangle between 1 and its top",
    {
      policyMax: numberSetting(4, "factor at the top", { range: nonNegative }),
      policyStepSize: numberSetting(500, "from bottom to top", {
        range: count,
        unit: "steps",
      }),
      policyDecay: numberSetting(1, "factor on the height after each cycle", {
        range: share,
      }),
    },
    (v) =>
      policies.cyclical({
        max: v.policyMax,
        stepSize: v.policyStepSize,
        decay: v.policyDecay,
      }),
  ),
  oneCycle: schedule(
    "up to 1 along a cosine, then down far below the start",
    {
      policyRise: numberSetting(0.3, "share of the steps that go up", {
        range: share,
      }),
      policyStartDivisor: numberSetting(25, "the first factor is 1/this", {
        range: positive,
      }),
      policyEndDivisor: numberSetting(1e4, "the last is the first/this", {
        range: positive,
      }),
    },
    (v, iterations) =>
      policies.oneCycle({
        iterations,
        rise: v.policyRise,
        startDivisor: v.policyStartDivisor,
        endDivisor: v.policyEndDivisor,
      }),
  ),
  hill: schedule(
    "a line up to 1, then (1 + γ·i)^−p",
    {
      policySteps: numberSetting(500, "length of the way up", {
        range: countOrZero,
        unit: "steps",
      }),
      policyStart: numberSetting(0.1, "first factor", { range: positive }),
      policyGamma: { ...gamma, default: 1e-4 },
      policyPower: { ...power, default: 0.75 },
      policyMin: minimum,
    },
    (v) =>
      policies.hill({
        iterations: v.policySteps,
        start: v.policyStart,
        gamma: v.policyGamma,
        power: v.policyPower,
        end: v.policyMin,
      }),
  ),
  gate: schedule(
    "one factor, then another",
    {
      policySteps: numberSetting(1000, "where it changes", {
        range: countOrZero,
        unit: "steps",
      }),
      policyBefore: numberSetting(1, "factor before", { range: nonNegative }),
      policyAfter: numberSetting(0.1, "factor after", { range: nonNegative }),
    },
    (v) =>
      policies.gate({
        iterations: v.policySteps,
        before: v.policyBefore,
        after: v.policyAfter,
      }),
  ),
  alter: schedule(
    "1 and 0 in turns",
    {
      policyActive: numberSetting(100, "steps that learn", {
        range: countOrZero,
        unit: "steps",
      }),
      policyInactive: numberSetting(100, "steps that do not", {
        range: countOrZero,
        unit: "steps",
      }),
    },
    (v) =>
      policies.alter({
        activePeriod: v.policyActive,
        inactivePeriod: v.policyInactive,
      }),
  ),
  reduceOnPlateau: schedule(
    "a factor each time the test loss has stopped falling",
    {
      policyFactor: numberSetting(0.1, "the factor", { range: fraction }),
      policyPatience: numberSetting(1, "tests without improvement let pass", {
        range: countOrZero,
        unit: "epochs",
      }),
    },
    (v) =>
      policies.reduceOnPlateau({
        factor: v.policyFactor,
        patience: v.policyPatience,
      }),
  ),
} satisfies Record<string, Schedule>;

/** Name of a policy. */
export type ScheduleName = keyof typeof schedules;

/** A policy that is told how the training goes. */
export type Observer = Policy & Pick<policies.PlateauPolicy, "observe">;

/** Whether a policy is to be told the loss of each test. */
export function observes(policy: Policy | undefined): policy is Observer {
  return policy !== undefined && "observe" in policy;
}

/**
 * The policy of a name, after a linear warm-up from 1/(warmup + 1) of so many
 * steps; it counts from the end of the warm-up.
 *
 * @throws {RangeError} when the warm-up leaves no step for the policy.
 */
export function makePolicy(
  name: ScheduleName,
  values: Values,
  steps: number,
  warmup = 0,
): Policy {
  if (warmup > 0 && warmup >= steps) {
    throw new RangeError(
      `Cannot warm up for ${warmup} of ${steps} steps: at least one step must follow; choose a warm-up of at most ${
        steps - 1
      } (on the command line --warmup ${steps - 1}), or train longer`,
    );
  }
  const policy = (schedules[name] as Schedule).make(values, steps - warmup);
  if (warmup === 0) return policy;
  const ramp = policies.linearWarmup({
    start: 1 / (warmup + 1),
    iterations: warmup,
  });
  const joined = policies.join({ policy: ramp, iterations: warmup }, {
    policy,
  });
  if (!observes(policy)) return joined;
  return Object.defineProperties(joined, {
    state: {
      get: () => policy.state,
      set: (state: Record<string, number>) => {
        policy.state = state;
      },
    },
    observe: { value: policy.observe },
  });
}
