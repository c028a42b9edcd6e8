/** What all modules share: names, state dicts, modes, conversion, memory. */

import { assert, assertEquals, assertThrows } from "@std/assert";
import { fromHost, memory, noGrad, scope, type Tensor } from "../mod.ts";
import * as nn from "../nn/mod.ts";
import * as optim from "../optim/mod.ts";
import { liveBytes } from "./live_bytes.ts";

function tensor(shape: number[], ...data: number[]): Tensor {
  return fromHost(Float32Array.from(data), "f32", shape);
}

function values(x: Tensor): number[] {
  return Array.from(x.data(), Number);
}

class Net extends nn.Module {
  firstLayer = nn.linear(2, 3);
  blocks = [nn.linear(3, 3), nn.linear(3, 3)];
  named = nn.moduleDict({ keepThisName: nn.linear(1, 1, { bias: false }) });
  listed = nn.moduleList([nn.identity(), nn.linear(3, 1)]);
  scale = nn.parameter(tensor([1], 2));
  runningCount = nn.buffer(tensor([1], 0));
  scratchPad = nn.buffer(tensor([1], 5), { saved: false });
  passing = tensor([1], 1);

  forward(x: Tensor): Tensor {
    x = this.firstLayer.forward(x);
    for (const block of this.blocks) x = block.forward(x);
    for (const module of this.listed) x = module.forward(x);
    return x.mul(this.scale);
  }
}

const names = [
  "scale",
  "running_count",
  "first_layer.weight",
  "first_layer.bias",
  "blocks.0.weight",
  "blocks.0.bias",
  "blocks.1.weight",
  "blocks.1.bias",
  "named.keepThisName.weight",
  "listed.1.weight",
  "listed.1.bias",
];

Deno.test("names are the paths of properties in snake_case", () => {
  const net = new Net();
  assertEquals(Object.keys(net.stateDict()), names);
  assertEquals(
    net.namedParameters().map(([name]) => name),
    names.filter((name) => name !== "running_count"),
  );
  assertEquals(net.namedBuffers().map(([name]) => name), [
    "running_count",
    "scratch_pad",
  ]);
  assertEquals(net.parameterCount(), 1 + 9 + 12 + 12 + 1 + 4);
  assertEquals(Array.from(net.namedModules(), ([name]) => name), [
    "",
    "first_layer",
    "blocks.0",
    "blocks.1",
    "named",
    "named.keepThisName",
    "listed",
    "listed.0",
    "listed.1",
  ]);
});

Deno.test("a state dict makes two modules equal", () => {
  const one = new Net(), two = new Net();
  const x = tensor([2, 2], 1, -2, 3, 0.5);
  const before = values(two.forward(x));
  two.loadStateDict(one.stateDict());
  assertEquals(values(two.forward(x)), values(one.forward(x)));
  assert(values(two.forward(x)).some((v, i) => v !== before[i]));
  // The elements were copied: training one leaves the other.
  const [[, first]] = one.namedParameters();
  const optimizer = optim.sgd([first], { lr: 1 });
  first.grad = tensor([1], 1);
  optimizer.step();
  assertEquals([values(one.scale), values(two.scale)], [[1], [2]]);
});

Deno.test("loading says what is missing, unexpected or of another shape, and changes nothing", () => {
  const net = new Net();
  const good = { ...net.stateDict() };
  const start = values(net.scale);
  const load = (state: nn.StateDict, options?: nn.LoadOptions) => () =>
    net.loadStateDict(state, options);

  const { "first_layer.weight": weight, ...rest } = good;
  rest.scale = tensor([1], 9);
  assertThrows(
    load({ ...rest, "firstlayer.weight": weight }),
    TypeError,
    `Cannot load a state dict into Net: missing "first_layer.weight" (nearest: "firstlayer.weight"), unexpected "firstlayer.weight" (nearest: "first_layer.weight"); pass { strict: false } to load what fits`,
  );
  assertThrows(load({}), TypeError, "6 more missing");
  assertThrows(
    load({
      ...good,
      scale: tensor([2], 9, 9),
      "blocks.0.bias": tensor([1], 1),
    }),
    TypeError,
    `"scale" has shape [2] and must have [1], "blocks.0.bias" has shape [1] and must have [3]`,
  );
  assertThrows(
    load({ scale: tensor([2], 9, 9) }, { strict: false }),
    TypeError,
    `"scale" has shape [2]`,
  );
  assertEquals(values(net.scale), start);

  const report = load({ ...rest, more: weight }, { strict: false })();
  assertEquals(report, {
    missing: ["first_layer.weight"],
    unexpected: ["more"],
  });
  assertEquals(values(net.scale), [9]);
});

