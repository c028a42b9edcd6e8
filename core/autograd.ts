/**
 * Reverse-mode differentiation: walks the tape from the newest record to the
 * oldest.
 *
 * @module
 */

import { GradientError, shapeText } from "./errors.ts";
import { withCastState } from "./cast_state.ts";
import { isFloat } from "./dtype.ts";
import { materialize } from "./fuse.ts";
import { arithmeticOperators, total } from "./gradient_arithmetic.ts";
import {
  callHook,
  Collector,
  LeafGradients,
  outputIn,
  type Sink,
} from "./gradient_sinks.ts";
import { checkOptions, type OptionNames } from "./options.ts";
import { currentScope, persist, scope } from "./scope.ts";
import { sameShape } from "./shape.ts";
import { handle, leafOf, withGrad } from "./tape.ts";
import type { Node, Tensor } from "./tensor.ts";
import { freeingOnError } from "./value.ts";

export {
  arithmeticOperators,
  provideArithmetic,
} from "./gradient_arithmetic.ts";
export {
  detach,
  gradEnabled,
  noGrad,
  record,
  registerHook,
  revive,
  save,
  type Saved,
  withGrad,
} from "./tape.ts";

/** Options of {@linkcode backward} and {@linkcode gradients}. */
export interface BackwardOptions {
  /** Gradient of the result itself; required unless the result is a single element. */
  seed?: Tensor;
  /** Keep the tape for another backward. */
  retainGraph?: boolean;
  /** Record the backward pass too, for second derivatives. Implies `retainGraph`. */
  createGraph?: boolean;
}

const optionNames: OptionNames<BackwardOptions> = {
  seed: true,
  retainGraph: true,
  createGraph: true,
};

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
  } else if (seed.dtype !== root.dtype) {
    throw new GradientError(
      `Cannot start backward from a tensor of dtype ${root.dtype} with a seed of dtype ${seed.dtype}: convert the seed with .cast("${root.dtype}")`,
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
    const leads = tape[i].reachesMore || tape[i].edges.some((edge) => {
      if (edge === undefined) return false;
      if (edge.node === undefined) return wanted.includes(edge.leaf!);
      return leading.has(edge.node) ||
        outputIn(wanted, edge.node, edge.index) >= 0;
    });
    if (leads) leading.add(tape[i]);
  }
  return leading;
}

/** A walk in progress: its sink, and what must outlive it. */
class Walk {
  readonly results: Tensor[] = [];

  constructor(readonly sink: Sink) {}

  leaf(leaf: Tensor, grad: Tensor): Tensor | undefined {
    return this.#keep(this.sink.leaf(leaf, grad));
  }

  output(node: Node, index: number, grad: Tensor): Tensor | undefined {
    return this.#keep(this.sink.output?.(node, index, grad));
  }

