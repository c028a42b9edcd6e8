/**
 * Scopes own the memory that is made inside them. Users write one scope per
 * training step; formulas never mention memory.
 *
 * @module
 */

import type { Node, Tensor } from "./tensor.ts";
import { ownership } from "./value.ts";

const stack: Scope[] = [];

/** Where an element is in a list, of which it is mostly the last. */
function lastOf<T>(list: readonly T[], element: T): number {
  const last = list.length - 1;
  return list[last] === element ? last : list.lastIndexOf(element);
}

/**
 * Owner of the tensors made while it is the innermost open scope. When it is
 * disposed, what was not kept is freed. A scope is an object, so `await`
 * inside one works.
 *
 * @example
 * ```ts
 * import { memory, ones, Scope } from "@decaf/decaf";
 *
 * const before = memory().tensors;
 * {
 *   using _step = new Scope();
 *   ones([2, 2]).add(1).data();
 * }
 * if (memory().tensors !== before) throw new Error("leak");
 * ```
 */
export class Scope implements Disposable {
  #tensors: Tensor[] = [];
  #nodes: Node[] = [];
  #open = true;

  /** Opens a scope inside the innermost open one. */
  constructor() {
    stack.push(this);
    ownership.scoped = true;
  }

  /** Adds a tensor to what the scope frees. */
  track(tensor: Tensor): void {
    this.#tensors.push(tensor);
  }

  /** Adds a tape record to what the scope releases. */
  trackNode(node: Node): void {
    this.#nodes.push(node);
  }

  /** Lets tensors outlive this scope: they pass to the enclosing one. */
  keep<T>(result: T): T {
    const outer = stack[lastOf(stack, this) - 1];
    if (this.#nodes.length === 0) {
      if (isTensor(result)) {
        this.#pass(result, outer);
        return result;
      }
      if (Array.isArray(result) && result.every(isTensor)) {
        for (const tensor of result) this.#pass(tensor, outer);
        return result;
      }
    }
    const own = this.#tensors;
    const kept = new Set<Tensor>();
    collect(result, kept);
    if (kept.size === 0) return result;
    this.#tensors = own.filter((t) => !kept.has(t));
    // Only what this scope owns is handed on: the rest has an owner already.
    if (this.#tensors.length < own.length) {
      for (const tensor of own) if (kept.has(tensor)) hand(tensor, outer);
    }
    if (this.#nodes.length === 0) return result;
    const reached = new Set<Node>();
    // What was recorded before this scope's first record is not its own.
    const since = this.#nodes.reduce(
      (least, { sequence }) => Math.min(least, sequence),
      Infinity,
    );
    for (const tensor of kept) {
      if (tensor.node !== undefined) reach(tensor.node, since, reached);
    }
    if (reached.size > 0) {
      this.#nodes = this.#nodes.filter((n) => {
        if (!reached.has(n)) return true;
        if (outer === undefined) n.loosen();
        else outer.trackNode(n);
        return false;
      });
    }
    return result;
  }

  /** Hands a tensor on, if this scope owns it. */
  #pass(tensor: Tensor, outer: Scope | undefined): void {
    const own = this.#tensors;
    const at = lastOf(own, tensor);
    if (at < 0) return;
    own[at] = own[own.length - 1];
    own.pop();
    hand(tensor, outer);
  }

  /** What the scope owns: tensors, and records of the tape. */
  get holdings(): {
    readonly tensors: readonly Tensor[];
    readonly nodes: readonly Node[];
  } {
    return { tensors: this.#tensors, nodes: this.#nodes };
  }

  /** Frees what the scope owns. */
  [Symbol.dispose](): void {
    if (!this.#open) return;
    this.#open = false;
    const at = lastOf(stack, this);
    if (at >= 0 && at === stack.length - 1) stack.pop();
    else if (at >= 0) stack.splice(at, 1);
    ownership.scoped = stack.length > 0;
    const tensors = this.#tensors, nodes = this.#nodes;
    this.#tensors = [];
    this.#nodes = [];
    try {
      disposeFrom(tensors, 0);
    } finally {
      for (const node of nodes) node.release();
    }
  }
}

/** Disposes tensors, also those behind one whose device refuses to free it. */
function disposeFrom(tensors: readonly Tensor[], first: number): void {
  let i = first;
  try {
    while (i < tensors.length) {
      const tensor = tensors[i++];
      if (!tensor.persistent) tensor.dispose();
    }
  } finally {
    if (i < tensors.length) disposeFrom(tensors, i);
  }
}

function hand(tensor: Tensor, outer: Scope | undefined): void {
  if (outer !== undefined) outer.track(tensor);
  else if (!tensor.disposed) persist(tensor);
}

function reach(node: Node, since: number, seen: Set<Node>): void {
  const pending = [node];
  for (let n = pending.pop(); n !== undefined; n = pending.pop()) {
    if (n.sequence < since || seen.has(n)) continue;
    seen.add(n);
    for (const edge of n.edges) {
      if (edge?.node !== undefined) pending.push(edge.node);
    }
  }
}

function collect(result: unknown, into: Set<Tensor>): void {
  if (typeof result !== "object" || result === null) return;
  if (isTensor(result)) into.add(result);
  else if (Array.isArray(result)) { for (const r of result) collect(r, into); }
  else if (Object.getPrototypeOf(result) === Object.prototype) {
    for (const r of Object.values(result)) collect(r, into);
  }
}

function isTensor(x: unknown): x is Tensor {
  return (x as { isTensor?: boolean } | null | undefined)?.isTensor === true;
}

/** Every open scope, the outermost first. */
export function openScopes(): readonly Scope[] {
  return stack;
}

/** The innermost open scope. */
export function currentScope(): Scope | undefined {
  return stack[stack.length - 1];
}

/** Takes a tensor out of every scope: it lives until it is disposed or garbage collected. */
export function persist<T extends Tensor>(tensor: T): T {
  tensor.persistent = true;
  tensor.value.loosen();
  return tensor;
}

/**
 * Runs `body` in a scope of its own; tensors in its result (also in arrays
 * and plain objects) live on in the enclosing scope. When `body` returns a
 * promise, the scope ends as it settles.
 */
export function scope<T>(body: () => T): T {
  const own = new Scope();
  let result: T;
  try {
    result = body();
    if (!(result instanceof Promise)) own.keep(result);
  } catch (error) {
    own[Symbol.dispose]();
    throw error;
  }
  if (result instanceof Promise) {
    return result.then((value) => own.keep(value))
      .finally(() => own[Symbol.dispose]()) as T;
  }
  own[Symbol.dispose]();
  return result;
}
