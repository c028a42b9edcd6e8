/**
 * Optimizers: groups of parameters, state kept beside them, and one fused
 * kernel per parameter and step. A method (SGD, Adam, …) only says what its
 * hyper-parameters are and how one parameter is updated.
 *
 * @module
 */

import { noGrad } from "../core/autograd.ts";
import { afterReplay, capturing } from "../core/capture.ts";
import { GradientError, GraphError } from "../core/errors.ts";
import { checkPlain } from "../core/options.ts";
import { Scope } from "../core/scope.ts";
import type { Tensor } from "../core/tensor.ts";
import { type Update, updateAll } from "../core/update.ts";
import { clipFactor } from "./clip.ts";
import { clampTensor } from "./formula.ts";
import { checkNumber, nonNegative, positive, resolve } from "./hyper.ts";
import type {
  CommonOptions,
  Group,
  GroupOptions,
  Method,
  ParameterState,
} from "./method.ts";
import { gather, type NamedParameter, type Parameters } from "./parameters.ts";
import { makePlace, type Spot } from "./place.ts";
import {
  loadOptimizerState,
  type OptimizerState,
  saveOptimizerState,
} from "./state.ts";

/**
 * Updates parameters from their gradients. Made by the functions of `optim`:
 * `optim.adam(model, { lr: 1e-3 })`.
 *
 * @example
 * ```ts
 * import { optim, scope, tensor } from "@decaf/decaf";
 *
 * const w = tensor([4], { requiresGrad: true });
 * const optimizer = optim.sgd([w], {
 *   lr: 0.25,
 *   policy: optim.policies.step({ stepSize: 1, gamma: 0.5 }),
 * });
 * for (let i = 0; i < 2; i++) {
 *   optimizer.zeroGrad();
 *   scope(() => w.mul(w).sum().backward());
 *   optimizer.step(); // w ← w − η·2w
 * }
 * // 4 · (1 − 2·0.25) · (1 − 2·0.125)
 * if (w.item() !== 1.5) throw new Error(`${w.item()}`);
 * ```
 */
export class Optimizer<H extends object = object> implements Disposable {
  /** Number of steps taken. */
  iteration = 0;
  /** Groups of parameters, with options that may be changed between steps. */
  readonly groups: readonly Group<H>[];
  /** Bound of the global norm of the gradients, if any. */
  maxGradientNorm: number | undefined;
  /** Bound of each element of the gradients, if any. */
  maxGradientValue: number | undefined;
  readonly #states = new Map<Tensor, ParameterState>();
  readonly #nextNumbers: (readonly number[])[] = [];

  /**
   * Makes an optimizer; the functions of `optim` are shorter.
   *
   * @param method What to do with each parameter.
   * @param parameters Tensors, a module, or groups `{ parameters, …options }`.
   * @param options Common options and those of the method.
   * @throws {RangeError} for a hyper-parameter that is out of its range.
   * @throws {TypeError} for an unknown option, no parameters, or one given twice.
   */
  constructor(
    readonly method: Method<H>,
    parameters: Parameters<GroupOptions & H>,
    options: CommonOptions & H,
  ) {
    const who = `optimizer ${method.name}`;
    checkPlain(`make ${who}`, options, ["lr", ...Object.keys(method.hyper)]);
    const { maxGradientNorm, maxGradientValue, ...shared } = options;
    this.maxGradientNorm = bound(who, "maxGradientNorm", maxGradientNorm);
    this.maxGradientValue = bound(who, "maxGradientValue", maxGradientValue);
    this.groups = gather(who, parameters).map((given) =>
      makeGroup(method, given.parameters, { ...shared, ...given.options })
    );
  }

  /** The method, and what each group has: `adam (step 0, 4 parameters: lr 0.001, …)`. */
  toString(): string {
    const groups = this.groups.map((group) => {
      const { parameters, lr, weightDecay, options } = group;
      const text = Object.entries({ lr, weightDecay, ...options })
        .map(([name, value]) => `${name} ${value}`).join(", ");
      const policy = group.policy === undefined ? "" : ", with a policy";
      return `${parameters.length} parameters: ${text}${policy}`;
    });
    return `${this.method.name} (step ${this.iteration}, ${groups.join("; ")})`;
  }

  /** What consoles show. */
  [Symbol.for("Deno.customInspect")](): string {
    return this.toString();
  }

