/**
 * Layouts of the weights of recurrent networks by the real cuDNN. A process of
 * its own, because it gives the library a handle that is none (there is no GPU
 * to make one on): what is asked here does not look into it.
 * cudnn_rnn_real_test.ts starts it and reads its answer.
 */

import type { RecurrentSpec } from "../core/sequence_kernels.ts";
import {
  describe,
  type RnnLibrary,
  RnnNetwork,
} from "../devices/cuda/dnn/rnn_network.ts";
import { checkRnn, cudnnRnn } from "../ffi/cudnn_rnn.ts";
import { realCudnn } from "./cudnn_devices.ts";

/** A network as the library lays it out. */
export interface Layout {
  /** What was asked. */
  readonly spec: RecurrentSpec;
  /** Where each weight starts, in elements; undefined when the library does not take the network. */
  readonly offsets: readonly number[] | undefined;
  /** Bytes of all weights. */
  readonly bytes: number;
}

/** Every kind of network in every type. */
function specs(): RecurrentSpec[] {
  const found: RecurrentSpec[] = [];
  for (const kind of ["lstm", "gru", "tanh", "relu"] as const) {
    for (const dtype of ["f32", "f64", "f16", "bf16"] as const) {
      for (const directions of [1, 2] as const) {
        for (const bias of [true, false]) {
          found.push({
            kind,
            dtype,
            steps: 3,
            batch: 2,
            features: 5,
            hidden: 4,
            layers: 2,
            directions,
            bias,
            batchFirst: directions === 2,
            lengths: [1, 3],
            training: true,
          });
        }
      }
    }
  }
  return found;
}

if (import.meta.main) {
  const cudnn = realCudnn();
  if ("absent" in cudnn) throw new Error(cudnn.absent);
  const functions = cudnnRnn(cudnn);
  if (functions === undefined) throw new Error("no recurrent networks");
  const noHandle = new Uint8Array(1 << 16);
  const made = new BigUint64Array(1);
  const make = (kind: "Tensor" | "Dropout" | "RNNData") => {
    const status = functions[`cudnnCreate${kind}Descriptor`](made);
    checkRnn(cudnn, `cudnnCreate${kind}Descriptor`, status);
    return made[0];
  };
  const library: RnnLibrary = {
    cudnn,
    functions,
    handle: Deno.UnsafePointer.value(Deno.UnsafePointer.of(noHandle)),
    dropout: make("Dropout"),
    matrix: make("Tensor"),
    bias: make("Tensor"),
    states: make("Tensor"),
    x: make("RNNData"),
    y: make("RNNData"),
  };
  const layouts = specs().map((spec): Layout => {
    const network = RnnNetwork.make(library, spec, false);
    describe(library, spec);
    const bytes = Number(network?.weightBytes ?? 0n);
    return { spec, offsets: network?.offsets, bytes };
  });
  console.log(JSON.stringify(layouts));
}
