/** Training gives the same bits whatever the number of threads. */

import { assertEquals } from "@std/assert";
import {
  crossEntropy,
  manualSeed,
  models,
  nn,
  optim,
  rand,
  randint,
  Scope,
  type Tensor,
} from "../mod.ts";
import { setThreads, startWorkers, threads } from "../devices/cpu/pool.ts";

const steps = 5;

/** The parameters after a few steps, as hexadecimal digits. */
function train(
  make: () => nn.Module,
  batch: () => [inputs: Tensor, targets: Tensor],
): Record<string, string> {
  using _all = new Scope();
  manualSeed(7);
  const model = make();
  const optimizer = optim.adamW(model, { lr: 1e-2, weightDecay: 0.1 });
  for (let step = 0; step < steps; step++) {
    using _step = new Scope();
    const [inputs, targets] = batch();
    const scores = model.forward(inputs);
    const classes = scores.shape[scores.rank - 1];
    optimizer.zeroGrad();
    crossEntropy(scores.reshape([-1, classes]), targets).backward();
    optimizer.step();
  }
  return Object.fromEntries(
    Object.entries(model.stateDict()).map(([name, tensor]) => {
      const { buffer } = tensor.data();
      return [name, new Uint8Array(buffer as ArrayBuffer).toHex()];
    }),
  );
}

function sameForAllThreads(run: () => Record<string, string>): void {
  const before = threads();
  try {
    setThreads(1);
    const alone = run();
    for (const count of [2, 3, 4]) {
      setThreads(count);
      startWorkers();
      const together = run();
      const names = Object.keys(alone);
      const changed = names.filter((name) => together[name] !== alone[name]);
      assertEquals(changed, [], `${count} threads`);
    }
  } finally {
    setThreads(before);
  }
}

Deno.test("LeNet learns the same bits on 1, 2, 3 and 4 threads", () => {
  sameForAllThreads(() =>
    train(
      () => models.lenet(),
      () => [rand([32, 1, 28, 28]), randint(0, 10, [32])],
    )
  );
});

Deno.test("a GPT learns the same bits on 1, 2, 3 and 4 threads", () => {
  const vocabulary = 65, context = 32, batch = 8;
  sameForAllThreads(() =>
    train(
      () =>
        models.gpt({
          vocabulary,
          context,
          layers: 2,
          heads: 4,
          width: 64,
          dropout: 0.1,
        }),
      () => [
        randint(0, vocabulary, [batch, context]),
        randint(0, vocabulary, [batch * context]),
      ],
    )
  );
});

Deno.test("normalisation, pooling and strides learn the same bits on 1, 2, 3 and 4 threads", () => {
  sameForAllThreads(() =>
    train(
      () =>
        nn.sequential(
          nn.conv2d(3, 24, 3, { stride: 2, padding: 1 }),
          nn.batchNorm2d(24),
          nn.relu(),
          nn.conv2d(24, 24, 3, { padding: 1, groups: 24 }),
          nn.conv2d(24, 48, 1),
          nn.groupNorm(4, 48),
          nn.maxPool2d(2),
          nn.dropout(0.2),
          nn.flatten(),
          nn.linear(48 * 8 * 8, 10),
        ),
      () => [rand([16, 3, 32, 32]), randint(0, 10, [16])],
    )
  );
});
