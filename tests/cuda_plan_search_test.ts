/** Algorithms of products chosen by their times: in the process, in the next one, and where timing fails. */

import { assert, assertEquals } from "@std/assert";
import { captureGraph } from "../core/capture.ts";
import type { MatmulSpec } from "../core/device.ts";
import { CudaDevice } from "../devices/cuda/device.ts";
import { callsTest, count, free } from "./cuda_product_tests.ts";
import {
  assertNear,
  download,
  expectedProduct,
  matrix,
} from "./cuda_products.ts";

/** A product of [64, 48] · [48, 32] that is timed when asked for. */
function timed(device: CudaDevice) {
  device.gpu.options.benchmark = true;
  const a = matrix(device, "f32", [64, 48], { seed: 1 });
  const b = matrix(device, "f32", [48, 32], { seed: 2 });
  const c = matrix(device, "f32", [64, 32], { seed: 0 });
  const spec: MatmulSpec = {
    dtype: "f32",
    m: 64,
    n: 32,
    k: 48,
    batchShape: [],
    a,
    b,
    c,
  };
  return {
    run: () => device.matmul(spec),
    check() {
      const got = download(c, "f32", c.elements.length);
      assertNear(got, expectedProduct(a, b, c, []), 1e-5, "result");
    },
    free: () => free(a, b, c),
  };
}

/** Runs a body with a cache folder of its own. */
async function withCache(body: (folder: string) => void): Promise<void> {
  const folder = await Deno.makeTempDir();
  const before = Deno.env.get("DECAF_CACHE");
  Deno.env.set("DECAF_CACHE", folder);
  try {
    body(folder);
  } finally {
    if (before === undefined) Deno.env.delete("DECAF_CACHE");
    else Deno.env.set("DECAF_CACHE", before);
    await Deno.remove(folder, { recursive: true });
  }
}

const product = "cublasLtMatmul", checked = "cublasLtMatmulAlgoCheck";

callsTest(
  "cuda product search: candidates are timed once, and the next device knows the fastest",
  (device, machine) =>
    withCache((folder) => {
      const one = timed(device);
      machine.clearCalls();
      one.run();
      const tries = count(machine, product);
      assert(tries > 6, `${tries} calls`); // more than one candidate, each several times, and the product
      assertEquals(count(machine, "cudaEventElapsedTime"), (tries - 1) / 6);
      one.check();
      machine.clearCalls();
      one.run();
      assertEquals(count(machine, product), 1);
      assertEquals(count(machine, "cudaEventElapsedTime"), 0);
      one.free();
      device.close();

      const [file] = [...Deno.readDirSync(`${folder}/plans`)];
      const path = `${folder}/plans/${file.name}`;
      const kept = Deno.readTextFileSync(path);
      assert(kept.includes("cublasLt"));
      const again = (fail: boolean, timings: boolean) => {
        machine.reset();
        const next = new CudaDevice(0);
        const one = timed(next);
        if (fail) machine.fail({ function: checked, nth: 1, status: 7 });
        machine.clearCalls();
        one.run();
        assertEquals(count(machine, product) > 1, timings);
        one.check();
        one.free();
        next.close();
      };
      again(false, false);
      again(true, true); // an algorithm that the library does not take here
      Deno.writeTextFileSync(path, kept.slice(0, kept.length / 2));
      again(false, true); // a file that was cut off
      again(false, false); // and written anew
      machine.reset();
    }),
);

callsTest(
  "cuda product search: where nothing can be timed, the library's first choice does",
  (device, machine) =>
    withCache(() => {
      const one = timed(device);
      one.run();
      one.check();
      one.free();
      const failing = [
        "cudaEventCreateWithFlags",
        "cudaEventRecord",
        "cudaEventSynchronize",
        "cudaEventElapsedTime",
      ];
      for (const [i, name] of failing.entries()) {
        const k = 8 + i; // a problem of its own
        const other = matrix(device, "f32", [8, k]);
        const result = matrix(device, "f32", [8, 8], { seed: 0 });
        const right = matrix(device, "f32", [k, 8], { seed: 2 });
        machine.fail({ function: name, nth: 1, status: 400 });
        device.matmul({
          dtype: "f32",
          m: 8,
          n: 8,
          k,
          batchShape: [],
          a: other,
          b: right,
          c: result,
        });
        const got = download(result, "f32", result.elements.length);
        assertNear(got, expectedProduct(other, right, result, []), 1e-5, name);
        free(other, result, right);
        assertEquals(machine.faultsLeft(), 0);
      }
    }),
);

callsTest(
  "cuda product search: a candidate that fails is not taken",
  (device, machine) =>
    withCache(() => {
      const one = timed(device);
      machine.fail({ function: product, nth: 1, status: 15 });
      one.run();
      one.check();
      one.free();
    }),
);

callsTest(
  "cuda product search: work that is captured is not timed",
  (device, machine) =>
    withCache(() => {
      const one = timed(device);
      const graph = captureGraph(device, [], () => one.run());
      assertEquals(count(machine, product), 1);
      graph.replay();
      one.check();
      graph[Symbol.dispose]();
      machine.clearCalls();
      one.run(); // now it can be
      assert(count(machine, product) > 1);
      one.check();
      one.free();
    }),
);
