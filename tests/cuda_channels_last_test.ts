/**
 * Images whose channels lie last on the CUDA device: a residual net trains in
 * that order from end to end, in either precision, without a copy.
 */

import { assert, assertEquals } from "@std/assert";
import {
  autocast,
  contiguous,
  crossEntropy,
  manualSeed,
  models,
  nn,
  optim,
  randn,
  scope,
  type Tensor,
  tensor,
} from "../mod.ts";
import { observer } from "../core/launches.ts";
import type { AutocastType } from "../core/autocast.ts";
import { onCuda } from "./cuda_images.ts";

/** Two training steps of a net: losses, and the names of the kernels of the second. */
function train(
  { last, dtype }: { last: boolean; dtype: AutocastType },
): { losses: number[]; kernels: string[] } {
  manualSeed(0);
  const net = new SmallNet();
  net.to("cuda:0");
  if (last) net.to({ memoryFormat: "channelsLast" });
  const sgd = optim.sgd(net, { lr: 0.05, momentum: 0.9 });
  const images = randn([4, 3, 16, 16]).to("cuda:0");
  const x = last
    ? contiguous(images, { memoryFormat: "channelsLast" })
    : images;
  const target = tensor([1, 2, 0, 3], { dtype: "i64", device: "cuda:0" });
  const losses: number[] = [];
  const kernels: string[] = [];
  const before = observer.launch;
  for (let i = 0; i < 2; i++) {
    if (i === 1) observer.launch = ({ name = "" }) => kernels.push(name);
    scope(() => {
      const loss = autocast(dtype, () => crossEntropy(net.forward(x), target));
      net.zeroGrad();
      loss.backward();
      sgd.step();
      losses.push(loss.item());
    });
  }
  observer.launch = before;
  for (const t of [...net.parameters(), ...net.buffers()]) t.dispose();
  return { losses, kernels };
}

/** A residual net in small: a stem with pooling, two blocks, the mean of each channel. */
class SmallNet extends nn.Module {
  readonly body = nn.sequential(
    nn.conv2d(3, 8, 3, { padding: 1, bias: false }),
    nn.batchNorm2d(8),
    nn.relu(),
    nn.maxPool2d(3, { stride: 2, padding: 1 }),
    new models.BasicBlock(8, 8, 1),
    new models.BasicBlock(8, 16, 2),
  );
  readonly head = nn.linear(16, 4);

  override forward(x: Tensor): Tensor {
    return this.head.forward(this.body.forward(x).mean([2, 3]));
  }
}

for (const dtype of ["f32", "bf16"] as const) {
  onCuda(
    `a residual net trains in ${dtype} with channels last, and no image is copied`,
    (calls) => {
      const rowMajor = train({ last: false, dtype });
      calls.clear();
      const { losses, kernels } = train({ last: true, dtype });
      assertEquals(kernels.filter((name) => name.startsWith("copy")), []);
      // 6 convolutions (the first image has no gradient) and 6 normalisations.
      calls.expect("cudnnBackendExecute", 2 * (17 + 12));
      const slack = dtype === "f32" ? 1e-3 : 0.1;
      losses.forEach((loss, i) =>
        assert(
          Math.abs(loss - rowMajor.losses[i]) < slack,
          `${losses} and ${rowMajor.losses}`,
        )
      );
    },
  );
}
