/**
 * Modules against PyTorch's: names and shapes of the state dict, outputs,
 * gradients and buffers, with the same numbers in all parameters and inputs.
 */

import { assertAlmostEquals, assertEquals } from "@std/assert";
import { fromHost, gradients, mul, sum, Tensor } from "../mod.ts";
import * as nn from "../nn/mod.ts";

interface Numbers {
  shape: number[];
  data: number[];
}

interface Row {
  name: string;
  state: Record<string, number[]>;
  outputs: Numbers[];
  gradients: Record<string, Numbers>;
  buffers: Record<string, Numbers>;
}

const rows: Row[] = Deno.readTextFileSync(
  new URL("./golden/nn/values.jsonl", import.meta.url),
).trim().split("\n").slice(1).map((line) => JSON.parse(line));

const size = (shape: readonly number[]) => shape.reduce((a, b) => a * b, 1);

// As in tests/golden/nn/make.py.
function wave(
  shape: readonly number[],
  phase: number,
  low = -1,
  high = 1,
): number[] {
  return Array.from({ length: size(shape) }, (_, i) => {
    const unit = ((i + 1) * 0.618033988749895 + phase * 0.1234567) % 1;
    return low + (high - low) * unit;
  });
}

type Float = "f32" | "f64";
let dtype: Float = "f64";

function floats(
  shape: readonly number[],
  data: number[],
  grad = false,
): Tensor {
  const host = dtype === "f64"
    ? Float64Array.from(data)
    : Float32Array.from(data);
  return fromHost(host, dtype, shape, { requiresGrad: grad });
}

function x(shape: number[], phase = 0.5): Tensor {
  return floats(shape, wave(shape, phase, -2, 2), true);
}

function ints(shape: number[], ...data: number[]): Tensor {
  return fromHost(BigInt64Array.from(data, BigInt), "i64", shape);
}

function bools(shape: number[], ...data: number[]): Tensor {
  return fromHost(Uint8Array.from(data), "bool", shape);
}

function fill(module: nn.AnyModule): void {
  Object.entries(module.stateDict()).forEach(([name, tensor], j) => {
    if (tensor.dtype === "i64") return;
    const [low, high] = name.endsWith("var") ? [0.5, 1.5] : [-0.6, 0.6];
    const data = wave(tensor.shape, j + 1, low, high);
    const values = floats(tensor.shape, data);
    tensor.setValue(values.value.retain());
  });
}

/** Modules whose gradient PyTorch computes with constants in single precision (1/6, 1/α), whatever the dtype. */
const rough = ["celu", "hardSigmoid"];

function near(
  actual: Tensor,
  expected: Numbers,
  what: string,
  fine = 1e-9,
): void {
  assertEquals(actual.shape, expected.shape, `shape of ${what}`);
  const bound = dtype === "f64" ? fine : 2e-4;
  Array.from(actual.data(), Number).forEach((a, i) => {
    const e = expected.data[i];
    if (Object.is(a, e)) return;
    assertAlmostEquals(a, e, bound * (1 + Math.abs(e)), `${what}, number ${i}`);
  });
}

interface Case {
  module: () => nn.AnyModule;
  inputs: () => unknown[];
  train?: boolean;
}

function flat(output: unknown): Tensor[] {
  return output instanceof Tensor
    ? [output]
    : (output as unknown[]).flatMap(flat);
}

function compare(row: Row, made: Case): void {
  const module = made.module().to(dtype).train(made.train ?? true);
  const state = Object.entries(module.stateDict()).map((
    [name, tensor],
  ) => [name, [...tensor.shape]]);
  assertEquals(state, Object.entries(row.state));
  fill(module);
  const inputs = made.inputs();
  const outputs = flat(module.forward(...inputs));
  assertEquals(outputs.length, row.outputs.length);
  outputs.forEach((o, i) => near(o, row.outputs[i], `output ${i}`));
  const leaves = new Map<string, Tensor>();
  inputs.flatMap((value) => Array.isArray(value) ? value : [value])
    .forEach((value, i) => {
      if (value instanceof Tensor) leaves.set(`input ${i}`, value);
    });
  for (const [name, tensor] of module.namedParameters()) {
    leaves.set(name, tensor);
  }
  const names = Object.keys(row.gradients);
  if (names.length > 0) {
    const total = outputs.map((o, i) =>
      sum(mul(o, floats(o.shape, wave(o.shape, 31 + i))))
    ).reduce((a, b) => a.add(b));
    const found = gradients(total, names.map((name) => leaves.get(name)!));
    const fine = rough.includes(row.name) ? 1e-7 : 1e-9;
    found.forEach((g, i) =>
      near(g!, row.gradients[names[i]], `gradient of ${names[i]}`, fine)
    );
  }
  const buffers = new Map(module.namedBuffers());
  assertEquals([...buffers.keys()], Object.keys(row.buffers));
  for (const [name, buffer] of buffers) {
    near(buffer, row.buffers[name], `buffer ${name}`);
  }
}

