/**
 * One parameter at one step: its clipped gradient, its state, and the fused
 * kernel that updates them.
 *
 * @module
 */

import type { DType } from "../core/dtype.ts";
import { persist } from "../core/scope.ts";
import type { Shape } from "../core/shape.ts";
import type { Tensor } from "../core/tensor.ts";
import { type Update, update } from "../core/update.ts";
import type { Expr } from "../kernel/expr.ts";
import * as k from "../kernel/expr.ts";
import { add, mul } from "../ops/arithmetic.ts";
import { cast, fill } from "../ops/foundation.ts";
import { clampExpr, clampTensor } from "./formula.ts";
import type { ParameterState, Place, Rule } from "./method.ts";

/** What happens to a gradient before the method sees it. */
export interface Preparation {
  /** Each element is clamped to ± this. */
  readonly bound: number | undefined;
  /** Everything is multiplied by this. */
  readonly clip: Tensor | undefined;
  /** λ of λ·w, which is added; 0 adds nothing. */
  readonly decay: number;
}

/** What `makePlace` needs to know. */
export interface Spot<H> {
  /** The parameter. */
  readonly weight: Tensor;
  /** Its state. */
  readonly state: ParameterState;
  /** Hyper-parameters. */
  readonly options: Required<H>;
  /** Shapes of state tensors that differ from the parameter's. */
  readonly shapes: Readonly<Record<string, Shape>>;
  /** Weight decay of the group. */
  readonly weightDecay: number;
  /** Learning rate of this step. */
  readonly lr: number;
  /** What happens to the gradient first. */
  readonly preparation: Preparation;
  /** Gathers updates instead of their being run at once. */
  readonly updates?: Update[];
  /** Takes the run-time numbers of rules instead of having them applied: what a captured step does when it runs again. */
  readonly numbersOnly?: (scalars: readonly number[]) => void;
  /** In a capture: the run-time numbers of rule `index` when the step runs again. */
  readonly live?: (index: number) => readonly number[];
}

/** The type in which state is kept and updates are computed. */
export function stateDType(dtype: DType): DType {
  return dtype === "f64" ? "f64" : "f32";
}

/** Starts the update of one parameter; counts it. */
export function makePlace<H>(spot: Spot<H>): Place<H> {
  const { weight, state, preparation } = spot;
  const dtype = stateDType(weight.dtype);
  const t = state.numbers.steps = (state.numbers.steps ?? 0) + 1;
  function slot(name: string, first = 0): Tensor {
    let tensor = state.tensors.get(name);
    if (tensor === undefined) {
      const shape = spot.shapes[name] ?? weight.shape;
      tensor = fill(shape, first, dtype, weight.device).materialize();
      persist(tensor);
      state.tensors.set(name, tensor);
    }
    return tensor;
  }
  let rules = 0;
  return {
    weight,
    options: spot.options,
    weightDecay: spot.weightDecay,
    lr: spot.lr,
    t,
    numbers: state.numbers,
    dtype,
    gradient: () => preparedGradient(weight, dtype, preparation),
    state: slot,
    apply(rule) {
      const index = rules++;
      if (spot.numbersOnly !== undefined) {
        spot.numbersOnly(runTimeNumbers(rule, preparation));
        return;
      }
      const live = spot.live && (() => spot.live!(index));
      const u = updateOf(weight, rule, slot, preparation, live);
      if (spot.updates === undefined) update(u);
      else spot.updates.push(u);
    },
  };
}

function preparedGradient(
  weight: Tensor,
  dtype: DType,
  { bound, clip, decay }: Preparation,
): Tensor {
  let g = weight.grad!;
  if (g.dtype !== dtype) g = cast(g, dtype);
  if (bound !== undefined) g = clampTensor(g, bound);
  if (clip !== undefined) g = mul(g, clip);
  return decay === 0 ? g : add(g, mul(weight, decay));
}

/** The numbers that the kernel of a rule is given. */
function runTimeNumbers(
  { scalars }: Rule,
  { bound, decay }: Preparation,
): number[] {
  return [
    ...(bound === undefined ? [] : [bound]),
    ...(decay === 0 ? [] : [decay]),
    ...Object.values(scalars),
  ];
}

/** What a rule does to a parameter and its state. */
function updateOf(
  weight: Tensor,
  rule: Rule,
  slot: (name: string, first?: number) => Tensor,
  preparation: Preparation,
  live: (() => readonly number[]) | undefined,
): Update {
  const { bound, clip, decay } = preparation;
  const { scalars, tensors = {}, state: first = {} } = rule;
  const slots = Object.keys(first);
  const names = Object.keys(tensors);
  const numbers = Object.keys(scalars);
  const steps = [
    ...(bound === undefined ? [] : ["clamp"]),
    ...(clip === undefined ? [] : ["clip"]),
    ...(decay === 0 ? [] : ["decay"]),
  ];
  return {
    name: [rule.name, ...steps].join(" "),
    targets: [weight, ...slots.map((name) => slot(name, first[name]))],
    operands: [
      weight.grad!,
      ...(clip === undefined ? [] : [clip]),
      ...Object.values(tensors),
    ],
    scalars: runTimeNumbers(rule, preparation),
    live,
    define([w, ...before], [raw, ...read], given) {
      let i = 0, j = 0;
      // g ← clamp(g)·clip + λ·w
      let g = raw;
      if (bound !== undefined) g = clampExpr(g, given[i++]);
      if (clip !== undefined) g = k.mul(g, read[j++]);
      if (decay !== 0) g = k.add(g, k.mul(given[i++], w));
      const x: Record<string, Expr> = { w, g };
      slots.forEach((name, n) => x[name] = before[n]);
      names.forEach((name) => x[name] = read[j++]);
      numbers.forEach((name) => x[name] = given[i++]);
      const after = rule.formula(x);
      return ["w", ...slots].map((name) => after[name]);
    },
  };
}
