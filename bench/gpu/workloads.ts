/**
 * What is timed on a GPU, written as a user would write it: each row of
 * bench/gpu/rows.ts as a function that prepares it and returns one run.
 */

import { captureGraph } from "../../core/capture.ts";
import {
  autocast,
  backward,
  conv,
  crossEntropy,
  type DType,
  getDevice,
  gradients,
  manualSeed,
  models,
  nn,
  optim,
  randint,
  randn,
  scope,
  type Tensor,
} from "../../mod.ts";
import { type ConvLayer, convLayers, convName, type Extents } from "./rows.ts";

/** One run of a row; the device may still be at it when it returns. */
export type Run = () => void;

/** Prepares a row on a device. */
export type Prepare = (device: string, extents: Extents) => Run;

function made(device: string, shape: number[], dtype: DType = "f32"): Tensor {
  return randn(shape, { device, dtype }).materialize();
}

function leaf(device: string, shape: number[], dtype: DType = "f32"): Tensor {
  const tensor = made(device, shape, dtype);
  tensor.requiresGrad = true;
  return tensor;
}

function product(
  dtype: DType,
  shape: (e: Extents) => number[],
  tf32 = false,
): Prepare {
  return (device, e) => {
    const a = made(device, shape(e), dtype), b = made(device, shape(e), dtype);
    return () => {
      const { options } = getDevice(device);
      if (options !== undefined) options.tf32 = tf32;
      scope(() => void a.matmul(b).materialize());
    };
  };
}

function attention(dtype: DType): Prepare {
  return (device, { attention: { batch, heads, time, width } }) => {
    const shape = [batch, heads, time, width];
    const [q, k, v] = [1, 2, 3].map(() => leaf(device, shape, dtype));
    const seed = made(device, shape, dtype);
    return () =>
      scope(() => {
        const y = q.scaledDotProductAttention(k, v, { causal: true });
        gradients(y, [q, k, v], { seed });
      });
  };
}

const square = ({ matmul }: Extents) => [matmul, matmul];
const batch = ({ batched: { count, size } }: Extents) => [count, size, size];

interface Task {
  readonly model: { forward(x: Tensor): Tensor } & nn.Module;
  readonly optimizer: optim.Optimizer;
  readonly inputs: Tensor;
  readonly targets: Tensor;
}

function step({ model, optimizer, inputs, targets }: Task): void {
  scope(() => {
    const loss = crossEntropy(model.forward(inputs), targets);
    optimizer.zeroGrad();
    backward(loss);
    optimizer.step();
  });
}

function mlp(device: string): Task {
  const model = nn.sequential(
    nn.linear(784, 256),
    nn.relu(),
    nn.linear(256, 10),
  );
  model.to(device);
  return {
    model,
    optimizer: optim.sgd(model, { lr: 0.01 }) as optim.Optimizer,
    inputs: made(device, [128, 784]),
    targets: randint(0, 10, [128], { device }),
  };
}

function lenet(device: string): Task {
  const model = models.lenet();
  model.to(device);
  const sgd = optim.sgd(model, { lr: 0.01, momentum: 0.9 });
  return {
    model,
    optimizer: sgd as optim.Optimizer,
    inputs: made(device, [64, 1, 28, 28]),
    targets: randint(0, 10, [64], { device }),
  };
}

function eager(task: (device: string) => Task): Prepare {
  return (device) => {
    const made = task(device);
    return () => step(made);
  };
}

function graphed(task: (device: string) => Task): Prepare {
  return (device) => {
    const made = task(device);
    for (let i = 0; i < 3; i++) step(made);
    const where = getDevice(device);
    if (where.capture === undefined) return () => step(made);
    const state = Object.values(made.model.stateDict());
    const graph = captureGraph(where, state, () => step(made));
    return () => graph.replay();
  };
}

