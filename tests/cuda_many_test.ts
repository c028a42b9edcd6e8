/** Many updates in few kernels: the same bits as one by one, whatever their sizes. */

import { assert, assertEquals } from "@std/assert";
import { type Update, updateAll } from "../core/update.ts";
import * as k from "../kernel/expr.ts";
import {
  fromHost,
  getDevice,
  optim,
  setDefaultDevice,
  type Tensor,
} from "../mod.ts";
import { cudaForTests, cudaTest } from "./cuda_host/device.ts";

const device = await cudaForTests();
const sizes = [1, 3, 4, 5, 31, 1000, 4097, 9001, 70_000];

/** Parameters of many sizes, one of them a part of a longer block, after a few steps. */
function trained(name: string, steps: number): number[][] {
  const parameters: Tensor[] = sizes.map((size, i) => {
    const data = Float32Array.from({ length: size }, (_, k) => Math.sin(k + i));
    return fromHost(data, "f32", [size], { requiresGrad: true });
  });
  using optimizer = optim.create(name, parameters, { weightDecay: 0.01 });
  for (let n = 0; n < steps; n++) {
    parameters.forEach((p, i) => {
      const data = Float32Array.from(
        { length: p.size },
        (_, k) => Math.cos(k * 0.7 + i + n),
      );
      p.grad = fromHost(data, "f32", [p.size]);
    });
    optimizer.step();
    optimizer.zeroGrad();
  }
  const result = parameters.map((p) => [...p.data() as Float32Array]);
  for (const p of parameters) p.dispose();
  return result;
}

for (const name of ["momentumSgd", "adamW", "rmsProp"]) {
  cudaTest(
    device,
    `many: ${name} over parameters of many sizes as one by one`,
    () => {
      setDefaultDevice("cuda");
      try {
        const cuda = getDevice("cuda") as { launchAll?: unknown };
        const together = trained(name, 3);
        cuda.launchAll = undefined;
        const alone = trained(name, 3);
        delete cuda.launchAll;
        assertEquals(together, alone);
      } finally {
        setDefaultDevice("cpu");
      }
    },
  );
}

cudaTest(
  device,
  "many: a step of 200 parameters is a handful of kernels",
  () => {
    setDefaultDevice("cuda");
    try {
      const parameters = Array.from(
        { length: 200 },
        (_, i) =>
          fromHost(new Float32Array(16 + i).fill(1), "f32", [16 + i], {
            requiresGrad: true,
          }),
      );
      using optimizer = optim.adamW(parameters);
      const step = () => {
        for (const p of parameters) {
          p.grad = fromHost(new Float32Array(p.size).fill(0.5), "f32", [
            p.size,
          ]);
        }
        device.host?.clearCalls();
        optimizer.step();
        const launches = device.host?.calls().filter((call) =>
          call.startsWith("cuLaunchKernel")
        ).length ?? 0;
        optimizer.zeroGrad();
        return launches;
      };
      step();
      assert(step() <= 8);
      for (const p of parameters) {
        p.dispose();
      }
    } finally {
      setDefaultDevice("cpu");
    }
  },
);

cudaTest(device, "many: updates of single elements are one kernel", () => {
  const scalars = Array.from(
    { length: 9 },
    (_, i) =>
      fromHost(BigInt64Array.of(BigInt(i)), "i64", [], { device: "cuda" }),
  );
  const one = (target: Tensor): Update => ({
    name: "count",
    targets: [target],
    operands: [],
    scalars: [],
    define: ([n]) => [k.add(n, k.constant(1, n.type))],
  });
  for (const round of [1, 2]) {
    device.host?.clearCalls();
    updateAll(scalars.map(one));
    const launches = device.host?.calls().filter((call) =>
      call === "cuLaunchKernel"
    ).length ?? 1;
    assertEquals(launches, 1);
    assertEquals(
      scalars.map((x) => x.item()),
      scalars.map((_, i) => i + round),
    );
  }
  for (const x of scalars) x.dispose();
});
