/**
 * Captured graphs on CUDA: a replayed step is the step, with the numbers of its
 * turn; what a graph would silently get wrong is refused.
 */

import {
  assert,
  assertAlmostEquals,
  assertEquals,
  assertThrows,
} from "@std/assert";
import {
  backward,
  captureGraph,
  crossEntropy,
  data,
  defaultGenerator,
  dropout,
  fromHost,
  getDevice,
  GraphError,
  IndexError,
  manualSeed,
  nn,
  optim,
  Profiler,
  rand,
  scope,
  setDefaultDevice,
  type Tensor,
  tensor,
  train,
} from "../mod.ts";
import { cudaForTests, cudaTest } from "./cuda_host/device.ts";

const device = await cudaForTests();

/** Runs `body` with CUDA as the default device. */
function onCuda<T>(body: () => T): T {
  setDefaultDevice("cuda");
  const result = body();
  if (result instanceof Promise) {
    return result.finally(() => setDefaultDevice("cpu")) as T;
  }
  setDefaultDevice("cpu");
  return result;
}

function net(): nn.Sequential {
  manualSeed(3);
  return nn.sequential(
    nn.linear(6, 8),
    nn.batchNorm1d(8),
    nn.relu(),
    nn.dropout(0.25),
    nn.linear(8, 3),
  );
}

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
    callbacks: [{
      step(report) {
        losses.push(report.batch.loss);
      },
    }],
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
  "graph: a check that fails as the graph is freed leaves nothing behind",
  () =>
    onCuda(() => {
      const x = rand([4, 5]).materialize();
      const labels = tensor([7, 0, 0, 0], { dtype: "i32" });
      let y: Tensor | undefined;
      const cuda = getDevice("cuda");
      const graph = captureGraph(cuda, [x], () => {
        scope((): Tensor => y = crossEntropy(x, labels).materialize());
      });
      graph.replay();
      device.host?.clearCalls();
      assertThrows(() => graph[Symbol.dispose](), IndexError, "label 7");
      if (device.host !== undefined) {
        assert(device.host.calls().includes("cudaGraphDestroy"));
      }
      for (const t of [x, labels, y!]) t.dispose();
    }),
);

cudaTest(
  device,
  "graph: a replay is one call, however many kernels it has",
  () =>
    onCuda(() => {
      const x = rand([4, 5]).materialize();
      let y: Tensor | undefined;
      using graph = captureGraph(getDevice("cuda"), [x], () => {
        scope((): Tensor =>
          y = x.softmax(-1).matmul(x.transpose()).exp().materialize()
        );
      });
      assert(graph.size >= 3, `${graph.size} nodes`);
      graph.replay();
      const expected = scope(() =>
        x.softmax(-1).matmul(x.transpose()).exp().data()
      );
      assertEquals(y!.data(), expected);
      device.host?.clearCalls();
      graph.replay();
      if (device.host !== undefined) {
        assertEquals(
          device.host.calls().filter((call) =>
            call.startsWith("cudaGraphLaunch")
          )
            .length,
          1,
        );
        assertEquals(
          device.host.calls().filter((call) =>
            call.startsWith("cuLaunchKernel")
          ),
          [],
        );
      }
      y!.dispose();
      x.dispose();
    }),
);

cudaTest(
  device,
  "graph: random numbers move on from run to run, also when they are drawn again",
  () =>
    onCuda(() => {
      const x = fromHost(new Float32Array(64).fill(1), "f32", [64], {
        requiresGrad: true,
      });
      const step = () => {
        const y = dropout(x, 0.5);
        backward(y.sum());
        return y;
      };
      manualSeed(11);
      const plain = [1, 2, 3].map(() =>
        scope(() => {
          const y = step();
          const seen = [[...y.data() as Float32Array], [
            ...x.grad!.data() as Float32Array,
          ]];
          x.grad!.dispose();
          x.grad = undefined;
          return seen;
        })
      );
      // The same choices forward and backward, new ones each time.
      for (const [y, g] of plain) assertEquals(y, g);
      assert(`${plain[0][0]}` !== `${plain[1][0]}`);
      manualSeed(11);
      let y: Tensor | undefined;
      {
        using graph = captureGraph(getDevice("cuda"), [x], () => {
          scope((): Tensor => y = step().materialize());
        });
        const replayed = [1, 2, 3].map(() => {
          graph.replay();
          return [[...y!.data() as Float32Array], [
            ...x.grad!.data() as Float32Array,
          ]];
        });
        assertEquals(replayed, plain);
      }
      y!.dispose();
      x.dispose();
    }),
);

cudaTest(
  device,
  "graph: reads, writes and waits of the host are refused, and the device goes on",
  () =>
    onCuda(() => {
      const cuda = getDevice("cuda");
      const x = rand([3]).materialize();
      const capture = (body: () => void) =>
        captureGraph(cuda, [x], () => scope(body));
      assertThrows(
        () => capture(() => void x.add(1).data()),
        GraphError,
        "Cannot read results on the host while a graph is captured on cuda:0",
      );
      assertThrows(
        () => capture(() => void fromHost(Float32Array.of(1), "f32", [1])),
        GraphError,
        "Cannot write from the host",
      );
      assertThrows(
        () => capture(() => cuda.synchronize()),
        GraphError,
        "Cannot wait for the device",
      );
      assertEquals(scope(() => x.sub(x).toArray()), [0, 0, 0]);
      x.dispose();
    }),
);

