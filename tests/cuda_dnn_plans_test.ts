/**
 * Plans of cuDNN: found once, timed where that was asked for, kept on disk, and
 * what happens when a call of the library fails or there is no library.
 */

import { assert, assertEquals } from "@std/assert";
import { conv, getDevice, scope, type Tensor, tensor } from "../mod.ts";
import { closeDevice } from "../core/device.ts";
import type { CudaDevice } from "../devices/cuda/device.ts";
import { convolutionGraph } from "../devices/cuda/dnn/convolution.ts";
import { dnnOf } from "../devices/cuda/dnn/dnn.ts";
import { Descriptors } from "../devices/cuda/dnn/lower.ts";
import { PlanTable } from "../devices/cuda/dnn/plan_table.ts";
import { findPlans, type PlanLimits } from "../devices/cuda/dnn/search.ts";
import { hashName } from "../devices/cuda/cache_folder.ts";
import { OutOfMemoryError } from "../core/errors.ts";
import { CudaError } from "../ffi/errors.ts";
import { count, type Machine, onStandIn } from "./cuda_images.ts";
import { properties } from "./cudnn_devices.ts";

function image(shape: readonly number[]): Tensor {
  const size = shape.reduce((a, b) => a * b, 1);
  const data = Array.from({ length: size }, (_, i) => Math.sin(i));
  return tensor(data, { device: "cuda:0", dtype: "f32" }).reshape(shape);
}

/** A convolution on the device; a whole number of its calls. */
function convolve(channels = 3): number[] {
  return scope(() => {
    const y = conv(image([2, channels, 6, 5]), image([4, channels, 3, 3]));
    return y.reshape([y.size]).toArray() as number[];
  });
}

const options = () => (getDevice("cuda:0") as CudaDevice).gpu.options;

/** Runs `body` with a cache folder of its own. */
function withCache<T>(body: (folder: string) => T): T {
  const before = Deno.env.get("DECAF_CACHE");
  const folder = Deno.makeTempDirSync();
  Deno.env.set("DECAF_CACHE", folder);
  try {
    return body(folder);
  } finally {
    if (before === undefined) Deno.env.delete("DECAF_CACHE");
    else Deno.env.set("DECAF_CACHE", before);
    Deno.removeSync(folder, { recursive: true });
  }
}

function executed(machine: Machine, body: () => void): number {
  machine.clearCalls();
  body();
  return count(machine, "cudnnBackendExecute");
}

Deno.test("plans: numbers that differ are told apart, whatever their hash", () => {
  const table = new PlanTable<string>();
  const keys = [[1, 2], [2, 1], [1, 2, 0], [], [2 ** 40], [2 ** 41], [
    2 ** 40 + 1,
  ]];
  keys.forEach((key) => table.add(key, key.join()));
  for (const key of keys) assertEquals(table.get(key), key.join());
  assertEquals(table.get([3]), undefined);
  assertEquals([...table.values()].length, keys.length);
  // Many keys, so that the hashes of some are the same.
  const many = Array.from({ length: 200_000 }, (_, i) => [i, 7919 * i * i]);
  many.forEach((key, i) => table.add(key, `${i}`));
  many.forEach((key, i) => assertEquals(table.get(key), `${i}`));
  assertEquals(table.get([-1, 0]), undefined);
});

