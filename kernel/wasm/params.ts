/**
 * The parameter block of a kernel: addresses, extents, strides and scalars,
 * written before a call and read by the rendered code.
 *
 * @module
 */

import type { Program } from "../program.ts";

/** Byte offsets in the parameter block of a kernel. */
export interface ParamLayout {
  /** Address of operand `i`. */
  address(i: number): number;
  /** Extent of axis `d`. */
  size(d: number): number;
  /** Stride of operand `i` along axis `d`, in bytes. */
  stride(i: number, d: number): number;
  /** Largest index of `load` from input `i`. */
  limit(i: number): number;
  /** Run-time scalar `i`, 8 bytes each. */
  scalar(i: number): number;
  /** Size of the block. */
  readonly bytes: number;
}

/** Where the parameters of a program over `rank` axes stand. */
export function paramLayout(p: Program, rank: number): ParamLayout {
  const operands = p.inputs.length + p.outputs.length;
  const sizes = 4 * operands;
  const strides = sizes + 4 * rank;
  const limits = strides + 4 * operands * rank;
  const scalars = Math.ceil((limits + 4 * p.inputs.length) / 8) * 8;
  return {
    address: (i) => 4 * i,
    size: (d) => sizes + 4 * d,
    stride: (i, d) => strides + 4 * (i * rank + d),
    limit: (i) => limits + 4 * i,
    scalar: (i) => scalars + 8 * i,
    bytes: scalars + 8 * p.scalars.length,
  };
}
