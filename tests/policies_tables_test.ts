/** Learning-rate policies against tables: PyTorch's schedulers, and Caffe2's formulas by hand. */

import { assertAlmostEquals, assertEquals, assertThrows } from "@std/assert";
import { policies } from "../optim/mod.ts";
import { goldenNames, goldenSchedule, metrics } from "./optim_golden.ts";

function table(policy: policies.Policy, length: number): number[] {
  return Array.from({ length }, (_, i) => policy(i));
}

function near(actual: number[], expected: number[]): void {
  assertEquals(actual.length, expected.length);
  actual.forEach((x, i) =>
    assertAlmostEquals(x, expected[i], 1e-12, `iteration ${i}`)
  );
}

function observed(policy: policies.PlateauPolicy, sign = 1): number[] {
  return metrics.map((metric, i) => {
    policy.observe(sign * metric);
    return policy(i);
  });
}

const torch: Record<string, () => policies.Policy | number[]> = {
  "step": () => policies.step({ stepSize: 7, gamma: 0.3 }),
  "multiStep": () =>
    policies.multiStep({ milestones: [3, 10, 31], gamma: 0.5 }),
  "exp": () => policies.exp({ gamma: 0.9 }),
  "poly": () => policies.poly({ power: 1.5, iterations: 25 }),
  "linear": () => policies.linear({ start: 0.25, end: 0.75, iterations: 13 }),
  "constantWarmup": () =>
    policies.constantWarmup({ multiplier: 0.3, iterations: 6 }),
  "cosineAnnealing": () =>
    policies.cosineAnnealing({ iterations: 39, min: 0.1 }),
  "cosine": () => policies.cosine({ period: 5, periodFactor: 2, min: 0.05 }),
  "cosine fixed": () => policies.cosine({ period: 9, min: 0.2 }),
  "cyclical": () => policies.cyclical({ max: 3, stepSize: 6 }),
  "cyclical halved": () =>
    policies.cyclical({ max: 3, stepSize: 6, decay: 0.5 }),
  "oneCycle": () => policies.oneCycle({ iterations: 41 }),
  "oneCycle linear": () =>
    policies.oneCycle({
      iterations: 41,
      rise: 0.4,
      curve: "linear",
      startDivisor: 10,
      endDivisor: 100,
    }),
  "join": () =>
    policies.join(
      {
        policy: policies.linear({ start: 0.1, end: 1, iterations: 8 }),
        iterations: 8,
      },
      { policy: policies.cosineAnnealing({ iterations: 32 }) },
    ),
  "plateau": () =>
    observed(policies.reduceOnPlateau({ patience: 2, factor: 0.5 })),
  "plateau absolute": () =>
    observed(policies.reduceOnPlateau({
      patience: 1,
      factor: 0.3,
      threshold: 0.5,
      thresholdMode: "absolute",
      cooldown: 2,
      min: 0.05,
    })),
  "plateau max": () =>
    observed(
      policies.reduceOnPlateau({ mode: "max", patience: 2, factor: 0.5 }),
      -1,
    ),
};

Deno.test("every golden schedule is compared", () => {
  assertEquals(Object.keys(torch).sort(), goldenNames("schedule").sort());
});

for (const [name, make] of Object.entries(torch)) {
  Deno.test(`policy ${name} is PyTorch's`, () => {
    const expected = goldenSchedule(name);
    const made = make();
    near(
      typeof made === "function" ? table(made, expected.length) : made,
      expected,
    );
  });
}

const warmups = { start: 0.2, constantIterations: 2, linearIterations: 4 };

