/**
 * What Decaf asks of cuDNN, asked of the real library: every graph is accepted,
 * finds engines and finalizes a plan for GPUs that are described, not present.
 */

import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import type { WindowSpec } from "../core/device.ts";
import {
  convolutionGraph,
  ConvolutionKind,
} from "../devices/cuda/dnn/convolution.ts";
import type { Graph } from "../devices/cuda/dnn/graph.ts";
import { Descriptors } from "../devices/cuda/dnn/lower.ts";
import { findPlans } from "../devices/cuda/dnn/search.ts";
import {
  type Architecture,
  devices,
  properties,
  realCudnn,
} from "./cudnn_devices.ts";
import { askFused, noDriver } from "./cudnn_fused.ts";
import type { RecordedAnswer } from "./cudnn_recorded_plans.ts";

const cudnn = realCudnn();
const architectures = Object.keys(devices) as Architecture[];

/** A test that needs the real library. */
function real(name: string, body: () => void): void {
  const absent = "absent" in cudnn ? cudnn.absent : undefined;
  Deno.test({
    name: absent === undefined ? name : `${name} (${absent})`,
    ignore: absent !== undefined,
    fn: body,
  });
}

/** Number of plans for a graph on an architecture, or why there is none. */
function plan(
  graph: Graph,
  architecture: Architecture,
  rounded = false,
): number | string {
  if ("absent" in cudnn) throw new Error(cudnn.absent);
  using own = new Descriptors(cudnn);
  const limits = { rounded, workspace: 2 ** 30, count: 3 };
  const target = { properties: properties(own, architecture) };
  const found = findPlans(cudnn, graph, target, limits);
  if (!Array.isArray(found)) return found.reason;
  for (const each of found) each.dispose();
  return found.length;
}

interface Case {
  name: string;
  input: number[];
  kernel: number[];
  batch?: number;
  inChannels?: number;
  outChannels?: number;
  groups?: number;
  stride?: number[];
  dilation?: number[];
  before?: number[];
  after?: number[];
}

const cases: Case[] = [
  { name: "3×3", input: [14, 14], kernel: [3, 3], before: [1, 1] },
  { name: "1×1", input: [14, 14], kernel: [1, 1], outChannels: 256 },
  {
    name: "stem",
    input: [64, 64],
    kernel: [7, 7],
    inChannels: 3,
    stride: [2, 2],
    before: [3, 3],
  },
  {
    name: "LeNet",
    input: [28, 28],
    kernel: [5, 5],
    inChannels: 1,
    outChannels: 20,
  },
  { name: "strided 1×1", input: [14, 14], kernel: [1, 1], stride: [2, 2] },
  {
    name: "two groups",
    input: [14, 14],
    kernel: [3, 3],
    groups: 2,
    before: [1, 1],
  },
  {
    name: "depthwise",
    input: [14, 14],
    kernel: [3, 3],
    groups: 64,
    before: [1, 1],
  },
  {
    name: "dilated",
    input: [14, 14],
    kernel: [3, 3],
    dilation: [2, 2],
    before: [2, 2],
  },
  { name: "sequence", input: [50], kernel: [3], before: [1] },
  {
    name: "sequence, dilated",
    input: [50],
    kernel: [3],
    dilation: [4],
    before: [4],
  },
  { name: "volume", input: [6, 8, 8], kernel: [3, 3, 3], before: [1, 1, 1] },
  {
    name: "odd channels",
    input: [9, 7],
    kernel: [2, 3],
    inChannels: 5,
    outChannels: 7,
    stride: [2, 1],
  },
  {
    name: "more before than after",
    input: [14, 14],
    kernel: [3, 3],
    before: [1, 2],
    after: [1, 0],
  },
];

const dtypes = ["f32", "f16", "bf16", "f64"] as const;

function specOf(
  c: Case,
  dtype: typeof dtypes[number],
  channelsLast: boolean,
): WindowSpec {
  const { input, kernel } = c;
  const ones = input.map(() => 1);
  const {
    stride = ones,
    dilation = ones,
    before = input.map(() => 0),
    after = before,
  } = c;
  const { batch = 4, inChannels = 64, outChannels = 64, groups = 1 } = c;
  const output = input.map((n, d) =>
    Math.floor(
      (n + before[d] + after[d] - dilation[d] * (kernel[d] - 1) - 1) /
        stride[d],
    ) + 1
  );
  return {
    dtype,
    channelsLast,
    batch,
    inChannels,
    outChannels,
    groups,
    input,
    output,
    kernel,
    stride,
    dilation,
    before,
    after,
  };
}

