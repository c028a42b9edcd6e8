/**
 * LeNet as Caffe and Caffe2 train it on MNIST: a variant of LeNet-5 (LeCun,
 * Bottou, Bengio and Haffner, 1998) with max pooling and one ReLU.
 *
 * @module
 */

import { ShapeError } from "../core/errors.ts";
import { checkOptions } from "../core/options.ts";
import type { Tensor } from "../core/tensor.ts";
import * as nn from "../nn/mod.ts";
import "../ops/methods.ts";

/** Extents of a {@linkcode LeNet}. */
export interface LeNetOptions {
  /** Channels of the pictures; 1 by default. */
  readonly channels?: number;
  /** Height and width of the pictures; 28 by default. */
  readonly size?: number;
  /** Outputs; 10 by default. */
  readonly classes?: number;
}

/**
 * x [N, channels, size, size] → scores [N, classes]: 20 filters of 5×5, max
 * pooling by 2, 50 filters of 5×5, max pooling by 2, 500 units with ReLU,
 * `classes` units.
 */
export class LeNet extends nn.Module {
  /** 20 filters of 5×5. */
  readonly conv1: nn.Conv2d;
  /** 50 filters of 5×5. */
  readonly conv2: nn.Conv2d;
  /** 500 units. */
  readonly fc1: nn.Linear;
  /** The scores. */
  readonly fc2: nn.Linear;

  /**
   * Makes the layers; weights start as Caffe2's XavierFill, biases as 0.
   *
   * @throws {ShapeError} when the pictures are too small.
   */
  constructor(options: LeNetOptions = {}) {
    super();
    checkOptions("make a LeNet", options, {
      channels: true,
      size: true,
      classes: true,
    });
    const { channels = 1, size = 28, classes = 10 } = options;
    const last = after(after(size));
    if (!(last >= 1)) {
      throw new ShapeError(
        `Cannot make a LeNet for pictures of ${size}×${size}: two 5×5 filters with pooling need at least 16×16`,
      );
    }
    this.conv1 = nn.conv2d(channels, 20, 5);
    this.conv2 = nn.conv2d(20, 50, 5);
    this.fc1 = nn.linear(50 * last * last, 500);
    this.fc2 = nn.linear(500, classes);
    for (const [name, tensor] of this.namedParameters()) {
      if (name.endsWith("weight")) nn.init.xavierFill(tensor);
      else nn.init.zeros(tensor);
    }
  }

  /** x [N, channels, size, size] to scores [N, classes]. */
  override forward(x: Tensor): Tensor {
    x = this.conv1.forward(x).maxPool(2);
    x = this.conv2.forward(x).maxPool(2);
    return this.fc1.activatedInto(x.flatten(1), "relu", this.fc2);
  }
}

/** Height of a picture after a 5×5 filter and pooling by 2. */
function after(size: number): number {
  return Math.floor((size - 4) / 2);
}

/**
 * A {@linkcode LeNet}.
 *
 * @throws {ShapeError} when the pictures are too small.
 * @example
 * ```ts
 * import { models, zeros } from "../mod.ts";
 *
 * const scores = models.lenet().forward(zeros([2, 1, 28, 28]));
 * if (scores.shape.join() !== "2,10") throw new Error(`${scores.shape}`);
 * ```
 */
export function lenet(options: LeNetOptions = {}): LeNet {
  return new LeNet(options);
}
