/**
 * Convolutions of the CUDA device through cuDNN's graphs, on the stand-in
 * library, against the CPU.
 */

import { assert, assertEquals } from "@std/assert";
import {
  conv,
  convActivation,
  convTranspose,
  getDevice,
  noGrad,
  scope,
  type Tensor,
} from "../mod.ts";
import type { DType } from "../core/dtype.ts";
import type { CudaDevice } from "../devices/cuda/device.ts";
import { observer } from "../devices/cuda/dnn/dnn.ts";
import type { ConvOptions } from "../ops/convolution.ts";
import type { ConvTransposeOptions } from "../ops/transposed_convolution.ts";
import {
  assertAgree,
  count,
  onCuda,
  onStandIn,
  operand,
  outcome,
} from "./cuda_images.ts";

interface Case {
  name: string;
  x: readonly number[];
  w: readonly number[];
  bias?: boolean;
  options?: ConvOptions;
}

const cases: Case[] = [
  { name: "3×3", x: [2, 4, 6, 5], w: [3, 4, 3, 3], options: { padding: 1 } },
  { name: "bias", x: [2, 4, 6, 5], w: [3, 4, 3, 3], bias: true },
  { name: "1×1", x: [2, 4, 3, 5], w: [6, 4, 1, 1], bias: true },
  {
    name: "strides",
    x: [1, 3, 7, 8],
    w: [2, 3, 3, 2],
    options: { stride: [2, 3], padding: [1, 0] },
  },
  {
    name: "dilation",
    x: [1, 2, 8, 7],
    w: [2, 2, 3, 2],
    options: { dilation: [2, 3], padding: 2 },
  },
  {
    name: "groups",
    x: [2, 4, 5, 5],
    w: [6, 2, 3, 3],
    bias: true,
    options: { groups: 2 },
  },
  {
    name: "depthwise",
    x: [2, 4, 5, 5],
    w: [4, 1, 3, 3],
    options: { groups: 4, padding: 1 },
  },
  {
    name: "other padding after than before",
    x: [1, 2, 5, 6],
    w: [2, 2, 2, 3],
    options: { padding: [1, 0, 0, 2] },
  },
  {
    name: "same",
    x: [1, 2, 5, 6],
    w: [2, 2, 2, 4],
    options: { padding: "same" },
  },
  {
    name: "sequence",
    x: [2, 3, 9],
    w: [4, 3, 3],
    bias: true,
    options: { stride: 2, padding: 1 },
  },
  {
    name: "volume",
    x: [1, 2, 4, 5, 3],
    w: [3, 2, 2, 3, 2],
    bias: true,
    options: { stride: [1, 2, 1], padding: 1 },
  },
];

const dtypes: DType[] = ["f32", "f64", "f16", "bf16"];

for (const dtype of dtypes) {
  for (const last of [false, true]) {
    const layout = last ? "channels last" : "row-major";
    onCuda(
      `convolutions of ${dtype}, ${layout}, forward and backward`,
      (calls) => {
        for (const c of cases) {
          const f = (x: Tensor, w: Tensor, b?: Tensor) =>
            conv(x, w, b, c.options);
          const operands = [{ shape: c.x, last }, { shape: c.w, last }];
          const all = c.bias ? [...operands, { shape: [c.w[0]] }] : operands;
          calls.clear();
          const actual = outcome(f, all, dtype, "cuda:0");
          calls.expect("cudnnBackendExecute", 3, c.name);
          assertEquals(actual.last, last, c.name);
          const expected = outcome(f, all, dtype, "cpu");
          assertAgree(
            actual,
            expected,
            dtype,
            `${c.name}, ${dtype}, ${layout}`,
          );
        }
      },
    );
  }
}

onCuda("transposed convolutions are gradients of convolutions", () => {
  const cases: [readonly number[], readonly number[], ConvTransposeOptions][] =
    [
      [[2, 3, 4, 5], [3, 4, 3, 2], { stride: 2, padding: 1, outputPadding: 1 }],
      [[1, 4, 3, 3], [4, 2, 2, 2], { groups: 2, dilation: 2 }],
      [[2, 3, 6], [3, 2, 3], { stride: 3 }],
    ];
  for (const [x, w, options] of cases) {
    const f = (x: Tensor, w: Tensor) => convTranspose(x, w, undefined, options);
    const operands = [{ shape: x }, { shape: w }];
    const actual = outcome(f, operands, "f32", "cuda:0");
    assertAgree(
      actual,
      outcome(f, operands, "f32", "cpu"),
      "f32",
      JSON.stringify(options),
    );
  }
});

onCuda("filters or images with channels last make the result so", () => {
  const f = (x: Tensor, w: Tensor) => conv(x, w);
  for (const [x, w] of [[true, false], [false, true]]) {
    const operands = [{ shape: [2, 3, 5, 5], last: x }, {
      shape: [4, 3, 2, 2],
      last: w,
    }];
    const actual = outcome(f, operands, "f32", "cuda:0");
    assert(actual.last);
    assertAgree(actual, outcome(f, operands, "f32", "cpu"), "f32", `${x} ${w}`);
  }
});

