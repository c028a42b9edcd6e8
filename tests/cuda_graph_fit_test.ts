/**
 * Training by `fit` on CUDA, in plain steps and by a captured graph: the same
 * bits, the same errors, and changes on the way are noticed.
 */

import { assert, assertEquals, assertRejects } from "@std/assert";
import {
  data,
  defaultGenerator,
  manualSeed,
  nn,
  optim,
  type Tensor,
  train,
} from "../mod.ts";
import { cudaForTests, cudaTest, onCuda } from "./cuda_host/device.ts";
import { net } from "./cuda_fit_net.ts";

const device = await cudaForTests();

function examples() {
  const inputs = Float32Array.from({ length: 35 * 6 }, (_, i) => Math.sin(i));
  const targets = Int32Array.from({ length: 35 }, (_, i) => i % 3);
  return data.arrayDataset(
    { data: inputs, shape: [35, 6], dtype: "f32" },
    { data: targets, shape: [35], dtype: "i32" },
  );
}

/** Trains for three epochs with a last batch that is smaller; all losses and the weights at the end. */
async function training(
  graph: boolean,
  optimizer: (model: nn.Module) => optim.Optimizer,
): Promise<{ losses: number[]; weights: number[]; random: unknown }> {
  const model = net();
  using method = optimizer(model);
  using average = optim.ema(model, { decay: 0.9, warmup: true });
  const losses: number[] = [];
  await train.fit(model, examples(), {
    optimizer: method,
    average,
    graph,
    epochs: 3,
    batchSize: 8,
    dropLast: false,
    callbacks: [{ measured: ({ batch }) => void losses.push(batch.loss) }],
  });
  const tensors = [
    ...Object.values(model.stateDict()),
    ...Object.values(average.stateDict().tensors),
  ];
  const weights = tensors.flatMap((t) => [...t.data()].map(Number));
  for (const p of model.parameters()) {
    p.grad?.dispose();
    p.grad = undefined;
  }
  model[Symbol.dispose]();
  return { losses, weights, random: defaultGenerator().state() };
}

const methods: Record<string, (model: nn.Module) => optim.Optimizer> = {
  "momentum SGD with a policy": (model) =>
    optim.sgd(model, {
      lr: 0.1,
      momentum: 0.9,
      policy: optim.policies.step({ stepSize: 3, gamma: 0.5 }),
    }) as optim.Optimizer,
  "AdamW with clipped gradients": (model) =>
    optim.adamW(model, { lr: 0.01, maxGradientNorm: 0.5 }) as optim.Optimizer,
  "NAdam": (model) => optim.nAdam(model, { lr: 0.01 }) as optim.Optimizer,
};

for (const [name, optimizer] of Object.entries(methods)) {
  cudaTest(
    device,
    `graph: training by ${name}, with dropout and averages, gives the bits of plain steps`,
    () =>
      onCuda(async () => {
        const plain = await training(false, optimizer);
        const graphed = await training(true, optimizer);
        assertEquals(graphed.losses, plain.losses);
        assertEquals(graphed.weights, plain.weights);
        assertEquals(graphed.random, plain.random);
      }),
  );
}

cudaTest(
  device,
  "graph: a training by an optimizer that cannot be captured is refused before its first step",
  () =>
    onCuda(async () => {
      const model = net();
      using optimizer = optim.storm(model) as optim.Optimizer;
      const steps: number[] = [];
      const run = train.fit(model, examples(), {
        optimizer,
        graph: true,
        batchSize: 8,
        callbacks: [{ step: ({ step }) => void steps.push(step) }],
      });
      await assertRejects(
        () => run,
        TypeError,
        "Cannot train by optimizer storm with steps captured as a graph",
      );
      assertEquals(steps, []);
      model[Symbol.dispose]();
    }),
);

/** What may change in the middle of a training, between two steps. */
const changes: Record<
  string,
  (model: nn.Sequential, optimizer: optim.Optimizer) => void
> = {
  "a batch norm in evaluation": (model) => void model.children()[1].eval(),
  "a parameter that is frozen": (model) => {
    model.parameters()[0].requiresGrad = false;
  },
  "another probability of dropout": (model) => {
    (model.children()[3] as unknown as { p: number }).p = 0.75;
  },
  "a part that is replaced": (model) => {
    (model.layers as nn.Module[])[2] = nn.gelu();
  },
  "another weight decay": (_, optimizer) => {
    optimizer.groups[0].weightDecay = 0.5;
  },
  "another bound of gradients": (_, optimizer) => {
    optimizer.maxGradientNorm = 0.01;
  },
};

