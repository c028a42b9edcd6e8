/**
 * Modules: functions with parameters, arranged in trees.
 *
 * @module
 */

import { gradEnabled } from "../core/autograd.ts";
import type { DType } from "../core/dtype.ts";
import { scope } from "../core/scope.ts";
import { Tensor } from "../core/tensor.ts";
import { convert, type Destination } from "./convert.ts";
import { roleOf } from "./roles.ts";
import {
  type LoadOptions,
  type LoadReport,
  loadStateDict,
  snakeCase,
  type StateDict,
} from "./state.ts";

/** A module of whatever inputs and output. */
// deno-lint-ignore no-explicit-any
export type AnyModule = Module<any[], any>;

/** Options of every module that has parameters. */
export interface ModuleOptions {
  /** Element type of the parameters; f32 when omitted. */
  dtype?: DType;
  /** Device of the parameters by name; the default device when omitted. */
  device?: string;
}

/**
 * Base of all modules. Properties that hold a {@linkcode parameter}, a
 * {@linkcode buffer}, a module or an array of modules make up its state; the
 * names of the state dict are the property names in snake_case
 * (`selfAttn` is `self_attn`), so that PyTorch's state dicts fit key for key.
 *
 * Under `noGrad` each call of `forward` frees the intermediates it made.
 *
 * @typeParam Inputs Arguments of `forward`; one tensor by default.
 * @typeParam Output Result of `forward`; a tensor by default.
 *
 * @example
 * ```ts
 * import { nn, type Tensor } from "@decaf/decaf";
 *
 * class Mlp extends nn.Module {
 *   hidden = nn.linear(4, 8);
 *   out = nn.linear(8, 2);
 *   forward(x: Tensor): Tensor {
 *     return this.out.forward(nn.relu().forward(this.hidden.forward(x)));
 *   }
 * }
 * const names = Object.keys(new Mlp().stateDict());
 * if (names.join() !== "hidden.weight,hidden.bias,out.weight,out.bias") {
 *   throw new Error(names.join());
 * }
 * ```
 */
export abstract class Module<
  // deno-lint-ignore no-explicit-any
  Inputs extends any[] = [x: Tensor],
  Output = Tensor,
