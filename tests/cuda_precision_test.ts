/**
 * Mixed precision on the CUDA device, on the stand-in libraries: the same
 * dtypes and nearly the same numbers as on the CPU, through every kind of layer.
 */

import { assert, assertEquals } from "@std/assert";
import {
  autocast,
  crossEntropy,
  getDevice,
  gradients,
  nn,
  optim,
  scope,
  type Tensor,
  tensor,
  train,
} from "../mod.ts";
import { closeDevice, setDefaultDevice } from "../core/device.ts";
import { fromHost } from "../core/tensor.ts";
import { cudaHost } from "./cuda_host/mod.ts";
import { examples } from "./precision_cases.ts";

const host = await cudaHost();

function onCuda(name: string, body: () => void | Promise<void>): void {
  Deno.test({
    name: host.absent === undefined ? name : `${name} (${host.absent})`,
    ignore: host.absent !== undefined,
    async fn() {
      if (host.absent !== undefined) return;
      host.reset();
      try {
        await body();
      } finally {
        setDefaultDevice("cpu");
        closeDevice("cuda");
      }
      assertEquals(host.violations(), []);
      assertEquals(host.leaks(), []);
    },
  });
}

function numbers(shape: readonly number[], s: number, size = 0.4): Tensor {
  const n = shape.reduce((a, b) => a * b, 1);
  const host = Float32Array.from(
    { length: n },
    (_, i) => size * Math.sin(1.7 * i + s),
  );
  return fromHost(host, "f32", shape);
}

interface Net {
  readonly x: number[];
  make(): { forward(x: Tensor): Tensor } & nn.Module;
}

const nets: Record<string, Net> = {
  "a convolutional net": {
    x: [4, 3, 8, 8],
    make: () =>
      nn.sequential(
        nn.conv2d(3, 6, 3, { padding: 1 }),
        nn.batchNorm2d(6),
        nn.relu(),
        nn.maxPool2d(2),
        nn.conv2d(6, 4, 3),
        nn.relu(),
        nn.flatten(),
        nn.linear(16, 5),
      ) as unknown as ReturnType<Net["make"]>,
  },
  "a net of norms and activations": {
    x: [4, 8],
    make: () =>
      nn.sequential(
        nn.linear(8, 16),
        nn.layerNorm(16),
        nn.gelu(),
        nn.linear(16, 16),
        nn.silu(),
        nn.linear(16, 5),
      ) as unknown as ReturnType<Net["make"]>,
  },
};

interface Outcome {
  output: number[];
  dtype: string;
  loss: number;
  gradients: number[][];
  gradientDtypes: string[];
}

function outcome(net: Net, precision: "bf16" | "f16"): Outcome {
  return scope(() => {
    const model = net.make();
    const parameters = [...model.namedParameters()].map(([, p]) =>
      p
    ) as Tensor[];
    parameters.forEach((p, i) =>
      p.setValue(numbers(p.shape, i).value.retain())
    );
    const labels = tensor([0, 1, 2, 3], { dtype: "i64" });
    const { y, loss } = autocast(precision, () => {
      const y = model.forward(numbers(net.x, 0.3, 1));
      return { y, loss: crossEntropy(y, labels) };
    });
    const found = gradients(loss, parameters);
    return {
      output: [...y.data() as Float32Array],
      dtype: y.dtype,
      loss: loss.item(),
      gradients: found.map((g) => [...g!.data() as Float32Array]),
      gradientDtypes: found.map((g) => g!.dtype),
    };
  });
}

function near(a: number[], b: number[], bound: number, what: string): void {
  const most = Math.max(1e-3, ...b.map(Math.abs));
  a.forEach((x, i) =>
    assert(
      Math.abs(x - b[i]) <= bound * most,
      `${what}: element ${i} is ${x}, on the CPU ${b[i]}`,
    )
  );
}

for (const [name, net] of Object.entries(nets)) {
  for (const precision of ["bf16", "f16"] as const) {
    onCuda(`${name} under autocast in ${precision} is the CPU's`, () => {
      const cpu = outcome(net, precision);
      setDefaultDevice("cuda");
      const cuda = outcome(net, precision);
      assertEquals(cuda.dtype, precision);
      assertEquals(cuda.gradientDtypes, cpu.gradientDtypes);
      assert(cuda.gradientDtypes.every((dtype) => dtype === "f32"));
      const bound = precision === "bf16" ? 4e-2 : 6e-3;
      near(cuda.output, cpu.output, bound, "output");
      near([cuda.loss], [cpu.loss], bound, "loss");
      cuda.gradients.forEach((g, i) =>
        near(g, cpu.gradients[i], 2 * bound, `gradient ${i}`)
      );
    });
  }
}

for (const precision of ["tf32", "bf16", "f16"] as const) {
  onCuda(`fit in ${precision} learns on cuda`, async () => {
    setDefaultDevice("cuda");
    const model = nn.sequential(nn.linear(4, 8), nn.relu(), nn.linear(8, 2));
    using optimizer = optim.adam(model, { lr: 0.05 });
    let seen: boolean | undefined;
    const result = await train.fit(model, {
      train: examples(128),
      test: examples(64),
    }, {
      optimizer,
      epochs: 4,
      batchSize: 16,
      precision,
      metrics: [train.accuracy()],
      callbacks: [{
        step() {
          seen = getDevice("cuda").options!.tf32;
        },
      }],
    });
    assert(result.test!.accuracy > 0.8, `${result.test!.accuracy}`);
    assertEquals(seen, precision === "tf32");
    assertEquals(getDevice("cuda").options!.tf32, false);
    for (const t of Object.values(model.stateDict())) {
      assertEquals(t.dtype, "f32");
      t.dispose();
    }
  });
}

onCuda("bf16 goes with captured steps", async () => {
  setDefaultDevice("cuda");
  const run = async (graph: boolean) => {
    const model = nn.sequential(nn.linear(4, 8), nn.relu(), nn.linear(8, 2));
    Object.values(model.stateDict()).forEach((t, i) =>
      t.setValue(numbers(t.shape, i).value.retain())
    );
    using optimizer = optim.sgd(model, { lr: 0.1, momentum: 0.9 });
    await train.fit(model, examples(96), {
      optimizer,
      batchSize: 16,
      precision: "bf16",
      graph,
    });
    return Object.values(model.stateDict()).map((t) => {
      const list = t.toArray();
      t.dispose();
      return list;
    });
  };
  assertEquals(await run(true), await run(false));
});
