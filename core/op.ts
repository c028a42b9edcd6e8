/**
 * Operators: declarations, the registry, and `apply`, the one door through
 * which every operator call goes.
 *
 * @module
 */

import { gradEnabled, record, revive, save, type Saved } from "./autograd.ts";
import type { AttributeRule, AttributeRules } from "./attributes.ts";
import { binder } from "./binding.ts";
import type { DType } from "./dtype.ts";
import { DTypeError } from "./errors.ts";
import { scope } from "./scope.ts";
import type { Shape } from "./shape.ts";
import { Tensor } from "./tensor.ts";
import { unrecorded } from "./unrecorded.ts";

/** Data of a sample input; tests make a tensor of it. */
export interface SampleTensor {
  /** Marks the object as a tensor to be made. */
  readonly sample: true;
  /** Extents. */
  readonly shape: Shape;
  /** Element type. */
  readonly dtype: DType;
  /** Elements in row-major order. */
  readonly data: readonly number[];
  /** Whether gradients are checked for it. */
  readonly grad: boolean;
}

/** Arguments of one sample call: sample tensors, arrays of them, plain options. */
export type Sample = readonly unknown[];

/** What an operator's declaration says besides how it computes. */
export interface OpInfo {
  /** Name, as in `x.name()`. */
  readonly name: string;
  /** Family, for the catalogue. */
  readonly family: string;
  /** Names of the tensor operands; `...xs` for a list. */
  readonly inputs: readonly string[];
  /** Attributes and their defaults. */
  readonly attrs: Readonly<Record<string, unknown>>;
  /** What the result is, as a formula in the names of operands and attributes. */
  readonly formula: string;
  /** PyTorch expression of the same computation, in the names of inputs and attributes. */
  readonly torch?: string;
  /** ONNX operator that computes it, perhaps with further options. */
  readonly onnx?: string;
  /** Caffe2 operator that computes it, perhaps with further options. */
  readonly caffe2?: string;
  /** Whether results can be differentiated. */
  readonly differentiable: boolean;
  /** Calls on which tests compare the operator with PyTorch. */
  readonly samples: readonly Sample[];
  /** Maps the arguments of a call to tensor operands and attributes. */
  readonly bind: (...args: never[]) => Bound;
  /** The function that users call. */
  // deno-lint-ignore no-explicit-any
  readonly call: (...args: any[]) => unknown;
}

/** The arguments of one call. */
export interface Bound {
  /** Operands, in the order of `inputs`. */
  readonly inputs: readonly (Tensor | number | undefined)[];
  /** Attributes, defaults filled in. */
  readonly attrs: Readonly<Record<string, unknown>>;
}

const registry = new Map<string, OpInfo>();
const byCall = new WeakMap<object, OpInfo>();

/** Every declared operator, by name. */
export function operators(): ReadonlyMap<string, OpInfo> {
  return registry;
}

/** Adds a declaration to the registry. */
export function register(info: OpInfo): void {
  if (registry.has(info.name)) {
    throw new TypeError(`Cannot declare operator ${info.name} twice`);
  }
  if (info.formula.trim() === "") {
    throw new TypeError(
      `Cannot declare operator ${info.name} without a formula: say what its result is, as in "y[i, j] = x[j, i]"`,
    );
  }
  registry.set(info.name, info);
  byCall.set(info.call, info);
}

/** The declaration of the operator that a function is; undefined for other functions. */
export function operatorOf(call: object): OpInfo | undefined {
  return byCall.get(call);
}

/** Sees every operator call: the profiler, autocast, a graph capture. */
export type Interceptor = (
  name: string,
  inputs: readonly (Tensor | number | undefined)[],
  attrs: Readonly<Record<string, unknown>>,
  next: (inputs: readonly (Tensor | number | undefined)[]) => Tensor | Tensor[],
) => Tensor | Tensor[];

const interceptors: Interceptor[] = [];

/** Adds an interceptor; the returned function removes it. */
export function intercept(interceptor: Interceptor): () => void {
  interceptors.push(interceptor);
  return () => {
    const at = interceptors.indexOf(interceptor);
    if (at >= 0) interceptors.splice(at, 1);
  };
}

/** Passes a call through the interceptors. */
export function through(
  name: string,
  inputs: readonly (Tensor | number | undefined)[],
  attrs: Readonly<Record<string, unknown>>,
  run: (inputs: readonly (Tensor | number | undefined)[]) => Tensor | Tensor[],
): Tensor | Tensor[] {
  if (interceptors.length === 0) return run(inputs);
  let next = run;
  for (const interceptor of interceptors) {
    const inner = next;
    next = (given) => interceptor(name, given, attrs, inner);
  }
  return next(inputs);
}

