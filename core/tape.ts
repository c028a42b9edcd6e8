/**
 * The tape: records that operator calls leave behind, and what they keep for
 * the backward pass.
 *
 * @module
 */

import { isFloat } from "./dtype.ts";
import { GradientError } from "./errors.ts";
import { currentScope } from "./scope.ts";
import { type Edge, type GradientHook, type Node, Tensor } from "./tensor.ts";
import type { Value } from "./value.ts";

let recording = true;
let sequence = 0;
// What calls of withGrad ask for that have not ended, the innermost last. Calls
// that await may end in any order.
const modes: { readonly enabled: boolean }[] = [];

/** Whether operator calls are recorded. */
export function gradEnabled(): boolean {
  return recording;
}

/** Runs `body` with recording set to `enabled`; when it returns a promise, until that settles. */
export function withGrad<T>(enabled: boolean, body: () => T): T {
  const mode = { enabled };
  modes.push(mode);
  recording = enabled;
  let result: T;
  try {
    result = body();
  } catch (error) {
    endMode(mode);
    throw error;
  }
  if (result instanceof Promise) {
    return result.finally(() => endMode(mode)) as T;
  }
  endMode(mode);
  return result;
}

function endMode(mode: { readonly enabled: boolean }): void {
  const last = modes.length - 1;
  if (modes[last] === mode) modes.pop();
  else modes.splice(modes.lastIndexOf(mode), 1);
  recording = modes.length === 0 || modes[modes.length - 1].enabled;
}

/** Runs `body` without recording: nothing in it can be differentiated. */
export function noGrad<T>(body: () => T): T {
  return withGrad(false, body);
}

/** The number that the next record gets: records with smaller ones are older. */
export function nextSequence(): number {
  return sequence;
}

// Other handles of a leaf: gradients that arrive at them belong to the leaf.
const leaves = new WeakMap<Tensor, Tensor>();

/** The leaf that collects the gradients which arrive at `tensor`. */
export function leafOf(tensor: Tensor): Tensor {
  return leaves.get(tensor) ?? tensor;
}

function isLeaf(tensor: Tensor): boolean {
  return tensor.requiresGrad && tensor.node === undefined;
}

/** A tensor saved for the backward pass, with its place on the tape. */
export interface Saved {
  /** Data, retained. */
  readonly value: Value;
  /** Record that computed it. */
  readonly node: Node | undefined;
  /** Output of the record. */
  readonly index: number;
  /** The leaf itself, when it is one that requires a gradient. */
  readonly leaf: Tensor | undefined;
}

/** Saves a tensor for the backward pass. */
export function save(tensor: Tensor): Saved {
  return {
    value: tensor.value.retain(),
    node: tensor.node,
    index: tensor.outputIndex,
    leaf: isLeaf(tensor) ? leafOf(tensor) : undefined,
  };
}

/** A fresh handle of a saved tensor, linked to the tape as the original was. */
export function revive(saved: Saved): Tensor {
  const { leaf } = saved;
  if (leaf !== undefined && !leaf.disposed && leaf.value === saved.value) {
    return leaf;
  }
  const tensor = new Tensor(saved.value.retain());
  tensor.node = saved.node;
  tensor.outputIndex = saved.index;
  tensor.requiresGrad = saved.node !== undefined || leaf !== undefined;
  // The leaf was overwritten since: the old data, but still its gradient.
  if (leaf !== undefined) leaves.set(tensor, leaf);
  return tensor;
}

/** Another handle of the same value and place on the tape. */
export function handle(tensor: Tensor): Tensor {
  const other = new Tensor(tensor.value.retain());
  other.node = tensor.node;
  other.outputIndex = tensor.outputIndex;
  other.requiresGrad = tensor.requiresGrad;
  if (isLeaf(tensor)) leaves.set(other, leafOf(tensor));
  return other;
}

