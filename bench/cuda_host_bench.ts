/**
 * What the host spends on work for a GPU, measured without one: on stand-in
 * libraries whose calls return at once and compute nothing. Beside each row of
 * Decaf's stands the bare call that it ends in.
 *
 *     deno bench -A bench/cuda_host_bench.ts
 *
 * Bounds: 2.5 µs per eager operator; 1.2 µs per library call above the bare one.
 * The rows of operators are `bench/cuda_host/rows.ts`; per operator and call,
 * as a table: `deno run -A bench/cuda_host/table.ts`.
 */

import { backward, getDevice, models, optim, randn, scope } from "../mod.ts";
import { captureGraph } from "../core/capture.ts";
import type { CudaDevice } from "../devices/cuda/device.ts";
import { cuda } from "../ffi/cuda.ts";
import { cudaHost } from "../tests/cuda_host/mod.ts";
import { repeat } from "./cuda_host/measure.ts";
import { rows } from "./cuda_host/rows.ts";

const host = await cudaHost();
const ignore = host.absent !== undefined;
const calls = 1000;

if (host.absent === undefined) {
  const device = getDevice("cuda") as CudaDevice;
  const { gpu } = device;
  const where = { device: "cuda" };
  const x = randn([1024], where).materialize();
  const y = randn([1024], where).materialize();
  const model = models.lenet();
  model.to("cuda");
  const optimizer = optim.sgd(model, { lr: 0.01, momentum: 0.9 });
  const inputs = randn([64, 1, 28, 28], where).materialize();
  const targets = randn([64, 10], where).materialize();
  const step = () =>
    scope(() => {
      // No labels: their check would read a flag that nothing computes.
      const loss = model.forward(inputs).mseLoss(targets);
      optimizer.zeroGrad();
      backward(loss);
      optimizer.step();
    });
  for (let i = 0; i < 3; i++) {
    step();
  }

  const graph = captureGraph(device, Object.values(model.stateDict()), step);
  const kernel = gpu.compile(
    'struct Params { float* x; }; extern "C" __global__ void bare(const Params p) { p.x[0] = 0.0f; }',
    "bare",
  );
  const argument = new Uint8Array(8);
  const operators = rows();
  for (const row of operators) repeat(row, 3);
  // From here on nothing is computed.
  host.instant(true);

  Deno.bench(`${calls} bare cuLaunchKernel`, { group: "launch" }, () => {
    const { cuLaunchKernel } = cuda();
    for (let i = 0; i < calls; i++) {
      cuLaunchKernel(kernel.handle, 1, 1, 1, 1, 1, 1, 0, gpu.stream, 0n, 0n);
    }
  });

  Deno.bench(
    `${calls} launches through the context`,
    { group: "launch" },
    () => {
      for (let i = 0; i < calls; i++) {
        gpu.launch(kernel, 1, 1, 1, 1, 0, argument);
      }
    },
  );

  Deno.bench(`${calls} additions, none fused`, { group: "launch" }, () => {
    scope(() => {
      let z = y;
      for (let i = 0; i < calls; i++) {
        z = z.add(x).materialize();
      }
    });
  });

  for (const row of operators) {
    Deno.bench(`${row.name}, ×100`, { group: "operators" }, () => {
      repeat(row, 100);
    });
  }

  Deno.bench("LeNet, one eager step", { group: "step" }, step);

  Deno.bench("LeNet, one replayed step", { group: "step" }, () => {
    graph.replay();
  });
} else {
  Deno.bench({ name: `host time (${host.absent})`, ignore, fn() {} });
}
