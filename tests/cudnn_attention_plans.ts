/**
 * Plans for attention by the real cuDNN, for GPUs that are described and not
 * present. A process of its own, because it needs a driver that accepts what
 * cuDNN compiles; cudnn_attention_real_test.ts starts it and reads its lines.
 */

import type {
  AttentionGradLayout,
  AttentionSpec,
} from "../core/sequence_kernels.ts";
import { contiguousStrides } from "../core/shape.ts";
import {
  attentionGradGraph,
  attentionGraph,
} from "../devices/cuda/dnn/attention_graph.ts";
import { type Graph, graphType } from "../devices/cuda/dnn/graph.ts";
import { Descriptors } from "../devices/cuda/dnn/lower.ts";
import { findPlans } from "../devices/cuda/dnn/search.ts";
import type { Cudnn } from "../ffi/cudnn.ts";
import {
  type Architecture,
  devices,
  properties,
  realCudnn,
} from "./cudnn_devices.ts";

/** A case by name, as it differs from 2×8 heads of 512 positions of width 64. */
const cases: Record<string, Partial<AttentionSpec>> = {
  plain: {},
  causal: { causal: true },
  "grouped heads": { groups: 2, causal: true },
  "width 128": { depth: 128, width: 128 },
  "width 40": { depth: 40, width: 40 },
  "narrow values": { width: 32 },
  "odd lengths": { queries: 77, keys: 133, causal: true },
  "one query": { queries: 1 },
  tiny: { batch: 1, heads: 1, groups: 1, queries: 4, keys: 4, depth: 8 },
  "full bias": { bias: [2, 8, 512, 512] },
  "shared bias": { bias: [1, 1, 512, 512], causal: true },
  "bias per key": { bias: [2, 1, 1, 512] },
  dropout: { dropout: 0.1, causal: true },
  "dropout, grouped heads": { dropout: 0.1, groups: 2 },
};

/** One line of the process's answer. */
export interface Answer {
  /** Name of the case, element type and pass. */
  readonly name: string;
  /** Architecture. */
  readonly architecture: string;
  /** Number of plans, or why there is none. */
  readonly plans: number | string;
}

function specOf(
  difference: Partial<AttentionSpec>,
  dtype: "f16" | "bf16",
): AttentionSpec {
  return {
    dtype,
    batch: 2,
    heads: 8,
    groups: 8,
    queries: 512,
    keys: 512,
    depth: 64,
    width: difference.depth === 8 ? 8 : 64,
    scale: 0.125,
    causal: false,
    bias: undefined,
    dropout: 0,
    training: true,
    ...difference,
  };
}

/** Operands as rows of heads, or as GPT has them: columns of one product and of its gradient, results by time. */
function layoutOf(s: AttentionSpec, packed: boolean): AttentionGradLayout {
  const heads = (n: number, time: number, width: number) =>
    packed
      ? [time * n * width, width, n * width, 1]
      : contiguousStrides([s.batch, n, time, width]);
  const three = (n: number, time: number, width: number) =>
    packed
      ? [time * 3 * n * width, width, 3 * n * width, 1]
      : heads(n, time, width);
  const o = heads(s.heads, s.queries, s.width);
  return {
    q: three(s.heads, s.queries, s.depth),
    k: three(s.groups, s.keys, s.depth),
    v: three(s.groups, s.keys, s.width),
    o,
    d: o,
    dq: three(s.heads, s.queries, s.depth),
    dk: three(s.groups, s.keys, s.depth),
    dv: three(s.groups, s.keys, s.width),
  };
}

function plansOf(
  cudnn: Cudnn,
  graph: Graph,
  architecture: Architecture,
): number | string {
  using own = new Descriptors(cudnn);
  const found = findPlans(
    cudnn,
    graph,
    { properties: properties(own, architecture) },
    { rounded: true, workspace: 2 ** 30, count: 1 },
  );
  if (!Array.isArray(found)) return found.reason;
  for (const each of found) each.dispose();
  return found.length;
}

if (import.meta.main) {
  const cudnn = realCudnn();
  if ("absent" in cudnn) throw new Error(cudnn.absent);
  const architectures = Object.keys(devices) as Architecture[];
  const ask = (name: string, graph: Graph) => {
    for (const architecture of architectures) {
      const plans = plansOf(cudnn, graph, architecture);
      const answer: Answer = { name, architecture, plans };
      console.log(JSON.stringify(answer));
    }
  };
  for (const [name, difference] of Object.entries(cases)) {
    // One type for most: the kernels are the same.
    const dtypes = name === "causal"
      ? ["bf16", "f16"] as const
      : ["bf16"] as const;
    for (const dtype of dtypes) {
      const spec = specOf(difference, dtype);
      const type = graphType(dtype)!;
      for (const packed of name === "causal" ? [false, true] : [false]) {
        const layout = layoutOf(spec, packed);
        const what = `${name} ${dtype}${packed ? " by time" : ""}`;
        ask(`${what} forward`, attentionGraph(spec, type, layout));
        ask(`${what} backward`, attentionGradGraph(spec, type, layout));
      }
    }
  }
}