/** What a gradient formula gets. */
export interface GradientContext<A> {
  /** The operands of the call (undefined where one was left out, or not saved). */
  readonly inputs: readonly Tensor[];
  /** Shapes of the operands. */
  readonly shapes: readonly Shape[];
  /** Element types of the operands. */
  readonly dtypes: readonly DType[];
  /** The results of the call; only with `savesOutputs`. */
  readonly outputs: readonly Tensor[];
  /** Gradient of the first result. */
  readonly grad: Tensor;
  /** Gradients of all results; undefined where nothing used the result. */
  readonly grads: readonly (Tensor | undefined)[];
  /** Attributes of the call. */
  readonly attrs: A;
  /** Whether the gradient of operand `i` is wanted. */
  needs(i: number): boolean;
}

/** An operator that is no elementwise expression. */
export interface OpDeclaration<A> {
  /** Name, as in `x.name()`. */
  readonly name: string;
  /** Family, for the catalogue. */
  readonly family: string;
  /** Names of the tensor operands. */
  readonly inputs: readonly string[];
  /** Attributes and their defaults. */
  readonly attrs?: A;
  /** Maps call arguments to operands and attributes; by default operands, then an options object. */
  readonly bind?: (
    // deno-lint-ignore no-explicit-any
    ...args: any[]
  ) => { inputs: readonly (Tensor | undefined)[]; attrs?: Partial<A> };
  /** What attributes may be, where that is not what the name says in other operators. */
  readonly rules?: { readonly [Name in keyof A]?: AttributeRule };
  /** What the result is, as a formula in the names of operands and attributes. */
  readonly formula: string;
  /** PyTorch expression of the same computation. */
  readonly torch?: string;
  /** ONNX operator that computes it, perhaps with further options. */
  readonly onnx?: string;
  /** Caffe2 operator that computes it, perhaps with further options. */
  readonly caffe2?: string;
  /** Which operands the gradient formula reads; all when omitted. */
  readonly saves?: readonly number[];
  /** Whether the gradient formula reads the results. */
  readonly savesOutputs?: boolean;
  /**
   * Computes the results. With `gradient`, nothing in it is recorded;
   * without, what it calls records itself (a composed operator).
   */
  readonly run: (inputs: readonly Tensor[], attrs: A) => Tensor | Tensor[];
  /** Whether `run`, without `gradient`, makes no tensor but its results: then nothing has to be tidied up after it. */
  readonly tidy?: boolean;
  /**
   * How many of the tensors that `run` returns are results; the others are
   * only for the gradient formula, which finds them among its `outputs`.
   */
  readonly results?: (attrs: A) => number;
  /** Gradients of the operands, written in operators. */
  readonly gradient?: (
    context: GradientContext<A>,
  ) => readonly (Tensor | undefined)[];
  /** Whether the results have no gradient at all (comparisons, indices). */
  readonly constant?: boolean;
  /** Calls on which tests compare the operator with PyTorch. */
  readonly samples: readonly Sample[];
}

/**
 * Declares an operator and returns the function that users call.
 *
 * @typeParam F Signature of the function.
 * @typeParam A Attributes.
 */
export function operator<
  // deno-lint-ignore no-explicit-any
  F extends (...args: any[]) => unknown,
  A extends object = Record<never, never>,
>(declaration: OpDeclaration<A>): F {
  const d = declaration;
  const count = d.inputs.length;
  const defaults = (d.attrs ?? {}) as A;
  const bind = binder({
    name: d.name,
    count,
    attrs: defaults as Record<string, unknown>,
    rules: d.rules as AttributeRules | undefined,
    bind: d.bind,
  });
  // Later operands may be left out, but none of a list.
  const list = d.inputs[0]?.startsWith("...") ?? false;
  const call = (...args: unknown[]) => {
    const { inputs, attrs } = bind(...args);
    const required = list ? inputs.length : Math.min(1, count);
    checkTensors(d.name, inputs, { required, numbers: false });
    return through(
      d.name,
      inputs,
      attrs,
      (given) => apply(d, given as readonly Tensor[], attrs as A),
    );
  };
  register({
    name: d.name,
    family: d.family,
    inputs: d.inputs,
    attrs: defaults as Record<string, unknown>,
    formula: d.formula,
    torch: d.torch,
    onnx: d.onnx,
    caffe2: d.caffe2,
    differentiable: !d.constant,
    samples: d.samples,
    bind: bind as OpInfo["bind"],
    call,
  });
  return call as F;
}

