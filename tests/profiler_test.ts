/** The profiler: what it sees of a training step, and the trace that viewers open. */

import { assert, assertEquals } from "@std/assert";
import { slicesOf } from "./trace_checks.ts";
import {
  backward,
  crossEntropy,
  data,
  getDevice,
  memory,
  models,
  nn,
  optim,
  Profiler,
  rand,
  randint,
  scope,
  train,
} from "../mod.ts";

Deno.test("profiler: operators, launches and library calls of a step, in order", () => {
  const model = models.lenet();
  const optimizer = optim.sgd(model, { lr: 0.01 });
  const x = rand([2, 1, 28, 28]), y = randint(0, 10, [2]);
  const before = memory().tensors;
  const profiler = new Profiler();
  scope(() => {
    const loss = crossEntropy(model.forward(x), y);
    optimizer.zeroGrad();
    backward(loss);
    optimizer.step();
  });
  const profile = profiler.stop();
  slicesOf(profile.trace(), () => false);
  const { events } = profile;
  const names = (kind: string) =>
    events.filter((e) => e.kind === kind).map((e) => e.name);
  assert(names("operator").includes("crossEntropy"));
  assert(names("host").includes("conv"));
  assert(names("host").includes("matmul"));
  assert(names("host").some((name) => name.startsWith("update sgd")));
  assert(events.every((e, i) => i === 0 || events[i - 1].start <= e.start));
  assert(events.every((e) => e.duration >= 0));
  // An operator's time holds that of what it calls.
  const named = (kind: string) =>
    events.find((e) => e.name === "conv" && e.kind === kind)!;
  const conv = named("operator"), call = named("host");
  assert(conv.start <= call.start);
  assert(conv.start + conv.duration >= call.start + call.duration);
  for (const p of model.parameters()) {
    p.grad?.dispose();
    p.grad = undefined;
  }
  assertEquals(memory().tensors, before);
});

Deno.test("profiler: nothing is watched before and after", () => {
  const device = getDevice("cpu");
  const profiler = new Profiler();
  assert(Object.hasOwn(device, "launch"));
  profiler.stop();
  assert(!Object.hasOwn(device, "launch"));
  const count = profiler.stop().events.length;
  scope(() => rand([4]).relu().data());
  assertEquals(profiler.stop().events.length, count);
});

Deno.test("profiler: an error on the way is passed on and timed", () => {
  using profiler = new Profiler();
  let failed = false;
  try {
    scope(() => rand([2, 3]).matmul(rand([4, 5])));
  } catch {
    failed = true;
  }
  assert(failed);
  assert(profiler.stop().events.some((e) => e.name === "matmul"));
});

Deno.test("tracing: fit writes a trace with one lane for operators and one for the device", async () => {
  const folder = await Deno.makeTempDir();
  const path = `${folder}/trace.json`;
  const examples = data.arrayDataset(
    { data: new Float32Array(40), shape: [20, 2], dtype: "f32" },
    { data: new Int32Array(20), shape: [20], dtype: "i32" },
  );
  const model = nn.linear(2, 2);
  const tables: string[] = [];
  try {
    await train.fit(model, examples, {
      optimizer: optim.sgd(model),
      batchSize: 5,
      callbacks: [
        train.tracing(path, { steps: 2, table: (text) => tables.push(text) }),
      ],
    });
    const slices = slicesOf(await Deno.readTextFile(path), () => false);
    const lanes = new Set(slices.map((slice) => slice.lane));
    assertEquals([...lanes].sort(), ["calls of cpu", "operators"]);
    const updates = slices.filter(({ name }) => name === "update sgd");
    // Two steps, each with a weight and a bias.
    assertEquals(updates.length, 4);
    assertEquals(tables.length, 1);
    assert(tables[0].includes("calls of devices"));
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
