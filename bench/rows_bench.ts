/**
 * The rows of docs/performance.md: the workloads on which Decaf is compared
 * with its peers (bench/peers/rows.ts), written as a user would write them.
 *
 *     deno bench -A bench/rows_bench.ts
 *     deno task bench:peers      # the same next to the peers, as ratios
 *
 * Floors, at 47 GFLOP/s per core in WebAssembly SIMD, two cores, and 20 GB/s:
 * matmul 23 ms; conv 4.9 ms direct, 1.2 ms by minimal filtering; softmax
 * 8 MB / 20 GB/s = 0.4 ms; gelu 16 MB / 20 GB/s = 0.8 ms from memory, less from
 * the last-level cache; MLP step 103 MFLOP = 1.1 ms; LeNet step 842 MFLOP =
 * 9 ms directly; LSTM 4.0 GFLOP = 43 ms; transformer 3.9 GFLOP = 41 ms.
 */

import { setThreads, startWorkers, threads } from "../devices/cpu/pool.ts";
import {
  backward,
  conv,
  crossEntropy,
  gradients,
  manualSeed,
  models,
  nn,
  optim,
  rand,
  randint,
  randn,
  scope,
  type Tensor,
} from "../mod.ts";
import { lstm } from "../nn/mod.ts";

manualSeed(1);
const cores = threads();
startWorkers();

function leaf(shape: readonly number[]): Tensor {
  const tensor = randn(shape).mul(0.1).materialize();
  tensor.requiresGrad = true;
  return tensor;
}

function labels(count: number, classes: number): Tensor {
  return randint(0, classes, [count]);
}

// ---- products, convolutions, kernels ----

const a = randn([1024, 1024]), b = randn([1024, 1024]);

for (const count of [1, 2]) {
  const name = `matmul 1024, ${count} thread${count === 1 ? "" : "s"}`;
  Deno.bench(name, { ignore: count > cores }, (t) => {
    setThreads(count);
    t.start();
    scope(() => void a.matmul(b).materialize());
    t.end();
    setThreads(cores);
  });
}

const images = leaf([16, 32, 28, 28]), filters = leaf([64, 32, 3, 3]);

Deno.bench("conv forward", () => {
  scope(() =>
    void conv(images, filters, undefined, { padding: 1 }).materialize()
  );
});

Deno.bench("conv forward+backward", () => {
  scope(() => {
    const y = conv(images, filters, undefined, { padding: 1 });
    gradients(y.sum(), [images, filters]);
  });
});

const matrix = randn([1024, 1024]);

Deno.bench("softmax 1024x1024", () => {
  scope(() => void matrix.softmax(-1).materialize());
});

const [x, w, c] = [randn([1 << 20]), randn([1 << 20]), randn([1 << 20])];

Deno.bench("gelu(x*w+b) 1M", () => {
  scope(() => void x.mul(w).add(c).gelu().materialize());
});

// ---- training steps ----

function trainingStep(
  model: { forward(x: Tensor): Tensor },
  optimizer: { zeroGrad(): void; step(): void },
  inputs: Tensor,
  targets: Tensor,
): () => void {
  return () =>
    scope(() => {
      const loss = crossEntropy(model.forward(inputs), targets);
      optimizer.zeroGrad();
      backward(loss);
      optimizer.step();
      loss.item();
    });
}

const mlp = nn.sequential(nn.linear(784, 256), nn.relu(), nn.linear(256, 10));
const mlpStep = trainingStep(
  mlp,
  optim.sgd(mlp, { lr: 0.01 }),
  rand([128, 784]),
  labels(128, 10),
);

Deno.bench("mlp step", () => mlpStep());

const lenet = models.lenet();
const lenetStep = trainingStep(
  lenet,
  optim.sgd(lenet, { lr: 0.01, momentum: 0.9 }),
  rand([64, 1, 28, 28]),
  labels(64, 10),
);

Deno.bench("lenet step", () => lenetStep());

const recurrent = lstm(64, 256);
const sequence = leaf([64, 32, 64]);

Deno.bench("lstm forward+backward", () => {
  scope(() => {
    const [y] = recurrent.forward(sequence);
    recurrent.zeroGrad();
    sequence.grad?.dispose();
    sequence.grad = undefined;
    backward(y.sum());
  });
});

const transformer = models.gpt({ vocabulary: 65, context: 64 });
const tokens = randint(0, 65, [12, 64]), next = randint(0, 65, [12, 64]);

Deno.bench("transformer forward+backward", () => {
  scope(() => {
    const scores = transformer.forward(tokens).reshape([-1, 65]);
    transformer.zeroGrad();
    backward(crossEntropy(scores, next.reshape([-1])));
  });
});

// ---- overheads ----

const small = randn([32]);

Deno.bench("add 32 floats x1000", () => {
  scope(() => {
    let y = small;
    for (let i = 0; i < 1000; i++) y = y.add(small);
    y.data();
  });
});

const first = new URL("./first_result.ts", import.meta.url).pathname;

Deno.bench("import to first result", async (t) => {
  const command = new Deno.Command(Deno.execPath(), {
    args: ["run", "--no-prompt", first],
    stdout: "null",
  });
  t.start();
  await command.output();
  t.end();
});
