/**
 * Live bytes and tensors over 10,000 LeNet steps: what is live after step 10
 * must be live after the last one, and nothing more.
 *
 *     deno run bench/lenet_memory.ts [STEPS]
 */

import {
  backward,
  crossEntropy,
  manualSeed,
  memory,
  models,
  optim,
  rand,
  randint,
  scope,
} from "../mod.ts";

manualSeed(1);
const steps = Number(Deno.args[0] ?? 10_000);
const model = models.lenet();
const optimizer = optim.sgd(model, { lr: 0.01, momentum: 0.9 });
const inputs = rand([64, 1, 28, 28]);
const targets = randint(0, 10, [64]);

function live(): string {
  const { tensors, devices } = memory();
  return `${devices.cpu.liveBytes} bytes in ${devices.cpu.blocks} blocks, ${tensors} tensors`;
}

let early = "";
const start = performance.now();
for (let step = 1; step <= steps; step++) {
  scope(() => {
    const loss = crossEntropy(model.forward(inputs), targets);
    optimizer.zeroGrad();
    backward(loss);
    optimizer.step();
  });
  if (step === 10) {
    early = live();
    console.log(`after step 10: ${early}`);
  }
}
const seconds = (performance.now() - start) / 1000;
console.log(`after step ${steps}: ${live()}`);
console.log(`${(1000 * seconds / steps).toFixed(2)} ms per step`);
if (live() !== early) {
  console.error("The live memory changed between step 10 and the last one");
  Deno.exit(1);
}
