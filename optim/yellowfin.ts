/**
 * YellowFin: momentum SGD that tunes its own learning rate and momentum, per
 * parameter, from the noise and curvature that the gradients show.
 *
 * @module
 */

import * as k from "../kernel/expr.ts";
import { runRows } from "../core/row_kernels.ts";
import { Tensor } from "../core/tensor.ts";
import { update } from "../core/update.ts";
import { formula, squaredNorm } from "./formula.ts";
import { count, fraction, positive } from "./hyper.ts";
import type { CommonOptions, GroupOptions, Method, Place } from "./method.ts";
import { Optimizer } from "./optimizer.ts";
import type { Parameters } from "./parameters.ts";

const { add, coord, div, exp, log, max, mul, pow, select, sqrt, sub } = k;

/** Hyper-parameters of {@linkcode yellowFin}. */
export interface YellowFinHyper {
  /** μ before the first estimate. */
  momentum?: number;
  /** β of all moving averages. */
  beta?: number;
  /** Steps over which the range of the curvature is looked at. */
  window?: number;
  /** ε, the least value of norms and variances. */
  eps?: number;
  /** Whether to look ahead by one velocity. */
  nesterov?: boolean;
  /** Whether averages are corrected for having started at 0. */
  zeroDebias?: boolean;
}

/** YellowFin as a method. */
export const yellowFinMethod: Method<YellowFinHyper> = {
  name: "yellowFin",
  computes: true,
  lr: 0.1,
  hyper: {
    momentum: { default: 0, range: fraction, what: "first momentum" },
    beta: { default: 0.999, range: fraction, what: "decay of the averages" },
    window: { default: 20, range: count, what: "steps of curvature" },
    eps: { default: 1e-6, range: positive, what: "ε" },
    nesterov: { default: false, what: "Nesterov's look-ahead" },
    zeroDebias: { default: true, what: "correct the averages" },
  },
  shapes: (_, { window }) => ({ curvature: [window], ...scalarShapes }),
  update(place) {
    momentumStep(place);
    measure(place);
  },
};

const scalarNames = [
  "rate",
  "mu",
  "norm",
  "norm2",
  "least",
  "most",
  "distance",
] as const;

const scalarShapes = Object.fromEntries(
  scalarNames.map((name): [string, number[]] => [name, []]),
);

/** The step with the rate and momentum of the estimate so far. */
function momentumStep(place: Place<YellowFinHyper>): void {
  const { lr, numbers, options: { momentum, nesterov } } = place;
  numbers.first ??= lr;
  const rate = place.state("rate", numbers.first);
  const mu = place.state("mu", momentum);
  place.apply({
    name: nesterov ? "yellowFin nesterov" : "yellowFin",
    state: { momentum: 0 },
    // What a policy makes of the first rate scales every later one.
    scalars: { factor: numbers.first === 0 ? 0 : lr / numbers.first },
    tensors: { rate, mu },
    // v' ← μ·v + η·g;  w ← w − v', or w − ((1 + μ)·v' − μ·v)
    formula({ w, g, momentum: v, rate, mu, factor }) {
      const next = add(mul(mu, v), mul(mul(rate, factor), g));
      const delta = nesterov ? sub(mul(add(mu, 1), next), mul(mu, v)) : next;
      return { w: sub(w, delta), momentum: next };
    },
  });
}

const squaredAverage = formula(
  "yellowFin averaged gradient",
  2,
  ([average, debias]) => mul(average, debias),
);

/** The extremum of the first `t` entries of the window, as a zero-dimensional tensor. */
function extremum(window: Tensor, op: "min" | "max", t: number): Tensor {
  const [value] = runRows(window.device, {
    name: `yellowFin ${op}`,
    space: window.shape,
    axes: [0],
    streams: [window.value],
    scalars: [t],
    scalarTypes: ["i32"],
    passes: 1,
    build({ streams: [x], scalars: [t], coord }) {
      const none = k.constant(op === "min" ? Infinity : -Infinity, x.type);
      const seen = select(k.lt(coord(0), t), x, none);
      return {
        stages: [{ op, value: seen }],
        outputs: [{
          dtype: window.dtype,
          per: "row",
          value: k.stage(0, x.type),
        }],
      };
    },
  });
  return new Tensor(value);
}

