/**
 * Attention of the CUDA device through cuDNN's graphs, on the stand-in
 * library, against the composed definition on the CPU.
 */

import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { getDevice, gradients, scope } from "../mod.ts";
import { closeDevice, setDefaultDevice } from "../core/device.ts";
import { manualSeed } from "../core/random.ts";
import { operators } from "../core/op.ts";
import type { AttentionSpec } from "../core/sequence_kernels.ts";
import { contiguousStrides } from "../core/shape.ts";
import { libraryAttention } from "../devices/cuda/dnn/attention.ts";
import type { CudaDevice } from "../devices/cuda/device.ts";
import { mul } from "../ops/arithmetic.ts";
import { scaledDotProductAttention } from "../ops/attention.ts";
import { cast, reshape, sum } from "../ops/foundation.ts";
import { unbind } from "../ops/joining.ts";
import { permute } from "../ops/shape.ts";
import {
  assertClose,
  type Case,
  cases,
  heads,
  type Machine,
  onCuda,
  run,
  runStrided,
  tensor,
} from "./attention_cases.ts";
import { checkOperator } from "./operator_harness.ts";

/** The fused engine rounds the weights and its gradients once where the definition rounds every step. */
const slackOf = { f16: 0.008, bf16: 0.05 };

/** Runs of graphs. */
function executions(machine: Machine): number {
  return machine.calls().filter((name) => name === "cudnnBackendExecute")
    .length;
}

for (const dtype of ["f16", "bf16"] as const) {
  onCuda(`attention in ${dtype} gives what the definition gives`, (machine) => {
    for (const [name, c] of Object.entries(cases)) {
      const expected = run(c, dtype, "cpu");
      machine.clearCalls();
      const actual = run(c, dtype, "cuda");
      assertEquals(executions(machine), 2, `${name}: one run each way`);
      assertClose(actual, expected, slackOf[dtype], `${name} ${dtype}`);
    }
  });
}

onCuda("dropout drops the same weights on every device", (machine) => {
  const c: Case = { ...heads, options: { dropout: 0.3 } };
  manualSeed(3);
  const expected = run(c, "bf16", "cpu");
  manualSeed(3);
  machine.clearCalls();
  const actual = run(c, "bf16", "cuda");
  assertEquals(executions(machine), 2);
  assertClose(actual, expected, slackOf.bf16, "dropout");
});

onCuda(
  "columns of one product are read where they lie, results lie by time, gradients in one block",
  (machine) => {
    const [n, t, h, d] = [2, 4, 3, 8];
    const attend = (device: string) =>
      scope(() => {
        const all = tensor(1, [n, t, 3 * h * d], "bf16", device);
        all.requiresGrad = true;
        const parts = permute(reshape(all, [n, t, 3, h, d]), [2, 0, 3, 1, 4]);
        const [q, k, v] = unbind(parts, 0);
        const o = scaledDotProductAttention(q, k, v, { causal: true });
        if (device === "cuda") assertEquals(o.value.strides[2], h * d);
        const total = sum(mul(o, o));
        machine.clearCalls();
        const [g] = gradients(total, [all]);
        if (device === "cuda") {
          // The seed, its spreading and 2·o·g; the three gradients lie as one, and nothing is copied.
          const launches = machine.calls().filter((name) =>
            name === "cuLaunchKernel"
          );
          assertEquals(launches.length, 3);
        }
        return [o, g!].map((x) =>
          Float64Array.from(cast(x, "f32").data() as Float32Array)
        );
      });
    assertClose(attend("cuda"), attend("cpu"), slackOf.bf16, "GPT");
  },
);

onCuda("masks, operands and gradients may lie anyhow", () => {
  const [found, expected] = ["cuda", "cpu"].map((d) => runStrided("bf16", d));
  assertClose(found, expected, slackOf.bf16, "strided");
});

onCuda("what the library does not take it leaves to others", () => {
  const device = getDevice("cuda") as CudaDevice;
  const spec = {
    dtype: "bf16",
    batch: 1,
    heads: 2,
    groups: 2,
    queries: 4,
    keys: 4,
    depth: 8,
    width: 8,
    scale: 1,
    causal: false,
    bias: undefined,
    dropout: 0,
    training: true,
  } as const;
  const library = libraryAttention(device.gpu);
  const takes = (difference: Partial<AttentionSpec>) => {
    const changed = { ...spec, ...difference };
    const q = contiguousStrides([1, 2, 4, changed.depth]);
    const v = contiguousStrides([1, 2, 4, changed.width]);
    const layout = { q, k: q, v, o: v, d: v, dq: q, dk: q, dv: v };
    return library.takes(changed, layout);
  };
  assert(takes({}));
  assert(!takes({ dtype: "f32" }));
  assert(!takes({ depth: 12 }));
  assert(!takes({ width: 264 }));
});

onCuda("a case is planned once", (machine) => {
  run(cases.causal, "bf16", "cuda");
  machine.clearCalls();
  run(cases.causal, "bf16", "cuda");
  const planned = machine.calls().filter((name) =>
    name === "cudnnBackendCreateDescriptor"
  );
  // A variant pack for each run, and no descriptor of a graph.
  assertEquals(planned.length, 2);
});

onCuda(
  "each call that fails is an error or leads to the definition, and leaks nothing",
  (machine) => {
    const c = cases.causal;
    const expected = run(c, "bf16", "cpu");
    // Libraries and kernels are found once per process.
    run(c, "f32", "cuda");
    closeDevice("cuda");
    getDevice("cuda");
    machine.clearCalls();
    run(c, "bf16", "cuda");
    const calls = machine.calls();
    closeDevice("cuda");
    assertEquals(machine.leaks(), []);
    let failed = 0, errors = 0;
    calls.forEach((name, i) => {
      // Every call would take long; descriptors are made and set by the hundred.
      if (
        /^(?!cudnn)|Destroy|GetVersion/.test(name) ||
        i % 17 > 0 && i < calls.length - 20
      ) {
        return;
      }
      failed++;
      getDevice("cuda");
      const nth = calls.slice(0, i + 1).filter((n) => n === name).length;
      machine.fail({ function: name, nth, status: 4000 });
      const what = `call ${i}, ${name}`;
      try {
        assertClose(run(c, "bf16", "cuda"), expected, slackOf.bf16, what);
      } catch (error) {
        assertStringIncludes(`${error}`, "failed on cuda:0", what);
        assertStringIncludes(`${error}`, "CUDNN_STATUS_INTERNAL_ERROR", what);
        errors++;
      }
      assertEquals(machine.faultsLeft(), 0, what);
      closeDevice("cuda");
      assertEquals(machine.leaks(), [], what);
    });
    assert(failed > 20 && errors > 0, `${failed} calls, ${errors} errors`);
  },
);

for (
  const name of ["flashAttention", "scaledDotProductAttention"]
) {
  onCuda(
    `operator ${name} on CUDA gives PyTorch's values, gradients and second derivatives`,
    () => {
      setDefaultDevice("cuda");
      try {
        checkOperator(operators().get(name)!, { golden: true });
      } finally {
        setDefaultDevice("cpu");
      }
    },
  );
}
