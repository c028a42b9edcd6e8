/** Modules against PyTorch's. */

import { assertEquals } from "@std/assert";
import * as nn from "../nn/mod.ts";
import { type Case, compare, rows, x } from "./nn_golden.ts";
import { layers } from "./nn_golden_layers.ts";
import { losses } from "./nn_golden_losses.ts";

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
const cases: Record<string, Case> = { ...layers, ...losses };
for (const [name, module] of Object.entries(activations)) {
  cases[name] = { module, inputs: () => [x([2, 4])] };
}

Deno.test("every golden module is compared", () => {
  assertEquals(Object.keys(cases), rows.map((row) => row.name));
});

for (const row of rows) {
  Deno.test(`${row.name} is PyTorch's`, () => {
    for (const type of ["f64", "f32"] as const) {
      compare(row, cases[row.name], type);
    }
  });
}