cudaTest(
  device,
  "graph: optimizers that compute with numbers of the step, and devices without graphs, are refused",
  () =>
    onCuda(() => {
      const w = rand([4], { requiresGrad: true });
      using optimizer = optim.lamb([w]);
      const step = () =>
        scope(() => {
          optimizer.zeroGrad();
          backward(w.mul(w).sum());
          optimizer.step();
        });
      step();
      assertThrows(
        () => captureGraph(getDevice("cuda"), [w], step),
        GraphError,
        "Cannot capture a step of optimizer lamb",
      );
      assertThrows(
        () => captureGraph(getDevice("cpu"), [], () => {}),
        TypeError,
        "Cannot capture a graph on cpu: only CUDA devices have graphs",
      );
      w.dispose();
    }),
);

cudaTest(
  device,
  "graph: a replay is refused when what it reads has moved",
  () =>
    onCuda(() => {
      const cuda = getDevice("cuda");
      const model = nn.linear(2, 2);
      const x = rand([3, 2]).materialize();
      let y: Tensor | undefined;
      using graph = captureGraph(cuda, model.parameters(), () => {
        scope((): Tensor => y = model.forward(x).materialize());
      });
      graph.replay();
      const state = Object.fromEntries(
        Object.entries(model.stateDict()).map(([name, t]) => [name, t.mul(2)]),
      );
      model.loadStateDict(state);
      assertThrows(
        () => graph.replay(),
        GraphError,
        "has moved to other memory",
      );
      for (const t of Object.values(state)) t.dispose();
      y!.dispose();
      x.dispose();
      model[Symbol.dispose]();
    }),
);

cudaTest(
  device,
  "graph: a parameter that something else refers to cannot be updated in one",
  () =>
    onCuda(() => {
      const w = rand([4], { requiresGrad: true });
      using optimizer = optim.sgd([w], { lr: 0.1 });
      const step = () =>
        scope(() => {
          optimizer.zeroGrad();
          backward(w.mul(w).sum());
          optimizer.step();
        });
      step();
      const view = scope(() => w.detach().narrow(0, 0, 2));
      assertThrows(
        () => captureGraph(getDevice("cuda"), [w], step),
        GraphError,
        "something else refers to its bytes",
      );
      view.dispose();
      w.dispose();
    }),
);

cudaTest(
  device,
  "graph: labels out of range are told at the next read, after each run",
  () =>
    onCuda(() => {
      const scores = rand([2, 3]).materialize();
      const labels = fromHost(Int32Array.of(0, 1), "i32", [2]);
      let loss: Tensor | undefined;
      {
        using graph = captureGraph(getDevice("cuda"), [scores, labels], () => {
          scope((): Tensor =>
            loss = crossEntropy(scores, labels).materialize()
          );
        });
        graph.replay();
        const before = loss!.item();
        const plain = scope(() => crossEntropy(scores, labels).item());
        assertAlmostEquals(before, plain, 1e-6);
        const { storage } = labels.value;
        getDevice("cuda").write(
          storage,
          0,
          new Uint8Array(Int32Array.of(0, 7).buffer),
        );
        graph.replay();
        assertThrows(() => loss!.item(), IndexError, "label 7 among 3 classes");
        loss!.item();
      }
      loss!.dispose();
      scores.dispose();
      labels.dispose();
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

cudaTest(
  device,
  "fit: a whole step is queued before the host waits for its loss, with a graph and without",
  () =>
    onCuda(async () => {
      const { host } = device;
      if (host === undefined) return;
      for (const graph of [false, true]) {
        const model = net();
        using optimizer = optim.adamW(model, { lr: 0.1 });
        let steps = 0;
        await train.fit(model, examples(), {
          ...{ optimizer, graph, epochs: 3, batchSize: 8 },
          callbacks: [{
            step() {
              const calls = host.calls();
              if (++steps > 4) {
                const work = graph ? "cudaGraphLaunch" : "cuLaunchKernel";
                assert(calls.includes(work), `${calls}`);
                const waits = calls.indexOf("cudaStreamSynchronize");
                assert(waits > calls.lastIndexOf(work), `${calls}`);
              }
              host.clearCalls();
            },
          }],
        });
        assertEquals(steps, 12);
        optimizer.zeroGrad();
        model[Symbol.dispose]();
      }
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
            callbacks: [{ step: () => void steps++ }],
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
            bad === "label" ? "label 7 among 3" : "at step 4; the first tensor",
          ),
          plain.error,
        );
      }),
  );
}

cudaTest(
  device,
  "timeline: kernels and products have device times, in order",
  () =>
    onCuda(() => {
      const x = rand([32, 32]).materialize();
      scope(() => void x.matmul(x).exp().data());
      const profiler = new Profiler([getDevice("cuda")]);
      scope(() => void x.matmul(x).exp().data());
      const { events } = profiler.stop();
      const own = events.filter((e) => e.kind === "device");
      assert(own.length >= 2, `${own.map((e) => e.name)}`);
      for (const [i, event] of own.entries()) {
        assert(event.duration >= 0);
        if (i > 0) assert(event.start >= own[i - 1].start);
      }
      // Nothing is watched any more.
      const after = profiler.stop().events.length;
      scope(() => void x.exp().data());
      assertEquals(profiler.stop().events.length, after);
      x.dispose();
    }),
);
