/** LeNet on the real MNIST, through the public interface. */

import { assert, assertEquals } from "@std/assert";
import { data, manualSeed, memory, models, optim, train } from "../mod.ts";

Deno.test("train: LeNet learns the real MNIST, and its memory stays as it is", async () => {
  manualSeed(1);
  const { train: all, test } = await data.mnist();
  assertEquals([all.length, test.length], [60_000, 10_000]);
  const model = models.lenet();
  const steps = 200;
  const optimizer = optim.adam(model, {
    lr: 0.002,
    policy: optim.policies.oneCycle({ iterations: steps }),
  });
  const live: number[] = [];
  const result = await train.fit(model, {
    train: data.subset(
      all,
      Uint32Array.from({ length: steps * 64 }, (_, i) => i),
    ),
    test,
  }, {
    optimizer,
    metrics: [train.accuracy()],
    callbacks: [{
      step: () => void live.push(memory().devices.cpu.liveBytes),
    }],
  });
  assertEquals(result.step, steps);
  assertEquals(live.at(-1), live[10]);
  // It reaches 97.3 %; another machine's multiply-add may round differently.
  assert(result.test!.accuracy > 0.965, `${result.test!.accuracy}`);
});