> implements Disposable {
  /** Whether the module is being trained: dropout and batch norm differ. */
  training = true;

  /** Prepares `forward`; call it first in derived constructors. */
  constructor() {
    const forward = this.forward;
    Object.defineProperty(this, "forward", {
      configurable: true,
      writable: true,
      value: (...inputs: Inputs): Output =>
        gradEnabled()
          ? forward.apply(this, inputs)
          : freeing(inputs, () => forward.apply(this, inputs)),
    });
  }

  /** Computes the output. */
  abstract forward(...inputs: Inputs): Output;

  /** Details for {@linkcode Module.toString}, such as extents. */
  protected details(): string {
    return "";
  }

  /** Where this module's own parameters and buffers are looked for: names in the state dict, and values. */
  protected ownTensors(): [string, unknown][] {
    return Object.entries(this).map(([property, value]) => [
      snakeCase(property),
      value,
    ]);
  }

  /** The tensors that are this module's own, with their names. */
  *#tensors(): Generator<[string, Tensor]> {
    for (const [name, value] of this.ownTensors()) {
      if (value instanceof Tensor && roleOf(value) !== undefined) {
        yield [name, value];
      }
    }
  }

  /** The modules that are properties of this one, with their names. */
  *namedChildren(): Generator<[string, AnyModule]> {
    for (const [property, value] of Object.entries(this)) {
      const name = snakeCase(property);
      if (value instanceof Module) yield [name, value];
      else if (Array.isArray(value) && value[0] instanceof Module) {
        for (const [i, item] of value.entries()) yield [`${name}.${i}`, item];
      }
    }
  }

  /** The modules that are properties of this one. */
  children(): AnyModule[] {
    return Array.from(this.namedChildren(), ([, child]) => child);
  }

  /** This module and all below, each once, with their paths. */
  *namedModules(
    prefix = "",
    seen: Set<AnyModule> = new Set(),
  ): Generator<[string, AnyModule]> {
    if (seen.has(this)) return;
    seen.add(this);
    yield [prefix, this];
    for (const [name, child] of this.namedChildren()) {
      yield* child.namedModules(join(prefix, name), seen);
    }
  }

  /** This module and all below, each once. */
  modules(): AnyModule[] {
    return Array.from(this.namedModules(), ([, module]) => module);
  }

  *#named(
    prefix: string,
    wanted: (tensor: Tensor) => boolean,
  ): Generator<[string, Tensor]> {
    for (const [name, tensor] of this.#tensors()) {
      if (roleOf(tensor) === "parameter" && wanted(tensor)) {
        yield [join(prefix, name), tensor];
      }
    }
    for (const [name, tensor] of this.#tensors()) {
      if (roleOf(tensor) !== "parameter" && wanted(tensor)) {
        yield [join(prefix, name), tensor];
      }
    }
    for (const [name, child] of this.namedChildren()) {
      yield* child.#named(join(prefix, name), wanted);
    }
  }

  #distinct(wanted: (tensor: Tensor) => boolean): [string, Tensor][] {
    const seen = new Set<Tensor>();
    return [...this.#named("", wanted)].filter(([, tensor]) =>
      !seen.has(tensor) && seen.add(tensor)
    );
  }

  /** All parameters with their names; a shared one once, under its first name. */
  namedParameters(): [string, Tensor][] {
    return this.#distinct((t) => roleOf(t) === "parameter");
  }

  /** All parameters, a shared one once. */
  parameters(): Tensor[] {
    return this.namedParameters().map(([, tensor]) => tensor);
  }

  /** All buffers with their names. */
  namedBuffers(): [string, Tensor][] {
    return this.#distinct((t) => roleOf(t) !== "parameter");
  }

  /** All buffers. */
  buffers(): Tensor[] {
    return this.namedBuffers().map(([, tensor]) => tensor);
  }

  /** Elements in all parameters together. */
  parameterCount(): number {
    return this.parameters().reduce((sum, p) => sum + p.size, 0);
  }

  /**
   * Parameters and saved buffers by name, in PyTorch's order: the tensors
   * themselves, not copies. A shared parameter stands under each of its names.
   */
  stateDict(): StateDict {
    return Object.fromEntries(
      this.#named("", (t) => roleOf(t) !== "unsaved buffer"),
    );
  }

  /**
   * Overwrites parameters and buffers with those of a state dict; dtypes are
   * converted. Nothing is changed when something does not fit.
   *
   * @throws {TypeError} when names are missing or unexpected (unless
   * `strict: false`), each with the nearest name there is.
   * @throws {ShapeError} when shapes differ.
   */
  loadStateDict(state: StateDict, options: LoadOptions = {}): LoadReport {
    return loadStateDict(
      this.constructor.name,
      this.stateDict(),
      state,
      options,
    );
  }

  /** Sets this module and all below to training, or to evaluation. */
  train(training = true): this {
    for (const module of this.modules()) module.training = training;
    return this;
  }

  /** Sets this module and all below to evaluation. */
  eval(): this {
    return this.train(false);
  }

  /** Freezes all parameters, or trains them again. */
  requiresGrad(on: boolean): this {
    for (const parameter of this.parameters()) parameter.requiresGrad = on;
    return this;
  }

  /**
   * Converts floating-point parameters and buffers to a dtype, and moves all
   * of them to a device: `to("f64")`, `to("cuda:0")`, `to({ dtype, device })`.
   * `to({ memoryFormat: "channelsLast" })` stores filters with their channels
   * last, and convolutions then give such images: faster on GPUs.
   * Tensors keep their identity, so optimizers keep working.
   *
   * @throws {RangeError} when there is no such dtype or device.
   */
  to(destination: Destination): this {
    convert([...this.parameters(), ...this.buffers()], destination);
    return this;
  }

  /** Drops the gradients of all parameters. */
  zeroGrad(): void {
    for (const parameter of this.parameters()) {
      parameter.grad?.dispose();
      parameter.grad = undefined;
    }
  }

  /** Calls `visit` with every module below and then this one, for example to initialise them. */
  apply(visit: (module: AnyModule) => void): this {
    for (const module of this.modules().reverse()) visit(module);
    return this;
  }

  /** Frees parameters and buffers. */
  [Symbol.dispose](): void {
    for (const tensor of [...this.parameters(), ...this.buffers()]) {
      tensor.dispose();
    }
  }

  /** The tree of modules as text. */
  toString(): string {
    const children = [...this.namedChildren()];
    const head = `${this.constructor.name}(${this.details()}`;
    if (children.length === 0) return `${head})`;
    const lines = children.map(([name, child]) =>
      `  (${name}): ${child.toString().replaceAll("\n", "\n  ")}`
    );
    return `${head}\n${lines.join("\n")}\n)`;
  }

  /** What the REPL shows. */
  [Symbol.for("Deno.customInspect")](): string {
    return this.toString();
  }
}

function join(prefix: string, name: string): string {
  return prefix === "" ? name : `${prefix}.${name}`;
}

/** Runs a forward pass in a scope of its own; inputs that it returns stay with their owner. */
function freeing<T>(inputs: readonly unknown[], body: () => T): T {
  let result!: T;
  scope(() => {
    result = body();
    return made(result, inputs);
  });
  return result;
}

/** The tensors of a result that are not among the inputs. */
function made(result: unknown, inputs: readonly unknown[]): unknown {
  if (result instanceof Tensor) {
    return inputs.includes(result) ? undefined : result;
  }
  if (Array.isArray(result)) return result.map((r) => made(r, inputs));
  if (
    typeof result === "object" && result !== null &&
    Object.getPrototypeOf(result) === Object.prototype
  ) {
    return Object.values(result).map((r) => made(r, inputs));
  }
  return undefined;
}
