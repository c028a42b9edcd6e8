/**
 * Collectives and data parallelism on CUDA devices: on the stand-ins, or with
 * DECAF_TEST_CUDA=real on the GPUs of this machine, as many as there are.
 */

import { assertAlmostEquals, assertEquals } from "@std/assert";
import "../mod.ts";
import { closeDevice, getDevice, openDevices } from "../core/device.ts";
import { memory } from "../core/memory.ts";
import { scope } from "../core/scope.ts";
import type { CudaDevice } from "../devices/cuda/device.ts";
import * as dist from "../dist/mod.ts";
import { deviceCount } from "../ffi/cudart.ts";
import { LibraryError, tryLibrary } from "../ffi/library.ts";
import { library } from "../ffi/nccl.ts";
import {
  crossEntropy,
  fromHost,
  keep,
  nn,
  optim,
  rand,
  type Tensor,
  zeros,
} from "../mod.ts";
import { cudaHost } from "./cuda_host/mod.ts";
import { checkGroup } from "./dist_cases.ts";
import {
  classifier,
  optimizerFor,
  pointsOf,
  trainAlone,
  weightsOf,
} from "./dist_model.ts";

const real = Deno.env.get("DECAF_TEST_CUDA") === "real";
const host = real ? undefined : await cudaHost();
const nccl = real ? tryLibrary(library) : undefined;
const absent = nccl instanceof LibraryError
  ? nccl.message
  : host?.absent?.split("\n")[0];

/** GPUs to use. */
function count(): number {
  return real ? Math.min(deviceCount().count, 8) : 3;
}

function test(name: string, body: (devices: string[]) => void): void {
  Deno.test({
    name: absent === undefined ? name : `${name} (${absent})`,
    ignore: absent !== undefined,
    fn() {
      if (host !== undefined && host.absent === undefined) {
        host.reset();
        host.devices(count());
      }
      const before = memory().tensors;
      try {
        body(Array.from({ length: count() }, (_, i) => `cuda:${i}`));
        assertEquals(memory().tensors, before);
      } finally {
        for (const { name } of openDevices()) {
          if (name.startsWith("cuda")) closeDevice(name);
        }
      }
      if (host !== undefined && host.absent === undefined) {
        assertEquals(host.violations(), []);
        assertEquals(host.leaks(), []);
      }
    },
  });
}

test("every collective among all GPUs, and of one alone", (devices) => {
  checkGroup(devices);
  checkGroup(devices.slice(0, 1));
});

test("every collective among ranks that share a GPU", ([first]) => {
  checkGroup([first, first, first], ["f32", "f16", "i64", "bool"]);
});

test("large sums over and over, while other things are computed", (devices) => {
  using group = dist.processGroup(devices);
  scope(() => {
    const xs = devices.map((device) =>
      rand([1 << 16], { device }).mul(0).add(1).materialize()
    );
    for (let round = 0; round < 30; round++) {
      const work = group.allReduce(xs, { op: "avg" });
      const busy = devices.map((device) => rand([256, 64], { device }).sum());
      const means = work.wait();
      for (const [i, mean] of means.entries()) {
        assertEquals(mean.sum().item(), 1 << 16, `round ${round}, rank ${i}`);
      }
      for (const tensor of [...busy, ...means]) tensor.dispose();
    }
    for (const result of group.allReduce(xs).wait()) {
      assertEquals(result.max().item(), devices.length);
    }
  });
});

/** Steps on several devices. */
function train(devices: readonly string[], sizes: readonly number[]) {
  using model = classifier(devices[0]);
  using optimizer = optimizerFor(model);
  using parallel = dist.dataParallel(model, optimizer, devices, {
    bucketBytes: 200,
  });
  for (const [step, size] of sizes.entries()) {
    scope(() => {
      parallel.backward(pointsOf(size, step), crossEntropy);
      parallel.finish();
      parallel.step();
    });
  }
  return weightsOf(model);
}

test("all GPUs learn what the CPU learns, and so do replicas on one", (devices) => {
  const sizes = [12, 12, 7, 12];
  const { weights } = trainAlone(sizes, "cpu");
  for (const list of [devices, [devices[0], devices[0]]]) {
    train(list, sizes).forEach((w, i) =>
      assertAlmostEquals(w, weights[i], 1e-4)
    );
  }
});

test("a gradient that a hook uploads is summed after it has arrived", (devices) => {
  const [first] = devices;
  const size = 200;
  const layer = () => nn.linear(size, size, { bias: false, device: first });
  using model = nn.sequential(layer(), layer());
  using optimizer = optim.sgd(model, { lr: 0.1 });
  using parallel = dist.dataParallel(model, optimizer, devices, {
    bucketBytes: 1000,
  });
  // Gradients of zero, so that the sum is what the first device's hook gives.
  const shape = [3 * devices.length, size];
  const inputs = scope(() => keep(zeros(shape, { device: first })));
  const targets = scope(() => keep(rand(shape, { device: first })));
  const loss = (y: Tensor, t: Tensor) => y.sub(t).square().mean();
  const step = () => {
    scope(() => void parallel.backward({ inputs, targets }, loss));
    parallel.finish();
  };
  step();
  const [lower, upper] = model.parameters();
  const copies = (getDevice(first) as CudaDevice).gpu.copyStream;
  if (host?.absent === undefined) host?.delay(copies, 60);
  for (const used of [false, true]) {
    const hooks = [
      upper.registerHook((grad) => {
        if (grad.device.name !== first) return;
        // 160,000 bytes go over the copy stream.
        const elements = new Float32Array(size * size).fill(7);
        return fromHost(elements, "f32", grad.shape, { device: first });
      }),
      // Whoever else uses it must not hide from the sum that it is on its way.
      lower.registerHook((grad) => {
        if (used && grad.device.name === first) {
          void upper.grad!.mul(2).materialize();
        }
      }),
    ];
    step();
    for (const unhook of hooks) unhook();
    const sums = devices.map((_, i) =>
      parallel.on(i, () => {
        const grad = model.parameters()[1].grad!.data() as Float32Array;
        return [Math.min(...grad), Math.max(...grad)];
      })
    );
    assertEquals(sums, devices.map(() => [7, 7]), `used before: ${used}`);
  }
  if (host?.absent === undefined) host?.delay(copies, 0);
  for (const tensor of [inputs, targets]) tensor.dispose();
});