/** Which operands an operator takes. */
export interface OperandRule {
  /** How many cannot be left out. */
  readonly required: number;
  /** Whether numbers may stand for tensors. */
  readonly numbers: boolean;
}

/** Refuses operands that are missing, are no tensors or live on different devices. */
export function checkTensors(
  name: string,
  inputs: readonly unknown[],
  { required, numbers }: OperandRule,
): void {
  let device: string | undefined;
  for (let i = 0; i < Math.max(required, inputs.length); i++) {
    const input = inputs[i];
    if (input === undefined && i >= required) continue;
    if (typeof input === "number" && numbers) continue;
    if (!(input instanceof Tensor)) {
      throw new TypeError(
        `Cannot apply ${name} to ${
          describe(input)
        }: its operands must be tensors${
          numbers ? " or numbers" : ""
        } (tensor([...]) makes one)`,
      );
    }
    if (device === undefined) device = input.device.name;
    else if (device !== input.device.name) {
      throw new TypeError(
        `Cannot apply ${name} to tensors on ${device} and ${input.device.name}: bring them to one device with .to("${device}")`,
      );
    }
  }
}

function describe(x: unknown): string {
  if (x === null || x === undefined) return `${x}`;
  if (Array.isArray(x)) return "an array";
  return typeof x === "object"
    ? `a ${x!.constructor?.name ?? "object"}`
    : `a ${typeof x}`;
}

/** Runs an operator: computes, and records the call when a gradient is wanted. */
function apply<A>(
  d: OpDeclaration<A>,
  inputs: readonly Tensor[],
  attrs: A,
): Tensor | Tensor[] {
  const wanted = !d.constant && gradEnabled() && anyRequiresGrad(inputs);
  if (d.gradient === undefined && !d.constant) {
    if (d.tidy) return d.run(inputs, attrs);
    // What it is composed of goes with it: views of parameters, say, which
    // would keep updates from their memory.
    return scope(() => d.run(inputs, attrs));
  }
  const result = unrecorded(() => {
    const made = d.run(inputs, attrs);
    if (!Array.isArray(made)) made.value.madeBy ??= d.name;
    else for (const each of made) each.value.madeBy ??= d.name;
    return made;
  });
  if (!Array.isArray(result)) {
    if (wanted) recordCall(d, inputs, attrs, [result], [result]);
    return result;
  }
  const results = d.results === undefined
    ? result
    : result.slice(0, d.results(attrs));
  if (wanted) recordCall(d, inputs, attrs, results, result);
  for (let i = results.length; i < result.length; i++) result[i].dispose();
  return results;
}

/** Whether an operand wants a gradient. */
export function anyRequiresGrad(
  inputs: readonly (Tensor | undefined)[],
): boolean {
  for (let i = 0; i < inputs.length; i++) {
    if (inputs[i]?.requiresGrad) return true;
  }
  return false;
}

function recordCall<A>(
  d: OpDeclaration<A>,
  inputs: readonly Tensor[],
  attrs: A,
  outputs: readonly Tensor[],
  all: readonly Tensor[],
): void {
  const saved: Saved[] = [];
  const slots = inputs.map((input, i) => {
    if (
      input === undefined || (d.saves !== undefined && !d.saves.includes(i))
    ) return -1;
    return saved.push(save(input)) - 1;
  });
  const first = saved.length;
  const needs = inputs.map((x) => x?.requiresGrad ?? false);
  const shapes = inputs.map((x) => x?.shape ?? []);
  const dtypes = inputs.map((x) => x?.dtype ?? "f32");
  record(d.name, inputs, outputs, saved, (grads) => {
    const filled = grads[0] ?? grads.find((g) => g !== undefined)!;
    return d.gradient!({
      inputs: slots.map((slot) =>
        slot < 0 ? undefined as unknown as Tensor : revive(saved[slot])
      ),
      shapes,
      dtypes,
      outputs: saved.slice(first).map(revive),
      grad: filled,
      grads,
      attrs,
      needs: (i) => needs[i],
    }) as (Tensor | undefined)[];
  });
  if (d.savesOutputs) {
    for (const output of all) {
      saved.push(save(output));
    }
  }
}

/** Refuses element types that an operator does not take. */
export function requireDType(
  what: string,
  tensor: Tensor,
  allowed: readonly DType[],
): void {
  if (!allowed.includes(tensor.dtype)) {
    throw new DTypeError(
      `Cannot ${what} a tensor of dtype ${tensor.dtype}: it takes ${
        allowed.join(", ")
      }; convert with .cast("${allowed[0]}")`,
    );
  }
}