for (const [what, change] of Object.entries(changes)) {
  cudaTest(
    device,
    `graph: ${what} is noticed, and steps go on as plain ones do`,
    () =>
      onCuda(async () => {
        const run = async (graph: boolean) => {
          const model = net();
          using optimizer = optim.adam(model, {
            lr: 0.05,
            maxGradientNorm: 1,
          }) as optim.Optimizer;
          const losses: number[] = [];
          const whole = examples();
          const indices = Uint32Array.from({ length: 32 }, (_, i) => i);
          const batch = await whole.batch(indices, { seed: 0, epoch: 0 });
          await train.fit(
            model,
            data.arrayDataset(batch.inputs, batch.targets),
            {
              ...{ optimizer, graph, epochs: 4, batchSize: 8 },
              callbacks: [{
                step(report) {
                  losses.push(report.batch.loss);
                  if (report.step === 6) change(model, optimizer);
                },
              }],
            },
          );
          const weights = Object.values(model.stateDict()).flatMap((t) =>
            [...t.data()].map(Number)
          );
          for (const p of model.parameters()) {
            p.grad?.dispose();
            p.grad = undefined;
          }
          model[Symbol.dispose]();
          return { losses, weights };
        };
        assertEquals(await run(true), await run(false));
      }),
  );
}

cudaTest(
  device,
  "graph: callbacks see the gradients of the step before them, also after a plain one",
  () =>
    onCuda(async () => {
      const run = async (graph: boolean) => {
        const model = net();
        using optimizer = optim.sgd(model, { lr: 0.1 });
        const seen: number[] = [];
        await train.fit(model, examples(), {
          ...{ optimizer, graph, epochs: 3, batchSize: 8, dropLast: false },
          callbacks: [{
            step() {
              const [weight] = model.parameters();
              seen.push(Number(weight.grad!.data()[0]));
            },
          }],
        });
        optimizer.zeroGrad();
        model[Symbol.dispose]();
        return seen;
      };
      assertEquals(await run(true), await run(false));
    }),
);

for (const bad of ["label", "input"] as const) {
  cudaTest(
    device,
    `graph: a step with a bad ${bad} changes no parameter, and is told as that of a plain one`,
    () =>
      onCuda(async () => {
        const inputs = Float32Array.from({ length: 240 }, (_, i) => i % 7 / 7);
        const targets = Int32Array.from({ length: 40 }, (_, i) => i % 3);
        // In the fifth batch, which runs as a graph.
        if (bad === "label") targets[33] = 7;
        else inputs[33 * 6] = NaN;
        const examples = data.arrayDataset(
          { data: inputs, shape: [40, 6], dtype: "f32" },
          { data: targets, shape: [40], dtype: "i32" },
        );
        const seen: unknown[] = [];
        for (const graph of [false, true]) {
          manualSeed(3);
          const model = nn.sequential(
            nn.linear(6, 8),
            nn.dropout(0.25),
            nn.linear(8, 3),
          );
          using optimizer = optim.adamW(model, { lr: 0.1 });
          using average = optim.ema(model, { decay: 0.9, warmup: true });
          let steps = 0;
          const error = await train.fit(model, examples, {
            ...{ optimizer, average, graph, batchSize: 8, shuffle: false },
            callbacks: [{ measured: () => void steps++ }],
          }).then(() => "none", (error) => `${error}`);
          const numbers = (tensors: Record<string, Tensor>) =>
            Object.values(tensors).flatMap((t) => [...t.data()].map(Number));
          const { tensors, iteration, numbers: counts } = optimizer.stateDict();
          seen.push({
            ...{ error, steps, iteration, counts, updates: average.updates },
            weights: numbers(model.stateDict()),
            state: numbers(tensors),
            averages: numbers(average.stateDict().tensors),
          });
          optimizer.zeroGrad();
          model[Symbol.dispose]();
        }
        const [plain, graphed] = seen as { error: string; steps: number }[];
        assertEquals(graphed, plain);
        assertEquals(plain.steps, 4);
        assert(
          plain.error.includes(
            bad === "label" ? "label 7 among 3" : "at step 5; the first tensor",
          ),
          plain.error,
        );
      }),
  );
}