Deno.test("a shared parameter is trained once and saved under each name", () => {
  class Tied extends nn.Module {
    embedding = nn.embedding(4, 2);
    head = nn.linear(2, 4, { bias: false });
    constructor() {
      super();
      (this.head as { weight: Tensor }).weight = this.embedding.weight;
    }
    forward(index: Tensor): Tensor {
      return this.head.forward(this.embedding.forward(index));
    }
  }
  const tied = new Tied();
  assertEquals(tied.namedParameters().map(([name]) => name), [
    "embedding.weight",
  ]);
  assertEquals(Object.keys(tied.stateDict()), [
    "embedding.weight",
    "head.weight",
  ]);
  assertEquals(optim.sgd(tied).groups[0].parameters.length, 1);
});

Deno.test("train and eval reach every module", () => {
  const net = new Net();
  net.eval();
  assert(net.modules().every((m) => !m.training));
  net.train();
  assert(net.modules().every((m) => m.training));
});

Deno.test("dropout acts in training only", () => {
  const x = tensor([1000], ...Array(1000).fill(1));
  const module = nn.dropout(0.25);
  const kept = values(module.forward(x)).filter((v) => v !== 0);
  assert(kept.every((v) => Math.abs(v - 4 / 3) < 1e-6));
  assert(Math.abs(kept.length - 750) < 70); // five standard deviations
  assertEquals(module.eval().forward(x), x);
  const planes = fromHost(new Float32Array(400).fill(1), "f32", [10, 10, 2, 2]);
  const dropped = values(nn.dropout2d(0.5).forward(planes));
  for (let c = 0; c < 100; c++) {
    const plane = dropped.slice(4 * c, 4 * c + 4);
    assert(plane.every((v) => v === plane[0]) && [0, 2].includes(plane[0]));
  }
  assert(new Set(dropped).size === 2);
  assertThrows(
    () => nn.dropout2d().forward(x),
    TypeError,
    "[batch, channels, extent, extent]",
  );
});

Deno.test("conversion keeps the identity of parameters", () => {
  const module = nn.linear(2, 2);
  const { weight } = module;
  const optimizer = optim.sgd(module, { lr: 0 });
  const before = values(weight);
  module.to("f64");
  assert(module.weight === weight);
  assertEquals([weight.dtype, module.bias!.dtype], ["f64", "f64"]);
  assertEquals(values(weight), before);
  assertEquals(values(module.to({ dtype: "f32" }).weight), before);
  weight.grad = tensor([2, 2], 1, 1, 1, 1);
  optimizer.step();
  assertEquals(module.to("cpu").weight.dtype, "f32");
  assertThrows(() => module.to("f23"), RangeError, `"f23"`);
  assertThrows(() => module.to("i32"), RangeError, "floating-point");
  assertThrows(() => module.to({ dtype: "f23" as never }), RangeError, "f23");
});

Deno.test("freezing, gradients and application", () => {
  const net = nn.sequential(nn.linear(2, 2), nn.relu(), nn.linear(2, 1));
  net.requiresGrad(false);
  assert(net.parameters().every((p) => !p.requiresGrad));
  net.requiresGrad(true);
  net.forward(tensor([1, 2], 1, 2)).sum().backward();
  assert(net.parameters().every((p) => p.grad !== undefined));
  net.zeroGrad();
  assert(net.parameters().every((p) => p.grad === undefined));
  const seen: string[] = [];
  net.apply((module) => {
    seen.push(module.constructor.name);
    if (module instanceof nn.Linear) nn.init.ones(module.weight);
  });
  assertEquals(seen, ["Linear", "Functional", "Linear", "Sequential"]);
  assert(values(net.parameters()[0]).every((v) => v === 1));
});

Deno.test("a tree prints as PyTorch's does", () => {
  const net = nn.sequential(
    nn.conv2d(1, 2, 3, { padding: 1 }),
    nn.sequential(nn.relu(), nn.leakyRelu({ slope: 0.2 })),
  );
  assertEquals(
    `${net}`,
    `Sequential(
  (0): Conv2d(inChannels=1, outChannels=2, kernel=[3,3], padding=1)
  (1): Sequential(
    (0): ReLU()
    (1): LeakyReLU(slope=0.2)
  )
)`,
  );
});

Deno.test("without gradients a module frees its intermediates", () => {
  const net = nn.sequential(
    nn.linear(4, 8),
    nn.relu(),
    nn.dropout(0.5),
    nn.linear(8, 2),
    nn.identity(),
  ).eval();
  const x = tensor([1, 4], 1, 2, 3, 4);
  const before = memory().tensors;
  noGrad(() => {
    const y = net.forward(x);
    assertEquals(memory().tensors, before + 1);
    y.dispose();
    // What a module returns unchanged still belongs to whoever made it.
    scope(() => nn.identity().forward(x));
  });
  assert(!x.disposed);
  assertEquals(memory().tensors, before);
});