/** Factors worked out by hand from the formulas of Caffe2's learning_rate_functors.h. */
const caffe2: Record<string, [policies.Policy, number[]]> = {
  fixed: [policies.fixed(), [1, 1, 1]],
  step: [
    policies.step({ stepSize: 2, gamma: 0.5 }),
    [1, 1, 0.5, 0.5, 0.25, 0.25],
  ],
  inv: [policies.inv({ gamma: 1, power: 2 }), [1, 1 / 4, 1 / 9, 1 / 16]],
  poly: [
    policies.poly({ power: 2, iterations: 4 }),
    [1, 9 / 16, 1 / 4, 1 / 16, 0, 0],
  ],
  linearWarmup: [
    policies.linearWarmup({ start: 0.2, iterations: 4 }),
    [0.2, 0.4, 0.6, 0.8, 1, 1],
  ],
  constantWarmup: [
    policies.constantWarmup({ iterations: 2 }),
    [0.5, 0.5, 1, 1],
  ],
  "alter, active first": [
    policies.alter({ activePeriod: 2, inactivePeriod: 1 }),
    [1, 1, 0, 1, 1, 0],
  ],
  "alter, inactive first": [
    policies.alter({ activePeriod: 2, inactivePeriod: 1, activeFirst: false }),
    [0, 1, 1, 0, 1, 1],
  ],
  hill: [
    policies.hill({ iterations: 2, start: 0.5, gamma: 1, power: 1, end: 0.3 }),
    [0.5, 0.75, 1, 1 / 2, 1 / 3, 0.3, 0.3],
  ],
  gate: [
    policies.gate({ before: 0.25, after: 2, iterations: 3 }),
    [0.25, 0.25, 0.25, 2, 2],
  ],
  pieceWarmup: [
    policies.pieceWarmup({ multipliers: [0.1, 0.5, 2], ends: [1, 3] }),
    [0.1, 0.5, 0.5, 2, 2],
  ],
  // Pieces start at iterations 1, 3 and 4, and see the iteration of the whole.
  composite: [
    policies.composite([
      { iterations: 2, policy: policies.fixed() },
      { iterations: 1, policy: (i) => i, scale: 10 },
      { iterations: 1, policy: (i) => i },
    ]),
    [1, 1, 1, 30, 4, 5, 6],
  ],
  cyclical: [
    policies.cyclical({ max: 5, stepSize: 2, decay: 0.5 }),
    [1, 3, 5, 3, 1, 2, 3, 2, 1, 1.5, 2],
  ],
  // Periods of 2 and 4; both bounds shrink to a half.
  cosine: [
    policies.cosine({
      min: 1,
      max: 3,
      period: 2,
      periodFactor: 2,
      shrink: 0.5,
    }),
    [
      3,
      2,
      1.5,
      0.5 + 0.5 * (1 + Math.SQRT1_2),
      1,
      0.5 + 0.5 * (1 - Math.SQRT1_2),
      0.75,
    ],
  ],
  constantThenLinearWarmup: [
    policies.constantThenLinearWarmup(warmups),
    [0.2, 0.2, 0.2, 0.4, 0.6, 0.8, 1, 1],
  ],
  compositeCosine: [
    policies.compositeCosine({ ...warmups, period: 2, max: 2 }),
    [0.2, 0.2, 0.2, 0.4, 0.6, 0.8, 2, 1, 2, 1],
  ],
  compositeCyclical: [
    policies.compositeCyclical({ ...warmups, max: 3, stepSize: 1 }),
    [0.2, 0.2, 0.2, 0.4, 0.6, 0.8, 1, 3, 1, 3],
  ],
  product: [
    policies.product(
      policies.linearWarmup({ start: 0.5, iterations: 2 }),
      policies.exp({ gamma: 0.5 }),
    ),
    [0.5, 0.375, 0.25, 0.125],
  ],
  "join, the last part with a length": [
    policies.join(
      { policy: policies.exp({ gamma: 0.5 }), iterations: 2 },
      { policy: policies.exp({ gamma: 0.1 }), iterations: 2 },
    ),
    [1, 0.5, 1, 0.1, 0.1 ** 2, 0.1 ** 3],
  ],
  // Caffe2's trainers count from 1.
  shift: [
    policies.shift(policies.step({ stepSize: 2, gamma: 0.5 }), 1),
    [1, 0.5, 0.5, 0.25],
  ],
  "cosineAnnealing with a warm-up": [
    policies.cosineAnnealing({ iterations: 5, warmup: 3 }),
    [1 / 4, 2 / 4, 3 / 4, 1, 0.5, 0, 0],
  ],
  "oneCycle of one": [policies.oneCycle({ iterations: 1, rise: 1 }), [1, 1]],
};

for (const [name, [policy, expected]] of Object.entries(caffe2)) {
  Deno.test(`policy ${name} follows its table`, () => {
    near(table(policy, expected.length), expected);
  });
}

Deno.test("a plateau policy goes on from its state", () => {
  const one = policies.reduceOnPlateau({ patience: 1 });
  [5, 6].forEach((m) => one.observe(m));
  const two = policies.reduceOnPlateau({ patience: 1 });
  two.state = JSON.parse(JSON.stringify(one.state));
  two.observe(6);
  assertAlmostEquals(two(0), 0.1);
  assertEquals(one(0), 1);
  one.observe(4);
  assertEquals(one(0), 1);
});

Deno.test("a plateau policy takes NaN for no improvement, also at first", () => {
  const policy = policies.reduceOnPlateau({ patience: 0, factor: 0.5 });
  const factors = [NaN, 3, 2, NaN, 1].map((metric) => {
    policy.observe(metric);
    return policy(0);
  });
  assertEquals(factors, [0.5, 0.5, 0.5, 0.25, 0.25]);
});

