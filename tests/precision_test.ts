/** Mixed precision: autocast and loss scaling against PyTorch's, and trainings that resume to the bit. */

import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import {
  autocast,
  autocastRules,
  batchNorm,
  concat,
  conv,
  crossEntropy,
  data,
  exp,
  fromHost,
  gradients,
  linear,
  matmul,
  maxPool,
  memory,
  nn,
  noGrad,
  ones,
  operators,
  optim,
  recompute,
  relu,
  reshape,
  scope,
  sum,
  Tensor,
  tensor,
  train,
} from "../mod.ts";
import { isFloat } from "../core/dtype.ts";
import {
  type Checkpoint,
  loadProgress,
  saveCheckpoint,
} from "../train/checkpoint.ts";
import { argumentsOf } from "./golden/samples.ts";
import golden from "./golden/precision/precision.json" with { type: "json" };

function numbers(shape: number[], s: number, size = 0.5): Tensor {
  const n = shape.reduce((a, b) => a * b, 1);
  const host = Float32Array.from(
    { length: n },
    (_, i) => size * Math.sin(1.7 * i + s),
  );
  return fromHost(host, "f32", shape);
}

function mlp(x: Tensor, w: Tensor[]): Tensor {
  return linear(relu(linear(x, w[0], w[1])), w[2], w[3]);
}

function convnet(x: Tensor, w: Tensor[]): Tensor {
  const h = maxPool(relu(conv(x, w[0], w[1])), 2);
  return linear(reshape(h, [h.shape[0], -1]), w[2], w[3]);
}

const nets = {
  mlp: { net: mlp, x: [4, 6], w: [[8, 6], [8], [3, 8], [3]] },
  convnet: {
    net: convnet,
    x: [2, 2, 8, 8],
    w: [[3, 2, 3, 3], [3], [4, 27], [4]],
  },
};

function assertNear(
  actual: ArrayLike<number>,
  expected: readonly number[],
  bound: number,
  what: string,
): void {
  assertEquals(actual.length, expected.length, what);
  const most = Math.max(...expected.map(Math.abs));
  expected.forEach((e, i) => {
    assert(
      Math.abs(actual[i] - e) <= bound * most,
      `${what}: element ${i} is ${actual[i]}, PyTorch has ${e}`,
    );
  });
}

const names: Record<string, string> = { f32: "float32", bf16: "bfloat16" };

for (const name of ["mlp", "convnet"] as const) {
  Deno.test(`autocast of ${name} in bf16 is PyTorch's: dtypes, loss, gradients`, () => {
    const before = memory().tensors;
    scope(() => {
      const { net, x, w } = nets[name];
      const expected = golden.nets[name];
      const weights = w.map((shape, i) => {
        const tensor = numbers(shape, i + 1);
        tensor.requiresGrad = true;
        return tensor;
      });
      const classes = w[w.length - 1][0];
      const labels = tensor(
        Array.from({ length: x[0] }, (_, i) => i % classes),
        { dtype: "i64" },
      );
      const { y, loss } = autocast("bf16", () => {
        const y = net(numbers(x, 0.3, 1), weights);
        return { y, loss: crossEntropy(y, labels) };
      });
      assertEquals(names[y.dtype], expected.dtype);
      assertEquals(names[loss.dtype], expected.lossDtype);
      assertNear(y.data() as Float32Array, expected.output, 1e-2, "output");
      assertNear([loss.item()], [expected.loss], 1e-2, "loss");
      gradients(loss, weights).forEach((g, i) => {
        assertEquals(names[g!.dtype], expected.gradientDtypes[i]);
        assertNear(
          g!.data() as Float32Array,
          expected.gradients[i],
          3e-2,
          `gradient ${i}`,
        );
      });
    });
    assertEquals(memory().tensors, before);
  });
}

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

Deno.test("every operator runs under autocast, its rule decides its type, and gradients have their operand's dtype", () => {
  for (const name of autocastRules.keys()) {
    assert(operators().has(name), `there is a rule for ${name}, which is none`);
  }
  const before = memory().tensors;
  for (const dtype of ["bf16", "f16"] as const) {
    for (const [name, info] of operators()) {
      for (const sample of info.samples.slice(0, 3)) {
        scope(() => {
          const made = new Map<Tensor, { dtype: string; grad: boolean }>();
          const args = argumentsOf(sample, made as never);
          const dtypes = new Set([...made.values()].map((s) => s.dtype));
          if (!dtypes.has("f32")) return;
          const leaves = [...made].filter(([x, s]) =>
            s.grad && isFloat(x.dtype)
          ).map(([x]) => x);
          for (const leaf of leaves) leaf.requiresGrad = true;
          const result = autocast(dtype, () => info.call(...args));
          const outputs = (Array.isArray(result) ? result : [result])
            .filter((y) => y instanceof Tensor && isFloat(y.dtype)) as Tensor[];
          const rule = autocastRules.get(name);
          const only = !dtypes.has("f64");
          if (only && rule === "low" && outputs.length > 0) {
            assertEquals(outputs[0].dtype, dtype, name);
          }
          if (only && rule === "f32" && outputs.length > 0) {
            assertEquals(outputs[0].dtype, "f32", name);
          }
          const learned = outputs.filter((y) => y.requiresGrad);
          if (learned.length === 0 || leaves.length === 0) return;
          const total = learned.map((y) => sum((y as Tensor).cast("f32")))
            .reduce((a, b) => a.add(b));
          gradients(total, leaves).forEach((g, i) => {
            if (g !== undefined) {
              assertEquals(g.dtype, leaves[i].dtype, `gradient of ${name}`);
              g.data();
            }
          });
        });
      }
    }
  }
  assertEquals(memory().tensors, before);
});

