/**
 * Training steps that run as a captured graph: the host's part of a step is
 * done once, and every later step is one call.
 *
 * @module
 */

import { type CapturedGraph, captureGraph } from "../core/capture.ts";
import { detach } from "../core/autograd.ts";
import type { Device } from "../core/device.ts";
import { keep } from "../core/memory.ts";
import { Scope } from "../core/scope.ts";
import { sameShape } from "../core/shape.ts";
import type { Tensor } from "../core/tensor.ts";
import type { ArrayRecord } from "../formats/array_record.ts";
import { overwriteRecord, toTensor } from "./arrays.ts";
import type { Structure } from "./structure.ts";

/** What a step leaves behind. */
export interface StepResult {
  /** What the model gave. */
  readonly output: Tensor;
  /** The loss, one element. */
  readonly loss: Tensor;
}

/** What {@linkcode GraphStep} needs to know. */
export interface GraphStepOptions {
  /** A whole step: forward, backward and update. */
  readonly step: (inputs: Tensor, targets: Tensor) => StepResult;
  /** Tensors that the step reads or updates: parameters, buffers, optimizer state. */
  readonly tensors: () => readonly Tensor[];
  /** How all that the step depends on is set now; left out where nothing of it changes. */
  readonly structure?: () => Structure;
}

/** Steps that run plainly first, so that state exists and plans are chosen. */
const plainSteps = 2;
/** Most plain steps between captures of a model that changes over and over. */
const mostPlainSteps = 1024;

interface Captured extends StepResult {
  readonly graph: CapturedGraph;
  readonly inputs: Tensor;
  readonly targets: Tensor;
  readonly structure: Structure | undefined;
  /** Gradients that each run writes, and whose they are. */
  readonly grads: readonly { readonly leaf: Tensor; readonly grad: Tensor }[];
}

/** Runs a training step as a graph where it can. */
export class GraphStep implements Disposable {
  readonly #options: GraphStepOptions;
  /** Plain steps to take before the next capture. */
  #wait = plainSteps;
  #plain = plainSteps;
  #captured: Captured | undefined;

  /** Notes how a step goes; nothing is captured yet. */
  constructor(options: GraphStepOptions) {
    this.#options = options;
  }

  /**
   * Runs the step on a batch by the graph, or answers undefined when it must
   * run plainly: the first steps, also after a change of the model or the
   * optimizer, and a batch of another shape (the last of an epoch, say). The tensors it returns are overwritten by the next step.
   *
   * @throws {GraphError} when the step does what a graph would silently get wrong.
   */
  run(
    inputs: ArrayRecord,
    targets: ArrayRecord,
    device: Device,
  ): (StepResult & { targets: Tensor }) | undefined {
    if (this.#captured?.structure?.changed()) {
      this.#drop();
      // What changes all the time would be captured in vain.
      this.#wait = Math.min(2 * this.#wait, mostPlainSteps);
      this.#plain = this.#wait;
    }
    if (this.#plain > 0) {
      this.#plain--;
      return undefined;
    }
    if (this.#captured?.graph.moved() !== undefined) this.#drop();
    const captured = this.#captured ??= this.#capture(inputs, targets, device);
    if (!fits(captured.inputs, inputs) || !fits(captured.targets, targets)) {
      return undefined;
    }
    overwriteRecord(captured.inputs, inputs);
    overwriteRecord(captured.targets, targets);
    captured.graph.replay();
    // A plain step has put its own in their place.
    for (const { leaf, grad } of captured.grads) {
      if (leaf.grad?.value === grad.value) continue;
      leaf.grad?.dispose();
      leaf.grad = keep(detach(grad));
    }
    return captured;
  }

  #capture(
    inputs: ArrayRecord,
    targets: ArrayRecord,
    device: Device,
  ): Captured {
    // Kept only when nothing fails.
    using capturing = new Scope();
    const x = toTensor(inputs, device.name);
    const y = toTensor(targets, device.name);
    let result: StepResult | undefined;
    const tensors = this.#options.tensors();
    const graph = captureGraph(device, tensors, () => {
      using step = new Scope();
      result = step.keep(this.#options.step(x, y));
      result.output.materialize();
      result.loss.materialize();
    });
    const { output, loss } = result!;
    for (const tensor of [x, y, output, loss]) keep(tensor);
    capturing.keep({ x, y, output, loss });
    const grads = tensors.flatMap((leaf) =>
      leaf.grad === undefined ? [] : [{ leaf, grad: keep(detach(leaf.grad)) }]
    );
    const structure = this.#options.structure?.();
    return { graph, inputs: x, targets: y, output, loss, grads, structure };
  }

  #drop(): void {
    const captured = this.#captured;
    this.#captured = undefined;
    if (captured === undefined) return;
    const { inputs, targets, output, loss, graph, grads } = captured;
    for (const tensor of [inputs, targets, output, loss]) tensor.dispose();
    for (const { grad } of grads) grad.dispose();
    graph[Symbol.dispose]();
  }

  /** Frees the graph and its memory. */
  [Symbol.dispose](): void {
    this.#drop();
  }
}

function fits(tensor: Tensor, record: ArrayRecord): boolean {
  return tensor.dtype === record.dtype &&
    sameShape(tensor.shape, record.shape);
}
