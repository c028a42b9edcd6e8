/**
 * Modules made of modules.
 *
 * @module
 */

import type { Tensor } from "../core/tensor.ts";
import type { LinearActivation } from "../ops/linear_activation.ts";
import { type AnyModule, Module } from "./module.ts";

/** What a {@linkcode Sequential} is made of: modules, or plain functions. */
export type Layer = Module | ((x: Tensor) => Tensor);

/** A function as a module without parameters. */
export class Functional extends Module {
  readonly #name: string;
  readonly #function: (x: Tensor) => Tensor;
  readonly #details: string;

  /**
   * Wraps a function.
   *
   * @param name Name to show.
   * @param f The function.
   * @param details Options to show.
   * @param ending What the function is where a linear map can end with it.
   */
  constructor(
    name: string,
    f: (x: Tensor) => Tensor,
    details = "",
    /** What the function is where a linear map can end with it. */
    readonly ending?: LinearActivation,
  ) {
    super();
    this.#name = name;
    this.#function = f;
    this.#details = details;
  }

  /** Applies the function. */
  override forward(x: Tensor): Tensor {
    return this.#function(x);
  }

  /** Name and options. */
  override toString(): string {
    return `${this.#name}(${this.#details})`;
  }
}

/** An affine map that computes the activation after it too, and the next map, with fewer passes over memory. */
export interface AffineMap extends Module {
  /** W [out, in]. */
  readonly weight: Tensor;
  /** b [out], if there is one. */
  readonly bias: Tensor | undefined;
  /** f of the map's output. */
  activated(x: Tensor, f: LinearActivation): Tensor;
  /** The next map of f of this map's output. */
  activatedInto(x: Tensor, f: LinearActivation, next: AffineMap): Tensor;
}

function isAffine(layer: Module | undefined): layer is AffineMap {
  return layer !== undefined && "activatedInto" in layer;
}

function endingOf(layer: Module | undefined): LinearActivation | undefined {
  return layer instanceof Functional ? layer.ending : undefined;
}

/** Modules one after the other, named 0, 1, …. */
export class Sequential extends Module {
  /** The modules, in order. */
  readonly layers: readonly Module[];

  /**
   * Makes a chain.
   *
   * @param layers Modules or functions.
   * @throws {TypeError} when something else is among them.
   */
  constructor(...layers: readonly Layer[]) {
    super();
    this.layers = layers.map((layer, i) => {
      if (layer instanceof Module) return layer;
      if (typeof layer === "function") {
        return new Functional(layer.name || "function", layer);
      }
      throw new TypeError(
        `Cannot make a Sequential: layer ${i} is of type ${typeof layer}, neither a module nor a function`,
      );
    });
  }

  /** Passes the output of each module to the next. */
  override forward(x: Tensor): Tensor {
    const { layers } = this;
    for (let i = 0; i < layers.length; i++) {
      const layer = layers[i];
      const ending = endingOf(layers[i + 1]);
      if (ending === undefined || !isAffine(layer)) {
        x = layer.forward(x);
        continue;
      }
      const next: Module | undefined = layers[i + 2];
      const alone = !isAffine(next) || endingOf(layers[i + 3]) !== undefined;
      x = alone
        ? layer.activated(x, ending)
        : layer.activatedInto(x, ending, next);
      i += alone ? 1 : 2;
    }
    return x;
  }

  /** The modules with their numbers. */
  override *namedChildren(): Generator<[string, AnyModule]> {
    for (const [i, layer] of this.layers.entries()) yield [`${i}`, layer];
  }
}

/** A {@linkcode Sequential} of modules or functions. */
export function sequential(...layers: readonly Layer[]): Sequential {
  return new Sequential(...layers);
}

/** A list of modules that its owner calls one by one; named 0, 1, …. */
export class ModuleList<M extends AnyModule = Module> extends Module<[], never>
  implements Iterable<M> {
  readonly #items: M[];

  /** Makes a list. */
  constructor(items: Iterable<M> = []) {
    super();
    this.#items = [...items];
  }

  /** Number of modules. */
  get length(): number {
    return this.#items.length;
  }

  /** The module at a position; negative positions count from the end. */
  at(i: number): M | undefined {
    return this.#items.at(i);
  }

  /** Adds modules at the end. */
  push(...items: readonly M[]): void {
    this.#items.push(...items);
  }

  /** The modules in order. */
  [Symbol.iterator](): Iterator<M> {
    return this.#items[Symbol.iterator]();
  }

  /** The modules with their numbers. */
  override *namedChildren(): Generator<[string, AnyModule]> {
    for (const [i, item] of this.#items.entries()) yield [`${i}`, item];
  }

  /** A list is no function. @throws {TypeError} always. */
  override forward(): never {
    throw new TypeError(
      "Cannot call a ModuleList: call its modules, or make a Sequential of them",
    );
  }
}

/** A {@linkcode ModuleList}. */
export function moduleList<M extends AnyModule>(
  items: Iterable<M> = [],
): ModuleList<M> {
  return new ModuleList(items);
}

/** Modules by name, which its owner calls one by one. */
export class ModuleDict<M extends AnyModule = Module>
  extends Module<[], never> {
  readonly #items: Map<string, M>;

  /** Makes a dictionary. */
  constructor(items: Readonly<Record<string, M>> = {}) {
    super();
    this.#items = new Map(Object.entries(items));
  }

  /** The module of a name. */
  get(name: string): M | undefined {
    return this.#items.get(name);
  }

  /** Adds or replaces a module. */
  set(name: string, module: M): void {
    this.#items.set(name, module);
  }

  /** Names and modules, in order. */
  entries(): IterableIterator<[string, M]> {
    return this.#items.entries();
  }

  /** The modules with their names. */
  override *namedChildren(): Generator<[string, AnyModule]> {
    yield* this.#items;
  }

  /** A dictionary is no function. @throws {TypeError} always. */
  override forward(): never {
    throw new TypeError("Cannot call a ModuleDict: call its modules");
  }
}

/** A {@linkcode ModuleDict}. */
export function moduleDict<M extends AnyModule>(
  items: Readonly<Record<string, M>> = {},
): ModuleDict<M> {
  return new ModuleDict(items);
}

/** The input itself. */
export class Identity extends Module {
  /** Returns its input. */
  override forward(x: Tensor): Tensor {
    return x;
  }
}

/** An {@linkcode Identity}. */
export function identity(): Identity {
  return new Identity();
}
