/**
 * Plans by the real cuDNN for recorded graphs, for GPUs that are described and
 * not present. A process of its own (see cudnn_fused.ts); its argument is the
 * file of graphs, and it prints a line per graph.
 */

import { Descriptors } from "../devices/cuda/dnn/lower.ts";
import { findPlans } from "../devices/cuda/dnn/search.ts";
import {
  type Architecture,
  devices,
  properties,
  realCudnn,
} from "./cudnn_devices.ts";
import { describe, readGraph } from "./cudnn_graphs.ts";

/** One line of the process's answer. */
export interface RecordedAnswer {
  /** What the graph is about. */
  readonly graph: string;
  /** Why there is no plan, by architecture; empty when there are plans for all. */
  readonly refused: Record<string, string>;
}

if (import.meta.main) {
  const cudnn = realCudnn();
  if ("absent" in cudnn) throw new Error(cudnn.absent);
  const [file, ...asked] = Deno.args;
  for (const line of Deno.readTextFileSync(file).trim().split("\n")) {
    const graph = readGraph(line);
    const refused: Record<string, string> = {};
    for (const architecture of asked as Architecture[]) {
      if (!(architecture in devices)) throw new RangeError(architecture);
      using own = new Descriptors(cudnn);
      const found = findPlans(
        cudnn,
        graph,
        { properties: properties(own, architecture) },
        { rounded: true, workspace: 2 ** 30, count: 1 },
      );
      if (Array.isArray(found)) { for (const plan of found) plan.dispose(); }
      else refused[architecture] = found.reason;
    }
    const answer: RecordedAnswer = { graph: describe(graph), refused };
    console.log(JSON.stringify(answer));
  }
}
