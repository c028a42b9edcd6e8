/** Loss scaling as PyTorch does it, and trainings in 16 bits that resume to the bit. */

import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import {
  crossEntropy,
  nn,
  ones,
  optim,
  scope,
  sum,
  tensor,
  train,
} from "../mod.ts";
import {
  type Checkpoint,
  loadProgress,
  saveCheckpoint,
} from "../train/checkpoint.ts";
import golden from "./golden/precision/precision.json" with { type: "json" };
import { examples, numbers } from "./precision_cases.ts";

Deno.test("GradScaler's scales and skipped steps are PyTorch's", () => {
  for (const { options, good, steps } of golden.scalers) {
    const o = options as Record<string, number | undefined>;
    const scaler = new train.GradScaler({
      initScale: o.init_scale,
      growthFactor: o.growth_factor,
      backoffFactor: o.backoff_factor,
      growthInterval: o.growth_interval,
    });
    const weight = tensor([0], { requiresGrad: true });
    using optimizer = optim.sgd([weight], { lr: 1 });
    good.forEach((fine, i) => {
      const before = weight.item();
      optimizer.zeroGrad();
      scope(() =>
        scaler.scale(sum(weight.mul(fine ? 1 : Infinity))).backward()
      );
      const taken = scaler.step(optimizer);
      assertEquals(taken, steps[i].moved, `step ${i}`);
      assertEquals(weight.item() !== before, steps[i].moved, `step ${i}`);
      assertEquals(scaler.factor, steps[i].scale, `scale after step ${i}`);
    });
    assertEquals(optimizer.iteration, steps.filter((s) => s.moved).length);
    weight.dispose();
  }
});

Deno.test("a skipped step changes neither parameters nor optimizer state", () => {
  const model = nn.linear(2, 1);
  using optimizer = optim.adam(model, { lr: 0.1 });
  const scaler = new train.GradScaler({ initScale: 4 });
  const step = (factor: number) => {
    optimizer.zeroGrad();
    scope(() => {
      const loss = sum(model.forward(ones([1, 2])).mul(factor));
      scaler.scale(loss).backward();
    });
    return scaler.step(optimizer);
  };
  const state = () =>
    [model.stateDict(), optimizer.stateDict().tensors].map((tensors) =>
      Object.entries(tensors).map(([name, t]) => [name, t.toArray()])
    );
  assert(step(1));
  const before = state();
  assert(!step(NaN));
  assert(!step(Infinity));
  assertEquals(state(), before);
  assertEquals(optimizer.iteration, 1);
  assertEquals(scaler.state(), { scale: 1, goodSteps: 0 });
  assert(step(1));
  for (const t of Object.values(model.stateDict())) t.dispose();
});

function net() {
  const model = nn.sequential(nn.linear(4, 8), nn.relu(), nn.linear(8, 2));
  Object.values(model.stateDict()).forEach((t, i) => {
    t.setValue(numbers([...t.shape], i).value);
  });
  return model;
}