const hidden = () => bools([3, 3], 1, 0, 0, 1, 1, 0, 1, 1, 1);
const unpadded = () => bools([2, 4], 1, 1, 0, 0, 1, 1, 1, 0);
const small = { feedForward: 5, dropout: 0 };
const tracked = { affine: true, trackRunningStats: true };

const cases: Record<string, Case> = {
  "linear": { module: () => nn.linear(3, 4), inputs: () => [x([2, 5, 3])] },
  "linear without bias": {
    module: () => nn.linear(3, 4, { bias: false }),
    inputs: () => [x([2, 3])],
  },
  "bilinear": {
    module: () => nn.bilinear(3, 2, 4),
    inputs: () => [x([5, 3]), x([5, 2], 7)],
  },
  "conv1d": {
    module: () => nn.conv1d(2, 3, 3, { stride: 2, padding: 1 }),
    inputs: () => [x([2, 2, 7])],
  },
  "conv1d reflect": {
    module: () => nn.conv1d(2, 3, 3, { padding: 2, paddingMode: "reflect" }),
    inputs: () => [x([1, 2, 5])],
  },
  "conv2d": {
    module: () =>
      nn.conv2d(4, 6, [3, 2], {
        stride: [1, 2],
        padding: [2, 1],
        dilation: [2, 1],
        groups: 2,
      }),
    inputs: () => [x([2, 4, 5, 6])],
  },
  "conv2d same": {
    module: () => nn.conv2d(2, 3, [2, 3], { padding: "same" }),
    inputs: () => [x([1, 2, 4, 4])],
  },
  "conv2d circular": {
    module: () =>
      nn.conv2d(1, 2, 3, { padding: [1, 2], paddingMode: "circular" }),
    inputs: () => [x([1, 1, 4, 5])],
  },
  "conv2d replicate same": {
    module: () =>
      nn.conv2d(1, 2, [2, 3], { padding: "same", paddingMode: "replicate" }),
    inputs: () => [x([1, 1, 4, 5])],
  },
  "conv3d": {
    module: () => nn.conv3d(2, 2, 2, { bias: false }),
    inputs: () => [x([1, 2, 3, 3, 4])],
  },
  "convTranspose1d": {
    module: () =>
      nn.convTranspose1d(2, 3, 3, { stride: 2, padding: 1, outputPadding: 1 }),
    inputs: () => [x([2, 2, 4])],
  },
  "convTranspose2d": {
    module: () =>
      nn.convTranspose2d(4, 2, [2, 3], { stride: 2, groups: 2, dilation: 2 }),
    inputs: () => [x([1, 4, 3, 2])],
  },
  "convTranspose3d": {
    module: () => nn.convTranspose3d(1, 2, 2),
    inputs: () => [x([1, 1, 2, 3, 2])],
  },
  "batchNorm1d": {
    module: () => nn.batchNorm1d(3),
    inputs: () => [x([4, 3])],
  },
  "batchNorm1d sequence": {
    module: () => nn.batchNorm1d(3, { momentum: 0.3 }),
    inputs: () => [x([2, 3, 5])],
  },
  "batchNorm2d": {
    module: () => nn.batchNorm2d(2, { eps: 1e-3 }),
    inputs: () => [x([3, 2, 2, 3])],
  },
  "batchNorm2d average": {
    module: () => nn.batchNorm2d(2, { momentum: "average" }),
    inputs: () => [x([3, 2, 2, 3])],
  },
  "batchNorm2d eval": {
    module: () => nn.batchNorm2d(2),
    inputs: () => [x([3, 2, 2, 3])],
    train: false,
  },
  "batchNorm2d plain": {
    module: () =>
      nn.batchNorm2d(2, { affine: false, trackRunningStats: false }),
    inputs: () => [x([3, 2, 2, 3])],
  },
  "batchNorm3d": {
    module: () => nn.batchNorm3d(2),
    inputs: () => [x([2, 2, 2, 1, 2])],
  },
  "layerNorm": {
    module: () => nn.layerNorm([3, 4], { eps: 1e-3 }),
    inputs: () => [x([2, 3, 4])],
  },
  "layerNorm without bias": {
    module: () => nn.layerNorm(4, { bias: false }),
    inputs: () => [x([2, 3, 4])],
  },
  "groupNorm": {
    module: () => nn.groupNorm(2, 4),
    inputs: () => [x([2, 4, 3])],
  },
  "instanceNorm2d": {
    module: () => nn.instanceNorm2d(2),
    inputs: () => [x([2, 2, 3, 2])],
  },
  "instanceNorm1d tracking": {
    module: () => nn.instanceNorm1d(2, tracked),
    inputs: () => [x([3, 2, 4])],
  },
  "instanceNorm1d eval": {
    module: () => nn.instanceNorm1d(2, tracked),
    inputs: () => [x([3, 2, 4])],
    train: false,
  },
  "rmsNorm": {
    module: () => nn.rmsNorm(4, { eps: 1e-3 }),
    inputs: () => [x([2, 3, 4])],
  },
  "localResponseNorm": {
    module: () => nn.localResponseNorm(3, { alpha: 0.5, beta: 0.6, k: 1.5 }),
    inputs: () => [x([2, 5, 2])],
  },
  "embedding": {
    module: () => nn.embedding(5, 3, { paddingIdx: 1 }),
    inputs: () => [ints([2, 3], 0, 1, 4, 4, 2, 1)],
  },
  "embeddingBag": {
    module: () => nn.embeddingBag(5, 3, { mode: "sum" }),
    inputs: () => [ints([2, 3], 0, 1, 4, 4, 2, 1), undefined, x([2, 3])],
  },
  "embeddingBag offsets": {
    module: () => nn.embeddingBag(5, 3),
    inputs: () => [ints([5], 0, 1, 4, 4, 2), ints([2], 0, 2)],
  },
  "prelu": {
    module: () => nn.prelu({ count: 3 }),
    inputs: () => [x([2, 3, 2])],
  },
  "glu": { module: () => nn.glu(), inputs: () => [x([2, 4])] },
  "rnn": { module: () => nn.rnn(3, 2), inputs: () => [x([4, 2, 3])] },
  "rnn relu": {
    module: () => nn.rnn(3, 2, { nonlinearity: "relu", bias: false }),
    inputs: () => [x([4, 2, 3])],
  },
  "lstm": {
    module: () =>
      nn.lstm(3, 2, { layers: 2, bidirectional: true, batchFirst: true }),
    inputs: () => [x([2, 4, 3])],
  },
  "lstm states": {
    module: () => nn.lstm(3, 2),
    inputs: () => [x([4, 2, 3]), [x([1, 2, 2], 3), x([1, 2, 2], 5)]],
  },
  "gru": {
    module: () => nn.gru(3, 2, { layers: 2 }),
    inputs: () => [x([4, 2, 3]), x([2, 2, 2], 3)],
  },
  "lstmCell": {
    module: () => nn.lstmCell(3, 2),
    inputs: () => [x([4, 3]), [x([4, 2], 3), x([4, 2], 5)]],
  },
  "gruCell": {
    module: () => nn.gruCell(3, 2),
    inputs: () => [x([4, 3]), x([4, 2], 3)],
  },
  "rnnCell": {
    module: () => nn.rnnCell(3, 2, { nonlinearity: "relu" }),
    inputs: () => [x([4, 3])],
  },
  "attention to itself": {
    module: () => nn.multiheadAttention(4, 2),
    inputs: () => [x([3, 2, 4]), undefined, undefined, { mask: hidden() }],
  },
  "attention to others": {
    module: () =>
      nn.multiheadAttention(4, 2, {
        keySize: 3,
        valueSize: 5,
        batchFirst: true,
      }),
    inputs: () => [x([2, 3, 4]), x([2, 4, 3], 3), x([2, 4, 5], 5), {
      keyMask: unpadded(),
    }],
  },
  "attention without bias": {
    module: () =>
      nn.multiheadAttention(4, 1, { bias: false, batchFirst: true }),
    inputs: () => [x([2, 3, 4]), x([2, 4, 4], 3), undefined, {
      keyMask: unpadded(),
    }],
  },
  "encoder layer": {
    module: () => nn.transformerEncoderLayer(4, 2, small),
    inputs: () => [x([3, 2, 4])],
  },
  "encoder layer norm first": {
    module: () =>
      nn.transformerEncoderLayer(4, 2, {
        ...small,
        activation: "gelu",
        normFirst: true,
        batchFirst: true,
      }),
    inputs: () => [x([2, 3, 4]), { causal: true }],
  },
  "decoder layer": {
    module: () =>
      nn.transformerDecoderLayer(4, 2, { ...small, batchFirst: true }),
    inputs: () => [x([2, 3, 4]), x([2, 4, 4], 3), {
      mask: hidden(),
      memoryKeyMask: unpadded(),
    }],
  },
  "decoder layer norm first": {
    module: () =>
      nn.transformerDecoderLayer(4, 2, { ...small, normFirst: true }),
    inputs: () => [x([3, 2, 4]), x([4, 2, 4], 3)],
  },
  "encoder": {
    module: () => {
      const options = { ...small, batchFirst: true };
      return nn.transformerEncoder([
        nn.transformerEncoderLayer(4, 2, options),
        nn.transformerEncoderLayer(4, 2, options),
      ], nn.layerNorm(4));
    },
    inputs: () => [x([2, 3, 4])],
  },
  "decoder": {
    module: () => {
      const options = { ...small, batchFirst: true };
      return nn.transformerDecoder([
        nn.transformerDecoderLayer(4, 2, options),
        nn.transformerDecoderLayer(4, 2, options),
      ]);
    },
    inputs: () => [x([2, 3, 4]), x([2, 4, 4], 3)],
  },
  "lenet": {
    module: () =>
      nn.sequential(
        nn.conv2d(1, 3, 3),
        nn.maxPool2d(2),
        nn.conv2d(3, 4, 3, { padding: 1 }),
        nn.relu(),
        nn.maxPool2d(2),
        nn.flatten(),
        nn.linear(16, 5),
        nn.tanh(),
        nn.linear(5, 3),
      ),
    inputs: () => [x([2, 1, 10, 10])],
  },
  "maxPool1d": {
    module: () => nn.maxPool1d(3, { stride: 2, padding: 1 }),
    inputs: () => [x([1, 2, 7])],
  },
  "maxPool3d": {
    module: () => nn.maxPool3d(2),
    inputs: () => [x([1, 1, 4, 2, 5])],
  },
  "avgPool2d": {
    module: () =>
      nn.avgPool2d(3, { stride: 2, padding: 1, countIncludePad: false }),
    inputs: () => [x([1, 2, 5, 4])],
  },
  "lpPool2d": {
    module: () => nn.lpPool2d(3, 2),
    inputs: () => [
      floats([1, 2, 4, 5], wave([1, 2, 4, 5], 0.5, -2, 2).map(Math.abs), true),
    ],
  },
  "adaptiveAvgPool2d": {
    module: () => nn.adaptiveAvgPool2d([2, 3]),
    inputs: () => [x([1, 2, 5, 7])],
  },
  "adaptiveMaxPool1d": {
    module: () => nn.adaptiveMaxPool1d(2),
    inputs: () => [x([1, 2, 5])],
  },
  "pixelShuffle": {
    module: () => nn.pixelShuffle(2),
    inputs: () => [x([1, 8, 2, 3])],
  },
  "upsample": {
    module: () => nn.upsample({ scaleFactor: 2, mode: "linear" }),
    inputs: () => [x([1, 2, 2, 3])],
  },
  "unflatten": {
    module: () => nn.unflatten(1, [2, 3]),
    inputs: () => [x([2, 6])],
  },
  "crossEntropyLoss": {
    module: () =>
      nn.crossEntropyLoss({
        weight: floats([3], [0.5, 1, 2]),
        ignoreIndex: 1,
        labelSmoothing: 0.1,
      }),
    inputs: () => [x([4, 3]), ints([4], 0, 2, 1, 2)],
  },
  "nllLoss": {
    module: () => nn.nllLoss({ reduction: "sum" }),
    inputs: () => [x([4, 3]), ints([4], 0, 2, 1, 2)],
  },
  "mseLoss": {
    module: () => nn.mseLoss(),
    inputs: () => [x([2, 3]), x([2, 3], 3)],
  },
  "bceWithLogitsLoss": {
    module: () => nn.bceWithLogitsLoss({ posWeight: floats([3], [1, 2, 3]) }),
    inputs: () => [x([2, 3]), floats([2, 3], wave([2, 3], 3, 0, 1), true)],
  },
  "l1Loss": {
    module: () => nn.l1Loss({ reduction: "sum" }),
    inputs: () => [x([2, 3]), x([2, 3], 3)],
  },
  "smoothL1Loss": {
    module: () => nn.smoothL1Loss({ beta: 0.7 }),
    inputs: () => [x([2, 3]), x([2, 3], 3)],
  },
  "huberLoss": {
    module: () => nn.huberLoss({ delta: 0.7 }),
    inputs: () => [x([2, 3]), x([2, 3], 3)],
  },
  "bceLoss": {
    module: () => nn.bceLoss(),
    inputs: () => [
      floats([2, 3], wave([2, 3], 1, 0, 1), true),
      floats([2, 3], wave([2, 3], 3, 0, 1), true),
    ],
  },
  "klDivLoss": {
    module: () => nn.klDivLoss({ reduction: "batchmean" }),
    inputs: () => [x([2, 3]), floats([2, 3], wave([2, 3], 3, 0, 1), true)],
  },
  "hingeEmbeddingLoss": {
    module: () => nn.hingeEmbeddingLoss({ margin: 0.5 }),
    inputs: () => [x([4]), ints([4], 1, -1, 1, -1)],
  },
  "softMarginLoss": {
    module: () => nn.softMarginLoss(),
    inputs: () => [x([4]), ints([4], 1, -1, 1, -1)],
  },
  "multiMarginLoss": {
    module: () => nn.multiMarginLoss({ p: 2, margin: 0.7 }),
    inputs: () => [x([2, 3]), ints([2], 0, 2)],
  },
  "poissonNllLoss": {
    module: () => nn.poissonNllLoss({ full: true }),
    inputs: () => [x([4]), floats([4], wave([4], 3, 0, 5), true)],
  },
  "gaussianNllLoss": {
    module: () => nn.gaussianNllLoss(),
    inputs: () => [
      x([4]),
      x([4], 3),
      floats([4], wave([4], 3, 0.5, 2), true),
    ],
  },
  "marginRankingLoss": {
    module: () => nn.marginRankingLoss({ margin: 0.3 }),
    inputs: () => [x([4]), x([4], 3), ints([4], 1, -1, 1, -1)],
  },
  "ctcLoss": {
    module: () => {
      const loss = nn.ctcLoss({ blank: 2 });
      return new class extends nn.Module<nn.CtcInputs> {
        forward(...[scores, ...rest]: nn.CtcInputs): Tensor {
          return loss.forward(scores.logSoftmax(-1), ...rest);
        }
      }();
    },
    inputs: () => [x([5, 2, 3]), ints([2, 2], 0, 1, 1, 0), [5, 4], [2, 1]],
  },
  "tripletMarginLoss": {
    module: () => nn.tripletMarginLoss({ margin: 2 }),
    inputs: () => [x([2, 3]), x([2, 3], 3), x([2, 3], 5)],
  },
  "cosineEmbeddingLoss": {
    module: () => nn.cosineEmbeddingLoss({ margin: 0.2 }),
    inputs: () => [x([2, 3]), x([2, 3], 3), ints([2], 1, -1)],
  },
};

