/**
 * Language models on the CUDA device, on the stand-in libraries: one training
 * step gives what it gives on the CPU, dropout included, and attention and
 * recurrent layers are single calls of cuDNN.
 */

import { assert, assertEquals } from "@std/assert";
import { autocast, scope } from "../mod.ts";
import { closeDevice } from "../core/device.ts";
import { manualSeed } from "../core/random.ts";
import { fromHost } from "../core/tensor.ts";
import { charRnn } from "../models/char_rnn.ts";
import { gpt } from "../models/gpt.ts";
import type { Module } from "../nn/module.ts";
import { crossEntropy } from "../ops/loss.ts";
import { cast, reshape } from "../ops/foundation.ts";
import { cudaHost } from "./cuda_host/mod.ts";

const host = await cudaHost();

const vocabulary = 11;

/** Loss and gradients of one step. */
function step(make: () => Module, device: string) {
  manualSeed(1);
  const model = make().to(device).train();
  manualSeed(2);
  const tokens = Int32Array.from(
    { length: 16 },
    (_, i) => (7 * i) % vocabulary,
  );
  return scope(() => {
    const index = fromHost(tokens, "i32", [2, 8], { device });
    const loss = autocast("bf16", () => {
      const scores = reshape(model.forward(index), [16, vocabulary]);
      return crossEntropy(scores, reshape(index, [16]));
    });
    loss.backward();
    const gradients = [...model.namedParameters()].map(([name, p]) => ({
      name,
      values: [...cast(p.grad!, "f32").data() as Float32Array],
    }));
    for (const [, p] of model.namedParameters()) {
      p.grad!.dispose();
      p.dispose();
    }
    return { loss: loss.item() as number, gradients };
  });
}

const models = {
  gpt: {
    make: () =>
      gpt({
        vocabulary,
        context: 8,
        layers: 2,
        heads: 2,
        width: 16,
        dropout: 0.1,
      }),
    // Two layers, each way.
    calls: { cudnnBackendExecute: 4 },
  },
  charRnn: {
    make: () =>
      charRnn({
        vocabulary,
        embedding: 8,
        hidden: 16,
        layers: 2,
        dropout: 0.2,
      }),
    // Layers apart, for dropout stands between them.
    calls: {
      cudnnRNNForward: 2,
      cudnnRNNBackwardData_v8: 2,
      cudnnRNNBackwardWeights_v8: 2,
    },
  },
};

for (const [name, { make, calls }] of Object.entries(models)) {
  Deno.test({
    name: `a training step of ${name} in bf16 is that of the CPU${
      host.absent === undefined ? "" : ` (${host.absent})`
    }`,
    ignore: host.absent !== undefined,
    fn() {
      if (host.absent !== undefined) return;
      host.reset();
      const expected = step(make, "cpu");
      const actual = step(make, "cuda");
      const made = host.calls();
      closeDevice("cuda");
      assertEquals(host.violations(), []);
      assertEquals(host.leaks(), []);
      for (const [call, count] of Object.entries(calls)) {
        assertEquals(made.filter((n) => n === call).length, count, call);
      }
      const off = Math.abs(actual.loss - expected.loss);
      assert(off < 1e-3, `loss ${actual.loss}, not ${expected.loss}`);
      actual.gradients.forEach(({ name, values }, n) => {
        const wanted = expected.gradients[n].values;
        const largest = Math.max(...wanted.map(Math.abs));
        values.forEach((value, i) =>
          assert(
            Math.abs(value - wanted[i]) <= 0.03 * largest,
            `${name}[${i}] is ${value}, not ${wanted[i]}`,
          )
        );
      });
    },
  });
}
