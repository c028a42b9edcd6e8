/**
 * Collectives and data parallelism on CUDA devices: on the stand-ins, or with
 * DECAF_TEST_CUDA=real on the GPUs of this machine, as many as there are.
 */

import { assertAlmostEquals, assertEquals } from "@std/assert";
import "../mod.ts";
import { closeDevice, openDevices } from "../core/device.ts";
import { memory } from "../core/memory.ts";
import { scope } from "../core/scope.ts";
import * as dist from "../dist/mod.ts";
import { deviceCount } from "../ffi/cudart.ts";
import { LibraryError, tryLibrary } from "../ffi/library.ts";
import { library } from "../ffi/nccl.ts";
import { crossEntropy, rand } from "../mod.ts";
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
