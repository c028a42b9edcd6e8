/**
 * Saving and restoring an optimizer, so that training goes on to the bit.
 *
 * @module
 */

import { nearest, ShapeError, shapeText } from "../core/errors.ts";
import { persist } from "../core/scope.ts";
import { sameShape } from "../core/shape.ts";
import type { Tensor } from "../core/tensor.ts";
import { assign } from "../core/update.ts";
import { fill, to } from "../ops/foundation.ts";
import { type HyperValue, resolve } from "./hyper.ts";
import type { Group, Method, ParameterState } from "./method.ts";
import { stateDType } from "./place.ts";

/** A group as it is saved. */
export interface SavedGroup {
  /** Names of its parameters. */
  readonly parameters: readonly string[];
  /** Learning rate before the policy. */
  readonly lr: number;
  /** Weight decay. */
  readonly weightDecay: number;
  /** Hyper-parameters of the method. */
  readonly options: Readonly<Record<string, HyperValue>>;
  /** What the policy remembers, if it observes the training. */
  readonly policy?: Readonly<Record<string, number>>;
}

/** Everything an optimizer remembers. Without `tensors` it is plain JSON. */
export interface OptimizerState {
  /** Name of the method. */
  readonly method: string;
  /** Steps taken. */
  readonly iteration: number;
  /** Groups, in order. */
  readonly groups: readonly SavedGroup[];
  /** Numbers of each parameter, by its name. */
  readonly numbers: Readonly<Record<string, Readonly<Record<string, number>>>>;
  /** State tensors by `parameter/state`, such as `0.weight/momentum`. */
  readonly tensors: Readonly<Record<string, Tensor>>;
}

/** The part of an optimizer that is saved. */
export interface Saveable<H extends object> {
  /** Its method. */
  readonly method: Method<H>;
  /** Its groups. */
  readonly groups: readonly Group<H>[];
  /** Steps taken. */
  iteration: number;
}

/** State by parameter. */
export type States = Map<Tensor, ParameterState>;

/** Collects what an optimizer remembers. */
export function saveOptimizerState<H extends object>(
  optimizer: Saveable<H>,
  states: States,
): OptimizerState {
  const numbers: Record<string, Record<string, number>> = {};
  const tensors: Record<string, Tensor> = {};
  const groups = optimizer.groups.map((group, i): SavedGroup => {
    for (const { name, tensor } of group.parameters) {
      const state = states.get(tensor);
      if (state === undefined) continue;
      const key = keyOf(optimizer.groups, i, name);
      numbers[key] = { ...state.numbers };
      for (const [slot, t] of state.tensors) tensors[`${key}/${slot}`] = t;
    }
    return {
      parameters: group.parameters.map((p) => p.name),
      lr: group.lr,
      weightDecay: group.weightDecay,
      options: { ...group.options } as Record<string, HyperValue>,
      ...(group.policy?.state && { policy: { ...group.policy.state } }),
    };
  });
  const { method, iteration } = optimizer;
  return { method: method.name, iteration, groups, numbers, tensors };
}

/** Names may repeat from group to group (modules of one kind); then the group is part of the key. */
function keyOf<H extends object>(
  groups: readonly Group<H>[],
  group: number,
  name: string,
): string {
  const repeated = groups.some((g, i) =>
    i !== group && g.parameters.some((p) => p.name === name)
  );
  return repeated ? `group ${group}:${name}` : name;
}

function checkNames<H extends object>(
  group: Group<H>,
  saved: SavedGroup,
  i: number,
): void {
  const names = group.parameters.map((p) => p.name);
  const missing = names.filter((name) => !saved.parameters.includes(name));
  const unexpected = saved.parameters.filter((name) => !names.includes(name));
  if (missing.length === 0 && unexpected.length === 0) return;
  const said = [
    ...missing.slice(0, 3).map((n) => `"${n}" is not in the state`),
    ...unexpected.slice(0, 3).map((n) => `"${n}" is not in the optimizer`),
  ];
  throw new TypeError(
    `Cannot load optimizer state into group ${i}, whose parameters differ: ${
      said.join(", ")
    }`,
  );
}

/** Brings saved state into an optimizer; checks everything before it changes anything. */
export function loadOptimizerState<H extends object>(
  optimizer: Saveable<H>,
  states: States,
  saved: OptimizerState,
): void {
  const { method, groups } = optimizer;
  if (saved.method !== method.name) {
    throw new TypeError(
      `Cannot load the state of optimizer ${saved.method} into optimizer ${method.name}: make the same optimizer, or start it afresh`,
    );
  }
  if (saved.groups.length !== groups.length) {
    throw new TypeError(
      `Cannot load optimizer state with ${saved.groups.length} groups of parameters into one with ${groups.length}`,
    );
  }
  groups.forEach((group, i) => checkNames(group, saved.groups[i], i));
  const places = new Map<string, Tensor>();
  groups.forEach((group, i) => {
    for (const { name, tensor } of group.parameters) {
      places.set(keyOf(groups, i, name), tensor);
    }
  });
  const options = groups.map((_, i) =>
    resolve<H>(
      `optimizer ${method.name}`,
      method.hyper,
      saved.groups[i].options,
    )
  );
  const tensors = Object.entries(saved.tensors).map(([key, source]) => {
    const at = key.lastIndexOf("/");
    const name = key.slice(0, at);
    const weight = places.get(name);
    if (weight === undefined) {
      const near = nearest(name, places.keys());
      throw new TypeError(
        `Cannot load optimizer state "${key}": there is no parameter "${name}"${
          near === undefined ? "" : `; the nearest is "${near}"`
        }`,
      );
    }
    const slot = key.slice(at + 1);
    const group = groups.findIndex((g) =>
      g.parameters.some((p) => p.tensor === weight)
    );
    const shape = method.shapes?.(weight.shape, options[group])[slot] ??
      weight.shape;
    if (!sameShape(shape, source.shape)) {
      throw new ShapeError(
        `Cannot load optimizer state "${key}" of shape ${
          shapeText(source.shape)
        }: for its parameter of shape ${
          shapeText(weight.shape)
        } it must have shape ${shapeText(shape)}`,
      );
    }
    return { weight, slot, source };
  });

  for (const state of states.values()) {
    for (const tensor of state.tensors.values()) tensor.dispose();
  }
  states.clear();
  for (const [name, weight] of places) {
    const numbers = saved.numbers[name];
    if (numbers === undefined) continue;
    states.set(weight, { tensors: new Map(), numbers: { ...numbers } });
  }
  for (const { weight, slot, source } of tensors) {
    const dtype = stateDType(weight.dtype);
    const own = fill(source.shape, 0, dtype, weight.device);
    assign(
      own.materialize(),
      to(to(source, dtype), weight.device.name),
    );
    persist(own);
    states.get(weight)?.tensors.set(slot, own);
  }
  groups.forEach((group, i) => {
    const { lr, weightDecay, policy } = saved.groups[i];
    group.lr = lr;
    group.weightDecay = weightDecay;
    Object.assign(group.options, options[i]);
    if (policy !== undefined && group.policy !== undefined) {
      group.policy.state = { ...policy };
    }
  });
  optimizer.iteration = saved.iteration;
}