for (const precision of ["bf16", "f16", "tf32"] as const) {
  Deno.test(`fit in ${precision} learns, and goes on from a checkpoint with the same bits`, async () => {
    const folder = await Deno.makeTempDir();
    try {
      const run = async (
        epochs: number,
        more: Partial<train.FitOptions> = {},
      ) => {
        const model = net();
        using optimizer = optim.adam(model, { lr: 0.05 });
        const result = await train.fit(model, {
          train: examples(128),
          test: examples(64),
        }, {
          optimizer,
          epochs,
          batchSize: 16,
          precision,
          metrics: [train.accuracy()],
          ...more,
        });
        const weights = Object.values(model.stateDict()).map((t) =>
          t.toArray()
        );
        const dtypes = Object.values(model.stateDict()).map((t) => t.dtype);
        return { result, weights, dtypes };
      };
      const whole = await run(4);
      assert(whole.result.test!.accuracy > 0.8, `${whole.result.test}`);
      assert(whole.dtypes.every((dtype) => dtype === "f32"));
      const checkpoint = `${folder}/checkpoint.safetensors`;
      await run(2, { checkpoint });
      const resumed = await run(4, { checkpoint, resume: true });
      assertEquals(resumed.weights, whole.weights);
      assertEquals(resumed.result.train, whole.result.train);
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  });
}

Deno.test("f16 passes over steps that overflow, and stops when the training has diverged", async () => {
  const model = net();
  using optimizer = optim.sgd(model, { lr: 0.01 });
  const fit = (loss: train.Loss) =>
    train.fit(model, examples(64), {
      optimizer,
      batchSize: 16,
      precision: "f16",
      epochs: 16,
      loss,
    });
  let call = 0;
  const before = Object.values(model.stateDict()).map((t) => t.toArray());
  const result = await fit((output, targets) =>
    crossEntropy(output, targets).mul(call++ === 1 ? NaN : 1)
  );
  assertEquals(result.step, 64);
  assertEquals(optimizer.iteration, 63);
  assert(
    `${before}` !==
      `${Object.values(model.stateDict()).map((t) => t.toArray())}`,
  );
  let error: unknown;
  await fit((output, targets) => crossEntropy(output, targets).mul(NaN))
    .catch((e) => error = e);
  assert(error instanceof train.BadLossError, `${error}`);
});

Deno.test("f16 stops when gradients are no numbers however the loss is scaled", async () => {
  const model = net();
  using optimizer = optim.sgd(model, { lr: 0.01 });
  const error = await assertRejects(
    () =>
      train.fit(model, examples(64), {
        optimizer,
        batchSize: 16,
        precision: "f16",
        epochs: 16,
        // The root is 0, its derivative infinite.
        loss: (output, targets) =>
          crossEntropy(output, targets).add(output.mul(0).sqrt().sum()),
      }),
    train.BadLossError,
  );
  assert(error.message.includes("gradients are infinite or NaN"));
  assertEquals(optimizer.iteration, 0);
});

Deno.test("a scale falls no further than to a number that it can grow from", () => {
  const scaler = new train.GradScaler({ growthInterval: 1 });
  for (let i = 0; i < 400; i++) scaler.update(false);
  const least = scaler.factor;
  new train.GradScaler().restore(scaler.state());
  scaler.update(true);
  assert(least > 0 && scaler.factor === 2 * least);
});

Deno.test("precisions that do not go together with other options are refused", async () => {
  const model = net();
  using optimizer = optim.sgd(model, { lr: 0.01 });
  const attempt = async (options: object): Promise<string> => {
    try {
      await train.fit(model, examples(16), {
        optimizer,
        batchSize: 16,
        ...options,
      });
    } catch (error) {
      return (error as Error).message;
    }
    return "";
  };
  assertEquals(
    await attempt({ precision: "f8" }),
    "Cannot train in precision f8: there is f32, tf32, bf16, f16",
  );
  const graph = await attempt({ precision: "f16", graph: true });
  assert(graph.includes("choose bf16"), graph);
  for (
    const [options, text] of [
      [{ initScale: 0 }, "initScale 0: it must be a positive number"],
      [{ growthFactor: 1 }, "growthFactor 1"],
      [{ backoffFactor: 1 }, "backoffFactor 1"],
      [{ growthInterval: 0.5 }, "growthInterval 0.5"],
    ] as const
  ) {
    assertThrows(() => new train.GradScaler(options), RangeError, text);
  }
});

Deno.test("sums that are no numbers, and −0, survive a checkpoint", async () => {
  const path = await Deno.makeTempFile({ suffix: ".safetensors" });
  try {
    const sums = { loss: [NaN, Infinity, -Infinity, -0, 1.5], text: "NaN" };
    await saveCheckpoint(path, {
      model: {},
      optimizer: {
        method: "sgd",
        iteration: 0,
        groups: [],
        numbers: {},
        tensors: {},
      },
      progress: {
        step: 1,
        stopped: false,
        loader: {},
        random: { seed: 1, offset: 2 },
        memory: { sums },
        train: {},
      },
    } as unknown as Checkpoint);
    const { memory } = await loadProgress(path);
    const { loss, text } = memory.sums as typeof sums;
    assert(loss.every((x, i) => Object.is(x, sums.loss[i])), `${loss}`);
    assertEquals(text, "NaN");
  } finally {
    await Deno.remove(path);
  }
});
