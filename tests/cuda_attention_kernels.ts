/**
 * The kernels of Decaf's own attention, for the tests that compile them.
 */

import { attentionChoice } from "../devices/cuda/attention_choice.ts";
import { OwnAttention } from "../devices/cuda/attention_kernels.ts";
import { type KernelSource, Recorder } from "./cuda_kernels.ts";
import { at } from "./cuda_programs.ts";

/** Attention of every element type, with and without all that there may be; every tile in f32. */
export function attentionSources(): KernelSource[] {
  const context = new Recorder();
  const attention = new OwnAttention(context);
  for (const dtype of ["f32", "f16", "bf16"] as const) {
    for (const [depth, width] of [[64, 64], [128, 96], [5, 7]]) {
      for (const all of [false, true]) {
        const operand = (width: number) => at(dtype, [width, width, width, 1]);
        const [q, v] = [operand(depth), operand(width)];
        const spec = {
          dtype,
          batch: 1,
          heads: 2,
          groups: 1,
          queries: 3,
          keys: 4,
          depth,
          width,
          scale: 1,
          causal: all,
          bias: all ? [1, 1, 3, 4] as const : undefined,
          dropout: all ? 0.5 : 0,
          training: true,
        };
        const operands = {
          q,
          k: q,
          v,
          bias: all ? at("f32", [12, 12, 4, 1]) : undefined,
          kept: all ? at(dtype, [24, 12, 4, 1]) : undefined,
          o: v,
          stats: at("f32", [6, 3, 1, 1]),
        };
        for (const rows of dtype === "f32" ? [8, 4, 2, 1] : [4]) {
          attentionChoice.rows = rows;
          attention.forward(spec, operands);
          attention.backward(spec, operands, { d: v, dq: q, dk: q, dv: v });
        }
        attentionChoice.rows = undefined;
      }
    }
  }
  return context.sources;
}
