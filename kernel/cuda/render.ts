/**
 * From a row program to the CUDA C of a kernel.
 *
 * @module
 */

import type { Program } from "../program.ts";
import { type Body, elementsBody } from "./elements.ts";
import { indent } from "./emit.ts";
import { maxParamBytes, type ParamLayout } from "./params.ts";
import { preludeFor } from "./prelude.ts";
import { rowsBody } from "./rows.ts";
import type { Variant } from "./variant.ts";

export type { ParamLayout } from "./params.ts";
export type { ElementVariant, RowVariant, Step, Variant } from "./variant.ts";

/**
 * Options of the compiler, after the architecture. Without contraction a sum
 * of products is rounded as the expression says: equal to the operators one by
 * one, and to the CPU (`fma` contracts where it is asked for).
 */
export const compilerOptions: readonly string[] = [
  "--std=c++17",
  "--fmad=false",
];

/** A kernel as source, and how it is called. */
export interface Rendered {
  /** CUDA C. */
  readonly source: string;
  /** Name of the kernel. */
  readonly entry: string;
  /** Threads of a block. */
  readonly threads: number;
  /** Places of its parameters. */
  readonly params: ParamLayout;
}

/** Launches that one kernel does, at most: as many parameters as it takes. */
export function manyEntries({ bytes }: ParamLayout): number {
  return Math.floor(maxParamBytes / (bytes + 8));
}

/** The parameters of many launches: where the blocks of each end, then each one's own. */
function manyStruct(entries: number): string {
  return `struct Many {
  unsigned ends[${2 * entries}];
  Params each[${entries}];
};
`;
}

/** Finds the launch that a block works for. */
const chooseEntry = `  unsigned entry = 0;
  while (blockIdx.x >= all.ends[entry]) entry++;
  const unsigned first = entry == 0 ? 0 : all.ends[entry - 1];
  const unsigned block = blockIdx.x - first, blocks = all.ends[entry] - first;
  const Params p = all.each[entry];`;

/** Writes the kernel of a variant of a program. */
export function render(p: Program, variant: Variant): Rendered {
  const body: Body = variant.kind === "elements"
    ? elementsBody(p, variant)
    : rowsBody(p, variant);
  const text = indent(body.lines).join("\n");
  const many = variant.kind === "elements" && variant.many;
  const start =
    `extern "C" __global__ void __launch_bounds__(${body.threads}) ${body.entry}`;
  const head = many
    ? `${manyStruct(manyEntries(body.params))}
${start}(const Many all) {
${chooseEntry}`
    : `${start}(const Params p) {`;
  const source = `${preludeFor(text)}${body.params.struct}
${head}
${text}
}
`;
  return {
    source,
    entry: body.entry,
    threads: body.threads,
    params: body.params,
  };
}
