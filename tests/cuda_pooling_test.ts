/**
 * Pooling of the CUDA device, through cuDNN's graphs and as Decaf's own
 * kernels, on the stand-in library, against the CPU.
 */

import { assert, assertEquals } from "@std/assert";
import {
  adaptiveAvgPool,
  avgPool,
  getDevice,
  maxPool,
  noGrad,
  type Tensor,
} from "../mod.ts";
import type { DType } from "../core/dtype.ts";
import type { CudaDevice } from "../devices/cuda/device.ts";
import {
  assertAgree,
  count,
  onCuda,
  onStandIn,
  outcome,
} from "./cuda_images.ts";

const dtypes: DType[] = ["f32", "f64", "f16", "bf16"];

interface Case {
  name: string;
  shape: readonly number[];
  f: (x: Tensor) => Tensor;
  /** Calls of the library, forward and backward, of row-major images. */
  calls: number;
}

const cases: Case[] = [
  { name: "mean", shape: [2, 3, 6, 8], f: (x) => avgPool(x, 2), calls: 2 },
  {
    name: "mean with padding",
    shape: [1, 2, 7, 6],
    f: (x) => avgPool(x, 3, { stride: 2, padding: 1 }),
    calls: 2,
  },
  {
    name: "mean of what is inside",
    shape: [1, 2, 7, 6],
    f: (x) => avgPool(x, 3, { stride: 2, padding: 1, countIncludePad: false }),
    calls: 2,
  },
  {
    name: "mean, rounded up",
    shape: [1, 2, 7, 7],
    f: (x) => avgPool(x, 2, { ceilMode: true }),
    calls: 0,
  },
  {
    name: "mean inside, rounded up",
    shape: [1, 2, 7, 7],
    f: (x) => avgPool(x, 2, { ceilMode: true, countIncludePad: false }),
    calls: 2,
  },
  {
    name: "mean of everything",
    shape: [2, 3, 4, 5],
    f: (x) => adaptiveAvgPool(x, 1),
    calls: 0,
  },
  {
    name: "sequence",
    shape: [2, 3, 9],
    f: (x) => avgPool(x, 3, { stride: 2 }),
    calls: 2,
  },
  {
    name: "volume",
    shape: [1, 2, 4, 5, 4],
    f: (x) => avgPool(x, 2, { stride: 1 }),
    calls: 2,
  },
  { name: "largest", shape: [2, 3, 6, 8], f: (x) => maxPool(x, 2), calls: 0 },
  {
    name: "largest, overlapping",
    shape: [2, 3, 7, 8],
    f: (x) => maxPool(x, 3, { stride: 2, padding: 1 }),
    calls: 0,
  },
  {
    name: "largest, dilated",
    shape: [1, 2, 7, 8],
    f: (x) => maxPool(x, 2, { stride: 1, dilation: [2, 3] }),
    calls: 0,
  },
  {
    name: "largest, rounded up",
    shape: [1, 2, 7, 7],
    f: (x) => maxPool(x, 2, { ceilMode: true }),
    calls: 0,
  },
  {
    name: "largest of volumes",
    shape: [1, 2, 4, 5, 4],
    f: (x) => maxPool(x, 2),
    calls: 0,
  },
];

for (const dtype of dtypes) {
  for (const last of [false, true]) {
    const layout = last ? "channels last" : "row-major";
    onCuda(`pooling of ${dtype}, ${layout}`, (made) => {
      for (const { name, shape, f, calls } of cases) {
        const operands = [{ shape, last }];
        made.clear();
        const actual = outcome(f, operands, dtype, "cuda:0");
        const what = `${name}, ${dtype}, ${layout}`;
        made.expect("cudnnBackendExecute", last ? 0 : calls, what);
        assertAgree(actual, outcome(f, operands, dtype, "cpu"), dtype, what);
        const one = actual.shape.slice(2).every((n) => n === 1);
        assertEquals(actual.last, last && !one, what);
      }
    });
  }
}

onStandIn(
  "where no gradient is wanted, the library finds the largest values",
  (machine) => {
    for (const options of [{}, { padding: 1, stride: 2 }, { ceilMode: true }]) {
      for (const last of [false, true]) {
        (getDevice("cuda:0") as CudaDevice).gpu.options.benchmark = last;
        // Its gradient is that of the operand itself.
        const f = (x: Tensor) =>
          x.mul(0).sum().add(noGrad(() => maxPool(x.detach(), 3, options)));
        const operands = [{ shape: [2, 3, 8, 7], last }];
        machine.clearCalls();
        const actual = outcome(f, operands, "f32", "cuda:0");
        assert(count(machine, "cudnnBackendExecute") >= 1);
        assertAgree(
          actual,
          outcome(f, operands, "f32", "cpu"),
          "f32",
          JSON.stringify(options),
        );
      }
    }
  },
);

onStandIn(
  "a search that was asked for includes means with channels last",
  (machine) => {
    (getDevice("cuda:0") as CudaDevice).gpu.options.benchmark = true;
    const f = (x: Tensor) => avgPool(x, 2);
    const operands = [{ shape: [2, 3, 8, 7], last: true }];
    machine.clearCalls();
    const actual = outcome(f, operands, "f32", "cuda:0");
    assert(count(machine, "cudnnBackendExecute") >= 2);
    assertEquals(actual.last, true);
    assertAgree(actual, outcome(f, operands, "f32", "cpu"), "f32", "mean");
  },
);
