/**
 * Reverse-mode differentiation: operator calls leave records on a tape;
 * `backward` walks them from the newest to the oldest.
 *
 * @module
 */

import { GradientError, shapeText } from "./errors.ts";
import { isFloat } from "./dtype.ts";
import { materialize } from "./fuse.ts";
import { currentScope, persist, Scope } from "./scope.ts";
import { sameShape } from "./shape.ts";
import { type Edge, type GradientHook, type Node, Tensor } from "./tensor.ts";
import type { Value } from "./value.ts";

let recording = true;
let sequence = 0;

/** Whether operator calls are recorded. */
export function gradEnabled(): boolean {
  return recording;
}

/** Runs `body` with recording set to `enabled`; a promise restores it when it settles. */
export function withGrad<T>(enabled: boolean, body: () => T): T {
  const before = recording;
  recording = enabled;
  let result: T;
  try {
    result = body();
  } catch (error) {
    recording = before;
    throw error;
  }
  if (result instanceof Promise) {
    return result.finally(() => {
      recording = before;
    }) as T;
  }
  recording = before;
  return result;
}

/** Runs `body` without recording: nothing in it can be differentiated. */
export function noGrad<T>(body: () => T): T {
  return withGrad(false, body);
}

/** Operators that differentiation itself needs; `ops/` provides them. */
export interface Arithmetic {
  /** Sum of two tensors of one shape. */
  add(a: Tensor, b: Tensor): Tensor;
  /** Product of two tensors of one shape. */
  mul(a: Tensor, b: Tensor): Tensor;
  /** Sum of all elements. */
  sum(x: Tensor): Tensor;
  /** Ones like the tensor. */
  onesLike(x: Tensor): Tensor;
}

let arithmetic: Arithmetic | undefined;

/** Gives differentiation its operators. */
export function provideArithmetic(provided: Arithmetic): void {
  arithmetic = provided;
}

/** The operators that differentiation was given. */
export function arithmeticOperators(): Arithmetic {
  return arithmetic!;
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
  const leaf = tensor.requiresGrad && tensor.node === undefined
    ? tensor
    : undefined;
  return {
    value: tensor.value.retain(),
    node: tensor.node,
    index: tensor.outputIndex,
    leaf,
  };
}

/** A fresh handle of a saved tensor, linked to the tape as the original was. */
export function revive(saved: Saved): Tensor {
  if (
    saved.leaf !== undefined && !saved.leaf.disposed &&
    saved.leaf.value === saved.value
  ) {
    return saved.leaf;
  }
  const tensor = new Tensor(saved.value.retain());
  tensor.node = saved.node;
  tensor.outputIndex = saved.index;
  tensor.requiresGrad = saved.node !== undefined || saved.leaf !== undefined;
  return tensor;
}

/** Where the gradient of `tensor` goes. */
export function edgeOf(tensor: Tensor): Edge | undefined {
  if (!tensor.requiresGrad) return undefined;
  return {
    node: tensor.node,
    index: tensor.outputIndex,
    leaf: tensor.node === undefined ? tensor : undefined,
  };
}

class Record implements Node {
  readonly sequence = sequence++;
  #released = false;
  hooks: Node["hooks"];

  constructor(
    readonly name: string,
    readonly edges: readonly (Edge | undefined)[],
    readonly outputs: Node["outputs"],
    readonly saved: Saved[],
    readonly formula: (
      grads: readonly (Tensor | undefined)[],
    ) => (Tensor | undefined)[],
  ) {}

  get released(): boolean {
    return this.#released;
  }

  backward(grads: readonly (Tensor | undefined)[]): (Tensor | undefined)[] {
    if (this.#released) {
      throw new GradientError(
        `Cannot differentiate ${this.name} a second time: the tape was freed by an earlier backward; pass { retainGraph: true } to it`,
      );
    }
    return this.formula(grads);
  }

  release(): void {
    if (this.#released) return;
    this.#released = true;
    for (const saved of this.saved) saved.value.release();
    this.saved.length = 0;
  }
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
  formula: (grads: readonly (Tensor | undefined)[]) => (Tensor | undefined)[],
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
  );
  currentScope()?.trackNode(node);
  outputs.forEach((output, i) => {
    if (!isFloat(output.dtype)) return;
    output.node = node;
    output.outputIndex = i;
    output.requiresGrad = true;
  });
}

/** Options of {@linkcode backward} and {@linkcode gradients}. */
export interface BackwardOptions {
  /** Gradient of the result itself; required unless the result is a single element. */
  seed?: Tensor;
  /** Keep the tape for another backward. */
  retainGraph?: boolean;
  /** Record the backward pass too, for second derivatives. Implies `retainGraph`. */
  createGraph?: boolean;
}

