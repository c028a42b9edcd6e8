/** What data parallelism does in the backward pass: when buckets leave, hooks, errors, memory. */

import { assert, assertEquals, assertThrows } from "@std/assert";
import "../mod.ts";
import type { CollectiveCall, Flight } from "../core/collectives.ts";
import { getDevice } from "../core/device.ts";
import { memory } from "../core/memory.ts";
import { scope } from "../core/scope.ts";
import { LocalCommunicator } from "../dist/local.ts";
import * as dist from "../dist/mod.ts";
import { crossEntropy, rand, type Tensor, tensor } from "../mod.ts";
import * as nn from "../nn/mod.ts";
import * as optim from "../optim/mod.ts";
import { adam, network } from "./data_parallel_model.ts";
import { pointsOf } from "./dist_model.ts";

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

Deno.test("nothing stays in memory: after steps, after errors, at the end", () => {
  const before = memory();
  {
    using model = network();
    using optimizer = adam(model);
    using parallel = dist.dataParallel(model, optimizer, ["cpu", "cpu"]);
    const step = () =>
      scope(() => {
        parallel.backward(pointsOf(8, 1), crossEntropy);
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
          parallel.backward(pointsOf(8, 1), (y, t) => {
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
        scope(() => void parallel.backward(pointsOf(8, 1), crossEntropy));
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
