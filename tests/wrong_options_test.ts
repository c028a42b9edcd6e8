/** Options that there are not, and what is no options object, are refused, as types would refuse them. */

import { assertEquals, assertRejects, assertThrows } from "@std/assert";
import {
  data,
  full,
  fullLike,
  gradients,
  models,
  nanToNum,
  nn,
  optim,
  pad,
  rand,
  tensor,
  train,
} from "../mod.ts";

// Without a type check: as a script runs.
// deno-lint-ignore no-explicit-any
const [n, o, d, t, m]: any[] = [nn, optim, data, train, models];
// deno-lint-ignore no-explicit-any
const make: any = tensor;
// deno-lint-ignore no-explicit-any
const gradientsOf: any = gradients;

// deno-lint-ignore no-explicit-any
function scalar(): any {
  return tensor([1], { dtype: "f32", requiresGrad: true }).sum();
}

function w() {
  return rand([2, 3]);
}

function layer() {
  return nn.transformerEncoderLayer(8, 2);
}

/** What is written, and what the sentence must say. */
const wrong: [name: string, call: () => unknown, says: string][] = [
  ["linear", () => n.linear(2, 3, { biass: false }), "did you mean bias?"],
  ["linear", () => n.linear(2, 3, false), "with false for options"],
  ["bilinear", () => n.bilinear(2, 3, 4, { b: 1 }), "the option b"],
  ["conv2d", () => n.conv2d(3, 4, 3, { strid: 2 }), "did you mean stride?"],
  ["conv2d", () => n.conv2d(3, 4, 3, 2), "with 2 for options"],
  [
    "convTranspose1d",
    () => n.convTranspose1d(3, 4, 3, { output_padding: 1 }),
    "did you mean outputPadding?",
  ],
  ["batchNorm2d", () => n.batchNorm2d(3, { epsilon: 1 }), "option epsilon"],
  [
    "instanceNorm1d",
    () => n.instanceNorm1d(3, { affin: true }),
    "did you mean affine?",
  ],
  ["layerNorm", () => n.layerNorm(3, { biass: false }), "did you mean bias?"],
  ["rmsNorm", () => n.rmsNorm(3, 1e-5), "for options"],
  ["groupNorm", () => n.groupNorm(1, 3, { bias: false }), "option bias"],
  ["embedding", () => n.embedding(3, 4, { padding_idx: 1 }), "paddingIdx?"],
  ["embeddingBag", () => n.embeddingBag(3, 4, { mod: "sum" }), "mode?"],
  ["prelu", () => n.prelu(5), "with 5 for options"],
  ["dropout", () => n.dropout(0.5, true), "with true for options"],
  ["lstm", () => n.lstm(3, 4, { numLayers: 2 }), "did you mean layers?"],
  ["gru", () => n.gru(3, 4, { nonlinearity: "relu" }), "nonlinearity"],
  ["rnn", () => n.rnn(3, 4, { nonlinear: "relu" }), "nonlinearity?"],
  ["lstmCell", () => n.lstmCell(3, 4, false), "with false for options"],
  [
    "multiheadAttention",
    () => n.multiheadAttention(8, 2, { batch_first: true }),
    "did you mean batchFirst?",
  ],
  [
    "transformerEncoderLayer",
    () => n.transformerEncoderLayer(8, 2, { dimFeedForward: 4 }),
    "did you mean feedForward?",
  ],
  ["transformerEncoder", () => n.transformerEncoder(layer(), 2), "an array"],
  ["transformerDecoder", () => n.transformerDecoder([]), "an array"],
  ["crossEntropyLoss", () => n.crossEntropyLoss(0.1), "with 0.1 for options"],
  [
    "crossEntropyLoss",
    () => n.crossEntropyLoss({ labelSmoothin: 0.1 }),
    "make a CrossEntropyLoss with the option labelSmoothin: there is weight, reduction, ignoreIndex, labelSmoothing; did you mean labelSmoothing?",
  ],
  ["mseLoss", () => n.mseLoss({ reduction: "avg" }), 'reduction "avg"'],
  ["ctcLoss", () => n.ctcLoss({ blnk: 1 }), "make a CTCLoss"],
  [
    "tripletMarginLoss",
    () => n.tripletMarginLoss("sum"),
    'make a TripletMarginLoss with "sum" for options',
  ],
  ["gelu", () => n.gelu("tanh"), 'make a GELU with "tanh" for options'],
  ["gelu", () => n.gelu({ approximate: "quick" }), '"none", "tanh"'],
  ["leakyRelu", () => n.leakyRelu(0.2), "a LeakyReLU with 0.2 for options"],
  ["elu", () => n.elu({ alph: 1 }), "make an ELU with the option alph"],
  ["hardTanh", () => n.hardTanh(0, 6), "with 0 for options"],
  ["softmax", () => n.softmax("rows"), 'axis "rows"'],
  ["threshold", () => n.threshold("a", 1), 'threshold "a"'],
  ["glu", () => n.glu("last"), 'axis "last"'],
  ["maxPool2d", () => n.maxPool2d(2, 2), "make a MaxPool2d with 2 for options"],
  ["maxPool2d", () => n.maxPool2d(2, { kernel: 3 }), "the option kernel"],
  ["avgPool1d", () => n.avgPool1d(2, { strid: 2 }), "did you mean stride?"],
  ["lpPool2d", () => n.lpPool2d(2, 3, { padding: 1 }), "an LPPool2d"],
  ["upsample", () => n.upsample({ scale: 2, size: 4 }), "the option scale"],
  ["upsample", () => n.upsample(), "either size or scaleFactor"],
  ["pad", () => n.pad([1, 1], { mode: "mirror" }), '"replicate"'],
  ["unfold", () => n.unfold(2, 1), "make an Unfold with 1 for options"],
  ["flatten", () => n.flatten("1"), 'start "1"'],
  [
    "localResponseNorm",
    () => n.localResponseNorm(3, 0.5),
    "with 0.5 for options",
  ],
  [
    "backward",
    () => scalar().backward({ retain_graph: true }),
    "with the option retain_graph: there is seed, retainGraph, createGraph; did you mean retainGraph?",
  ],
  ["backward", () => scalar().backward(scalar()), "for options"],
  ["gradients", () => gradientsOf(scalar(), [], { create: 1 }), "createGraph"],
  ["init.normal", () => n.init.normal(w(), 0, 1, 7), "with 7 for options"],
  ["init.xavierUniform", () => n.init.xavierUniform(w(), 2), "generator, gain"],
  [
    "init.kaimingNormal",
    () => n.init.kaimingNormal(w(), { mode: "fan_out" }),
    '"fanOut"',
  ],
  [
    "init.kaimingNormal",
    () => n.init.kaimingNormal(w(), { nonlinearity: "gelu" }),
    "the gain of",
  ],
  ["init.truncNormal", () => n.init.truncNormal(w(), { max: 1 }), "high"],
  ["mlp", () => m.mlp({ hiden: [3] }), "make an Mlp with the option hiden"],
  ["lenet", () => m.lenet({ class: 3 }), "did you mean classes?"],
  ["gpt", () => m.gpt({ vocabulary: 3, contxt: 4 }), "did you mean context?"],
  ["charRnn", () => m.charRnn({ vocabulary: 3, unit: 4 }), "hidden"],
  ["resnet18", () => m.resnet18({ channel: 1 }), "did you mean channels?"],
  ["sgd", () => o.sgd(nn.linear(2, 3), 0.1), "with 0.1 for options"],
  ["tensor", () => make([1], "f64"), 'with "f64" for options'],
  ["tensor", () => make([1], { requires_grad: true }), "requiresGrad?"],
  [
    "loader",
    () => {
      const x = { data: new Float32Array(4), shape: [4], dtype: "f32" };
      return new d.DataLoader(d.arrayDataset(x, x), {
        batchSize: 2,
        shufle: true,
      });
    },
    "did you mean shuffle?",
  ],
  ["earlyStopping", () => t.earlyStopping({ patient: 2 }), "patience?"],
  ["gradScaler", () => new t.GradScaler({ scale: 2 }), "initScale"],
  ["progressDisplay", () => t.progressDisplay({ units: "images" }), "unit?"],
  ["tracing", () => t.tracing("trace.json", { step: 2 }), "mean steps?"],
  ["ema", () => o.ema(nn.linear(1, 1), { decai: 0.9 }), "mean decay?"],
  [
    "clipGradNorm",
    () => o.clipGradNorm(nn.linear(1, 1), 1, { norm: 2 }),
    "the option norm",
  ],
  ["textWindows", () => d.textWindows(new Int32Array(9), { block: 2 }), "cut"],
  ["ImageFolder", () => new d.ImageFolder({}, { chanels: 1 }), "channels?"],
  ["transforms.pad", () => d.transforms.pad(1, { mod: "edge" }), "mean mode?"],
  ["randomCrop", () => d.transforms.randomCrop(2, { pad: 1 }), "padding"],
  [
    "randomResizedCrop",
    () => d.transforms.randomResizedCrop(2, { scal: [0.5, 1] }),
    "make the transform randomResizedCrop with the option scal: there is scale, ratio; did you mean scale?",
  ],
  [
    "randomRotation",
    () => d.transforms.randomRotation(9, { expand: true }),
    "the option expand",
  ],
  [
    "colorJitter",
    () => d.transforms.colorJitter(0.4),
    "with 0.4 for options",
  ],
  [
    "transformFrom",
    () => d.transforms.transformFrom(["colorJitter", { color: 1 }]),
    "the option color",
  ],
];

