/** A small classifier and batches for it, made of row programs only: it trains on every device. */

import { backward } from "../core/autograd.ts";
import { manualSeed } from "../core/random.ts";
import { scope } from "../core/scope.ts";
import { fromHost, type Tensor } from "../core/tensor.ts";
import type * as dist from "../dist/mod.ts";
import { crossEntropy, rand } from "../mod.ts";
import * as nn from "../nn/mod.ts";
import * as optim from "../optim/mod.ts";

/** y = x·Wᵀ + b as sums of products. */
class Affine extends nn.Module {
  readonly weight: Tensor;
  readonly bias: Tensor;

  constructor(inputs: number, outputs: number, device: string) {
    super();
    const options = { device: "cpu" };
    this.weight = scope(() =>
      nn.parameter(rand([outputs, inputs], options).sub(0.5))
    );
    this.bias = scope(() => nn.parameter(rand([outputs], options).sub(0.5)));
    this.to(device);
  }

  override forward(x: Tensor): Tensor {
    const [n, d] = x.shape;
    return x.reshape([n, 1, d]).mul(this.weight).sum(2).add(this.bias);
  }
}

/** A classifier of points with four coordinates, always the same. */
export function classifier(device: string): nn.Sequential {
  manualSeed(3);
  return nn.sequential(
    new Affine(4, 8, device),
    nn.tanh(),
    new Affine(8, 8, device),
    nn.tanh(),
    new Affine(8, 3, device),
  );
}

/** Points whose class is that of their largest coordinate of three. */
export function pointsOf(count: number, seed: number): dist.GivenBatch {
  const at = (i: number) => ((i + 1 + seed * 977) * 0.6180339887498949) % 1;
  const inputs = Float32Array.from({ length: 4 * count }, (_, i) => at(i));
  const targets = Int32Array.from({ length: count }, (_, i) => {
    const x = inputs.subarray(4 * i, 4 * i + 3);
    return x.indexOf(Math.max(...x));
  });
  return {
    inputs: { data: inputs, shape: [count, 4], dtype: "f32" },
    targets: { data: targets, shape: [count], dtype: "i32" },
  };
}

/** Examples as a tensor on a device. */
export function onDevice(record: dist.Examples, device: string): Tensor {
  const { data, dtype, shape } = record as Exclude<dist.Examples, Tensor>;
  return fromHost(data, dtype, shape, { device });
}

/** What a training came to. */
export interface Trained {
  readonly losses: number[];
  readonly weights: number[];
}

/** All parameters and buffers in a row. */
export function weightsOf(model: nn.AnyModule): number[] {
  return Object.values(model.stateDict()).flatMap((t) =>
    Array.from(t.data() as Float32Array, Number)
  );
}

/** The optimizer of these trainings. */
export function optimizerFor(model: nn.AnyModule): optim.Optimizer {
  return optim.adam(model, { lr: 0.05, maxGradientNorm: 1 });
}

/** Steps of one device. */
export function trainAlone(sizes: readonly number[], device: string): Trained {
  using model = classifier(device);
  using optimizer = optimizerFor(model);
  const losses = sizes.map((size, step) =>
    scope(() => {
      const { inputs, targets } = pointsOf(size, step);
      const output = model.forward(onDevice(inputs, device));
      const loss = crossEntropy(output, onDevice(targets, device));
      optimizer.zeroGrad();
      backward(loss);
      optimizer.step();
      return loss.item();
    })
  );
  return { losses, weights: weightsOf(model) };
}