onStandIn(
  "plans are timed where that was asked for, and kept for the next process",
  (machine) => {
    withCache((folder) => {
      const expected = convolve();
      closeDevice("cuda");
      options().benchmark = true;
      let first: number[] = [];
      // Two plans may be used without TF32: each is tried once and timed five times.
      assertEquals(executed(machine, () => first = convolve()), 13);
      assertEquals(executed(machine, () => convolve()), 1);
      first.forEach((v, i) => assert(Math.abs(v - expected[i]) < 1e-5));
      const [file] = [...Deno.readDirSync(`${folder}/plans`)];
      assert(file.name.startsWith("cudnn-"));
      closeDevice("cuda");
      options().benchmark = true;
      assertEquals(executed(machine, () => convolve()), 1);
      assertEquals(count(machine, "cudnnBackendGetAttribute"), 1); // its workspace
      // What is no plan is found anew.
      closeDevice("cuda");
      const path = `${folder}/plans/${file.name}`;
      const [kept] = Deno.readTextFileSync(path).split("\n");
      const text = JSON.stringify({ ...JSON.parse(kept), plan: btoa("{}") });
      Deno.writeTextFileSync(path, `${text}\n${hashName(text)}\n`);
      options().benchmark = true;
      assertEquals(executed(machine, () => convolve()), 13);
    });
  },
);

onStandIn(
  "each call of the library made to fail is an error or another way to the same numbers",
  (machine) => {
    const expected = convolve();
    closeDevice("cuda");
    machine.clearCalls();
    withCache(() => convolve());
    const calls = machine.calls().filter((name) => name.startsWith("cudnn"));
    assert(calls.length > 20, `only ${calls}`);
    let errors = 0, others = 0;
    for (let i = 0; i < calls.length; i++) {
      const name = calls[i];
      const nth = calls.slice(0, i + 1).filter((n) => n === name).length;
      const what = `${name}, call ${nth}`;
      closeDevice("cuda");
      machine.reset();
      machine.fail({ function: name, nth, status: 4000 });
      try {
        const actual = withCache(() => convolve());
        actual.forEach((v, k) => assert(Math.abs(v - expected[k]) < 1e-5));
        others++;
      } catch (error) {
        assert(error instanceof CudaError, `${what}: ${error}`);
        assert(error.message.includes("cudnn"), error.message);
        errors++;
        // The device goes on.
        convolve().forEach((v, k) => assert(Math.abs(v - expected[k]) < 1e-5));
      }
      closeDevice("cuda");
      assertEquals(machine.faultsLeft(), 0, what);
      // What could not be destroyed is still there.
      if (!name.includes("Destroy")) {
        assertEquals(machine.leaks(), [], what);
      }
    }
    assert(errors > 3 && others > 3, `${errors} errors, ${others} others`);
    machine.reset(); // and with it what could not be destroyed
  },
);

/** Runs a script in a process of its own, on the stand-ins but for cuDNN. */
async function withoutLibrary(script: string): Promise<[string, string]> {
  const { stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["eval", "--no-check", script],
    env: { DECAF_LIBCUDNN: "/gone/libcudnn.so.9" },
    cwd: new URL("..", import.meta.url).pathname,
  }).output();
  const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
  return [text(stdout), text(stderr)];
}

onStandIn(
  "without the library convolutions run as Decaf's own kernels, which is said once",
  async () => {
    const expected = convolve();
    const module = new URL("../mod.ts", import.meta.url).href;
    const [out, said] = await withoutLibrary(`
    import { conv, tensor } from "${module}";
    const image = (shape) => {
      const size = shape.reduce((a, b) => a * b, 1);
      const data = Array.from({ length: size }, (_, i) => Math.sin(i));
      return tensor(data, { device: "cuda:0", dtype: "f32" }).reshape(shape);
    };
    for (let i = 0; i < 2; i++) {
      const y = conv(image([2, 3, 6, 5]), image([4, 3, 3, 3]));
      console.log(JSON.stringify(y.reshape([y.size]).toArray()));
    }
  `);
    const lines = out.trim().split("\n");
    assertEquals(lines.length, 2, said);
    for (const line of lines) {
      JSON.parse(line).forEach((v: number, i: number) =>
        assert(Math.abs(v - expected[i]) < 1e-5)
      );
    }
    assertEquals(said.split("own kernels").length, 2, said);
    assert(said.includes("/gone/libcudnn.so.9"), said);
  },
);