for (const [name, call, says] of wrong) {
  Deno.test(`${name} refuses: ${says}`, () => {
    assertThrows(call, TypeError, says);
  });
}

Deno.test("fit refuses an option that there is not", async () => {
  const model = nn.linear(1, 2);
  const optimizer = optim.sgd(model);
  let said = "";
  try {
    await t.fit(model, undefined, { optimizer, epoch: 2 });
  } catch (error) {
    said = String(error);
  }
  assertEquals(said.includes("did you mean epochs?"), true, said);
});

/** What is written where a promise comes back, and what the sentence must say. */
const refusedLater: [
  name: string,
  call: () => Promise<unknown>,
  says: string,
][] = [
  ["evaluate", () => t.evaluate(nn.identity(), [], { batch: 2 }), "batchSize"],
  ["parseCsv", () => d.parseCsv("a\n1", { headers: true }), "mean header?"],
  ["mnist", () => d.mnist({ foldr: "." }), "mean folder?"],
  ["RunLog", () => t.RunLog.create("/nowhere", {}, { board: 1 }), "board"],
];

for (const [name, call, says] of refusedLater) {
  Deno.test(`${name} refuses: ${says}`, async () => {
    await assertRejects(call, TypeError, says);
  });
}

Deno.test("an option of −0 is not taken for a default of 0", () => {
  const x = rand([1]);
  for (
    const result of [
      full([1], -0, { dtype: "f32" }),
      full([1], -0, { dtype: "f64" }),
      fullLike(x, -0),
      nanToNum(tensor([NaN]), { nan: -0 }),
      x.maskedFill(tensor([true]), -0),
      pad(x, [0, 1], { value: -0 }).narrow(0, 1, 1),
    ]
  ) assertEquals(result.cast("f64").reciprocal().item(), -Infinity);
});
