/**
 * Recurrent networks, asked of the real cuDNN without a GPU: it knows every
 * cell in every type, takes the descriptors of sequences and states, and its
 * gates stand in Decaf's and PyTorch's order, without gaps.
 */

import { assert, assertEquals } from "@std/assert";
import { dirname } from "@std/path";
import { bytesOf } from "../core/dtype.ts";
import { realCudnn } from "./cudnn_devices.ts";
import type { Layout } from "./cudnn_rnn_layouts.ts";

const cudnn = realCudnn();
const absent = "absent" in cudnn
  ? cudnn.absent
  : Deno.build.os !== "linux"
  ? "only on Linux"
  : undefined;

async function layouts(): Promise<Layout[]> {
  if ("absent" in cudnn) throw new Error(cudnn.absent);
  const own = new URL("cudnn_rnn_layouts.ts", import.meta.url).pathname;
  const { LD_LIBRARY_PATH: path = "" } = Deno.env.toObject();
  const { success, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--no-check", own],
    env: {
      LD_LIBRARY_PATH: `${dirname(cudnn.path)}:${path}`,
      DECAF_LIBCUDNN: cudnn.path,
    },
    stdout: "piped",
    stderr: "piped",
  }).output();
  assert(success, new TextDecoder().decode(stderr));
  return JSON.parse(new TextDecoder().decode(stdout));
}

Deno.test({
  name: `weights of recurrent networks lie where Decaf puts them${
    absent === undefined ? "" : ` (${absent})`
  }`,
  ignore: absent !== undefined,
  async fn() {
    const found = await layouts();
    assertEquals(found.length, 64);
    for (const { spec, offsets, bytes } of found) {
      const { kind, dtype, features, hidden, layers, directions } = spec;
      const what = `${kind} ${dtype} ${directions} ${spec.bias}`;
      const rows = { lstm: 4, gru: 3, tanh: 1, relu: 1 }[kind] * hidden;
      const parts = layers * directions;
      const matrices: number[] = [], biases: number[] = [];
      let next = 0;
      for (let part = 0; part < parts; part++) {
        const width = part < directions ? features : hidden * directions;
        for (const columns of [width, hidden]) {
          matrices.push(next);
          next += rows * columns;
        }
      }
      for (let i = 0; i < 2 * parts && spec.bias; i++) {
        biases.push(next);
        next += rows;
      }
      const expected = Array.from({ length: parts }, (_, i) => [
        ...matrices.slice(2 * i, 2 * i + 2),
        ...biases.slice(2 * i, 2 * i + 2),
      ]).flat();
      assertEquals(offsets, expected, what);
      assertEquals(bytes, next * bytesOf(dtype), what);
    }
  },
});