  /** Whether a step can be captured as a graph: not where the method computes with numbers that change from step to step. */
  get capturable(): boolean {
    return this.method.computes !== true;
  }

  /** The learning rate that the next step takes, by group. */
  learningRate(group = 0): number {
    const { lr, policy } = this.groups[group];
    return policy === undefined ? lr : lr * policy(this.iteration);
  }

  /**
   * Updates every parameter that has a gradient.
   *
   * @throws {GradientError} when none has one.
   * @throws {RangeError} when a policy gives no finite number.
   */
  step(): void {
    const rates = this.groups.map((_, i) => this.#rate(i));
    const ready = this.groups.map((group) =>
      group.parameters.filter((p) => p.tensor.grad !== undefined)
    );
    const grads = ready.flat().map((p) => p.tensor.grad!);
    if (grads.length === 0) {
      throw new GradientError(
        "Cannot take an optimizer step: no parameter has a gradient; call backward on a loss that depends on them first",
      );
    }
    if (capturing()) this.#prepareCapture();
    noGrad(() => {
      using _step = new Scope();
      const clip = this.#clip(grads);
      // A method that computes with its state must see each update at once.
      const updates: Update[] | undefined = this.method.computes
        ? undefined
        : [];
      this.groups.forEach((group, i) => {
        for (const { tensor } of ready[i]) {
          this.#update(group, tensor, rates[i], clip, updates);
        }
      });
      updateAll(updates ?? []);
    });
    if (capturing()) afterReplay(() => this.iteration++);
    else this.iteration++;
  }

  /** Refuses a method whose step a graph would get wrong. */
  #prepareCapture(): void {
    if (!this.capturable) {
      throw new GraphError(
        `Cannot capture a step of optimizer ${this.method.name}: it computes with numbers that change from step to step; train without the graph, or with another optimizer such as adamW`,
      );
    }
  }

