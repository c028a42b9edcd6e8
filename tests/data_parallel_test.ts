/** Data parallelism among replicas on the CPU: the same training as on one device. */

import { assert, assertEquals, assertThrows } from "@std/assert";
import "../mod.ts";
import { ShapeError } from "../core/errors.ts";
import { manualSeed } from "../core/random.ts";
import { scope } from "../core/scope.ts";
import { bucketsOf } from "../dist/buckets.ts";
import * as dist from "../dist/mod.ts";
import { boundaries } from "../dist/shards.ts";
import { crossEntropy, keep, rand, recompute, type Tensor } from "../mod.ts";
import * as nn from "../nn/mod.ts";
import * as optim from "../optim/mod.ts";
import {
  adam,
  alone,
  assertClose,
  type MakeOptimizer,
  network,
  sizes,
  together,
} from "./data_parallel_model.ts";
import { onDevice, pointsOf, weightsOf } from "./dist_model.ts";

for (const devices of [1, 2, 3, 4]) {
  Deno.test(`${devices} devices learn what one learns, with the same weights on each`, () => {
    const one = alone(adam, sizes);
    const many = together(adam, sizes, devices);
    assertClose(many.losses, one.losses, 1e-5);
    assertClose(many.weights, one.weights, 1e-4);
  });
}

Deno.test("batches that do not come out even, or are too small for all devices", () => {
  const uneven = [7, 5, 2, 1, 8];
  const sgd: MakeOptimizer = (model) =>
    optim.sgd(model, { lr: 0.1, momentum: 0.9 });
  const one = alone(sgd, uneven);
  const many = together(sgd, uneven, 3);
  assertClose(many.losses, one.losses, 1e-5);
  assertClose(many.weights, one.weights, 1e-5);
});

Deno.test("buckets of any size give the same bits", () => {
  const whole = together(adam, sizes, 2);
  for (const bucketBytes of [1, 200, 1500, 1e9]) {
    assertEquals(together(adam, sizes, 2, { bucketBytes }), whole);
  }
});

Deno.test("parameters that the loss does not depend on, on some devices or on all", () => {
  class Half extends nn.Module {
    used = nn.linear(4, 2);
    sometimes = nn.linear(4, 2);
    never = nn.linear(4, 2);
    calls = 0;
    override forward(x: Tensor): Tensor {
      const y = this.used.forward(x);
      return this.calls++ === 0 ? y.add(this.sometimes.forward(x)) : y;
    }
  }
  using model = new Half();
  using optimizer = optim.sgd(model, { lr: 0.1 });
  using parallel = dist.dataParallel(model, optimizer, ["cpu", "cpu"]);
  const { inputs } = pointsOf(4, 1);
  const targets = onDevice(pointsOf(4, 1).inputs, "cpu").narrow(1, 0, 2);
  const before = model.stateDict()["sometimes.weight"].toArray();
  scope(() => {
    parallel.backward({ inputs, targets }, (y, t) => y.sub(t).square().mean());
    parallel.step();
  });
  assert(
    `${model.stateDict()["sometimes.weight"].toArray()}` !== `${before}`,
    "half of the batch moves it",
  );
  assertEquals(model.never.weight.grad, undefined);
  const own = weightsOf(model);
  parallel.on(1, () => assertEquals(weightsOf(model), own));
  targets.dispose();
});

Deno.test("running statistics are those of the first device's part", () => {
  const normed = () => nn.sequential(nn.batchNorm1d(4), nn.linear(4, 3));
  const build = () => {
    manualSeed(1);
    return normed();
  };
  using model = build();
  using other = build();
  using optimizer = optim.sgd(model, { lr: 0 });
  using parallel = dist.dataParallel(model, optimizer, ["cpu", "cpu"]);
  for (const seed of [1, 2]) {
    const { inputs, targets } = pointsOf(8, seed);
    scope(() => {
      parallel.backward({ inputs, targets }, crossEntropy);
      other.forward(onDevice(inputs, "cpu").narrow(0, 0, 4));
    });
  }
  const [mine, wanted] = [model, other].map((m) => m.stateDict());
  for (const name of ["0.running_mean", "0.running_var"]) {
    assertEquals(mine[name].toArray(), wanted[name].toArray());
  }
});

Deno.test("state that was loaded goes to all devices", () => {
  const step = (parallel: dist.DataParallel, seed: number) =>
    scope(() => {
      parallel.backward(pointsOf(8, seed), crossEntropy);
      parallel.step();
    });
  using model = network();
  using optimizer = adam(model);
  using parallel = dist.dataParallel(model, optimizer, ["cpu", "cpu", "cpu"]);
  step(parallel, 1);
  using again = network();
  using other = adam(again);
  using resumed = dist.dataParallel(again, other, ["cpu", "cpu", "cpu"]);
  again.loadStateDict(model.stateDict());
  other.loadStateDict(optimizer.stateDict());
  resumed.synchronize();
  step(parallel, 2);
  step(resumed, 2);
  for (let i = 0; i < 3; i++) {
    parallel.on(i, () =>
      resumed.on(i, () => {
        assertEquals(weightsOf(again), weightsOf(model));
      }));
  }
});