Deno.test("training steps leave nothing behind", () => {
  const net = nn.sequential(
    nn.conv2d(1, 2, 3),
    nn.maxPool2d(2),
    nn.flatten(),
    nn.linear(8, 3),
  );
  const x = fromHost(new Float32Array(72).fill(0.5), "f32", [2, 1, 6, 6]);
  using optimizer = optim.momentumSgd(net, { lr: 0.01 });
  const seen: number[] = [];
  for (let n = 0; n < 12; n++) {
    scope(() => {
      const y = net.forward(x);
      y.mul(y).sum().backward();
    });
    optimizer.step();
    optimizer.zeroGrad();
    seen.push(liveBytes());
  }
  assertEquals(seen.slice(3), Array(9).fill(seen[2]));
});

Deno.test("disposing a module frees its parameters", () => {
  const before = memory();
  {
    using _net = new Net();
    assert(memory().tensors > before.tensors);
  }
  // `passing` is no state of the module.
  assertEquals(memory().tensors, before.tensors + 1);
});

Deno.test("dropout may leave out nothing, or everything", () => {
  const x = tensor([3], 1, 1, 1);
  assertEquals(nn.dropout(0).forward(x).toArray(), [1, 1, 1]);
  assertEquals(nn.dropout(1).forward(x).toArray(), [0, 0, 0]);
});

Deno.test("bad modules are refused", () => {
  const bad: [() => unknown, new () => Error, string][] = [
    [
      () => nn.linear(0, 3),
      RangeError,
      "Cannot make a Linear with inFeatures 0: it must be a whole number of at least 1",
    ],
    [
      () => nn.linear("2" as unknown as number, 3),
      RangeError,
      'inFeatures "2": it must be a whole number',
    ],
    [() => nn.lstm(3, 0), RangeError, "Cannot make an LSTM with hiddenSize 0"],
    [() => nn.conv2d(3, 4, 0), RangeError, "kernel 0"],
    [() => nn.conv2d(3, 4, [3, 3, 3]), RangeError, "kernel [3, 3, 3]"],
    [() => nn.conv2d(3, 4, 3, { groups: 2 }), RangeError, "2 groups"],
    [() => nn.dropout(1.5), RangeError, "probability 1.5"],
    [() => nn.lstm(2, 2, { layers: 0 }), RangeError, "layers 0"],
    [() => nn.gru(2, 2, { dropout: -1 }), RangeError, "probability -1"],
    [() => nn.multiheadAttention(5, 2), RangeError, "width 5 with 2 heads"],
    [() => nn.embedding(3, 2, { paddingIdx: 3 }), RangeError, "padding row 3"],
    [() => nn.sequential(3 as never), TypeError, "layer 0 is of type number"],
    [
      () => nn.parameter(fromHost(new Int32Array(1), "i32", [1])),
      TypeError,
      "dtype i32",
    ],
    [() => nn.moduleList().forward(), TypeError, "Cannot call a ModuleList"],
    [() => nn.moduleDict().forward(), TypeError, "Cannot call a ModuleDict"],
    [
      () => nn.conv2d(1, 1, 3).forward(tensor([2, 2], 1, 2, 3, 4)),
      TypeError,
      "Cannot apply Conv2d to a tensor of shape [2, 2]: it takes [batch, channels, extent, extent]",
    ],
    [
      () => nn.maxPool1d(2).forward(tensor([2], 1, 2)),
      TypeError,
      "MaxPool1d",
    ],
    [
      () => nn.lstm(3, 2).forward(tensor([1, 1, 2], 1, 2)),
      TypeError,
      "it takes [time, batch, 3]",
    ],
    [
      () => nn.gruCell(3, 2).forward(tensor([1, 2], 1, 2)),
      TypeError,
      "it takes [batch, 3]",
    ],
    [
      () => nn.multiheadAttention(2, 1).forward(tensor([1, 2], 1, 2)),
      TypeError,
      "takes [time, batch, 2]",
    ],
  ];
  for (const [make, kind, said] of bad) assertThrows(make, kind, said);
});

Deno.test("lists and dictionaries of modules", () => {
  const list = nn.moduleList([nn.linear(1, 2)]);
  list.push(nn.linear(2, 1));
  assertEquals([list.length, list.at(-1)!.weight.shape], [2, [1, 2]]);
  const dict = nn.moduleDict({ a: nn.linear(1, 2) });
  dict.set("b", nn.linear(2, 3));
  assertEquals(dict.get("b")!.weight.shape, [3, 2]);
  assertEquals([...dict.entries()].map(([name]) => name), ["a", "b"]);
});
