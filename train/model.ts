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
}