  passed(node: Node): void {
    this.sink.passed?.(node).forEach((result) => this.#keep(result));
  }

  finish(): void {
    this.sink.finish?.().forEach((result) => this.#keep(result));
  }

  #keep(result: Tensor | undefined): Tensor | undefined {
    if (result !== undefined) this.results.push(result);
    return result;
  }
}

/** The innermost walk in progress: formulas may start walks of their own. */
let activeWalk: Walk | undefined;

/** Options of {@linkcode innerGradients}. */
export interface InnerOptions extends BackwardOptions {
  /** Records older than this sequence number are not freed. */
  since?: number;
}

/**
 * A walk inside a gradient formula, over a tape that the formula has just
 * recorded and that ends at `inputs`: their gradients are returned, those of
 * other leaves go where the outer walk sends them.
 */
export function innerGradients(
  root: Tensor,
  inputs: readonly Tensor[],
  options: InnerOptions = {},
): (Tensor | undefined)[] {
  const outer = activeWalk;
  const collector = new Collector(inputs);
  propagate(root, options, {
    leaf(leaf, grad) {
      const i = inputs.indexOf(leaf);
      return i >= 0 ? collector.add(i, grad) : outer?.leaf(leaf, grad);
    },
    output: (node, index, grad) =>
      collector.output(node, index, grad) ?? outer?.output(node, index, grad),
    ends: (node, index) => outputIn(inputs, node, index) >= 0,
    since: options.since,
  });
  return collector.found;
}

function propagate(root: Tensor, options: BackwardOptions, sink: Sink): void {
  requireTensor("the result", root);
  const { seed, createGraph = false, retainGraph = createGraph } = options;
  checkSeed(root, seed);
  const outer = activeWalk;
  const walk = activeWalk = new Walk(sink);
  try {
    // Formulas compute in the types that the forward pass has chosen.
    withCastState(undefined, () =>
      withGrad(createGraph, () =>
        scope(() => {
          const first = handle(seed ?? arithmeticOperators().onesLike(root));
          if (root.node === undefined) walk.leaf(leafOf(root), first);
          else walkTape(root.node, root.outputIndex, first, walk, retainGraph);
          walk.finish();
          return walk.results;
        })));
  } finally {
    activeWalk = outer;
  }
}

function walkTape(
  root: Node,
  index: number,
  seed: Tensor,
  walk: Walk,
  retain: boolean,
): void {
  const { sink } = walk;
  const tape = tapeFrom(root, sink);
  const leading = sink.wanted && leadingTo(sink.wanted, tape);
  checkTape(tape, leading);
  sink.begin?.(tape);
  const incoming = new Map<Node, (Tensor | undefined)[]>();
  const start: (Tensor | undefined)[] = [];
  start[index] = seed;
  incoming.set(root, start);
  for (const node of tape) {
    const grads = incoming.get(node);
    if (grads === undefined) {
      walk.passed(node);
      continue;
    }
    incoming.delete(node);
    const leads = leading === undefined || leading.has(node);
    scope(() => visit(node, grads, leads, incoming, walk));
    const shared = node.sequence < (sink.since ?? 0);
    if (!retain && !shared) node.release();
    for (const grad of grads) if (!grad?.persistent) grad?.dispose();
    walk.passed(node);
  }
}

/** Computes one record's gradients, in a scope of its own, and sends them on; returns what must outlive the scope. */
function visit(
  node: Node,
  grads: readonly (Tensor | undefined)[],
  leads: boolean,
  incoming: Map<Node, (Tensor | undefined)[]>,
  walk: Walk,
): Tensor[] {
  const before = walk.results.length;
  const seen = [...grads];
  for (const { index, hook } of node.hooks ?? []) {
    const grad = seen[index];
    if (grad !== undefined) seen[index] = callHook(grad, hook);
  }
  seen.forEach((grad, index) => {
    if (grad !== undefined) walk.output(node, index, grad);
  });
  const kept: Tensor[] = [];
  const computed = leads ? gradientsOf(node, seen) : [];
  node.edges.forEach((edge, i) => {
    const result = computed[i];
    if (edge === undefined || result === undefined) return;
    if (edge.node === undefined) {
      walk.leaf(edge.leaf!, result);
      return;
    }
    if (walk.sink.ends?.(edge.node, edge.index)) {
      walk.output(edge.node, edge.index, result);
      return;
    }
    let slots = incoming.get(edge.node);
    if (slots === undefined) incoming.set(edge.node, slots = []);
    // A handle of its own: a formula may return one tensor for several inputs.
    kept.push(slots[edge.index] = total(slots[edge.index], result));
  });
  for (let i = before; i < walk.results.length; i++) kept.push(walk.results[i]);
  return kept;
}

/** Computes a record's gradients; when that fails, nothing of it (and of the scope) stays in memory. */
function gradientsOf(
  node: Node,
  grads: readonly (Tensor | undefined)[],
): (Tensor | undefined)[] {
  return freeingOnError(() => {
    try {
      return node.backward(grads);
    } catch (error) {
      currentScope()?.[Symbol.dispose]();
      throw error;
    }
  });
}

/** Refuses a tape whose saved values were freed. */
function checkTape(
  tape: readonly Node[],
  leading: ReadonlySet<Node> | undefined,
): void {
  const freed = tape.find((node) =>
    node.released && (leading === undefined || leading.has(node))
  );
  if (freed === undefined) return;
  throw new GradientError(
    `Cannot differentiate ${freed.name}: its part of the tape was freed, by an earlier backward (pass { retainGraph: true } to that one) or at the end of its scope (return the result from the scope)`,
  );
}

/** Adds to the gradient of a leaf; whoever holds the old gradient sees the new one. */
function accumulate(leaf: Tensor, grad: Tensor, createGraph: boolean): void {
  if (leaf.disposed) return;
  const before = leaf.grad?.disposed ? undefined : leaf.grad;
  const sum = before === undefined
    ? handle(grad)
    : arithmeticOperators().add(before, grad);
  if (!createGraph) materialize(sum.value);
  sum.value.madeBy = "gradient";
  if (before === undefined) {
    leaf.grad = persist(sum);
    return;
  }
  sum.value.loosen();
  before.setValue(sum.value.retain());
  before.node = sum.node;
  before.outputIndex = sum.outputIndex;
  before.requiresGrad = sum.requiresGrad;
  sum.dispose();
}

/**
 * Computes the gradients of a result with respect to the leaves it depends
 * on, and adds them to `leaf.grad`.
 *
 * @throws {GradientError} when there is nothing to differentiate, the result
 * is no single element and has no seed, or the tape was freed.
 * @throws {TypeError} for an option that there is not.
 */
export function backward(result: Tensor, options: BackwardOptions = {}): void {
  checkOptions("walk backward", options, optionNames);
  const { createGraph = false } = options;
  const gathered = new LeafGradients((leaf, grad) => {
    accumulate(leaf, grad, createGraph);
    // Gradients outlive every scope; records of a recorded backward must follow them.
    return createGraph ? leaf.grad : undefined;
  });
  propagate(result, options, {
    leaf: (leaf, grad) => gathered.add(leaf, grad),
    begin: (tape) => gathered.begin(tape),
    passed: (node) => gathered.passed(node),
    finish: () => gathered.finish(),
  });
}

/**
 * The gradients of `result` with respect to `inputs`, without touching any
 * `grad`; undefined for inputs that the result does not depend on.
 *
 * @throws {GradientError} as {@linkcode backward} does, and when an input
 * requires no gradient.
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
  checkOptions("take gradients", options, optionNames);
  if (!Array.isArray(inputs)) {
    throw new TypeError(
      "Cannot take gradients: what to differentiate with respect to must be a list of tensors, such as [x]",
    );
  }
  inputs.forEach(checkInput);
  const wanted = inputs.map(leafOf);
  const collector = new Collector(wanted);
  const gathered = new LeafGradients((leaf, grad) =>
    collector.add(wanted.indexOf(leaf), grad)
  );
  propagate(result, options, {
    leaf: (leaf, grad) =>
      wanted.includes(leaf) ? gathered.add(leaf, grad) : undefined,
    output: (node, index, grad) => collector.output(node, index, grad),
    begin: (tape) => gathered.begin(tape),
    passed: (node) => gathered.passed(node),
    finish: () => gathered.finish(),
    wanted,
  });
  return wanted.map((input) => collector.found[wanted.indexOf(input)]);
}

function requireTensor(what: string, x: unknown): void {
  if (typeof x === "object" && x !== null && "requiresGrad" in x) return;
  throw new TypeError(`Cannot differentiate ${what}: it must be a tensor`);
}

function checkInput(input: Tensor, i: number): void {
  requireTensor(`with respect to input ${i}`, input);
  if (input.requiresGrad) return;
  const why = isFloat(input.dtype)
    ? "it requires no gradient; set its requiresGrad before the computation"
    : `it has dtype ${input.dtype}, and only floating-point tensors have gradients`;
  throw new GradientError(
    `Cannot differentiate with respect to input ${i}: ${why}`,
  );
}
