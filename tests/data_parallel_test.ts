/** Data parallelism among replicas on the CPU: the same training as on one device. */

import {
  assert,
  assertAlmostEquals,
  assertEquals,
  assertThrows,
} from "@std/assert";
import "../mod.ts";
import { backward } from "../core/autograd.ts";
import type { CollectiveCall, Flight } from "../core/collectives.ts";
import { getDevice } from "../core/device.ts";
import { ShapeError } from "../core/errors.ts";
import { memory } from "../core/memory.ts";
import { manualSeed } from "../core/random.ts";
import { scope } from "../core/scope.ts";
import { bucketsOf } from "../dist/buckets.ts";
import { LocalCommunicator } from "../dist/local.ts";
import * as dist from "../dist/mod.ts";
import { boundaries } from "../dist/shards.ts";
import {
  crossEntropy,
  fromHost,
  keep,
  rand,
  recompute,
  type Tensor,
  tensor,
} from "../mod.ts";
import * as nn from "../nn/mod.ts";
import * as optim from "../optim/mod.ts";

function network(): nn.Sequential {
  manualSeed(3);
  return nn.sequential(
    nn.linear(4, 16),
    nn.relu(),
    nn.linear(16, 16),
    nn.gelu(),
    nn.linear(16, 3),
  );
}