  #rate(group: number): number {
    const rate = this.learningRate(group);
    if (!Number.isFinite(rate)) {
      throw new RangeError(
        `Cannot take an optimizer step: the policy of group ${group} makes the learning rate ${rate} at iteration ${this.iteration}`,
      );
    }
    return rate;
  }

  #clip(grads: readonly Tensor[]): Tensor | undefined {
    const { maxGradientNorm: norm, maxGradientValue: value } = this;
    if (norm === undefined) return undefined;
    const seen = value === undefined
      ? grads
      : grads.map((g) => clampTensor(g, value));
    return clipFactor(seen, norm).materialize();
  }

  #update(
    group: Group<H>,
    weight: Tensor,
    lr: number,
    clip: Tensor | undefined,
    updates: Update[] | undefined,
  ): void {
    let state = this.#states.get(weight);
    if (state === undefined) {
      state = { tensors: new Map(), numbers: {} };
      this.#states.set(weight, state);
    }
    const { options, weightDecay } = group;
    const { method, maxGradientValue } = this;
    const spot: Spot<H> = {
      weight,
      state,
      options,
      shapes: method.shapes?.(weight.shape, options) ?? {},
      weightDecay,
      lr,
      updates,
      preparation: {
        bound: maxGradientValue,
        clip,
        decay: method.decoupled ? 0 : weightDecay,
      },
    };
    if (!capturing()) {
      method.update(makePlace(spot));
      return;
    }
    // The capture runs nothing: its first run is this update.
    const before = { ...state.numbers };
    const live = (rule: number) => this.#numbers(group, spot, rule);
    method.update(makePlace({ ...spot, live }));
    state.numbers = before;
  }

  /** The run-time numbers of the rules of one parameter's next update, which is counted with the first. */
  #numbers(group: Group<H>, spot: Spot<H>, rule: number): readonly number[] {
    if (rule === 0) {
      this.#nextNumbers.length = 0;
      this.method.update(makePlace({
        ...spot,
        lr: this.#rate(this.groups.indexOf(group)),
        weightDecay: group.weightDecay,
        numbersOnly: (scalars) => this.#nextNumbers.push(scalars),
      }));
    }
    return this.#nextNumbers[rule];
  }

  /** Notes how many steps were taken; what it returns takes back the count of later ones, which changed nothing. */
  remember(): () => void {
    const { iteration } = this;
    const before = new Map(
      Array.from(this.#states, ([tensor, { numbers }]) => [
        tensor,
        { ...numbers },
      ]),
    );
    return () => {
      this.iteration = iteration;
      for (const [tensor, state] of this.#states) {
        state.numbers = before.get(tensor) ?? {};
      }
    };
  }

  /** Drops the gradients of all parameters. */
  zeroGrad(): void {
    for (const { parameters } of this.groups) {
      for (const { tensor } of parameters) {
        tensor.grad?.dispose();
        tensor.grad = undefined;
      }
    }
  }

  /**
   * All that a later run needs to go on exactly: plain data, and the state
   * tensors themselves (no copies: write them before the next step).
   */
  stateDict(): OptimizerState {
    return saveOptimizerState(this, this.#states);
  }

  /**
   * Takes over saved state; method, groups and names must be those it was saved with.
   *
   * @throws {TypeError} when something differs, with the first difference.
   * @throws {ShapeError} when a state tensor does not fit its parameter.
   */
  loadStateDict(saved: OptimizerState): void {
    loadOptimizerState(this, this.#states, saved);
  }

  /**
   * An optimizer for copies of the parameters, with state of its own.
   *
   * @param copyOf The copy of a parameter.
   */
  replicate(copyOf: (parameter: Tensor) => Tensor): Optimizer<H> {
    const groups = this.groups.map((group) => {
      const { lr, policy, weightDecay, options, parameters } = group;
      const copies = parameters.map(({ name, tensor }): [string, Tensor] => [
        name,
        copyOf(tensor),
      ]);
      return {
        lr,
        policy,
        weightDecay,
        ...options,
        parameters: { namedParameters: () => copies },
      };
    });
    const { maxGradientNorm, maxGradientValue } = this;
    const common = { maxGradientNorm, maxGradientValue };
    const replica = new Optimizer<H>(
      this.method,
      groups as Parameters<GroupOptions & H>,
      common as CommonOptions & H,
    );
    replica.follow(this);
    return replica;
  }

  /** Takes over the iteration and all options of the optimizer that this one replicates. */
  follow(leader: Optimizer<H>): void {
    this.iteration = leader.iteration;
    this.maxGradientNorm = leader.maxGradientNorm;
    this.maxGradientValue = leader.maxGradientValue;
    this.groups.forEach((group, i) => {
      const { lr, policy, weightDecay, options } = leader.groups[i];
      Object.assign(group, { lr, policy, weightDecay });
      Object.assign(group.options, options);
    });
  }

  /** Frees the state. The parameters are the caller's. */
  [Symbol.dispose](): void {
    for (const { tensors } of this.#states.values()) {
      for (const tensor of tensors.values()) tensor.dispose();
    }
    this.#states.clear();
  }
}

function bound(
  who: string,
  name: string,
  value: number | undefined,
): number | undefined {
  if (value === undefined) return undefined;
  return checkNumber(who, name, value, positive);
}

function makeGroup<H extends object>(
  method: Method<H>,
  parameters: readonly NamedParameter[],
  given: GroupOptions & Readonly<Record<string, unknown>>,
): Group<H> {
  const who = `optimizer ${method.name}`;
  const { lr = method.lr, policy, ...others } = given;
  const { weightDecay = method.weightDecay ?? 0, ...own } = others;
  if (policy !== undefined && typeof policy !== "function") {
    throw new TypeError(
      `Cannot make ${who} with policy ${policy}: a policy is a function from the iteration to a factor, as those in optim.policies`,
    );
  }
  const scheduled = typeof lr === "function";
  if (scheduled && policy !== undefined) {
    throw new TypeError(
      `Cannot make ${who} with a policy and a learning rate that is itself a function: give lr as a number beside a policy`,
    );
  }
  for (const name of ["maxGradientNorm", "maxGradientValue"]) {
    if (name in own) {
      throw new TypeError(
        `Cannot make ${who} with ${name} in one group: it concerns all parameters, so give it as an option of the optimizer`,
      );
    }
  }
  return {
    parameters,
    lr: scheduled
      ? 1
      : checkNumber(who, "lr", lr, nonNegative, "learning rate"),
    policy: scheduled ? lr : policy,
    weightDecay: checkNumber(who, "weightDecay", weightDecay, nonNegative),
    options: resolve<H>(who, method.hyper, own),
  };
}