Deno.test("policies refuse names and words that there are not", () => {
  const { fixed: _, ...made } = policies as unknown as Record<
    string,
    (options: object) => unknown
  >;
  const options: Record<string, object> = {
    step: { stepSize: 1, gamma: 0.5 },
    exp: { gamma: 0.5 },
    inv: { gamma: 1, power: 1 },
    poly: { power: 1, iterations: 9 },
    linearWarmup: { start: 0.5, iterations: 9 },
    constantWarmup: { iterations: 9 },
    alter: { activePeriod: 1, inactivePeriod: 1 },
    hill: { iterations: 1, start: 0.5, gamma: 1, power: 1, end: 0 },
    gate: { before: 1, after: 2, iterations: 9 },
    pieceWarmup: { multipliers: [1, 2, 3], ends: [1, 2] },
    constantThenLinearWarmup: warmups,
    compositeCosine: { ...warmups, period: 9 },
    compositeCyclical: { ...warmups, max: 2, stepSize: 9 },
    cyclical: { max: 2, stepSize: 9 },
    cosine: { period: 9 },
    cosineAnnealing: { iterations: 9 },
    oneCycle: { iterations: 9 },
    multiStep: { milestones: [1, 2] },
    linear: { start: 1, end: 0, iterations: 9 },
    reduceOnPlateau: {},
  };
  const others = ["composite", "join", "shift", "product"];
  assertEquals(
    Object.keys({ ...made }).sort(),
    [
      ...Object.keys(options),
      ...others,
    ].sort(),
  );
  for (const [name, given] of Object.entries(options)) {
    made[name](given);
    assertThrows(
      () => made[name]({ ...given, gama: 1 }),
      TypeError,
      "with the option gama: there is",
      name,
    );
  }
  const words: [string, object, string][] = [
    ["oneCycle", { curve: "cos" }, 'curve must be "cosine" or "linear"'],
    ["reduceOnPlateau", { mode: "less" }, 'mode must be "min" or "max"'],
    ["reduceOnPlateau", { thresholdMode: "rel" }, '"relative" or "absolute"'],
    ["alter", { activeFirst: 1 }, "activeFirst must be true or false"],
  ];
  for (const [name, word, said] of words) {
    const make = () => made[name]({ ...options[name], ...word });
    assertThrows(make, TypeError, said);
  }
});

Deno.test("policies refuse options out of range", () => {
  const bad: [() => unknown, string][] = [
    [() => policies.step({ stepSize: 0, gamma: 0.5 }), "stepSize 0"],
    [() => policies.step({ stepSize: 1, gamma: -1 }), "gamma -1"],
    [() => policies.exp({ gamma: 0 }), "a finite number above 0"],
    [() => policies.poly({ power: 1, iterations: 1.5 }), "whole number"],
    [() => policies.inv({ gamma: NaN, power: 1 }), "gamma NaN"],
    [() => policies.linearWarmup({ start: 0, iterations: 1 }), "start 0"],
    [
      () => policies.alter({ activePeriod: 0, inactivePeriod: 0 }),
      "two periods of 0",
    ],
    [() => policies.composite([]), "no pieces"],
    [
      () => policies.composite([{ iterations: 0, policy: policies.fixed() }]),
      "iterations 0",
    ],
    [() => policies.multiStep({ milestones: [3, 3] }), "ascending"],
    [() => policies.multiStep({ milestones: 3 as never }), "in a list"],
    [
      () => policies.pieceWarmup({ multipliers: [1, 2, 3], ends: [2, 1] }),
      "must end at 2 or later",
    ],
    [
      () =>
        policies.pieceWarmup({ multipliers: [1, 2] as never, ends: [1, 2] }),
      "a list of 3",
    ],
    [
      () =>
        policies.join({ policy: policies.fixed() }, {
          policy: policies.fixed(),
        }),
      "part 0",
    ],
    [() => policies.join(), "join no policies"],
    [() => policies.cyclical({ max: 2, stepSize: 0 }), "stepSize 0"],
    [() => policies.cosine({ period: 0 }), "period 0"],
    [
      () => policies.cosineAnnealing({ iterations: 5, warmup: 5 }),
      "below 5",
    ],
    [() => policies.oneCycle({ iterations: 9, rise: 0 }), "rise 0"],
    [() => policies.reduceOnPlateau({ factor: 1 }), "factor 1"],
    [() => policies.shift(policies.fixed(), 0.5), "by 0.5"],
  ];
  for (const [make, said] of bad) assertThrows(make, RangeError, said);
});