const activations: Record<string, () => nn.Module> = {
  "relu": () => nn.relu(),
  "relu6": () => nn.relu6(),
  "leakyRelu": () => nn.leakyRelu({ slope: 0.2 }),
  "elu": () => nn.elu({ alpha: 0.7 }),
  "selu": () => nn.selu(),
  "celu": () => nn.celu({ alpha: 0.7 }),
  "gelu": () => nn.gelu(),
  "gelu tanh": () => nn.gelu({ approximate: "tanh" }),
  "silu": () => nn.silu(),
  "mish": () => nn.mish(),
  "sigmoid": () => nn.sigmoid(),
  "logSigmoid": () => nn.logSigmoid(),
  "tanh": () => nn.tanh(),
  "tanhShrink": () => nn.tanhShrink(),
  "softplus": () => nn.softplus({ beta: 2 }),
  "softsign": () => nn.softsign(),
  "hardTanh": () => nn.hardTanh({ min: -0.5, max: 1.5 }),
  "hardSigmoid": () => nn.hardSigmoid(),
  "hardSwish": () => nn.hardSwish(),
  "hardShrink": () => nn.hardShrink({ lambd: 0.7 }),
  "softShrink": () => nn.softShrink({ lambd: 0.7 }),
  "threshold": () => nn.threshold(0.1, -2),
  "softmax": () => nn.softmax(),
  "softmin": () => nn.softmin(0),
  "logSoftmax": () => nn.logSoftmax(),
};
for (const [name, module] of Object.entries(activations)) {
  cases[name] = { module, inputs: () => [x([2, 4])] };
}

Deno.test("every golden module is compared", () => {
  assertEquals(Object.keys(cases), rows.map((row) => row.name));
});

for (const row of rows) {
  Deno.test(`${row.name} is PyTorch's`, () => {
    for (const type of ["f64", "f32"] as const) {
      dtype = type;
      compare(row, cases[row.name]);
    }
  });
}