Deno.test("what cannot be trained in parallel is refused", () => {
  using model = network();
  using optimizer = adam(model);
  assertThrows(
    () =>
      dist.dataParallel(model, optimizer, ["cpu", "cpu"], { bucketBytes: 0 }),
    RangeError,
    "0 bytes",
  );
  using parallel = dist.dataParallel(model, optimizer, ["cpu", "cpu"]);
  const { inputs } = pointsOf(8, 1), { targets } = pointsOf(7, 1);
  assertThrows(
    () => parallel.backward({ inputs, targets }, crossEntropy),
    ShapeError,
    "[8, 4] and targets of shape [7]",
  );
});

Deno.test("batches given as tensors", () => {
  using model = network();
  using optimizer = adam(model);
  using parallel = dist.dataParallel(model, optimizer, ["cpu", "cpu"]);
  const given = pointsOf(8, 1);
  scope(() => {
    const tensors = {
      inputs: onDevice(given.inputs, "cpu"),
      targets: onDevice(given.targets, "cpu"),
    };
    const [a, b] = parallel.backward(tensors, crossEntropy);
    const [c, d] = parallel.backward(given, crossEntropy);
    assertEquals([a.loss.item(), b.loss.item()], [
      c.loss.item(),
      d.loss.item(),
    ]);
    assertEquals([a.rank, b.rank, a.share, b.share], [0, 1, 0.5, 0.5]);
    keep(a.output).dispose();
  });
});

Deno.test("buckets and parts", () => {
  const parameters = [100, 100, 400, 10, 10].map((size) => ({
    size,
    dtype: "f32" as const,
  }));
  assertEquals(
    bucketsOf(parameters, [4, 3, 2, 1, 0], 1000),
    [[4], [3], [2], [1, 0]],
  );
  assertEquals(bucketsOf(parameters, [4, 3, 2, 1, 0], 1e6), [[
    4,
    3,
    2,
    1,
    0,
  ]]);
  assertEquals(boundaries(8, 3), [0, 3, 6, 8]);
  assertEquals(boundaries(1, 3), [0, 1, 1, 1]);
});

Deno.test("a model whose channels lie last stays so on every device", () => {
  const build = () => {
    manualSeed(2);
    return nn.sequential(nn.conv2d(2, 3, 3), nn.flatten(), nn.linear(12, 3))
      .to({ memoryFormat: "channelsLast" });
  };
  const images = (seed: number) => {
    manualSeed(seed);
    return { inputs: rand([6, 2, 4, 4]), targets: rand([6, 3]) };
  };
  const loss = (y: Tensor, t: Tensor) => y.sub(t).square().mean();
  const step = (devices: number): number[] => {
    using model = build();
    using optimizer = optim.sgd(model, { lr: 0.1, momentum: 0.9 });
    using parallel = dist.dataParallel(
      model,
      optimizer,
      new Array(devices).fill("cpu"),
    );
    for (const seed of [1, 2, 3]) {
      scope(() => {
        parallel.backward(images(seed), loss);
        parallel.step();
      });
    }
    for (let i = 0; i < devices; i++) {
      parallel.on(i, () => {
        assert(model.parameters()[0].value.channelsLast);
      });
    }
    return weightsOf(model);
  };
  assertClose(step(2), step(1), 1e-5);
});

Deno.test("layers that are computed again in the backward pass", () => {
  class Checkpointed extends nn.Module {
    readonly first = nn.linear(4, 8);
    readonly second = nn.linear(8, 8);
    readonly last = nn.linear(8, 3);
    constructor(readonly again: boolean) {
      super();
    }
    override forward(x: Tensor): Tensor {
      const middle = (h: Tensor) =>
        this.second.forward(this.first.forward(h).tanh()).tanh();
      const h = this.again ? recompute(middle, x) : middle(x);
      return this.last.forward(h);
    }
  }
  const train = (again: boolean) => {
    manualSeed(6);
    using model = new Checkpointed(again);
    using optimizer = adam(model);
    using parallel = dist.dataParallel(model, optimizer, ["cpu", "cpu"], {
      bucketBytes: 100,
    });
    for (const seed of [1, 2, 3]) {
      scope(() => {
        parallel.backward(pointsOf(8, seed), crossEntropy);
        parallel.step();
      });
    }
    const weights = weightsOf(model);
    parallel.on(1, () => assertEquals(weightsOf(model), weights));
    return weights;
  };
  assertClose(train(true), train(false), 1e-6);
});
