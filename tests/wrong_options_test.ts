/** Options that there are not, and what is no options object, are refused, as types would refuse them. */

import { assertEquals, assertThrows } from "@std/assert";
import {
  data,
  full,
  fullLike,
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
const [n, o, d, t]: any[] = [nn, optim, data, train];
// deno-lint-ignore no-explicit-any
const make: any = tensor;

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