/** Takes the gradient into the averages, and makes the next rate and momentum of them. */
function measure(place: Place<YellowFinHyper>): void {
  const { t, options: { beta, eps, zeroDebias, window } } = place;
  const debias = zeroDebias ? 1 / (1 - beta ** t) : 1;
  const rest = 1 - beta;
  const g2 = squaredNorm(place.gradient()).materialize();
  update({
    name: "yellowFin average",
    targets: [place.state("average")],
    operands: [place.gradient()],
    scalars: [beta, rest],
    // ḡ ← β·ḡ + (1 − β)·g
    define: (
      [average],
      [g],
      [beta, rest],
    ) => [add(mul(beta, average), mul(rest, g))],
  });
  const average = squaredNorm(
    squaredAverage(place.state("average"), debias),
  );
  // c[t mod n] ← log max(‖g‖², ε)
  const curvature = place.state("curvature");
  update({
    name: "yellowFin curvature",
    targets: [curvature],
    operands: [g2],
    scalars: [(t - 1) % window, eps],
    define: ([c], [g2], [slot, eps]) => [
      select(k.eq(k.cast(coord(0), c.type), slot), log(max(g2, eps)), c),
    ],
  });
  const valid = Math.min(window, t);
  const least = extremum(curvature, "min", valid);
  const most = extremum(curvature, "max", valid);
  const tunes = t > 1;
  update({
    name: `yellowFin tune ${tunes}`,
    targets: scalarNames.map((name) => place.state(name)),
    operands: [g2, average, least, most],
    scalars: [beta, rest, debias, eps],
    define([rate, mu, ...averages], [g2, mean2, low, high], scalars) {
      const [beta, rest, debias, eps] = scalars;
      const follow = (a: k.Expr, x: k.Expr) => add(mul(beta, a), mul(rest, x));
      const square = max(g2, eps);
      const norm = follow(averages[0], sqrt(square));
      const norm2 = follow(averages[1], square);
      const least = follow(averages[2], low);
      const most = follow(averages[3], high);
      const distance = follow(averages[4], div(norm, norm2));
      const tracked = [norm, norm2, least, most, distance];
      if (!tunes) return [rate, mu, ...tracked];
      const variance = max(sub(mul(norm2, debias), mean2), eps);
      const [nextRate, nextMu] = tune(
        max(exp(mul(least, debias)), eps),
        max(exp(mul(most, debias)), eps),
        mul(distance, debias),
        variance,
      );
      return [follow(rate, nextRate), follow(mu, nextMu), ...tracked];
    },
  });
}

/**
 * The rate and momentum that the model of the loss as a noisy quadratic asks
 * for: √μ is the larger of (√κ − 1)/(√κ + 1), with κ the ratio of the largest
 * to the least curvature, and the real root in [0, 1) of x·p = (1 − x)³, with
 * p = (D·h)²/2C of distance D, least curvature h and variance C;
 * η = (1 − √μ)² / h.
 */
function tune(
  least: k.Expr,
  most: k.Expr,
  distance: k.Expr,
  variance: k.Expr,
): [k.Expr, k.Expr] {
  const kappa = sqrt(div(most, least));
  const limit = div(sub(kappa, 1), add(kappa, 1));
  const reach = mul(distance, least);
  const p = div(mul(reach, reach), mul(2, variance));
  // Vieta's substitution; the cubed root is never positive, so its magnitude is taken
  const cube = mul(p, mul(p, p));
  const inner = add(mul(p, p), mul(4 / 27, cube));
  const w3 = mul(add(sqrt(inner), p), 0.5);
  const w = k.neg(pow(w3, 1 / 3));
  const y = sub(w, div(mul(p, 1 / 3), w));
  const root = add(y, 1);
  const mu = max(mul(root, root), mul(limit, limit));
  const gap = sub(1, sqrt(mu));
  return [div(mul(gap, gap), least), mu];
}

/**
 * YellowFin (Zhang and Mitliagkas, 2017), as in Caffe2: rate and momentum are
 * tuned for each parameter; `lr` and `momentum` are where they start.
 *
 * @throws {RangeError} for a hyper-parameter out of its range.
 * @throws {TypeError} for an unknown option or parameters that cannot be optimised.
 */
export function yellowFin(
  parameters: Parameters<GroupOptions & YellowFinHyper>,
  options: CommonOptions & YellowFinHyper = {},
): Optimizer<YellowFinHyper> {
  return new Optimizer(yellowFinMethod, parameters, options);
}
