/**
 * Where the gradients of a walk over the tape go: to tensors that were asked
 * for, and to leaves, past their hooks.
 *
 * @module
 */

import { GradientError, shapeText } from "./errors.ts";
import { total } from "./gradient_arithmetic.ts";
import { sameShape } from "./shape.ts";
import type { GradientHook, Node, Tensor } from "./tensor.ts";

/** What wants to see gradients during a walk. */
export interface Sink {
  /** Gets each gradient that arrives at a leaf; returns what must outlive the walk. */
  leaf(leaf: Tensor, grad: Tensor): Tensor | undefined;
  /** Gets the gradient of an output of a record: complete, or in parts where the walk ends. */
  output?(node: Node, index: number, grad: Tensor): Tensor | undefined;
  /** Called with the records that the walk comes to, in order. */
  begin?(tape: readonly Node[]): void;
  /** Called when a record was passed; returns what must outlive the walk. */
  passed?(node: Node): readonly (Tensor | undefined)[];
  /** Called when every gradient has arrived; returns what must outlive the walk. */
  finish?(): readonly (Tensor | undefined)[];
  /** Whether the walk ends at an output of a record. */
  ends?(node: Node, index: number): boolean;
  /** The only tensors whose gradients matter; everything when undefined. */
  readonly wanted?: readonly Tensor[];
  /** Records older than this stay on the tape: an outer walk may still need them. */
  readonly since?: number;
}

/** Which of the tensors is the given output of a record; −1 for none. */
export function outputIn(
  tensors: readonly Tensor[],
  node: Node,
  index: number,
): number {
  return tensors.findIndex((t) => t.node === node && t.outputIndex === index);
}

/** Gathers the gradients of some tensors. */
export class Collector {
  /** The gradients so far, in the order of the inputs. */
  readonly found: (Tensor | undefined)[];

  /** Waits for the gradients of these. */
  constructor(
    /** The tensors. */
    readonly inputs: readonly Tensor[],
  ) {
    this.found = inputs.map(() => undefined);
  }

  /** Adds to the gradient of input `i`. */
  add(i: number, grad: Tensor): Tensor {
    return this.found[i] = total(this.found[i], grad);
  }

  /** Adds the gradient of an output of a record, if it is one of the inputs. */
  output(node: Node, index: number, grad: Tensor): Tensor | undefined {
    const i = outputIn(this.inputs, node, index);
    return i < 0 ? undefined : this.add(i, grad);
  }
}

const nothing: readonly (Tensor | undefined)[] = [];

/**
 * Passes gradients of leaves on: at once, or, for leaves that have hooks, when
 * the walk has passed the last record that uses the leaf.
 */
export class LeafGradients {
  readonly #waiting = new Map<Tensor, Tensor>();
  /** Records ahead that use a leaf with hooks. */
  readonly #uses = new Map<Tensor, number>();
  /** Records ahead that may reach any leaf. */
  #deep = 0;

  /** Notes where gradients go; `deliver` returns what must outlive the walk. */
  constructor(
    /** Gets the gradients. */
    readonly deliver: (leaf: Tensor, grad: Tensor) => Tensor | undefined,
  ) {}

  /** Counts the records ahead. */
  begin(tape: readonly Node[]): void {
    for (const node of tape) {
      if (node.reachesMore) this.#deep++;
      for (const edge of node.edges) {
        const leaf = edge?.leaf;
        if (!leaf?.hooks?.length) continue;
        this.#uses.set(leaf, (this.#uses.get(leaf) ?? 0) + 1);
      }
    }
  }

  /** Takes a gradient that arrived at a leaf. */
  add(leaf: Tensor, grad: Tensor): Tensor | undefined {
    if (!leaf.hooks?.length) return this.deliver(leaf, grad);
    const sum = total(this.#waiting.get(leaf), grad);
    this.#waiting.set(leaf, sum);
    return sum;
  }

  /** Passes on what no record ahead can change. */
  passed(node: Node): readonly (Tensor | undefined)[] {
    if (node.reachesMore) this.#deep--;
    if (this.#uses.size === 0) return nothing;
    let complete = node.reachesMore;
    for (const edge of node.edges) {
      const leaf = edge?.leaf;
      const uses = leaf && this.#uses.get(leaf);
      if (uses === undefined) continue;
      if (uses > 1) this.#uses.set(leaf!, uses - 1);
      else complete = this.#uses.delete(leaf!);
    }
    if (!complete || this.#deep > 0) return nothing;
    return this.#deliver((leaf) => !this.#uses.has(leaf));
  }

  /** Passes on what is left. */
  finish(): readonly (Tensor | undefined)[] {
    return this.#deliver(() => true);
  }

  #deliver(complete: (leaf: Tensor) => boolean): (Tensor | undefined)[] {
    const results: (Tensor | undefined)[] = [];
    for (const [leaf, sum] of this.#waiting) {
      if (!complete(leaf)) continue;
      this.#waiting.delete(leaf);
      const seen = (leaf.hooks ?? []).reduce(callHook, sum);
      results.push(this.deliver(leaf, seen));
      if (!sum.persistent) sum.dispose();
    }
    return results;
  }
}

/** The gradient after a hook has seen and perhaps replaced it. */
export function callHook(grad: Tensor, hook: GradientHook): Tensor {
  const other = hook(grad);
  if (other === undefined) return grad;
  if (!sameShape(other.shape, grad.shape) || other.dtype !== grad.dtype) {
    throw new GradientError(
      `Cannot replace a gradient of ${grad.dtype} ${
        shapeText(grad.shape)
      } by one of ${other.dtype} ${
        shapeText(other.shape)
      }: what a hook returns must have the shape and dtype of what it got`,
    );
  }
  return other;
}
