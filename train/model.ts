/**
 * What training needs of a model.
 *
 * @module
 */

import type { Tensor } from "../core/tensor.ts";

/** A model that can be trained: every `nn` module is one. */
export interface Model {
  /** Computes outputs from inputs. */
  forward(x: Tensor): Tensor;
  /** Parameters and buffers by name. */
  stateDict(): Readonly<Record<string, Tensor>>;
  /** Takes over parameters and buffers. */
  loadStateDict(state: Readonly<Record<string, Tensor>>): void;
  /** Switches to training mode. */
  train(): unknown;
  /** Switches to evaluation mode. */
  eval(): unknown;
  /** The model and all modules below it, whose modes are put back after an evaluation. */
  modules?(): Iterable<{ training: boolean }>;
}

/** Switches to evaluation mode; what it returns puts every module back in the mode that it had. */
export function evaluating(model: Model): () => void {
  const modules = [...model.modules?.() ?? []];
  const modes = modules.map(({ training }) => training);
  model.eval();
  return () =>
    modules.forEach((module, i) => {
      module.training = modes[i];
    });
}
