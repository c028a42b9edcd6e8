/** A small network, its optimizer, and trainings of it on one device and on several. */

import { assertAlmostEquals, assertEquals } from "@std/assert";
import "../mod.ts";
import { backward } from "../core/autograd.ts";
import { manualSeed } from "../core/random.ts";
import { scope } from "../core/scope.ts";
import * as dist from "../dist/mod.ts";
import { crossEntropy } from "../mod.ts";
import * as nn from "../nn/mod.ts";
import * as optim from "../optim/mod.ts";
import { onDevice, pointsOf, type Trained, weightsOf } from "./dist_model.ts";

/** The network that is trained, always the same. */
export function network(): nn.Sequential {
  manualSeed(3);
  return nn.sequential(
    nn.linear(4, 16),
    nn.relu(),
    nn.linear(16, 16),
    nn.gelu(),
    nn.linear(16, 3),
  );
}

/** Makes an optimizer for a model. */
export type MakeOptimizer = (model: nn.AnyModule) => optim.Optimizer;

/** Adam with a clipped gradient and a schedule. */
export const adam: MakeOptimizer = (model) =>
  optim.adam(model, {
    lr: 0.02,
    maxGradientNorm: 0.5,
    policy: optim.policies.step({ stepSize: 3, gamma: 0.5 }),
  });

/** Some steps on one device. */
export function alone(make: MakeOptimizer, sizes: readonly number[]): Trained {
  using model = network();
  using optimizer = make(model);
  const losses = sizes.map((size, step) =>
    scope(() => {
      const { inputs, targets } = pointsOf(size, step);
      const output = model.forward(onDevice(inputs, "cpu"));
      const loss = crossEntropy(output, onDevice(targets, "cpu"));
      optimizer.zeroGrad();
      backward(loss);
      optimizer.step();
      return loss.item();
    })
  );
  return { losses, weights: weightsOf(model) };
}

/** The same steps on several. */
export function together(
  make: MakeOptimizer,
  sizes: readonly number[],
  devices: number,
  options: dist.DataParallelOptions = {},
): Trained {
  using model = network();
  using optimizer = make(model);
  using parallel = dist.dataParallel(
    model,
    optimizer,
    new Array(devices).fill("cpu"),
    options,
  );
  const losses = sizes.map((size, step) =>
    scope(() => {
      const shards = parallel.backward(pointsOf(size, step), crossEntropy);
      parallel.step();
      return shards.reduce((sum, s) => sum + s.share * s.loss.item(), 0);
    })
  );
  const own = weightsOf(model);
  for (let i = 1; i < devices; i++) {
    parallel.on(i, () => assertEquals(weightsOf(model), own));
  }
  return { losses, weights: own };
}

export function assertClose(
  a: readonly number[],
  b: readonly number[],
  by: number,
) {
  assertEquals(a.length, b.length);
  a.forEach((x, i) => assertAlmostEquals(x, b[i], by));
}

/** Sizes of the batches of a training. */
export const sizes = [24, 24, 24, 24, 24, 24];