function checkSeed(root: Tensor, seed: Tensor | undefined): void {
  if (!isFloat(root.dtype)) {
    throw new GradientError(
      `Cannot differentiate a tensor of dtype ${root.dtype}: only floating-point tensors have gradients`,
    );
  }
  if (!root.requiresGrad) {
    throw new GradientError(
      "Cannot differentiate a tensor that depends on nothing that requires a gradient: set requiresGrad on a leaf, and do not compute it under noGrad",
    );
  }
  if (seed === undefined) {
    if (root.size !== 1) {
      throw new GradientError(
        `Cannot start backward from a tensor of shape ${
          shapeText(root.shape)
        } without a seed: reduce it to one element, for example with .sum(), or pass { seed }`,
      );
    }
  } else if (!sameShape(seed.shape, root.shape)) {
    throw new GradientError(
      `Cannot start backward from a tensor of shape ${
        shapeText(root.shape)
      } with a seed of shape ${
        shapeText(seed.shape)
      }: the shapes must be equal`,
    );
  }
}

/** The records that the root depends on, newest first; nothing beyond edges where the sink ends the walk. */
function tapeFrom(root: Node, sink: Sink): Node[] {
  const seen = new Set<Node>([root]);
  const open = [root];
  for (let node = open.pop(); node !== undefined; node = open.pop()) {
    for (const edge of node.edges) {
      if (edge?.node === undefined || seen.has(edge.node)) continue;
      if (sink.ends?.(edge.node, edge.index)) continue;
      seen.add(edge.node);
      open.push(edge.node);
    }
  }
  return [...seen].sort((a, b) => b.sequence - a.sequence);
}

/** Of a tape, the records through which gradients reach something wanted. */
function leadingTo(
  wanted: readonly Tensor[],
  tape: readonly Node[],
): ReadonlySet<Node> {
  const leading = new Set<Node>();
  for (let i = tape.length - 1; i >= 0; i--) {
    const leads = tape[i].edges.some((edge) => {
      if (edge === undefined) return false;
      if (edge.node === undefined) return wanted.includes(edge.leaf!);
      return leading.has(edge.node) ||
        outputIn(wanted, edge.node, edge.index) >= 0;
    });
    if (leads) leading.add(tape[i]);
  }
  return leading;
}

/** Which of the tensors is the given output of a record; −1 for none. */
function outputIn(
  tensors: readonly Tensor[],
  node: Node,
  index: number,
): number {
  return tensors.findIndex((t) => t.node === node && t.outputIndex === index);
}

/** What wants to see gradients during a walk. */
interface Sink {
  /** Gets each gradient that arrives at a leaf; returns what must outlive the walk. */
  leaf(leaf: Tensor, grad: Tensor): Tensor | undefined;
  /** Gets the gradient of an output of a record: complete, or in parts where the walk ends. */
  output?(node: Node, index: number, grad: Tensor): Tensor | undefined;
  /** Whether the walk ends at an output of a record. */
  ends?(node: Node, index: number): boolean;
  /** The only tensors whose gradients matter; everything when undefined. */
  readonly wanted?: readonly Tensor[];
}

/** What the walk in progress does with leaves. */
let activeSink: Sink | undefined;

/** Gathers the gradients of some tensors. */
class Collector {
  readonly found: (Tensor | undefined)[];

  constructor(readonly inputs: readonly Tensor[]) {
    this.found = inputs.map(() => undefined);
  }

  add(i: number, grad: Tensor): Tensor {
    const before = this.found[i];
    return this.found[i] = before === undefined
      ? handle(grad)
      : arithmetic!.add(before, grad);
  }

  output(node: Node, index: number, grad: Tensor): Tensor | undefined {
    const i = outputIn(this.inputs, node, index);
    return i < 0 ? undefined : this.add(i, grad);
  }
}

/**
 * A walk inside a gradient formula, over a tape that the formula has just
 * recorded and that ends at `inputs`: their gradients are returned, those of
 * other leaves go where the outer walk sends them.
 */
export function innerGradients(
  root: Tensor,
  inputs: readonly Tensor[],
  options: BackwardOptions = {},
): (Tensor | undefined)[] {
  const outer = activeSink;
  const collector = new Collector(inputs);
  propagate(root, options, {
    leaf(leaf, grad) {
      const i = inputs.indexOf(leaf);
      return i >= 0 ? collector.add(i, grad) : outer?.leaf(leaf, grad);
    },
    output: (node, index, grad) => collector.output(node, index, grad),
    ends: (node, index) => outputIn(inputs, node, index) >= 0,
  });
  return collector.found;
}

function propagate(root: Tensor, options: BackwardOptions, sink: Sink): void {
  const before = activeSink;
  activeSink = sink;
  try {
    walkTape(root, options, sink);
  } finally {
    activeSink = before;
  }
}