/** The graph of a convolution. */
function graphOf() {
  const ones = [1, 1];
  return convolutionGraph({
    dtype: "f32",
    channelsLast: false,
    batch: 2,
    inChannels: 3,
    outChannels: 4,
    groups: 1,
    input: [6, 5],
    output: [4, 3],
    kernel: [3, 3],
    stride: ones,
    dilation: ones,
    before: [0, 0],
    after: [0, 0],
  }, { kind: 0, bias: false, alignment: 16 })!;
}

/** The plans that the library has for a convolution, within limits. */
function plansFor(target: "handle" | "described", limits: PlanLimits) {
  const { gpu } = getDevice("cuda:0") as CudaDevice;
  const { cudnn, handle } = dnnOf(gpu)!;
  const graph = graphOf();
  using own = new Descriptors(cudnn);
  const found = findPlans(
    cudnn,
    graph,
    target === "handle" ? { handle } : { properties: properties(own, "sm_90") },
    limits,
  );
  if (!Array.isArray(found)) return found.reason;
  const sizes = found.map((plan) => plan.workspace);
  for (const plan of found) plan.dispose();
  return sizes;
}

onStandIn("plans keep to the limits that are set", () => {
  const all = { rounded: true, workspace: 2 ** 20, count: 8 };
  assertEquals(plansFor("handle", all), [256, 4096, 0]);
  assertEquals(plansFor("described", all), [256, 4096, 0]);
  assertEquals(plansFor("handle", { ...all, rounded: false }), [4096, 0]);
  assertEquals(plansFor("handle", { ...all, workspace: 300 }), [256, 0]);
  assertEquals(plansFor("handle", { ...all, count: 1 }), [256]);
  const reason = `${plansFor("handle", { ...all, workspace: -1 })}`;
  assert(reason.includes("of -1 that are allowed"), reason);
});

onStandIn(
  "a plan that fails while it is timed is out of the race",
  (machine) => {
    withCache(() => {
      const expected = convolve();
      for (const nth of [1, 2, 7, 8]) {
        closeDevice("cuda");
        options().benchmark = true;
        machine.fail({ function: "cudnnBackendExecute", nth, status: 5000 });
        const actual = convolve();
        actual.forEach((v, i) => assert(Math.abs(v - expected[i]) < 1e-5));
        assertEquals(machine.faultsLeft(), 0);
        Deno.removeSync(`${Deno.env.get("DECAF_CACHE")}/plans`, {
          recursive: true,
        });
      }
    });
  },
);

onStandIn(
  "where there is no room for scratch memory, a plan with less takes over",
  (machine) => {
    const expected = convolve();
    closeDevice("cuda");
    const { gpu } = getDevice("cuda:0") as CudaDevice;
    const asked: number[] = [];
    gpu.workspace = (bytes) => {
      asked.push(bytes);
      throw new OutOfMemoryError(`no room for ${bytes} bytes`);
    };
    assertEquals(
      executed(machine, () => {
        for (let i = 0; i < 2; i++) {
          convolve().forEach((v, k) =>
            assert(Math.abs(v - expected[k]) < 1e-5)
          );
        }
      }),
      2,
    );
    assertEquals(asked, [4096]);
  },
);

onStandIn("plans that were found and never run go with the device", () => {
  withCache(() => {
    const { gpu } = getDevice("cuda:0") as CudaDevice;
    gpu.options.benchmark = true;
    const dnn = dnnOf(gpu)!;
    const plan = dnn.plan([1, 2], "f32", graphOf);
    assert(plan !== undefined);
    assert(dnn.plan([1, 2], "f32", graphOf) === plan);
    // A problem that the library cannot express is remembered as such.
    let asked = 0;
    const none = () => {
      asked++;
      return undefined;
    };
    assertEquals(dnn.plan([3], "f32", none), undefined);
    assertEquals(dnn.plan([3], "f32", none), undefined);
    assertEquals(asked, 1);
  });
});
