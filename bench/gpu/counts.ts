/**
 * Kernels, library calls and copies of one training step, counted on the
 * stand-in libraries: no GPU is needed, and the same number is asked for on one.
 *
 *     deno run -A bench/gpu/counts.ts             # Decaf's, as lines of JSON
 *     python bench/gpu/torch_counts.py            # PyTorch's operators, the same nets
 */

import {
  autocast,
  backward,
  crossEntropy,
  models,
  optim,
  randint,
  randn,
  scope,
  setDefaultDevice,
  type Tensor,
} from "../../mod.ts";
import { standIns } from "../stand_ins.ts";

/** Calls that have the device compute or copy. */
const working = [
  "cuLaunchKernel",
  "cublasLtMatmul",
  "cudnnBackendExecute",
  "cudnnRNNForward",
  "cudnnRNNBackwardData_v8",
  "cudnnRNNBackwardWeights_v8",
  "cudaMemcpyAsync",
  "cudaMemsetAsync",
];

/** A net and one training step of it. */
export interface Net {
  readonly name: string;
  /** Makes the net on the default device; the returned function takes a step. */
  prepare(): () => void;
}

function step(
  optimizer: { zeroGrad(): void; step(): void },
  loss: () => Tensor,
): () => void {
  return () =>
    scope(() => {
      const value = loss();
      optimizer.zeroGrad();
      backward(value);
      optimizer.step();
    });
}

/** GPT-2's blocks; in bf16 with f32 parameters, or in f32. */
function gpt(mixed: boolean): () => void {
  const model = models.gpt({
    layers: 12,
    heads: 12,
    width: 768,
    vocabulary: 512,
    context: 64,
  });
  const ids = randint(0, 512, [2, 64]);
  return step(
    optim.adamW(model, { lr: 1e-4 }),
    () =>
      autocast(
        mixed ? "bf16" : "f32",
        () =>
          crossEntropy(
            model.forward(ids).reshape([128, 512]),
            ids.reshape([128]),
          ),
      ),
  );
}

/** The nets of torch_counts.py. */
export const nets: readonly Net[] = [
  {
    name: "lenet",
    prepare() {
      const model = models.lenet();
      const x = randn([64, 1, 28, 28]).materialize();
      const y = randint(0, 10, [64]);
      return step(
        optim.sgd(model, { lr: 0.01, momentum: 0.9 }),
        () => crossEntropy(model.forward(x), y),
      );
    },
  },
  {
    name: "resnet50",
    prepare() {
      const model = models.resnet50();
      const x = randn([4, 3, 64, 64]).materialize();
      const y = randint(0, 1000, [4]);
      return step(
        optim.sgd(model, { lr: 0.1, momentum: 0.9 }),
        () => crossEntropy(model.forward(x), y),
      );
    },
  },
  { name: "gpt", prepare: () => gpt(false) },
  { name: "gpt bf16", prepare: () => gpt(true) },
];

if (import.meta.main) {
  const host = await standIns();
  // Only calls are counted: nothing need be computed.
  host.instant(true);
  setDefaultDevice("cuda");
  for (const { name, prepare } of nets) {
    const run = prepare();
    run();
    run();
    host.clearCalls();
    run();
    const calls = host.calls().map((call) => call.split(" ")[0]);
    const names = Object.fromEntries(
      working.map((each) =>
        [each, calls.filter((call) => call === each).length] as const
      ).filter(([, count]) => count > 0),
    );
    const kernels = Object.values(names).reduce((a, b) => a + b, 0);
    console.log(JSON.stringify({ net: name, kernels, names }));
  }
  Deno.exit(0);
}