/** The same data, cut off from the tape. */
export function detach(tensor: Tensor): Tensor {
  return new Tensor(tensor.value.retain());
}

/** Where the gradient of `tensor` goes. */
function edgeOf(tensor: Tensor): Edge | undefined {
  if (!tensor.requiresGrad) return undefined;
  return {
    node: tensor.node,
    index: tensor.outputIndex,
    leaf: tensor.node === undefined ? leafOf(tensor) : undefined,
  };
}

/** Gradients of a call's inputs from those of its outputs. */
export type Formula = (
  grads: readonly (Tensor | undefined)[],
) => (Tensor | undefined)[];

class Record implements Node {
  readonly sequence = sequence++;
  #released = false;
  hooks: Node["hooks"];

  constructor(
    readonly name: string,
    readonly edges: readonly (Edge | undefined)[],
    readonly outputs: Node["outputs"],
    readonly saved: Saved[],
    readonly formula: Formula,
    readonly reachesMore: boolean,
  ) {}

  get released(): boolean {
    return this.#released;
  }

  backward(grads: readonly (Tensor | undefined)[]): (Tensor | undefined)[] {
    return this.formula(grads);
  }

  release(): void {
    if (this.#released) return;
    this.#released = true;
    for (const saved of this.saved) saved.value.release();
    this.saved.length = 0;
  }

  loosen(): void {
    for (const saved of this.saved) saved.value.loosen();
  }
}

/** Options of {@linkcode record}. */
export interface RecordOptions {
  /** Whether the formula may give gradients to leaves that are not among the inputs. */
  reachesMore?: boolean;
}

/**
 * Puts an operator call on the tape.
 *
 * @param name Name of the operator, for messages.
 * @param inputs Operands, in the order in which `formula` returns gradients.
 * @param outputs Results; they become differentiable.
 * @param saved What the formula needs; released after its use.
 * @param formula Gradients of the inputs from those of the outputs.
 */
export function record(
  name: string,
  inputs: readonly (Tensor | undefined)[],
  outputs: readonly Tensor[],
  saved: Saved[],
  formula: Formula,
  options: RecordOptions = {},
): void {
  const edges = inputs.map((input) =>
    input === undefined ? undefined : edgeOf(input)
  );
  const node = new Record(
    name,
    edges,
    outputs.map(({ shape, dtype, device }) => ({ shape, dtype, device })),
    saved,
    formula,
    options.reachesMore ?? false,
  );
  currentScope()?.trackNode(node);
  outputs.forEach((output, i) => {
    if (!isFloat(output.dtype)) return;
    output.node = node;
    output.outputIndex = i;
    output.requiresGrad = true;
  });
}

/**
 * Calls `hook` with the gradient of `tensor` when it is known completely;
 * what the hook returns replaces it. The gradient is freed after the call
 * unless it is passed to `keep`.
 *
 * @returns A function that removes the hook.
 * @throws {GradientError} when the tensor requires no gradient.
 *
 * @example
 * ```ts
 * import { tensor } from "@decaf/decaf";
 *
 * const x = tensor([1, 2], { requiresGrad: true });
 * x.registerHook((grad) => grad.clamp(-1, 1));
 * x.mul(10).sum().backward();
 * if (`${x.grad!.toArray()}` !== "1,1") throw new Error("clipped");
 * ```
 */
export function registerHook(tensor: Tensor, hook: GradientHook): () => void {
  if (!tensor.requiresGrad) {
    throw new GradientError(
      "Cannot hook the gradient of a tensor that requires none: set requiresGrad first",
    );
  }
  if (tensor.node === undefined) {
    return addTo(leafOf(tensor).hooks ??= [], hook);
  }
  const { node, outputIndex: index } = tensor;
  return addTo(node.hooks ??= [], { index, hook });
}

function addTo<T>(list: T[], item: T): () => void {
  list.push(item);
  return () => {
    const at = list.indexOf(item);
    if (at >= 0) list.splice(at, 1);
  };
}
