/** Tests on several CUDA devices of the stand-ins, and what they train. */

import { assertAlmostEquals, assertEquals } from "@std/assert";
import "../mod.ts";
import { closeDevice, openDevices } from "../core/device.ts";
import { memory } from "../core/memory.ts";
import { scope } from "../core/scope.ts";
import * as dist from "../dist/mod.ts";
import { crossEntropy } from "../mod.ts";
import { type CudaHost, cudaHost } from "./cuda_host/mod.ts";
import { classifier, optimizerFor, pointsOf, weightsOf } from "./dist_model.ts";

const found = Deno.env.get("DECAF_TEST_CUDA") === "real"
  ? { absent: "real libraries are to be tested, and these are faults" }
  : await cudaHost();

/** A test on a machine with four devices; it must leave nothing there. */
export function test(
  name: string,
  body: (host: CudaHost) => void | Promise<void>,
) {
  Deno.test({
    name: found.absent ? `${name} (${found.absent.split("\n")[0]})` : name,
    ignore: found.absent !== undefined,
    async fn() {
      if (found.absent !== undefined) return;
      found.reset();
      found.devices(4);
      const before = memory().tensors;
      try {
        await body(found);
        assertEquals(memory().tensors, before);
      } finally {
        found.release();
        found.delay("all", 0);
        for (const { name } of openDevices()) {
          if (name.startsWith("cuda")) closeDevice(name);
        }
      }
      assertEquals(found.violations(), []);
      assertEquals(found.leaks(), []);
    },
  });
}

export const names = (count: number) =>
  Array.from({ length: count }, (_, i) => `cuda:${i}`);

/** Some steps on several devices. */
export function train(devices: readonly string[], sizes: readonly number[]) {
  using model = classifier(devices[0]);
  using optimizer = optimizerFor(model);
  using parallel = dist.dataParallel(model, optimizer, devices, {
    bucketBytes: 200,
  });
  const losses = sizes.map((size, step) =>
    scope(() => {
      const shards = parallel.backward(pointsOf(size, step), crossEntropy);
      parallel.finish();
      parallel.step();
      return shards.reduce((sum, s) => sum + s.share * s.loss.item(), 0);
    })
  );
  const weights = weightsOf(model);
  devices.forEach((_, i) =>
    parallel.on(i, () => assertEquals(weightsOf(model), weights))
  );
  return { losses, weights };
}

export function assertClose(a: readonly number[], b: readonly number[]) {
  assertEquals(a.length, b.length);
  a.forEach((x, i) => assertAlmostEquals(x, b[i], 1e-4));
}
