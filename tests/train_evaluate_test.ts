/** Measuring a model on a data set. */

import { assert, assertEquals, assertRejects } from "@std/assert";
import "../mod.ts";
import * as nn from "../nn/mod.ts";
import { evaluate } from "../train/evaluate.ts";
import { fit } from "../train/fit.ts";
import {
  accuracy,
  confusionMatrix,
  perplexity,
  topK,
} from "../train/metrics.ts";
import { crossEntropy, fromHost } from "../mod.ts";
import { data, network, setUp } from "./train_points.ts";

Deno.test("evaluate puts modes and metrics back, also when it fails", async () => {
  const model = nn.sequential(
    nn.linear(2, 4),
    nn.dropout(0.5),
    nn.linear(4, 2),
  );
  const [first, dropout] = model.children();
  first.training = false;
  const modes = () => [model, first, dropout].map(({ training }) => training);
  const metric = accuracy();
  const ones = fromHost(Float32Array.of(1, 0), "f32", [1, 2]);
  metric.update(ones, fromHost(Int32Array.of(0), "i32", [1]), 0);
  await evaluate(model, data.test, { metrics: [metric] });
  assertEquals([modes(), metric.value()], [[true, false, true], 1]);
  const progress = () => {
    assertEquals(modes(), [false, false, false]);
    throw new Error("halt");
  };
  const halted = evaluate(model, data.test, { metrics: [metric], progress });
  await assertRejects(() => halted, Error, "halt");
  assertEquals([modes(), metric.value()], [[true, false, true], 1]);
});

Deno.test("evaluate records nothing", async () => {
  const seen: boolean[] = [];
  await evaluate(network(), data.test, {
    loss: (output, targets) => {
      seen.push(output.requiresGrad);
      return crossEntropy(output, targets);
    },
  });
  assertEquals(seen, [false]);
});

Deno.test("evaluate and fit refuse two metrics of one name", async () => {
  const { model, options } = setUp();
  const metrics = [topK(1), { ...accuracy(), name: "top1" }];
  const said = 'two metrics or callbacks called "top1"';
  await assertRejects(
    () => evaluate(model, data.test, { metrics }),
    TypeError,
    said,
  );
  const fitting = () => fit(model, data, { ...options, metrics });
  await assertRejects(fitting, TypeError, said);
});

Deno.test("evaluate measures everything once, whatever the batch size", async () => {
  const model = network();
  const metrics = [accuracy(), topK(2), perplexity(), confusionMatrix(2)];
  const a = await evaluate(model, data.test, { metrics, batchSize: 7 });
  const b = await evaluate(model, data.test, { metrics });
  for (const [name, value] of Object.entries(b)) {
    assert(Math.abs(a[name] - value) < 1e-6, `${name} ${a[name]} ${value}`);
  }
  assertEquals(b.top2, 1);
  assert(Math.abs(b.perplexity - Math.exp(b.loss)) < 1e-9);
});
