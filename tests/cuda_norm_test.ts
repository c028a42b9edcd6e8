/**
 * Normalisations of the CUDA device through cuDNN's graphs, on the stand-in
 * library, against the CPU.
 */

import { assert, assertEquals } from "@std/assert";
import {
  batchNorm,
  getDevice,
  instanceNorm,
  layerNorm,
  noGrad,
  rmsNorm,
  scope,
  type Tensor,
  tensor,
} from "../mod.ts";
import type { DType } from "../core/dtype.ts";
import type { CudaDevice } from "../devices/cuda/device.ts";
import {
  assertAgree,
  Calls,
  onCuda,
  onStandIn,
  outcome,
} from "./cuda_images.ts";

const device = () => (getDevice("cuda:0") as CudaDevice).gpu;

/** Parameters stay in f32 whatever x is. */
const f32 = (x: Tensor) => x.cast("f32");

const dtypes: DType[] = ["f32", "f16", "bf16"];

function compare(
  made: Calls,
  f: (...operands: Tensor[]) => Tensor,
  operands: Parameters<typeof outcome>[1],
  dtype: DType,
  what: string,
  calls = 2,
) {
  made.clear();
  const actual = outcome(f, operands, dtype, "cuda:0");
  // A search runs several plans.
  if (device().options.benchmark) {
    made.expectAtLeast("cudnnBackendExecute", calls, what);
  } else made.expect("cudnnBackendExecute", calls, what);
  assertAgree(actual, outcome(f, operands, dtype, "cpu"), dtype, what);
  return actual;
}

for (const dtype of dtypes) {
  onCuda(
    `batches of ${dtype} with channels last are normalised by the library`,
    (made) => {
      const shapes = [[4, 8, 5, 2], [3, 16, 6], [8, 24], [2, 8, 2, 3, 2]];
      for (const shape of shapes) {
        const c = shape[1];
        const actual = compare(
          made,
          (x, w, b) =>
            batchNorm(x, undefined, undefined, f32(w), f32(b), {
              training: true,
            }),
          [{ shape, last: shape.length > 2 }, { shape: [c], shift: 1 }, {
            shape: [c],
          }],
          dtype,
          `${dtype} [${shape}]`,
        );
        assertEquals(actual.last, shape.length > 2);
      }
    },
  );

  onStandIn(
    `layers, root mean squares and instances of ${dtype}, where a search was asked for`,
    (machine) => {
      const made = new Calls(machine);
      device().options.benchmark = true;
      const rows = { shape: [3, 4, 8] };
      const weight = { shape: [8], shift: 1 };
      const bias = { shape: [8] };
      compare(
        made,
        (x, w, b) => layerNorm(x, 8, f32(w), f32(b)),
        [rows, weight, bias],
        dtype,
        "layer",
      );
      compare(
        made,
        (x, w) => rmsNorm(x, 8, f32(w), { eps: 1e-3 }),
        [rows, weight],
        dtype,
        "rms",
      );
      compare(
        made,
        (x, w, b) => instanceNorm(x, f32(w), f32(b)),
        [{ shape: [2, 3, 4, 5] }, { shape: [3], shift: 1 }, { shape: [3] }],
        dtype,
        "instance",
      );
    },
  );
}

onCuda(
  "what the library is not asked for runs as Decaf's own kernels",
  (made) => {
    const rows = { shape: [3, 4, 8] };
    const weight = { shape: [8], shift: 1 };
    const images = { shape: [2, 8, 4, 5], last: true };
    const perChannel = { shape: [8], shift: 1 };
    compare(
      made,
      (x, w) => layerNorm(x, 8, w),
      [rows, weight],
      "f32",
      "layer",
      0,
    );
    const training = { training: true };
    compare(
      made,
      (x, w, b) => batchNorm(x, undefined, undefined, w, b, training),
      [{ shape: [2, 8, 4, 5] }, { shape: [8], shift: 1 }, { shape: [8] }],
      "f32",
      "row-major",
      0,
    );
    compare(
      made,
      (x, w) => batchNorm(x, undefined, undefined, w, undefined, training),
      [images, perChannel],
      "f32",
      "no bias",
      0,
    );
    compare(
      made,
      (x, w, b) => batchNorm(x, undefined, undefined, w, b, training),
      [images, perChannel, perChannel],
      "f64",
      "f64",
      0,
    );
    compare(
      made,
      (x, w, b) => batchNorm(x, undefined, undefined, w, b, training),
      [images, perChannel, perChannel],
      "bf16",
      "weights in bf16",
      0,
    );
  },
);

onCuda(
  "running statistics are moved where they lie, by the same call",
  (made) => {
    const results = ["cuda:0", "cpu"].map((device) =>
      scope(() => {
        const data = Array.from({ length: 64 }, (_, i) => Math.sin(i));
        const x = tensor(data, { device }).reshape([2, 8, 2, 2])
          .contiguous({ memoryFormat: "channelsLast" });
        const [mean, variance, weight, bias] = [0.5, 2, 1.5, -1].map((n) =>
          tensor(Array(8).fill(n), { device, dtype: "f32" })
        );
        const places = [mean, variance].map((t) => t.value);
        made.clear();
        noGrad(() =>
          batchNorm(x, mean, variance, weight, bias, {
            training: true,
            momentum: 0.3,
          }).materialize()
        );
        if (device !== "cpu") {
          made.expect("cudnnBackendExecute", 1);
          made.expect("cuLaunchKernel", 0);
          assert(mean.value === places[0] && variance.value === places[1]);
        }
        return [mean, variance].map((t) => t.toArray() as number[]);
      })
    );
    results[0].flat().forEach((v, i) =>
      assert(Math.abs(v - results[1].flat()[i]) < 1e-5)
    );
  },
);

onCuda(
  "running statistics that somebody else refers to move to new memory",
  (made) => {
    const vector = (n: number, device: string) =>
      tensor(Array(8).fill(n), { device, dtype: "f32" });
    const results = ["cuda:0", "cpu"].map((device) =>
      scope(() => {
        const data = Array.from({ length: 64 }, (_, i) => Math.sin(i));
        const x = tensor(data, { device }).reshape([2, 8, 2, 2])
          .contiguous({ memoryFormat: "channelsLast" });
        const [mean, variance, weight, bias] = [0.5, 2, 1.5, -1].map((n) =>
          vector(n, device)
        );
        const kept = mean.detach();
        made.clear();
        noGrad(() =>
          batchNorm(x, mean, variance, weight, bias, { training: true })
            .materialize()
        );
        made.expect("cudnnBackendExecute", 0);
        assertEquals(kept.toArray(), Array(8).fill(0.5));
        return [mean, variance].map((t) => t.toArray() as number[]);
      })
    );
    results[0].flat().forEach((v, i) =>
      assert(Math.abs(v - results[1].flat()[i]) < 1e-5)
    );
  },
);