function walkTape(root: Tensor, options: BackwardOptions, sink: Sink): void {
  const { seed, createGraph = false } = options;
  const retain = createGraph || (options.retainGraph ?? false);
  checkSeed(root, seed);
  const { add, onesLike } = arithmetic!;
  withGrad(createGraph, () => {
    using walk = new Scope();
    const first = handle(seed ?? onesLike(root));
    const results: Tensor[] = [];
    const deliver = (result: Tensor | undefined) => {
      if (result !== undefined) results.push(result);
    };
    if (root.node === undefined) {
      deliver(sink.leaf(root, first));
      walk.keep(results);
      return;
    }
    const incoming = new Map<Node, (Tensor | undefined)[]>();
    const start: (Tensor | undefined)[] = [];
    start[root.outputIndex] = first;
    incoming.set(root.node, start);
    const tape = tapeFrom(root.node, sink);
    const leading = sink.wanted && leadingTo(sink.wanted, tape);
    for (const node of tape) {
      const grads = incoming.get(node);
      if (grads === undefined) continue;
      incoming.delete(node);
      {
        using step = new Scope();
        for (const { index, hook } of node.hooks ?? []) {
          const grad = grads[index];
          if (grad !== undefined) grads[index] = hook(grad) ?? grad;
        }
        if (sink.output !== undefined) {
          grads.forEach((grad, index) => {
            if (grad !== undefined) deliver(sink.output!(node, index, grad));
          });
        }
        const kept: Tensor[] = [];
        const computed = leading === undefined || leading.has(node)
          ? node.backward(grads)
          : [];
        node.edges.forEach((edge, i) => {
          const result = computed[i];
          if (edge === undefined || result === undefined) return;
          if (edge.node === undefined) {
            deliver(sink.leaf(edge.leaf!, result));
            return;
          }
          if (sink.ends?.(edge.node, edge.index)) {
            deliver(sink.output!(edge.node, edge.index, result));
            return;
          }
          let slots = incoming.get(edge.node);
          if (slots === undefined) incoming.set(edge.node, slots = []);
          const before = slots[edge.index];
          // A handle of its own: a formula may return one tensor for several inputs.
          const total = before === undefined
            ? handle(result)
            : add(before, result);
          slots[edge.index] = total;
          kept.push(total);
        });
        step.keep([kept, results]);
      }
      if (!retain) node.release();
      for (const grad of grads) grad?.dispose();
    }
    walk.keep(results);
  });
}

/**
 * Computes the gradients of a result with respect to the leaves it depends
 * on, and adds them to `leaf.grad`.
 *
 * @throws {GradientError} when there is nothing to differentiate, the result
 * is no single element and has no seed, or the tape was freed.
 */
export function backward(result: Tensor, options: BackwardOptions = {}): void {
  const { add } = arithmetic!;
  propagate(result, options, {
    leaf(leaf, grad) {
      for (const hook of leaf.hooks ?? []) grad = hook(grad) ?? grad;
      const before = leaf.grad;
      const total = persist(
        before === undefined ? handle(grad) : add(before, grad),
      );
      if (!options.createGraph) materialize(total.value);
      leaf.grad = total;
      before?.dispose();
      return total;
    },
  });
}

/**
 * The gradients of `result` with respect to `inputs`, without touching any
 * `grad`; undefined for inputs that the result does not depend on.
 *
 * @example
 * ```ts
 * import { gradients, tensor } from "@decaf/decaf";
 *
 * const x = tensor([3], { requiresGrad: true });
 * const [first] = gradients(x.mul(x).mul(x).sum(), [x], { createGraph: true });
 * const [second] = gradients(first!.sum(), [x]);
 * if (second!.item() !== 18) throw new Error("d²x³/dx² is 6x");
 * ```
 */
export function gradients(
  result: Tensor,
  inputs: readonly Tensor[],
  options: BackwardOptions = {},
): (Tensor | undefined)[] {
  const collector = new Collector(inputs);
  propagate(result, options, {
    leaf(leaf, grad) {
      const i = inputs.indexOf(leaf);
      return i < 0 ? undefined : collector.add(i, grad);
    },
    output: (node, index, grad) => collector.output(node, index, grad),
    wanted: inputs,
  });
  return collector.found;
}

/** Another handle of the same value and place on the tape. */
export function handle(tensor: Tensor): Tensor {
  const other = new Tensor(tensor.value.retain());
  other.node = tensor.node;
  other.outputIndex = tensor.outputIndex;
  other.requiresGrad = tensor.requiresGrad;
  return other;
}

/**
 * Calls `hook` with the gradient of `tensor` when it is computed; what the
 * hook returns replaces the gradient.
 */
export function registerHook(tensor: Tensor, hook: GradientHook): void {
  if (!tensor.requiresGrad) {
    throw new GradientError(
      "Cannot hook the gradient of a tensor that requires none: set requiresGrad first",
    );
  }
  if (tensor.node === undefined) (tensor.hooks ??= []).push(hook);
  else (tensor.node.hooks ??= []).push({ index: tensor.outputIndex, hook });
}

/** The same data, cut off from the tape. */
export function detach(tensor: Tensor): Tensor {
  return new Tensor(tensor.value.retain());
}