const kinds = Object.entries(ConvolutionKind);

for (const architecture of architectures) {
  for (const dtype of dtypes) {
    real(`convolutions in ${dtype} have plans on ${architecture}`, () => {
      const failed: string[] = [];
      for (const c of cases) {
        for (const channelsLast of [false, true]) {
          const spec = specOf(c, dtype, channelsLast);
          for (const [what, kind] of kinds) {
            for (
              const bias of kind === ConvolutionKind.forward
                ? [false, true]
                : [false]
            ) {
              const graph = convolutionGraph(spec, {
                kind,
                bias,
                alignment: 16,
              })!;
              const found = plan(graph, architecture);
              if (typeof found === "string") {
                failed.push(
                  `${c.name} ${channelsLast ? "NHWC" : "NCHW"} ${what}${
                    bias ? " + bias" : ""
                  }: ${found}`,
                );
              }
            }
          }
        }
      }
      assert(failed.length === 0, failed.join("\n"));
    });
  }
}

real("TF32 adds engines for f32", () => {
  const graph = convolutionGraph(specOf(cases[0], "f32", true), {
    kind: 0,
    bias: false,
    alignment: 16,
  })!;
  assert(plan(graph, "sm_90", true) === 3);
});

real("a wrong size of the result is refused by name", () => {
  const spec = { ...specOf(cases[0], "f32", false), output: [15, 14] };
  const graph = convolutionGraph(spec, {
    kind: 0,
    bias: false,
    alignment: 16,
  })!;
  assertStringIncludes(`${plan(graph, "sm_90")}`, "CUDNN_STATUS_BAD_PARAM");
});

/** Whether to ask for the graphs of attention, whole nets and trainings too, which takes a minute or two longer: .ci/run does it. */
const complete = Deno.env.get("DECAF_CUDNN") === "all";

/** Tests whose graphs the real library is asked for: those of images on CUDA, and the foundation's with CUDA as the default device. */
const recorded: readonly (readonly string[])[] = [
  ["cuda_conv_test.ts", "cuda_pooling_test.ts", "cuda_norm_test.ts"],
  [
    "--preload=cuda_host/preload.ts",
    "--filter=/[Cc]onv|[Pp]ool|[Nn]orm|ttention/",
    ...["operators_test.ts", "nn_golden_test.ts", "nn_module_test.ts"],
    "normalization_test.ts",
  ],
  ...complete
    ? [
      [
        ...["cuda_attention_test.ts", "cuda_channels_last_test.ts"],
        ...["cuda_precision_test.ts", "cuda_dnn_plans_test.ts"],
        ...["cuda_graph_fit_test.ts", "cuda_under_way_test.ts"],
        "cuda_language_models_test.ts",
      ],
      [
        "--preload=cuda_host/preload.ts",
        ...["models_zoo_test.ts", "autograd_test.ts"],
      ],
    ]
    : [],
];

/** The graphs that tests on the stand-in want plans for. */
async function recordGraphs(file: string): Promise<void> {
  for (const args of recorded) {
    const { success, stdout } = await new Deno.Command(Deno.execPath(), {
      args: ["test", "-A", "--no-check", "--quiet", ...args],
      cwd: new URL(".", import.meta.url).pathname,
      env: { DECAF_CUDNN_GRAPHS: file, NO_COLOR: "1" },
      stderr: "null",
    }).output();
    assert(success, new TextDecoder().decode(stdout));
  }
}

const noFused = "absent" in cudnn ? cudnn.absent : await noDriver();

Deno.test({
  name:
    `every graph that tests on the stand-in build has a plan on each architecture${
      noFused === undefined ? "" : ` (${noFused})`
    }`,
  ignore: noFused !== undefined,
  async fn() {
    const file = await Deno.makeTempFile();
    try {
      await recordGraphs(file);
      const lines = await askFused(
        "cudnn_recorded_plans.ts",
        file,
        ...architectures,
      );
      const answers = lines.map((line) => JSON.parse(line) as RecordedAnswer);
      const refused = answers.filter((a) => Object.keys(a.refused).length > 0);
      assertEquals(refused, []);
      const least = complete ? 900 : 500;
      assert(answers.length > least, `only ${answers.length} graphs`);
    } finally {
      await Deno.remove(file);
    }
  },
});