onCuda("f32 is rounded to TF32 only where that is allowed", () => {
  const f = (x: Tensor, w: Tensor) => conv(x, w);
  const operands = [{ shape: [2, 8, 6, 6] }, { shape: [4, 8, 3, 3] }];
  const expected = outcome(f, operands, "f32", "cpu");
  const far = () => {
    const { numbers: [y] } = outcome(f, operands, "f32", "cuda:0");
    return Math.max(...y.map((v, i) => Math.abs(v - expected.numbers[0][i])));
  };
  assert(far() < 1e-5);
  const { options } = (getDevice("cuda:0") as CudaDevice).gpu;
  options.tf32 = true;
  const rounded = far();
  assert(rounded > 1e-5 && rounded < 1e-2, `off by ${rounded}`);
  options.tf32 = false;
  assert(far() < 1e-5);
});

onStandIn("a plan is found once per problem", (machine) => {
  const f = (x: Tensor, w: Tensor) => conv(x, w);
  const run = (n: number) =>
    outcome(
      f,
      [{ shape: [n, 3, 5, 5] }, { shape: [4, 3, 2, 2] }],
      "f32",
      "cuda:0",
    );
  const made = () => {
    machine.clearCalls();
    run(2);
    return count(machine, "cudnnBackendFinalize");
  };
  assert(made() > 12);
  assertEquals(made(), 3); // the packs of addresses alone
  machine.clearCalls();
  run(3);
  assert(count(machine, "cudnnBackendFinalize") > 12);
});

onCuda(
  "elements at odd addresses are computed with narrower loads",
  (calls) => {
    const f = (x: Tensor, w: Tensor) =>
      conv(
        x.reshape([x.size]).narrow(0, 1, 2 * 3 * 5 * 5).reshape([2, 3, 5, 5]),
        w,
      );
    const operands = [{ shape: [2 * 3 * 5 * 5 + 1] }, { shape: [4, 3, 2, 2] }];
    const actual = outcome(f, operands, "f16", "cuda:0");
    assertAgree(actual, outcome(f, operands, "f16", "cpu"), "f16", "odd");
    calls.expectAtLeast("cudnnBackendExecute", 3);
  },
);

/** How many operations the graphs have that `body` wants plans for. */
function operationsOf(body: () => void): number[] {
  const { wanted } = observer;
  const found: number[] = [];
  observer.wanted = (graph) => {
    found.push(graph.operations.length);
    wanted?.(graph);
  };
  try {
    body();
  } finally {
    observer.wanted = wanted;
  }
  return found;
}

onStandIn("activations end convolutions in the same call", () => {
  const { options } = (getDevice("cuda:0") as CudaDevice).gpu;
  const convolve = (
    device: string,
    dtype: DType,
    last: boolean,
    f: (x: Tensor, w: Tensor, b: Tensor) => Tensor,
  ) =>
    scope(() => {
      const [x, w, b] = [[2, 4, 6, 5], [8, 4, 3, 3], [8]].map((shape, i) =>
        operand({ shape, last: last && shape.length > 1 }, i, dtype, device)
      );
      const y = noGrad(() => f(x, w, b)).cast("f64");
      return y.reshape([y.size]).toArray() as number[];
    });
  for (const dtype of dtypes) {
    for (const bias of [true, false]) {
      for (const activation of ["relu", "gelu", "geluTanh"] as const) {
        for (const last of [true, false]) {
          // Only where a search is wanted does the library compile kernels.
          for (const search of [false, true]) {
            options.benchmark = search;
            const f = (x: Tensor, w: Tensor, b: Tensor) =>
              convActivation(x, w, bias ? b : undefined, {
                activation,
                padding: 1,
                stride: search ? 1 : 2,
              });
            const what = `${activation}, ${dtype}, ${bias}, ${last}, ${search}`;
            let actual: number[] = [];
            const sizes = operationsOf(() =>
              actual = convolve("cuda:0", dtype, last, f)
            );
            const ready = activation === "relu" && bias;
            const compiled = last && search && dtype !== "f64";
            const fused = bias ? 3 : 2;
            // Plans of the convolution alone are known from the second time on.
            assertEquals(sizes[0] === fused, ready || compiled, what);
            const numbers = (list: number[]) => ({
              shape: [],
              last: false,
              numbers: [list],
            });
            const expected = convolve("cpu", dtype, last, f);
            assertAgree(numbers(actual), numbers(expected), dtype, what);
          }
        }
      }
    }
  }
});

onCuda(
  "the gradient of a rectified convolution reads its result",
  (calls) => {
    const f = (x: Tensor, w: Tensor, b: Tensor) => convActivation(x, w, b);
    const operands = [{ shape: [2, 4, 6, 5] }, { shape: [8, 4, 3, 3] }, {
      shape: [8],
    }];
    for (const dtype of dtypes) {
      calls.clear();
      const actual = outcome(f, operands, dtype, "cuda:0");
      calls.expect("cudnnBackendExecute", 3, dtype);
      assertAgree(actual, outcome(f, operands, dtype, "cpu"), dtype, dtype);
    }
  },
);