function convolution({ from, to, size, kernel, stride }: ConvLayer): Prepare {
  return (device, { convBatch, convShrink }) => {
    const extent = Math.ceil(size / convShrink);
    const [x, w] = [
      [convBatch, from, extent, extent],
      [to, from, kernel, kernel],
    ].map((shape) => channelsLast(made(device, shape, "bf16")));
    x.requiresGrad = w.requiresGrad = true;
    const padding = Math.floor(kernel / 2);
    return () =>
      scope(() => {
        const y = conv(x, w, undefined, { stride, padding });
        gradients(y, [x, w], { seed: y.detach() });
      });
  };
}

function channelsLast(x: Tensor): Tensor {
  return x.contiguous({ memoryFormat: "channelsLast" }).materialize();
}

/** A step in bf16 with f32 parameters. */
function mixedStep({ model, optimizer, inputs, targets }: Task): void {
  scope(() => {
    const loss = autocast("bf16", () => {
      const scores = model.forward(inputs);
      const classes = scores.shape[scores.rank - 1];
      return crossEntropy(
        scores.reshape([-1, classes]),
        targets.reshape([-1]),
      );
    });
    optimizer.zeroGrad();
    backward(loss);
    optimizer.step();
  });
}

/** Every row by name. */
export const workloads: Readonly<Record<string, Prepare>> = {
  "chain of additions": (device, { chain }) => {
    const x = made(device, [1024]), y = made(device, [1024]);
    return () =>
      scope(() => {
        let z = y;
        for (let i = 0; i < chain; i++) z = z.add(x).materialize();
      });
  },
  "copy": (device, { vector }) => {
    const x = made(device, [vector]);
    return () => scope(() => void x.mul(1).materialize());
  },
  "gelu(x*w+b)": (device, { vector }) => {
    const [x, w, b] = [1, 2, 3].map(() => made(device, [vector]));
    return () => scope(() => void x.mul(w).add(b).gelu().materialize());
  },
  "softmax": (device, { rows, columns }) => {
    const x = made(device, [rows, columns]);
    return () => scope(() => void x.softmax(-1).materialize());
  },
  "layer norm": (device, { rows, columns }) => {
    const x = made(device, [rows, columns]);
    const w = made(device, [columns]), b = made(device, [columns]);
    return () => scope(() => void x.layerNorm([columns], w, b).materialize());
  },
  "matmul bf16": product("bf16", square),
  "matmul tf32": product("f32", square, true),
  "matmul f32": product("f32", square),
  "batched matmul bf16": product("bf16", batch),
  "batched matmul f32": product("f32", batch),
  "attention": attention("bf16"),
  "attention f32": attention("f32"),
  "mlp step": eager(mlp),
  "mlp step, graph": graphed(mlp),
  "lenet step": eager(lenet),
  "lenet step, graph": graphed(lenet),
  "resnet50 training": (device, { images: { batch, size } }) => {
    const model = models.resnet50();
    model.to({ device, memoryFormat: "channelsLast" });
    const sgd = optim.sgd(model, { lr: 0.1, momentum: 0.9 });
    const task: Task = {
      model,
      optimizer: sgd as optim.Optimizer,
      inputs: channelsLast(made(device, [batch, 3, size, size])),
      targets: randint(0, 1000, [batch], { device }),
    };
    return () => mixedStep(task);
  },
  "gpt2 training": (device, { gpt: { batch, ...extents } }) => {
    const model = models.gpt(extents);
    model.to(device);
    const shape = [batch, extents.context];
    const task: Task = {
      model,
      optimizer: optim.adamW(model, { lr: 1e-4 }) as optim.Optimizer,
      inputs: randint(0, extents.vocabulary, shape, { device }),
      targets: randint(0, extents.vocabulary, shape, { device }),
    };
    return () => mixedStep(task);
  },
  ...Object.fromEntries(
    convLayers.map((layer) => [convName(layer), convolution(layer)]),
  ),
};

/** A row, prepared with the same random numbers each time. */
export function prepare(name: string, device: string, extents: Extents): Run {
  const found = workloads[name];
  if (found === undefined) throw new RangeError(`There is no row "${name}"`);
  manualSeed(1);
  return found(device, extents);
}
