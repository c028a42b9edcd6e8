/**
 * The parts of an optimizer: what a method declares, what it sees of one
 * parameter, and how it writes an update down.
 *
 * @module
 */

import type { DType } from "../core/dtype.ts";
import type { Shape } from "../core/shape.ts";
import type { Tensor } from "../core/tensor.ts";
import type { Expr } from "../kernel/expr.ts";
import type { Schema } from "./hyper.ts";
import type { NamedParameter } from "./parameters.ts";

/** What a learning rate is multiplied by at an iteration, counted from 0. */
export interface Policy {
  /** The factor. */
  (iteration: number): number;
  /** What a policy that observes the training remembers; saved with the optimizer. */
  state?: Record<string, number>;
}

/** Options that a group of parameters may have of its own. */
export interface GroupOptions {
  /** Learning rate, or a function from the iteration (from 0) to it. */
  lr?: number | Policy;
  /** Factor on the learning rate at each iteration. */
  policy?: Policy;
  /** λ: adds λ·w to the gradient (AdamW, LAMB and Lion decay the weights directly). */
  weightDecay?: number;
}

/** Options of every optimizer. */
export interface CommonOptions extends GroupOptions {
  /** Scales all gradients together so that their global norm is at most this. */
  maxGradientNorm?: number;
  /** Clamps each element of the gradients to ± this, before the norm is taken. */
  maxGradientValue?: number;
}

/** How a parameter is updated, as one expression per result. */
export interface Rule {
  /** Names the structure of the formula: equal names, equal structures. */
  readonly name: string;
  /** State tensors that the formula reads and writes, with their first values. */
  readonly state?: Readonly<Record<string, number>>;
  /** Run-time numbers. */
  readonly scalars: Readonly<Record<string, number>>;
  /** Further tensors to read; they broadcast to the parameter's shape. */
  readonly tensors?: Readonly<Record<string, Tensor>>;
  /** New values of `w` and of the state, from `w`, the gradient `g`, state, scalars and tensors by name. */
  readonly formula: (
    x: Readonly<Record<string, Expr>>,
  ) => Readonly<Record<string, Expr>>;
}

/** One parameter at one step, as a method sees it. */
export interface Place<H> {
  /** The parameter. */
  readonly weight: Tensor;
  /** Hyper-parameters of its group. */
  readonly options: Required<H>;
  /** Weight decay λ of its group. */
  readonly weightDecay: number;
  /** Learning rate of this step. */
  readonly lr: number;
  /** Number of this update of this parameter, from 1. */
  readonly t: number;
  /** Numbers kept from step to step and saved with the state. */
  readonly numbers: Record<string, number>;
  /** Type in which state is kept: f32 for half-precision parameters. */
  readonly dtype: DType;
  /** The gradient, clipped, with coupled weight decay unless the method decouples it. */
  gradient(): Tensor;
  /** A state tensor; filled with `first` (or 0) at its first use. */
  state(name: string, first?: number): Tensor;
  /** Runs a rule: one kernel that updates the parameter and its state. */
  apply(rule: Rule): void;
}

/** What makes one optimizer differ from another. */
export interface Method<H extends object> {
  /** Name of the factory function. */
  readonly name: string;
  /** Default learning rate. */
  readonly lr: number;
  /** Hyper-parameters. */
  readonly hyper: Schema<H>;
  /** Default weight decay; 0 when omitted. */
  readonly weightDecay?: number;
  /** Whether weight decay is left to the rule instead of added to the gradient. */
  readonly decoupled?: boolean;
  /** Shapes of the state tensors that do not have the parameter's shape. */
  shapes?(
    weight: Shape,
    options: Required<H>,
  ): Readonly<Record<string, Shape>>;
  /** Whether `update` computes on tensors besides applying rules: such a step cannot be captured as a graph. */
  readonly computes?: boolean;
  /** Updates one parameter. */
  update(place: Place<H>): void;
}

/** Parameters that share hyper-parameters; these may be changed between steps. */
export interface Group<H extends object> {
  /** Parameters with the names that their state is saved under. */
  readonly parameters: readonly NamedParameter[];
  /** Learning rate before the policy. */
  lr: number;
  /** Factor on the learning rate at each iteration. */
  policy: Policy | undefined;
  /** Weight decay λ. */
  weightDecay: number;
  /** Hyper-parameters of the method. */
  readonly options: Required<H>;
}

/** State of one parameter. */
export interface ParameterState {
  /** Tensors by name. */
  readonly tensors: Map<string, Tensor>;
  /** Numbers by name; `steps` counts the updates. */
  numbers: Record<string, number>;
}