/** Batches of `count` points whose class is that of their largest coordinate of three. */
function batch(count: number, seed: number): dist.GivenBatch {
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

function tensorOf(record: dist.Examples): Tensor {
  const { data, dtype, shape } = record as Exclude<dist.Examples, Tensor>;
  return fromHost(data, dtype, shape);
}

interface Trained {
  readonly losses: number[];
  readonly weights: number[];
}

function weightsOf(model: nn.Module): number[] {
  return Object.values(model.stateDict()).flatMap((t) =>
    Array.from(t.data() as Float32Array, Number)
  );
}

type MakeOptimizer = (model: nn.AnyModule) => optim.Optimizer;

const adam: MakeOptimizer = (model) =>
  optim.adam(model, {
    lr: 0.02,
    maxGradientNorm: 0.5,
    policy: optim.policies.step({ stepSize: 3, gamma: 0.5 }),
  });

/** Some steps on one device. */
function alone(make: MakeOptimizer, sizes: readonly number[]): Trained {
  using model = network();
  using optimizer = make(model);
  const losses = sizes.map((size, step) =>
    scope(() => {
      const { inputs, targets } = batch(size, step);
      const output = model.forward(tensorOf(inputs));
      const loss = crossEntropy(output, tensorOf(targets));
      optimizer.zeroGrad();
      backward(loss);
      optimizer.step();
      return loss.item();
    })
  );
  return { losses, weights: weightsOf(model) };
}

/** The same steps on several. */
function together(
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
      const shards = parallel.backward(batch(size, step), crossEntropy);
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

function assertClose(a: readonly number[], b: readonly number[], by: number) {
  assertEquals(a.length, b.length);
  a.forEach((x, i) => assertAlmostEquals(x, b[i], by));
}

const sizes = [24, 24, 24, 24, 24, 24];

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

/** Notes what is started, and after how much of the backward pass. */
class Watched extends LocalCommunicator {
  readonly log: string[] = [];

  override mark(rank: number) {
    this.log.push(`ready ${rank}`);
    return { release() {} };
  }

  override start(calls: readonly CollectiveCall[]): Flight {
    const { kind } = calls[0];
    this.log.push(`${kind} ${calls.length / this.worldSize}`);
    return super.start(calls);
  }
}

/** Says when its gradient is computed. */
class Noted extends nn.Module {
  readonly linear = nn.linear(4, 4);
  constructor(readonly name: string, readonly log: () => string[]) {
    super();
  }
  override forward(x: Tensor): Tensor {
    const y = this.linear.forward(x);
    y.registerHook(() => void this.log().push(`backward of ${this.name}`));
    return y;
  }
}

Deno.test("buckets leave while the backward pass of the last device goes on", () => {
  const device = getDevice("cpu");
  const watched = new Watched(device, 2);
  using group = new dist.ProcessGroup(watched, [device, device]);
  using model = nn.sequential(
    new Noted("first", () => watched.log),
    new Noted("second", () => watched.log),
    new Noted("third", () => watched.log),
  );
  using optimizer = optim.sgd(model, { lr: 0.1 });
  using parallel = dist.dataParallel(model, optimizer, group, {
    bucketBytes: 80, // a layer: 16 + 4 elements
  });
  const given = { inputs: rand([4, 4]), targets: rand([4, 4]) };
  const loss = (y: Tensor, t: Tensor) => y.sub(t).square().mean();
  const step = () => {
    watched.log.length = 0;
    scope(() => parallel.backward(given, loss));
    return watched.log.filter((line) => !line.startsWith("broadcast"));
  };
  step();
  // The first bucket is the last weight; the others begin with a bias.
  assertEquals(step(), [
    "backward of third",
    "ready 0",
    "backward of second",
    "ready 0",
    "backward of first",
    "ready 0",
    "ready 0",
    "backward of third",
    "ready 1",
    "allReduce 1",
    "backward of second",
    "ready 1",
    "allReduce 2",
    "backward of first",
    "ready 1",
    "allReduce 2",
    "ready 1",
    "allReduce 1",
  ]);
  for (const t of Object.values(given)) t.dispose();
});

Deno.test("a hook of a leaf runs as soon as its gradient is complete", () => {
  const log: string[] = [];
  scope(() => {
    const early = tensor([1, 2], { requiresGrad: true });
    const late = tensor([3, 4], { requiresGrad: true });
    early.registerHook((g) => void log.push(`early ${g.toArray()}`));
    late.registerHook((g) => void log.push(`late ${g.toArray()}`));
    const middle = early.mul(10);
    middle.registerHook(() => void log.push("middle"));
    middle.mul(late).add(late).sum().backward();
    assertEquals(late.grad!.toArray(), [11, 21]);
  });
  assertEquals(log, ["late 11,21", "middle", "early 30,40"]);
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
  const { inputs } = batch(4, 1);
  const targets = tensorOf(batch(4, 1).inputs).narrow(1, 0, 2);
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
    const { inputs, targets } = batch(8, seed);
    scope(() => {
      parallel.backward({ inputs, targets }, crossEntropy);
      other.forward(tensorOf(inputs).narrow(0, 0, 4));
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
      parallel.backward(batch(8, seed), crossEntropy);
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

Deno.test("nothing stays in memory: after steps, after errors, at the end", () => {
  const before = memory();
  {
    using model = network();
    using optimizer = adam(model);
    using parallel = dist.dataParallel(model, optimizer, ["cpu", "cpu"]);
    const step = () =>
      scope(() => {
        parallel.backward(batch(8, 1), crossEntropy);
        parallel.step();
      });
    step();
    const between = memory();
    for (let i = 0; i < 3; i++) step();
    assertEquals(memory().tensors, between.tensors);
    assertEquals(
      memory().devices.cpu.liveBytes,
      between.devices.cpu.liveBytes,
    );
    let calls = 0;
    assertThrows(
      () =>
        scope(() =>
          parallel.backward(batch(8, 1), (y, t) => {
            if (calls++ === 1) throw new Error("the second device fails");
            return crossEntropy(y, t);
          })
        ),
      Error,
      "second device",
    );
    assertEquals(model.parameters().map((p) => p.grad), [
      ...model.parameters().map(() => undefined),
    ]);
    step();
    assertEquals(memory().tensors, between.tensors);
  }
  assertEquals(memory().tensors, before.tensors);
  assertEquals(memory().devices.cpu.blocks, before.devices.cpu.blocks);
});

/** Refuses to be waited for, as a device that is lost does. */
class Refusing extends LocalCommunicator {
  refusing = false;
  joined = 0;

  override start(calls: readonly CollectiveCall[]): Flight {
    const flight = super.start(calls);
    return {
      join: () => {
        this.joined++;
        flight.join();
        if (this.refusing) throw new Error("the device is lost");
      },
      done: () => flight.done(),
      release: () => flight.release(),
    };
  }
}

Deno.test("what went wrong first is told, though waiting fails too; and all is waited for", () => {
  const device = getDevice("cpu");
  const refusing = new Refusing(device, 2);
  using group = new dist.ProcessGroup(refusing, [device, device]);
  const before = memory().tensors;
  {
    using model = network();
    using optimizer = adam(model);
    using parallel = dist.dataParallel(model, optimizer, group, {
      bucketBytes: 80,
    });
    const step = (hook: (grad: Tensor) => void) => {
      const unhook = model.parameters()[0].registerHook(hook);
      try {
        scope(() => void parallel.backward(batch(8, 1), crossEntropy));
      } finally {
        unhook();
      }
    };
    step(() => {});
    refusing.refusing = true;
    refusing.joined = 0;
    let calls = 0;
    const hook = () => {
      if (calls++ === 1) throw new Error("a hook of the second device");
    };
    assertThrows(() => step(hook), Error, "a hook of the second device");
    assert(refusing.joined > 1, `${refusing.joined} collectives`);
    assertEquals(model.parameters().filter((p) => p.grad !== undefined), []);
    // Alone, it is told itself.
    assertThrows(() => step(() => {}), Error, "the device is lost");
    refusing.refusing = false;
    step(() => {});
  }
  assertEquals(memory().tensors, before);
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
  const { inputs } = batch(8, 1), { targets } = batch(7, 1);
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
  const given = batch(8, 1);
  scope(() => {
    const tensors = {
      inputs: tensorOf(given.inputs),
      targets: tensorOf(given.targets),
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
        parallel.backward(batch(8, seed), crossEntropy);
        parallel.step();
      });
    }
    const weights = weightsOf(model);
    parallel.on(1, () => assertEquals(weightsOf(model), weights));
    return weights;
  };
  assertClose(train(true), train(false), 1e-6);
});
