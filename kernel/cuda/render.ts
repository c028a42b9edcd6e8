/**
 * From a row program to the CUDA C of a kernel.
 *
 * @module
 */

import type { Program } from "../program.ts";
import { type Body, elementsBody } from "./elements.ts";
import { indent } from "./emit.ts";
import type { ParamLayout } from "./params.ts";
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

/** Writes the kernel of a variant of a program. */
export function render(p: Program, variant: Variant): Rendered {
  const body: Body = variant.kind === "elements"
    ? elementsBody(p, variant)
    : rowsBody(p, variant);
  const text = indent(body.lines).join("\n");
  const source = `${preludeFor(text)}${body.params.struct}
extern "C" __global__ void __launch_bounds__(${body.threads}) ${body.entry}(const Params p) {
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