Deno.test("autocast converts a parameter once, leaves f64 alone, ends at f32 and at its end", () => {
  scope(() => {
    const w = tensor([[1, 2], [3, 4]], { requiresGrad: true });
    const x = ones([1, 2]);
    let casts = 0;
    const seen = new Set<unknown>();
    autocast("bf16", () => {
      const y = linear(linear(x, w), w);
      assertEquals(y.dtype, "bf16");
      for (const edge of y.node!.edges) {
        if (edge?.node?.name === "cast" && !seen.has(edge.node)) {
          seen.add(edge.node);
          casts++;
        }
      }
      assertEquals(exp(y).dtype, "f32");
      assertEquals(concat([y, x]).dtype, "f32");
      assertEquals(matmul(x.cast("f64"), w.cast("f64")).dtype, "f64");
      assertEquals(autocast("f32", () => linear(x, w)).dtype, "f32");
      // A parameter that was converted without a gradient is converted anew with one.
      assertEquals(noGrad(() => linear(x, w)).requiresGrad, false);
      assertEquals(linear(x, w).requiresGrad, true);
      // Recomputed in the backward pass, it computes as before.
      const [g] = gradients(
        sum(recompute((x) => {
          const z = linear(x, w);
          assertEquals(z.dtype, "bf16");
          return z;
        }, x)),
        [w],
      );
      assertEquals(g!.dtype, "f32");
    });
    assertEquals(casts, 1);
    assertEquals(linear(x, w).dtype, "f32");
    assertThrows(
      () => autocast("half" as "f16", () => 0),
      RangeError,
      "Cannot compute in mixed precision with half: there is bf16, f16",
    );
  });
});

Deno.test("autocast refuses an asynchronous body, and has ended by then", async () => {
  const body = async () => {
    await Promise.resolve();
    throw new Error("what becomes of the body is not told");
  };
  assertThrows(
    () => autocast("bf16", body),
    TypeError,
    "Cannot run an asynchronous body in mixed precision",
  );
  scope(() => assertEquals(linear(ones([1, 2]), ones([2, 2])).dtype, "f32"));
  await new Promise((done) => setTimeout(done, 0));
});

Deno.test("batch normalisation under autocast takes 16 bits with f32 statistics, and gives 16 bits", () => {
  scope(() => {
    for (const training of [true, false]) {
      const x = numbers([4, 3, 2, 2], 0.5).cast("bf16").detach();
      const w = numbers([3], 1), b = numbers([3], 2);
      for (const leaf of [x, w, b]) leaf.requiresGrad = true;
      const mean = numbers([3], 3), variance = ones([3]);
      const y = autocast(
        "bf16",
        () => batchNorm(x, mean, variance, w, b, { training }),
      );
      const exact = batchNorm(
        x.cast("f32"),
        numbers([3], 3),
        ones([3]),
        w,
        b,
        { training },
      );
      assertEquals(y.dtype, "bf16");
      assertNear(
        y.data() as Float32Array,
        [...exact.data() as Float32Array],
        1e-2,
        "result",
      );
      const weights = numbers([4, 3, 2, 2], 7).add(0.7);
      const found = gradients(sum(y.cast("f32").mul(weights)), [x, w, b]);
      const wanted = gradients(sum(exact.mul(weights)), [x, w, b]);
      assertEquals(found.map((g) => g!.dtype), ["bf16", "f32", "f32"]);
      found.forEach((g, i) =>
        assertNear(
          g!.data() as Float32Array,
          [...wanted[i]!.data() as Float32Array],
          3e-2,
          `gradient ${i}`,
        )
      );
    }
  });
});

function examples(n: number) {
  const x = Float32Array.from(
    { length: n * 4 },
    (_, i) => Math.sin(i * 12.9898),
  );
  const y = Int32Array.from(
    { length: n },
    (_, i) => Number(x[4 * i] > x[4 * i + 1]),
  );
  return data.arrayDataset(
    { data: x, shape: [n, 4], dtype: "f32" },
    { data: y, shape: [n], dtype: "i32" },
  );
}

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

Deno.test("autocast converts a parameter again after an update", () => {
  const w = tensor([[1, 2], [3, 4]], { requiresGrad: true });
  using optimizer = optim.sgd([w], { lr: 1 });
  scope(() =>
    autocast("bf16", () => {
      const x = tensor([[1, 1]]);
      assertEquals(x.matmul(w).toArray(), [[4, 6]]);
      // Its gradient comes another way, so that the product's tape is still there.
      w.mul(1).sum().backward();
      optimizer.step();
      assertEquals(w.toArray(), [[0, 1], [2, 3]]);
      assertEquals(x.matmul(w).toArray(), [[2, 4]]);
    })
  );
  w.dispose();
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
