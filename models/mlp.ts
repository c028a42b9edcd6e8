/**
 * A multi-layer perceptron: affine maps with ReLU between them.
 *
 * @module
 */

import { checkOptions } from "../core/options.ts";
import type { Tensor } from "../core/tensor.ts";
import * as nn from "../nn/mod.ts";
import "../ops/methods.ts";

/** Extents of an {@linkcode Mlp}. */
export interface MlpOptions {
  /** Elements of one input, over all axes but the batch; 784 by default. */
  readonly inputs?: number;
  /** Units of each hidden layer; [256] by default. */
  readonly hidden?: readonly number[];
  /** Outputs; 10 by default. */
  readonly classes?: number;
}

/** x [N, …] → scores [N, classes]. Parameters: `layers.0.weight`, …. */
export class Mlp extends nn.Module {
  /** The affine maps and what lies between them. */
  readonly layers: nn.Sequential;

  /** Makes the layers, with PyTorch's default initialisation. */
  constructor(options: MlpOptions = {}) {
    super();
    checkOptions("make an Mlp", options, {
      inputs: true,
      hidden: true,
      classes: true,
    });
    const { inputs = 784, hidden = [256], classes = 10 } = options;
    const widths = [inputs, ...hidden, classes];
    const maps = widths.slice(1).flatMap((width, i) => [
      nn.linear(widths[i], width),
      nn.relu(),
    ]);
    // No ReLU after the last map: its outputs are the scores.
    this.layers = nn.sequential(...maps.slice(0, -1));
  }

  /** x [N, …] to scores [N, classes]. */
  override forward(x: Tensor): Tensor {
    return this.layers.forward(x.reshape([x.shape[0], -1]));
  }
}

/** An {@linkcode Mlp}. @throws {RangeError} when an extent is no positive whole number. */
export function mlp(options: MlpOptions = {}): Mlp {
  return new Mlp(options);
}
